"""Payments of stored invoices: each counted once, and what becomes paid has its consequences."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.one_off import OneOffLine, OneOffRequest
from billing.invoices.payments import paid_state
from billing.ports import Changes, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.use_cases.one_off import create_one_off
from billing.use_cases.payments import (
    attempt_payment,
    correct_payment,
    create_payment,
    delete_payment,
    process_payment,
    record_by_hand,
    take_notice,
)
from billing.use_cases.wallets import top_up
from billing.wallets import ledger
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp
from schemas.customer import Customer
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, Refused, ValidationFailed
from schemas.ids import CustomerId, InvoiceId, PaymentId, WalletId
from schemas.invoice import Invoice, PaymentStatus
from schemas.money import total
from schemas.payment import (
    GatewayResult,
    Notice,
    PaymentMethod,
    PaymentRequest,
    PaymentState,
)
from schemas.price import PriceType
from schemas.purchase import PurchaseStatus
from schemas.subscription import Plan, Subscription, SubscriptionStatus
from schemas.wallet import AllowedType, Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]
ACME = CustomerId("acme")
SUCCEEDED = PaymentStatus.SUCCEEDED


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def owing(usage: str = "60", fixed: str = "40") -> tuple[MemoryStore, Invoice]:
    """Return a store with an invoice of a usage and a fixed line, of which nothing is paid."""
    store = MemoryStore()
    store.commit(Changes(customers=(Customer(ACME, "acme"),)))
    lines = (
        OneOffLine(Decimal(usage), "use", price_type=PriceType.USAGE),
        OneOffLine(Decimal(fixed), "fee"),
    )
    return store, create_one_off(store, OneOffRequest(ACME, "usd", lines), at(2))


def postpaid(store: MemoryStore, amount: str, *types: AllowedType) -> WalletId:
    """Put a wallet that pays invoices into a store."""
    wallet = Wallet(
        WalletId("post"),
        ACME,
        "usd",
        WalletType.POST_PAID,
        at(1),
        allowed_price_types=types or (AllowedType.ALL,),
    )
    request = TopUp(Reason.CREDIT_NOTE, Decimal(amount))
    store.commit(Changes(posted=(ledger.top_up(Holdings(wallet), request, at(1)),)))
    return wallet.id


def asked(
    invoice: Invoice, amount: str, method: str = "OFFLINE", **members: object
) -> PaymentRequest:
    return PaymentRequest.model_validate(
        {
            "destination_id": invoice.id,
            "payment_method_type": method,
            "amount": amount,
            "currency": "usd",
            **members,
        }
    )


def now(store: MemoryStore, invoice: Invoice) -> Invoice:
    found = store.invoice(invoice.id)
    assert found is not None
    return found


def test_partial_payments_add_up_until_the_invoice_is_paid() -> None:
    store, invoice = owing()
    for amount, status in (("40", PaymentStatus.PENDING), ("60", SUCCEEDED)):
        made = create_payment(store, asked(invoice, amount), at(3))
        assert made.state is PaymentState.SUCCEEDED
        assert now(store, invoice).payment_status is status
    told = [row.event for row in store.tables.outbox.values() if row.event]
    assert (
        told[-6:]
        == [
            "payment.created",
            "payment.success",
            "invoice.update.payment",
        ]
        * 2
    )
    with pytest.raises(InvalidOperation):
        create_payment(store, asked(invoice, "1"), at(4))


def test_a_repeated_key_never_charges_again() -> None:
    store, invoice = owing()
    first = create_payment(store, asked(invoice, "40", idempotency_key="k"), at(3))
    before = store.tables.copy()
    assert create_payment(store, asked(invoice, "40", idempotency_key="k"), at(4)) == first
    with pytest.raises(AlreadyExists):
        create_payment(store, asked(invoice, "41", idempotency_key="k"), at(4))
    assert store.tables == before
    create_payment(store, asked(invoice, "10"), at(5))
    create_payment(store, asked(invoice, "10"), at(5))
    assert now(store, invoice).amount_paid == Decimal(60)


def test_a_card_is_tried_fails_is_tried_again_and_pays() -> None:
    store, invoice = owing()
    card = create_payment(store, asked(invoice, "100", "CARD"), at(3))
    assert now(store, invoice).payment_status is PaymentStatus.PROCESSING
    failed = Notice("gateway 1", GatewayResult.FAILED)
    take_notice(store, card.id, failed, at(3, 1))
    assert now(store, invoice).payment_status is PaymentStatus.FAILED
    again = process_payment(store, card.id, at(3, 2))
    assert (again.state, again.attempts) == (PaymentState.PROCESSING, 2)
    paid = Notice("gateway 2", GatewayResult.SUCCEEDED)
    done = take_notice(store, card.id, paid, at(3, 3))
    before = store.tables.copy()
    assert take_notice(store, card.id, paid, at(3, 4)) == done
    assert store.tables == before
    assert now(store, invoice).payment_status is SUCCEEDED


def test_a_payment_is_corrected_while_it_has_come_to_no_end() -> None:
    store, invoice = owing()
    waits = create_payment(store, asked(invoice, "30", process_payment=False), at(3))
    assert waits.state is PaymentState.PENDING
    changed = correct_payment(store, waits.id, Decimal(50), at(4), version=waits.version)
    assert (changed.amount, now(store, invoice).amount_paid) == (Decimal(50), Decimal(0))
    assert correct_payment(store, waits.id, Decimal(50), at(4)) == changed
    process_payment(store, waits.id, at(5))
    assert now(store, invoice).amount_paid == Decimal(50)
    with pytest.raises(InvalidOperation):
        correct_payment(store, waits.id, Decimal(60), at(6))


def test_only_what_moves_no_money_is_deleted() -> None:
    store, invoice = owing()
    card = create_payment(store, asked(invoice, "100", "CARD", process_payment=False), at(3))
    assert delete_payment(store, card.id, at(4)) == card
    assert store.payments_of(invoice.id) == ()
    cash = create_payment(store, asked(invoice, "40"), at(5))
    with pytest.raises(InvalidOperation):
        delete_payment(store, cash.id, at(6))
    assert store.payment(cash.id) == cash


def test_deleting_the_one_failed_payment_lets_the_invoice_be_pending_again() -> None:
    store, invoice = owing()
    card = create_payment(store, asked(invoice, "100", "CARD"), at(3))
    take_notice(store, card.id, Notice("gateway 1", GatewayResult.FAILED), at(3, 1))
    delete_payment(store, card.id, at(4))
    assert now(store, invoice).payment_status is PaymentStatus.PENDING


@pytest.mark.parametrize(
    ("act", "refused"),
    [
        (lambda s, i: create_payment(s, asked(i, "1", "CREDITS"), at(3)), ValidationFailed),
        (lambda s, i: create_payment(s, asked(i, "0"), at(3)), ValidationFailed),
        (lambda s, i: create_payment(s, asked(i, "1", currency="eur"), at(3)), ValidationFailed),
        (lambda s, i: create_payment(s, asked(i, "101", "CARD"), at(3)), InvalidOperation),
        (
            lambda s, i: create_payment(s, asked(i, "1", destination_id="none"), at(3)),
            NotFound,
        ),
        (lambda s, i: process_payment(s, PaymentId("none"), at(3)), NotFound),
        (lambda s, i: delete_payment(s, PaymentId("none"), at(3)), NotFound),
        (lambda s, i: attempt_payment(s, InvoiceId("none"), at(3)), NotFound),
        (
            lambda s, i: record_by_hand(s, i.id, PaymentStatus.REFUNDED, at(3)),
            InvalidOperation,
        ),
        (
            lambda s, i: record_by_hand(s, i.id, PaymentStatus.PENDING, at(3), amount=Decimal(100)),
            ValidationFailed,
        ),
    ],
    ids=[
        "by credits",
        "nothing",
        "another currency",
        "more than remains",
        "no invoice",
        "no payment to try",
        "no payment to delete",
        "no invoice to attempt",
        "a state that cannot follow",
        "a part that is all",
    ],
)
def test_a_refused_payment_leaves_nothing(
    act: Callable[[MemoryStore, Invoice], object], refused: type[Refused]
) -> None:
    store, invoice = owing()
    before = store.tables.copy()
    with pytest.raises(refused):
        act(store, invoice)
    assert store.tables == before


def test_by_hand_an_invoice_is_paid_in_part_then_whole_then_too_much() -> None:
    store, invoice = owing()
    part = record_by_hand(store, invoice.id, PaymentStatus.PENDING, at(3), amount=Decimal(30))
    assert (part.payment_status, part.amount_remaining) == (PaymentStatus.PENDING, Decimal(70))
    whole = record_by_hand(store, invoice.id, SUCCEEDED, at(4))
    assert (whole.payment_status, whole.amount_remaining) == (SUCCEEDED, Decimal(0))
    before = store.tables.copy()
    assert record_by_hand(store, invoice.id, SUCCEEDED, at(5)) == whole
    assert store.tables == before
    more = record_by_hand(store, invoice.id, PaymentStatus.OVERPAID, at(6), amount=Decimal(5))
    assert (more.payment_status, more.amount_paid) == (PaymentStatus.OVERPAID, Decimal(105))


def test_an_attempt_takes_what_wallets_hold_now_and_nothing_where_nothing_is_due() -> None:
    store, invoice = owing()
    wallet_id = postpaid(store, "30")
    assert attempt_payment(store, invoice.id, at(3)).amount_remaining == Decimal(70)
    before = store.tables.copy()
    assert attempt_payment(store, invoice.id, at(4)).amount_remaining == Decimal(70)
    assert store.tables == before
    top_up(store, wallet_id, TopUp(Reason.CREDIT_NOTE, Decimal(100)), at(5))
    paid = attempt_payment(store, invoice.id, at(6))
    assert (paid.payment_status, paid.amount_paid) == (SUCCEEDED, Decimal(100))
    payments = store.payments_of(invoice.id)
    assert [each.amount for each in payments] == [Decimal(30), Decimal(70)]
    debits = [e for e in store.tables.entries if e.reason is Reason.INVOICE_PAYMENT]
    assert [e.reference_id for e in debits] == [each.id for each in payments]


def test_an_attempt_counts_what_a_wallet_paid_against_its_type() -> None:
    store, invoice = owing()
    wallet_id = postpaid(store, "50", AllowedType.USAGE)
    attempt_payment(store, invoice.id, at(3))
    top_up(store, wallet_id, TopUp(Reason.CREDIT_NOTE, Decimal(100)), at(4))
    # 10 of usage are left, and the fee is not for this wallet.
    assert attempt_payment(store, invoice.id, at(5)).amount_remaining == Decimal(40)
    (held,) = store.wallets_of(ACME)
    assert settled_credits(held, at(5)) == Decimal(90)


def test_an_attempt_takes_from_live_lots_only(acme: Subscription, pro: Plan, daily: Daily) -> None:
    store = MemoryStore([subscribe(acme, pro)])
    (opening,) = close_due(store, daily("0", 0), at(1))
    wallet_id = postpaid(store, "5")
    dying = TopUp(Reason.CREDIT_NOTE, Decimal(100), expires_at=at(5))
    top_up(store, wallet_id, dying, at(2))
    assert attempt_payment(store, opening.id, at(6)).amount_paid == Decimal(5)


def test_the_paid_opening_activates_a_subscription_that_waits(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    waiting = replace(subscribe(acme, pro), status=SubscriptionStatus.INCOMPLETE)
    store = MemoryStore([waiting])
    (opening,) = close_due(store, daily("0", 0), at(1))
    record_by_hand(store, opening.id, PaymentStatus.PENDING, at(2), amount=Decimal(5))
    before = store.subscription(waiting.id)
    assert before == waiting
    record_by_hand(store, opening.id, SUCCEEDED, at(3))
    live = store.subscription(waiting.id)
    assert live is not None
    assert (live.status, live.activated_at) == (SubscriptionStatus.ACTIVE, at(3))
    assert store.due_customers(at(3), 1) == ((ACME, at(2)),)


def test_credits_come_once_in_the_transaction_that_pays_their_invoice() -> None:
    store, _ = owing()
    wallet_id = postpaid(store, "1")
    request = TopUp(Reason.PURCHASED_CREDIT_INVOICED, Decimal(50), expires_at=at(20))
    made = top_up(store, wallet_id, request, at(3)).bought
    assert made is not None
    create_payment(store, asked(made.invoice, "20"), at(4))
    (held,) = store.wallets_of(ACME)
    assert settled_credits(held, at(4)) == Decimal(1)
    create_payment(store, asked(made.invoice, "35"), at(5))
    (purchase,) = store.purchases_for(made.invoice.id)
    (held,) = store.wallets_of(ACME)
    assert (purchase.status, settled_credits(held, at(5))) == (
        PurchaseStatus.COMPLETED,
        Decimal(51),
    )
    assert now(store, made.invoice).payment_status is PaymentStatus.OVERPAID
    (entry,) = (e for e in store.tables.entries if e.reason is Reason.PURCHASED_CREDIT_INVOICED)
    assert held.lots[-1].expires_at == at(20)
    assert entry.credits == Decimal(50)
    # A wallet never pays for its own credits.
    assert attempt_payment(store, made.invoice.id, at(6)).amount_paid == Decimal(55)


steps = st.lists(
    st.tuples(
        st.sampled_from(["offline", "card", "later", "fail", "succeed", "delete", "attempt"]),
        st.integers(1, 120),
    ),
    max_size=8,
)


@given(steps, st.integers(0, 80))
def test_the_invoice_is_what_its_payments_say_in_any_order_of_them(
    run: list[tuple[str, int]], held: int
) -> None:
    store, invoice = owing()
    postpaid(store, str(held + 1))
    for day, (step, amount) in enumerate(run, start=3):
        before = store.tables.copy()
        try:
            _act(store, invoice, step, amount, at(day))
        except Refused:
            assert store.tables == before
        payments = store.payments_of(invoice.id)
        found, state = now(store, invoice), paid_state(invoice.total, payments)
        assert (found.amount_paid, found.amount_remaining, found.payment_status) == (
            state.amount_paid,
            state.amount_remaining,
            state.payment_status,
        )
        by_wallets = [each for each in payments if each.method is PaymentMethod.CREDITS]
        debits = [e for e in store.tables.entries if e.reason is Reason.INVOICE_PAYMENT]
        assert total(each.amount for each in by_wallets) == total(e.amount for e in debits)


def _act(store: MemoryStore, invoice: Invoice, step: str, amount: int, now: datetime) -> None:
    """Do one thing with an invoice or with the last card payment of it."""
    cards = [e for e in store.payments_of(invoice.id) if e.method is PaymentMethod.CARD]
    match step:
        case "offline":
            create_payment(store, asked(invoice, str(amount)), now)
        case "card" | "later":
            request = asked(invoice, str(amount), "CARD", process_payment=step == "card")
            create_payment(store, request, now)
        case "attempt":
            attempt_payment(store, invoice.id, now)
        case "delete" if cards:
            delete_payment(store, cards[-1].id, now)
        case "fail" | "succeed" if cards:
            result = GatewayResult.FAILED if step == "fail" else GatewayResult.SUCCEEDED
            take_notice(store, cards[-1].id, Notice(f"g{now.day}", result), now)
