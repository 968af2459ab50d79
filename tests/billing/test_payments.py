"""Payments: the tables of what may happen, then laws over any order of payments."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.paying import (
    BY_HAND,
    Payable,
    answered,
    attempted,
    check_deletable,
    corrected,
    create_payment,
    noticed,
    process_payment,
    recorded_by_hand,
)
from billing.invoices.payments import PAID, Payment, may_become, paid_state
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    NotBuiltYet,
    Refused,
    ValidationFailed,
    VersionConflict,
)
from schemas.ids import InvoiceId, PaymentId
from schemas.invoice import InvoiceStatus, PaymentStatus
from schemas.payment import (
    TRANSITIONS,
    GatewayResult,
    InvoicePayment,
    Notice,
    PaymentAction,
    PaymentRequest,
    PaymentState,
    after,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
DUE = Payable(InvoiceId("i"), "usd", Decimal(100))
# From each state the states that may follow, as the table of wallets-alerts.md 14 has them.
FOLLOWING = {
    "INITIATED": "PENDING PROCESSING SUCCEEDED OVERPAID FAILED",
    "PENDING": "PROCESSING SUCCEEDED OVERPAID FAILED",
    "PROCESSING": "SUCCEEDED OVERPAID FAILED",
    "SUCCEEDED": "OVERPAID REFUNDED PARTIALLY_REFUNDED VOIDED",
    "OVERPAID": "REFUNDED PARTIALLY_REFUNDED",
    "PARTIALLY_REFUNDED": "REFUNDED",
    "FAILED": "PROCESSING",
    "REFUNDED": "",
    "VOIDED": "",
}
EVERY_PAIR = [(state, action) for state in PaymentState for action in PaymentAction]


def asked(method: str = "CARD", amount: str = "40", **more: object) -> PaymentRequest:
    body = {"destination_id": "i", "payment_method_type": method, "amount": amount}
    return PaymentRequest.model_validate(body | {"currency": "USD"} | more)


def made(request: PaymentRequest, *others: InvoicePayment, due: Payable = DUE) -> InvoicePayment:
    return create_payment(due, request, others, AT, payment_id=PaymentId(f"p{len(others) + 1}"))


@pytest.mark.parametrize(("state", "action"), EVERY_PAIR)
def test_every_pair_outside_the_table_is_refused(
    state: PaymentState, action: PaymentAction
) -> None:
    if (state, action) in TRANSITIONS:
        assert after(state, action).value in FOLLOWING[state]
    else:
        with pytest.raises(InvalidOperation):
            after(state, action)


@pytest.mark.parametrize("before", PaymentState)
@pytest.mark.parametrize("now", PaymentState)
def test_only_what_the_table_says_may_follow(before: PaymentState, now: PaymentState) -> None:
    assert may_become(before, now) is (before is now or now.value in FOLLOWING[before].split())


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (asked(amount="0"), ValidationFailed),
        (asked(amount="-1"), ValidationFailed),
        (asked(currency="eur"), ValidationFailed),
        (asked("CREDITS"), ValidationFailed),
        (asked(destination_type="CUSTOMER"), NotBuiltYet),
        (asked("CARD", "100.01"), InvalidOperation),
    ],
)
def test_a_payment_that_makes_no_sense_is_refused(
    request_: PaymentRequest, error: type[Refused]
) -> None:
    with pytest.raises(error):
        made(request_)


@pytest.mark.parametrize("status", [InvoiceStatus.DRAFT, InvoiceStatus.VOIDED])
def test_only_a_finalized_invoice_is_paid(status: InvoiceStatus) -> None:
    due = Payable(InvoiceId("i"), "usd", Decimal(100), status)
    with pytest.raises(InvalidOperation):
        made(asked("OFFLINE"), due=due)


def test_a_repeated_key_returns_the_payment_as_it_is_now() -> None:
    request = asked(idempotency_key="k")
    paid = answered(made(request), GatewayResult.SUCCEEDED, AT)
    again = create_payment(DUE, request, [paid], AT, payment_id=PaymentId("p2"), recorded=paid)
    assert again is paid
    with pytest.raises(AlreadyExists):
        create_payment(
            DUE, asked(amount="41"), [paid], AT, payment_id=PaymentId("p2"), recorded=paid
        )


def test_a_failed_payment_is_tried_again_under_its_own_number() -> None:
    failed = answered(made(asked()), GatewayResult.FAILED, AT)
    again = process_payment(DUE, failed, [failed], AT)
    assert (again.id, again.state, again.attempts) == ("p1", PaymentState.PROCESSING, 2)


def test_a_try_is_refused_once_others_have_paid() -> None:
    waiting = made(asked(process_payment=False))
    rest = made(asked("OFFLINE", "70"), waiting)
    with pytest.raises(InvalidOperation):
        process_payment(DUE, waiting, [waiting, rest], AT)


def test_a_notice_that_comes_twice_changes_nothing() -> None:
    notice = Notice("gateway 1", GatewayResult.SUCCEEDED)
    paid = noticed(made(asked()), notice, AT)
    assert paid.state is PaymentState.SUCCEEDED
    assert noticed(paid, notice, AT) is paid
    with pytest.raises(InvalidOperation):
        noticed(paid, Notice("gateway 2", GatewayResult.SUCCEEDED), AT)


def test_an_amount_is_corrected_only_by_who_has_read_the_payment_as_it_is() -> None:
    trying = made(asked())
    assert corrected(DUE, trying, Decimal(80), [trying], version=1).amount == 80
    with pytest.raises(VersionConflict):
        corrected(DUE, trying, Decimal(80), [trying], version=2)
    with pytest.raises(InvalidOperation):
        corrected(DUE, trying, Decimal(101), [trying])
    paid = answered(trying, GatewayResult.SUCCEEDED, AT)
    with pytest.raises(InvalidOperation):
        corrected(DUE, paid, Decimal(80), [paid])


@pytest.mark.parametrize("state", PaymentState)
def test_only_a_payment_that_moved_nothing_is_deleted(state: PaymentState) -> None:
    payment = InvoicePayment(
        PaymentId("p"), InvoiceId("i"), asked().payment_method_type, Decimal(1), "usd", AT, state
    )
    if state in {PaymentState.INITIATED, PaymentState.FAILED}:
        check_deletable(payment)
    else:
        with pytest.raises(InvalidOperation):
            check_deletable(payment)


@pytest.mark.parametrize(
    ("paid", "wanted", "amount", "comes_to"),
    [
        (None, "SUCCEEDED", None, "SUCCEEDED"),
        (None, "SUCCEEDED", "30", "PENDING"),
        (None, "SUCCEEDED", "130", "OVERPAID"),
        (None, "PENDING", "30", "PENDING"),
        (None, "PENDING", None, None),
        (None, "FAILED", None, "FAILED"),
        ("30", "SUCCEEDED", None, "SUCCEEDED"),
        ("30", "FAILED", None, "PENDING"),
        ("100", "SUCCEEDED", None, None),
        ("100", "OVERPAID", "5", "OVERPAID"),
    ],
)
def test_what_is_recorded_by_hand_gives_the_state_that_all_payments_give(
    paid: str | None, wanted: str, amount: str | None, comes_to: str | None
) -> None:
    rows = [made(asked("OFFLINE", paid))] if paid else []
    row = recorded_by_hand(
        DUE,
        rows,
        PaymentStatus(wanted),
        None if amount is None else Decimal(amount),
        AT,
        payment_id=PaymentId("hand"),
    )
    assert (row is None) is (comes_to is None)
    if row is not None:
        assert paid_state(DUE.amount_due, [*rows, row]).payment_status.value == comes_to


@pytest.mark.parametrize("before", PaymentStatus)
@pytest.mark.parametrize("wanted", PaymentStatus)
def test_by_hand_only_what_the_table_says_may_follow(
    before: PaymentStatus, wanted: PaymentStatus
) -> None:
    following = {
        "PENDING": "PENDING SUCCEEDED OVERPAID FAILED",
        "PROCESSING": "PENDING SUCCEEDED OVERPAID FAILED",
        "FAILED": "PENDING SUCCEEDED OVERPAID",
        "SUCCEEDED": "OVERPAID",
    }
    assert ((before, wanted) in BY_HAND) is (wanted.value in following.get(before, "").split())


@pytest.mark.parametrize(
    ("wanted", "amount", "error"),
    [
        ("PENDING", "100", ValidationFailed),
        ("SUCCEEDED", "0", ValidationFailed),
        ("REFUNDED", None, InvalidOperation),
        ("PROCESSING", None, InvalidOperation),
    ],
)
def test_what_cannot_be_recorded_by_hand_is_refused(
    wanted: str, amount: str | None, error: type[Refused]
) -> None:
    given_amount = None if amount is None else Decimal(amount)
    with pytest.raises(error):
        recorded_by_hand(
            DUE, [], PaymentStatus(wanted), given_amount, AT, payment_id=PaymentId("p")
        )


rows_of_payments = st.lists(
    st.builds(
        Payment,
        st.integers(1, 200).map(Decimal),
        st.sampled_from([state for state in PaymentState if state is not PaymentState.VOIDED]),
    ),
    max_size=6,
)


@given(rows_of_payments, st.randoms(use_true_random=False))
def test_the_state_of_an_invoice_does_not_hang_on_the_order_of_its_payments(
    rows: list[Payment], chance: object
) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert paid_state(Decimal(100), shuffled) == paid_state(Decimal(100), rows)


@given(rows_of_payments)
def test_a_partial_payment_never_makes_an_invoice_paid(rows: list[Payment]) -> None:
    found = paid_state(Decimal(100), rows)
    paid = sum((row.amount for row in rows if row.state in PAID), Decimal(0))
    assert found.amount_paid == paid
    assert found.amount_remaining == max(100 - paid, Decimal(0))
    assert (found.payment_status is PaymentStatus.SUCCEEDED) is (paid == 100)
    assert (found.payment_status is PaymentStatus.OVERPAID) is (paid > 100)


@given(st.lists(st.sampled_from(["try", "approve", "decline", "notice"]), max_size=12))
def test_no_story_charges_more_than_once(story: list[str]) -> None:
    payment = made(asked(amount="100"))
    succeeded = 0
    for step in story:
        before = payment
        try:
            match step:
                case "try":
                    payment = process_payment(DUE, payment, [payment], AT)
                case "approve":
                    payment = answered(payment, GatewayResult.SUCCEEDED, AT)
                case "decline":
                    payment = answered(payment, GatewayResult.FAILED, AT)
                case _:
                    payment = noticed(payment, Notice("g", GatewayResult.SUCCEEDED), AT)
        except InvalidOperation:
            assert payment is before
        succeeded += (before.state, payment.state) == (
            PaymentState.PROCESSING,
            PaymentState.SUCCEEDED,
        )
    assert succeeded <= 1
    assert paid_state(DUE.amount_due, [payment]).amount_paid in (0, 100)


def test_an_offline_try_is_an_attempt() -> None:
    waiting = made(asked("OFFLINE", process_payment=False))
    assert (waiting.state, waiting.attempts) == (PaymentState.PENDING, 0)
    assert attempted(waiting, AT).attempts == 1
