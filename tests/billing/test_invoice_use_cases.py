"""Invoices that are asked for and taken back: done once, or refused with nothing half-done."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.configuration import BillingConfig
from billing.invoices.one_off import OneOffLine, OneOffRequest
from billing.ports import Changes, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due, finalize_invoice
from billing.use_cases.one_off import create_one_off
from billing.use_cases.passes import pass_account
from billing.use_cases.payments import record_by_hand
from billing.use_cases.voiding import void_invoice
from billing.use_cases.wallets import terminate, top_up
from billing.wallets import ledger
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.customer import Customer
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, Refused, ValidationFailed
from schemas.ids import CustomerId, InvoiceId, WalletId
from schemas.invoice import InvoiceKind, InvoiceStatus, InvoiceType, PaymentStatus
from schemas.money import total
from schemas.payment import PaymentMethod, PaymentState
from schemas.purchase import PurchaseStatus
from schemas.subscription import Plan, Subscription
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxRate, TaxRateId, TaxRateType
from schemas.wallet import EntryType, Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]
ACME = CustomerId("acme")
PRE, POST = WalletType.PRE_PAID, WalletType.POST_PAID


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def known(*subscriptions: Subscription, config: BillingConfig | None = None) -> MemoryStore:
    """Return a store with a customer."""
    store = MemoryStore(subscriptions, config=config)
    store.commit(Changes(customers=(Customer(ACME, "acme"),)))
    return store


def filled(store: MemoryStore, amount: str, kind: WalletType = PRE) -> WalletId:
    """Put a wallet with credits into a store."""
    wallet = Wallet(WalletId(kind.value), ACME, "usd", kind, at(1))
    request = TopUp(Reason.CREDIT_NOTE, Decimal(amount))
    store.commit(Changes(posted=(ledger.top_up(Holdings(wallet), request, at(1)),)))
    return wallet.id


def asked(*amounts: str, **members: object) -> OneOffRequest:
    lines = tuple(OneOffLine(Decimal(amount), f"Item {amount}") for amount in amounts)
    return OneOffRequest(ACME, "usd", lines, **members)  # type: ignore[arg-type]  # as a test names them


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


TENTH = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10), max_redemptions=1)
VAT = TaxAttachment(
    TaxAttachmentId("vat"), TaxRate(TaxRateId("vat"), TaxRateType.PERCENTAGE, Decimal(20))
)


def test_a_one_off_invoice_is_discounted_taxed_settled_and_numbered_at_once() -> None:
    store = known()
    filled(store, "30")
    filled(store, "20", POST)
    request = asked("60.004", "40", amount_due=Decimal("100.00"), coupons=(TENTH,), taxes=(VAT,))
    invoice = create_one_off(store, request, at(1, 10))
    assert (invoice.kind, invoice.invoice_type, invoice.status) == (
        InvoiceKind.ONE_OFF,
        InvoiceType.ONE_OFF,
        InvoiceStatus.FINALIZED,
    )
    assert [line.amount for line in invoice.lines] == [Decimal("60.00"), Decimal("40.00")]
    assert (invoice.total_discount, invoice.total_prepaid_credits_applied) == (
        Decimal("10.00"),
        Decimal(30),
    )
    # 20 % of 90, before credits.
    assert (invoice.total_tax, invoice.total) == (Decimal("18.00"), Decimal("78.00"))
    assert (invoice.amount_paid, invoice.amount_remaining) == (Decimal(20), Decimal("58.00"))
    assert (invoice.invoice_number, invoice.due_date) == ("INV-202601-00001", at(1, 11))
    assert store.redeemed_by(TENTH.id) == {invoice.id}


def test_a_repeated_key_is_one_invoice_and_one_redemption() -> None:
    store = known()
    request = asked("60", idempotency_key="k", coupons=(TENTH,))
    first = create_one_off(store, request, at(1, 10))
    before = store.tables.copy()
    assert create_one_off(store, request, at(1, 11)) == first
    for other in (
        asked("61", idempotency_key="k", coupons=(TENTH,)),
        asked("60", idempotency_key="k"),
        asked("60", idempotency_key="k", coupons=(TENTH,), description="another"),
    ):
        with pytest.raises(AlreadyExists):
            create_one_off(store, other, at(1, 12))
    assert store.tables == before


def test_without_a_key_two_equal_requests_are_two_invoices() -> None:
    store = known()
    made = [create_one_off(store, asked("60"), at(1, 10)) for _ in range(2)]
    assert [each.invoice_number for each in made] == ["INV-202601-00001", "INV-202601-00002"]


@pytest.mark.parametrize(
    ("request_", "refused", "field"),
    [
        (asked("60", amount_due=Decimal(61)), ValidationFailed, "amount_due"),
        (asked("60", subtotal=Decimal(59)), ValidationFailed, "subtotal"),
        (asked("-1"), ValidationFailed, "line_items"),
        (asked(amount_due=Decimal(1)), ValidationFailed, "amount_due"),
        (replace(asked("1"), currency="xau"), ValidationFailed, "currency"),
        (replace(asked("1"), customer_id=CustomerId("nobody")), NotFound, None),
        (
            asked(
                "60",
                coupons=(Coupon(CouponId("c"), CouponType.FIXED, Decimal(1), currency="eur"),),
            ),
            ValidationFailed,
            "coupons",
        ),
        (
            asked("60", coupons=(replace(TENTH, redeem_before=at(1)),)),
            ValidationFailed,
            "coupon_code",
        ),
    ],
    ids=[
        "another sum",
        "another subtotal",
        "a negative line",
        "no lines",
        "no currency of money",
        "nobody",
        "a coupon in another currency",
        "a coupon whose time is over",
    ],
)
def test_a_refused_one_off_leaves_nothing(
    request_: OneOffRequest, refused: type[Refused], field: str | None
) -> None:
    store = known()
    before = store.tables.copy()
    with pytest.raises(refused) as raised:
        create_one_off(store, request_, at(1, 10))
    assert raised.value.field == field
    assert store.tables == before


def test_a_coupon_whose_limit_is_reached_refuses_the_next_invoice() -> None:
    store = known()
    create_one_off(store, asked("60", coupons=(TENTH, TENTH)), at(1, 10))
    with pytest.raises(ValidationFailed) as raised:
        create_one_off(store, asked("60", coupons=(TENTH,)), at(1, 11))
    assert raised.value.field == "coupon_code"
    assert len(store.invoices()) == 1


def test_a_coupon_of_a_line_is_for_that_line() -> None:
    store = known()
    lines = (OneOffLine(Decimal(50), "a", coupons=(TENTH,)), OneOffLine(Decimal(50), "b"))
    invoice = create_one_off(store, OneOffRequest(ACME, "usd", lines), at(1, 10))
    assert [line.line_discount for line in invoice.lines] == [Decimal("5.00"), Decimal(0)]


def test_a_draft_waits_and_is_finalized_by_hand_even_if_it_comes_to_nothing(daily: Daily) -> None:
    store = known()
    draft = create_one_off(store, asked("0", draft=True, due_date=at(5)), at(1, 10))
    assert (draft.status, draft.invoice_number) == (InvoiceStatus.DRAFT, None)
    done = finalize_invoice(store, daily("0", 0), draft.id, at(1, 12))
    assert (done.status, done.payment_status, done.invoice_number, done.due_date) == (
        InvoiceStatus.FINALIZED,
        PaymentStatus.SUCCEEDED,
        "INV-202601-00001",
        at(5),
    )


def test_voiding_returns_what_wallets_gave_lot_by_lot(sold: Subscription, daily: Daily) -> None:
    store = known(sold)
    filled(store, "30")
    filled(store, "15", POST)
    (opening, renewal) = close_due(store, daily("100", 28), at(2, 1, 2))
    assert (renewal.total_prepaid_credits_applied, renewal.amount_paid) == (
        Decimal(10),
        Decimal(15),
    )
    voided = void_invoice(store, renewal.id, at(2, 5))
    assert (voided.status, voided.payment_status, voided.voided_at) == (
        InvoiceStatus.VOIDED,
        PaymentStatus.REFUNDED,
        at(2, 5),
    )
    assert (voided.invoice_number, voided.refunded_amount) == ("INV-202602-00001", Decimal(15))
    (payment,) = store.payments_of(renewal.id)
    assert (payment.state, payment.version) == (PaymentState.REFUNDED, 2)
    held = {each.wallet.id: settled_credits(each, at(2, 5)) for each in store.wallets_of(ACME)}
    assert held == {"PRE_PAID": Decimal(10), "POST_PAID": Decimal(15)}
    assert total(posting.value for posting in store.tables.postings) == 0
    told = [row.event for row in store.tables.outbox.values()]
    assert told.count("invoice.update.voided") == 1
    before = store.tables.copy()
    with pytest.raises(InvalidOperation):
        void_invoice(store, renewal.id, at(2, 6))
    with pytest.raises(NotFound):
        void_invoice(store, InvoiceId("none"), at(2, 6))
    assert store.tables == before
    assert opening.status is InvoiceStatus.FINALIZED


def test_credits_of_a_closed_wallet_come_back_into_another(
    sold: Subscription, daily: Daily
) -> None:
    store = known(sold)
    wallet_id = filled(store, "30")
    (opening,) = close_due(store, daily("100", 28), at(1))
    terminate(store, wallet_id, at(1, 5))
    void_invoice(store, opening.id, at(1, 6))
    fresh = [held for held in store.wallets_of(ACME) if held.wallet.id != wallet_id]
    assert [settled_credits(held, at(1, 6)) for held in fresh] == [Decimal(20)]


def test_a_voided_window_is_not_billed_again_by_passes(sold: Subscription, daily: Daily) -> None:
    store, usage = known(sold), daily("100", 60)
    pass_account(store, usage, ACME, at(2, 1, 3))
    (opening, renewal) = store.invoices()
    void_invoice(store, renewal.id, at(2, 2))
    assert pass_account(store, usage, ACME, at(2, 3)).invoices == ()
    (march,) = pass_account(store, usage, ACME, at(3, 1, 2)).invoices
    # The fee of February was on the void one, and stays there.
    assert [line.period.start for line in march.lines if line.price_id == "base"] == [at(3)]
    assert opening.status is InvoiceStatus.FINALIZED


def test_a_draft_that_is_void_takes_nothing_and_gives_nothing(
    sold: Subscription, daily: Daily
) -> None:
    store = known(sold)
    filled(store, "100")
    close_due(store, daily("100", 28), at(2))
    entries = len(store.tables.entries)
    draft = next(each for each in store.invoices() if each.status is InvoiceStatus.DRAFT)
    voided = void_invoice(store, draft.id, at(2, 1, 1))
    assert (voided.status, voided.payment_status) == (InvoiceStatus.VOIDED, PaymentStatus.PENDING)
    assert len(store.tables.entries) == entries


def test_voiding_cancels_purchases_that_wait_and_is_refused_once_they_are_there() -> None:
    store = known()
    wallet_id = filled(store, "1")
    request = TopUp(Reason.PURCHASED_CREDIT_INVOICED, Decimal(100))
    waiting = top_up(store, wallet_id, request, at(1, 2)).bought
    assert waiting is not None
    void_invoice(store, waiting.invoice.id, at(1, 3))
    (cancelled,) = store.purchases_for(waiting.invoice.id)
    assert cancelled.status is PurchaseStatus.CANCELLED
    paid = top_up(store, wallet_id, request, at(1, 4)).bought
    assert paid is not None
    record_by_hand(store, paid.invoice.id, PaymentStatus.SUCCEEDED, at(1, 5))
    before = store.tables.copy()
    with pytest.raises(InvalidOperation):
        void_invoice(store, paid.invoice.id, at(1, 6))
    assert store.tables == before


amounts = st.decimals(0, 80, places=2)


@given(
    amounts, amounts, st.lists(st.decimals("0.01", 60, places=2), min_size=1, max_size=3), amounts
)
def test_voiding_leaves_every_customer_with_the_money_that_it_had(
    prepaid: Decimal, postpaid: Decimal, lines: list[Decimal], cash: Decimal
) -> None:
    store = known()
    for kind, amount in ((PRE, prepaid), (POST, postpaid)):
        filled(store, str(amount + 1), kind)
    invoice = create_one_off(store, asked(*map(str, lines)), at(1, 10))
    if cash and invoice.amount_remaining:
        part = cash < invoice.amount_remaining
        state = PaymentStatus.PENDING if part else PaymentStatus.SUCCEEDED
        record_by_hand(store, invoice.id, state, at(1, 11), amount=cash if part else None)
    brought = total(
        each.amount
        for each in store.payments_of(invoice.id)
        if each.method is PaymentMethod.OFFLINE
    )
    void_invoice(store, invoice.id, at(1, 12))
    held = total(settled_credits(each, at(1, 12)) for each in store.wallets_of(ACME))
    assert held == prepaid + postpaid + 2 + brought
    assert total(posting.value for posting in store.tables.postings) == 0
    credits_back = [e for e in store.tables.entries if e.reason is Reason.INVOICE_VOID_REFUND]
    assert {each.type for each in credits_back} <= {EntryType.CREDIT}
