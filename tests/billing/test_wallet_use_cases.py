"""Wallets as they are written: checked in one order, done once, told, and refused without a trace."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.configuration import BillingConfig
from billing.ports import Changes
from billing.stores.memory import MemoryStore
from billing.use_cases.passes import pass_account
from billing.use_cases.wallets import (
    WalletChange,
    create_wallet,
    debit,
    sweep_expired,
    terminate,
    top_up,
    update_wallet,
)
from billing.wallets.holdings import settled_credits
from billing.wallets.ledger import Debit, TopUp
from schemas.alert import AlertCondition, AlertSettings, AlertState, Threshold
from schemas.customer import Customer
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, Refused, ValidationFailed
from schemas.ids import CustomerId, WalletId
from schemas.invoice import InvoiceStatus, InvoiceType, PaymentStatus
from schemas.money import total
from schemas.purchase import PurchaseStatus
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxRate, TaxRateId, TaxRateType
from schemas.wallet import AllowedType, Reason, WalletRequest, WalletStatus

ACME = CustomerId("acme")
GIVEN, BOUGHT = Reason.FREE_CREDIT_GRANT, Reason.PURCHASED_CREDIT_INVOICED
LOW = AlertSettings(True, Threshold(Decimal(10), AlertCondition.BELOW))


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, day, hour, tzinfo=UTC)


def known(config: BillingConfig | None = None) -> MemoryStore:
    """Return a store with a customer who has no wallet."""
    store = MemoryStore(config=config)
    store.commit(Changes(customers=(Customer(ACME, "acme"),)))
    return store


def opened(store: MemoryStore, **members: object) -> WalletId:
    """Open a wallet of ten credits."""
    request = WalletRequest.model_validate(
        {"currency": "usd", "initial_credits_to_load": "10", **members}
    )
    return create_wallet(store, request, ACME, at(1)).holdings.wallet.id


def added(amount: str, key: str | None = None, **members: object) -> TopUp:
    return TopUp(GIVEN, Decimal(amount), idempotency_key=key, **members)  # type: ignore[arg-type]  # as a test names them


def taken(amount: str, key: str | None) -> Debit:
    return Debit(Decimal(amount), Reason.MANUAL_BALANCE_DEBIT, key)


def held_by(store: MemoryStore, wallet_id: WalletId, day: int) -> Decimal:
    held = store.holdings(wallet_id)
    assert held is not None
    return settled_credits(held, at(day))


def events(store: MemoryStore) -> list[str | None]:
    return [row.event for row in store.tables.outbox.values()]


def test_a_wallet_is_opened_with_its_credits_told_and_looked_at() -> None:
    store = known()
    wallet_id = opened(
        store,
        alert_settings={
            "alert_enabled": True,
            "critical": {"threshold": "20", "condition": "below"},
        },
    )
    assert held_by(store, wallet_id, 1) == Decimal(10)
    assert events(store) == [
        "wallet.created",
        "wallet.transaction.created",
        "wallet.credit_balance.dropped",
    ]
    assert store.due_customers(at(1), 1) == ((ACME, at(1)),)
    with pytest.raises(AlreadyExists):
        opened(store)
    with pytest.raises(NotFound):
        create_wallet(store, WalletRequest(currency="usd"), CustomerId("nobody"), at(2))


def test_a_closed_wallet_makes_room_for_another() -> None:
    store = known()
    first = opened(store)
    terminate(store, first, at(2))
    assert opened(store) != first


def test_what_may_change_of_a_wallet_changes_and_alerts_are_judged_at_once() -> None:
    store = known()
    wallet_id = opened(store)
    change = WalletChange(
        name="Credits",
        allowed_price_types=(AllowedType.USAGE,),
        overdraft_limit=Decimal(5),
        priority=2,
        metadata={"a": "b"},
        alert_settings=LOW,
    )
    changed = update_wallet(store, wallet_id, change, at(2)).wallet
    assert (changed.name, changed.allowed_price_types, changed.overdraft_limit) == (
        "Credits",
        (AllowedType.USAGE,),
        Decimal(5),
    )
    (alert,) = store.tables.alerts
    assert (alert.status, alert.value) == (AlertState.IN_ALARM, Decimal(10))
    before = store.tables.copy()
    assert update_wallet(store, wallet_id, change, at(3)).wallet == changed
    assert store.tables == before
    assert events(store)[-2:] == ["wallet.updated", "wallet.credit_balance.dropped"]


def test_the_setting_of_the_environment_holds_for_wallets_without_their_own() -> None:
    store = known(BillingConfig(wallet_alerts=LOW))
    wallet_id = opened(store)
    assert [alert.status for alert in store.tables.alerts] == [AlertState.IN_ALARM]
    update_wallet(store, wallet_id, WalletChange(alert_settings=AlertSettings()), at(2))
    # Its own settings win, and these are silent.
    (stream,) = store.tables.streams.values()
    assert (stream.state, len(store.tables.alerts)) == (AlertState.OK, 1)


def test_a_repeated_key_gives_the_first_result_whatever_has_happened_since() -> None:
    store = known()
    wallet_id = opened(store)
    first = top_up(store, wallet_id, added("5", "a", expires_at=at(5)), at(2))
    out = debit(store, wallet_id, taken("3", "b"), at(3))
    terminate(store, wallet_id, at(4))
    before = store.tables.copy()
    assert top_up(store, wallet_id, added("5.0", "a", expires_at=at(5)), at(9)).entry == first.entry
    assert debit(store, wallet_id, taken("3", "b"), at(9)).entry == out.entry
    for request in (added("6", "a"), added("5", "b")):
        with pytest.raises(AlreadyExists):
            top_up(store, wallet_id, request, at(9))
    with pytest.raises(AlreadyExists):
        debit(store, wallet_id, taken("3", "a"), at(9))
    assert store.tables == before


NOBODY = WalletId("none")


@pytest.mark.parametrize(
    ("act", "refused"),
    [
        (lambda s, w: top_up(s, NOBODY, added("0", "used"), at(3)), ValidationFailed),
        (lambda s, w: top_up(s, NOBODY, added("1", "used"), at(3)), AlreadyExists),
        (lambda s, w: top_up(s, NOBODY, added("1", "new"), at(3)), NotFound),
        (lambda s, w: top_up(s, w, added("-1"), at(3)), ValidationFailed),
        (lambda s, w: top_up(s, w, added("1", expires_at=at(3)), at(3)), ValidationFailed),
        (lambda s, w: top_up(s, w, TopUp(GIVEN), at(3)), ValidationFailed),
        (lambda s, w: debit(s, NOBODY, taken("1", None), at(3)), ValidationFailed),
        (lambda s, w: debit(s, NOBODY, taken("1", "used"), at(3)), AlreadyExists),
        (lambda s, w: debit(s, NOBODY, taken("1", "new"), at(3)), NotFound),
        (lambda s, w: debit(s, w, taken("999", "new"), at(3)), InvalidOperation),
        (lambda s, w: update_wallet(s, w, WalletChange(priority=-1), at(3)), ValidationFailed),
        (lambda s, w: update_wallet(s, NOBODY, WalletChange(), at(3)), NotFound),
        (lambda s, w: terminate(s, NOBODY, at(3)), NotFound),
        (lambda s, w: top_up(s, w, TopUp(BOUGHT, Decimal(0)), at(3)), ValidationFailed),
        (
            lambda s, w: top_up(s, w, TopUp(BOUGHT, Decimal(1), idempotency_key="used"), at(3)),
            AlreadyExists,
        ),
        (
            lambda s, w: top_up(s, w, TopUp(BOUGHT, Decimal(1), expires_at=at(2)), at(3)),
            ValidationFailed,
        ),
    ],
    ids=[
        "shape before key",
        "key before wallet",
        "no wallet",
        "below nothing",
        "credits that have expired",
        "neither credits nor amount",
        "a debit without a key",
        "a debit with a used key",
        "a debit of no wallet",
        "more than there is",
        "a negative priority",
        "a change of no wallet",
        "an end of no wallet",
        "nothing bought",
        "bought with a used key",
        "bought and expired",
    ],
)
def test_a_refused_write_leaves_nothing_not_even_an_expiry(
    act: Callable[[MemoryStore, WalletId], object], refused: type[Refused]
) -> None:
    store = known()
    wallet_id = opened(store, initial_credits_expiry_date_utc="2026-01-02T00:00:00Z")
    top_up(store, wallet_id, added("1", "used"), at(1, 5))
    before = store.tables.copy()
    with pytest.raises(refused):
        act(store, wallet_id)
    assert store.tables == before


def test_a_closed_wallet_is_left_alone() -> None:
    store = known()
    wallet_id = opened(store)
    top_up(store, wallet_id, TopUp(BOUGHT, Decimal(7)), at(2))
    (waiting,) = store.pending_purchases(wallet_id)
    closed = terminate(store, wallet_id, at(3))
    assert closed.wallet.wallet_status is WalletStatus.CLOSED
    assert held_by(store, wallet_id, 3) == 0
    assert store.pending_purchases(wallet_id) == ()
    (cancelled,) = store.purchases_for(waiting.invoice_id)
    assert cancelled.status is PurchaseStatus.CANCELLED
    before = store.tables.copy()
    for act in (
        lambda: top_up(store, wallet_id, added("1"), at(4)),
        lambda: top_up(store, wallet_id, TopUp(BOUGHT, Decimal(1)), at(4)),
        lambda: debit(store, wallet_id, taken("1", "k"), at(4)),
        lambda: terminate(store, wallet_id, at(4)),
        lambda: update_wallet(store, wallet_id, WalletChange(name="x"), at(4)),
    ):
        with pytest.raises(InvalidOperation):
            act()
    assert store.tables == before


def test_expiries_are_written_once_and_the_balance_they_changed_is_judged() -> None:
    store = known()
    wallet_id = opened(store, initial_credits_expiry_date_utc="2026-01-05T00:00:00Z")
    update_wallet(store, wallet_id, WalletChange(alert_settings=LOW), at(2))
    top_up(store, wallet_id, added("5"), at(2, 1))
    assert sweep_expired(store, ACME, at(4)) == ()
    (swept,) = sweep_expired(store, ACME, at(5))
    assert [entry.reason for entry in swept.entries] == [Reason.CREDIT_EXPIRED]
    assert sweep_expired(store, ACME, at(6)) == ()
    # In alarm at 10, recovered at 15, in alarm again at 5.
    assert [alert.status for alert in store.tables.alerts] == [
        AlertState.IN_ALARM,
        AlertState.OK,
        AlertState.IN_ALARM,
    ]


def test_bought_credits_wait_for_their_invoice() -> None:
    store = known()
    wallet_id = opened(store, conversion_rate="1", topup_conversion_rate="0.5")
    vat = TaxRate(TaxRateId("vat"), TaxRateType.PERCENTAGE, Decimal(20))
    taxes = (TaxAttachment(TaxAttachmentId("t"), vat),)
    request = TopUp(BOUGHT, amount=Decimal("33.33"), idempotency_key="k")
    made = top_up(store, wallet_id, request, at(2), taxes=taxes)
    assert made.bought is not None
    purchase, invoice = made.bought.purchase, made.bought.invoice
    assert (purchase.status, purchase.credits) == (PurchaseStatus.PENDING, Decimal("66.66"))
    assert (invoice.invoice_type, invoice.status, invoice.payment_status) == (
        InvoiceType.CREDIT,
        InvoiceStatus.FINALIZED,
        PaymentStatus.PENDING,
    )
    assert [line.display_name for line in invoice.lines] == ["Purchase 66.66 Credits"]
    assert (invoice.subtotal, invoice.total_tax, invoice.total) == (
        Decimal("33.33"),
        Decimal("6.67"),
        Decimal("40.00"),
    )
    # The 10 credits that are there do not pay for others.
    assert held_by(store, wallet_id, 2) == Decimal(10)
    before = store.tables.copy()
    assert top_up(store, wallet_id, request, at(3), taxes=taxes) == made
    with pytest.raises(AlreadyExists):
        top_up(store, wallet_id, TopUp(BOUGHT, Decimal(1), idempotency_key="k"), at(3))
    with pytest.raises(AlreadyExists):
        top_up(store, wallet_id, added("1", "k"), at(3))
    with pytest.raises(AlreadyExists):
        debit(store, wallet_id, taken("1", "k"), at(3))
    assert store.tables == before


def test_with_the_setting_for_it_bought_credits_are_there_at_once() -> None:
    store = known(BillingConfig(auto_complete_purchases=True))
    wallet_id = opened(store)
    made = top_up(store, wallet_id, TopUp(BOUGHT, Decimal(25)), at(2))
    assert made.bought is not None
    assert made.bought.purchase.status is PurchaseStatus.COMPLETED
    assert made.bought.invoice.payment_status is PaymentStatus.SUCCEEDED
    assert held_by(store, wallet_id, 2) == Decimal(35)
    assert made.holdings == store.holdings(wallet_id)


def test_two_equal_purchases_without_a_key_are_two() -> None:
    store = known()
    wallet_id = opened(store)
    for _ in range(2):
        top_up(store, wallet_id, TopUp(BOUGHT, Decimal(25)), at(2))
    assert len(store.pending_purchases(wallet_id)) == 2
    assert [each.invoice_number for each in store.invoices()].count("INV-202601-00002") == 1


class NoUsage:
    """Usage that nobody should ask for."""

    def quantities(self, *_: object, **__: object) -> object:
        """Refuse to be read."""
        raise AssertionError("there is no usage")


def test_a_pass_judges_the_ongoing_balance_after_a_write() -> None:
    store = known()
    wallet_id = opened(store)
    update_wallet(store, wallet_id, WalletChange(alert_settings=LOW), at(2))
    pass_account(store, NoUsage(), ACME, at(2), since=at(1))  # type: ignore[arg-type]  # a reader
    assert sorted(alert.alert_type.value for alert in store.tables.alerts) == [
        "low_credit_balance",
        "low_ongoing_balance",
    ]
    assert store.tables.due == {}


writes = st.lists(
    st.tuples(st.sampled_from(["add", "take", "sweep", "repeat"]), st.integers(1, 40)), max_size=10
)


@given(writes)
def test_no_order_of_writes_makes_a_balance_negative_or_a_posting_unbalanced(
    run: list[tuple[str, int]],
) -> None:
    store = known()
    wallet_id = opened(store)
    reasons: set[str | None] = set()
    for number, (step, amount) in enumerate(run):
        day, key = 2 + number, f"{step} {number}"
        try:
            match step:
                case "add":
                    request = added(str(amount), key, expires_at=at(day + 3))
                    top_up(store, wallet_id, request, at(day))
                case "take":
                    debit(store, wallet_id, taken(str(amount), key), at(day))
                case "repeat":
                    for _ in range(2):
                        debit(store, wallet_id, taken(str(amount), key), at(day))
                case "sweep":
                    sweep_expired(store, ACME, at(day))
        except InvalidOperation as refusal:
            reasons.add(refusal.reason)
        assert held_by(store, wallet_id, day) >= 0
        assert total(posting.value for posting in store.tables.postings) == 0
    assert reasons <= {"insufficient_balance"}
    sequences = [entry.sequence for entry in store.tables.entries]
    assert sequences == list(range(1, len(sequences) + 1))
