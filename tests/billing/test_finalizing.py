"""Finalizing: one transaction that settles, numbers, dates and tells, or leaves nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.configuration import BillingConfig
from billing.ports import Changes, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import reprice, subscribe
from billing.use_cases.closing_periods import (
    close_due,
    compute_invoice,
    finalize_invoice,
)
from billing.use_cases.transactions import ATTEMPTS_MAX, merged
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp, top_up
from schemas.alert import AlertCondition, AlertSettings, Threshold
from schemas.collection import PaymentTerms
from schemas.errors import InvalidOperation, NotFound, StoreError, VersionConflict
from schemas.ids import CustomerId, InvoiceId, WalletId
from schemas.invoice import InvoiceKind, InvoiceStatus, PaymentStatus
from schemas.money import total
from schemas.payment import PaymentMethod, PaymentState
from schemas.subscription import Plan, Subscription, SubscriptionStatus
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxBase, TaxRate, TaxRateId, TaxRateType
from schemas.wallet import Reason, ReferenceType, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]
Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]
ACME = CustomerId("acme")
PRE, POST = WalletType.PRE_PAID, WalletType.POST_PAID


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def filled(
    store: MemoryStore, amount: str, kind: WalletType = PRE, settings: AlertSettings | None = None
) -> None:
    """Put a wallet with credits into a store."""
    wallet = Wallet(WalletId(kind.value), ACME, "usd", kind, at(1), alert_settings=settings)
    posted = top_up(Holdings(wallet), TopUp(Reason.CREDIT_NOTE, Decimal(amount)), at(1))
    store.commit(Changes(posted=(posted,)))


def events(store: MemoryStore) -> list[str]:
    return [row.event or row.topic or "" for row in store.tables.outbox.values()]


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


class Counting(MemoryStore):
    """A store that counts its commits."""

    commits = 0

    def commit(self, changes: Changes) -> None:
        self.commits += 1
        super().commit(changes)


def test_what_can_be_finalized_at_once_is_one_commit(sold: Subscription, daily: Daily) -> None:
    store = Counting([sold])
    filled(store, "100")
    store.commits = 0
    close_due(store, daily("100", 28), at(2, 1, 2))
    assert [each.status for each in store.invoices()] == [InvoiceStatus.FINALIZED] * 2
    assert store.commits == 2


def test_a_finalized_invoice_has_its_number_dates_and_rows(
    sold: Subscription, daily: Daily
) -> None:
    store = MemoryStore([sold])
    alarmed = AlertSettings(True, Threshold(Decimal(50), AlertCondition.BELOW))
    filled(store, "60", PRE, alarmed)
    opening, renewal = close_due(store, daily("100", 28), at(2, 1, 2))
    assert (opening.invoice_number, renewal.invoice_number) == (
        "INV-202601-00001",
        "INV-202602-00001",
    )
    # A day after the period, by the setting.
    assert (opening.due_date, renewal.due_date) == (at(2, 2), at(2, 2))
    assert (renewal.finalized_at, renewal.computed_at) == (at(2, 1, 2), at(2, 1, 2))
    assert events(store) == [
        "invoice_lines",
        "invoice.update.finalized",
        "wallet.transaction.created",
        "wallet.credit_balance.dropped",
        "invoice_lines",
        "invoice_lines",
        "invoice.update.finalized",
        "wallet.transaction.created",
    ]
    told = [row for row in store.tables.outbox.values() if row.event == "invoice.update.finalized"]
    shown = [row.body["invoice"] for row in told]
    assert [each["invoice_number"] for each in shown] == [  # type: ignore[index]  # an object
        "INV-202601-00001",
        "INV-202602-00001",
    ]
    assert {row.customer_id for row in told} == {ACME}


@pytest.mark.parametrize(
    ("terms", "days", "due"),
    [
        (None, 1, at(2, 2)),
        (None, 10, at(2, 11)),
        (PaymentTerms.NET_30, 10, at(3, 3)),
        (None, None, at(2, 1, 2)),
    ],
    ids=["the default", "the setting", "the terms of the subscription", "neither"],
)
def test_an_invoice_is_due_days_after_its_period(
    sold: Subscription,
    daily: Daily,
    terms: PaymentTerms | None,
    days: int | None,
    due: datetime,
) -> None:
    config = BillingConfig(due_date_days=days)
    store = MemoryStore([replace(sold, payment_terms=terms)], config=config)
    _, renewal = close_due(store, daily("100", 28), at(2, 1, 2))
    assert renewal.due_date == due


def test_a_wallet_pays_by_a_payment_that_its_debit_names(sold: Subscription, daily: Daily) -> None:
    store = MemoryStore([sold])
    filled(store, "40", POST)
    opening, renewal = close_due(store, daily("100", 28), at(2, 1, 2))
    (first,), (second,) = store.payments_of(opening.id), store.payments_of(renewal.id)
    assert (first.method, first.state, first.amount) == (
        PaymentMethod.CREDITS,
        PaymentState.SUCCEEDED,
        Decimal(20),
    )
    assert (renewal.amount_paid, renewal.amount_remaining) == (Decimal(20), Decimal(33))
    assert renewal.payment_status is PaymentStatus.PENDING
    debits = [e for e in store.tables.entries if e.reason is Reason.INVOICE_PAYMENT]
    assert [(e.reference_type, e.reference_id) for e in debits] == [
        (ReferenceType.PAYMENT, first.id),
        (ReferenceType.PAYMENT, second.id),
    ]
    assert total(each.amount for each in (first, second)) == total(e.amount for e in debits)
    (taken,) = store.taken_for(renewal.id).entries
    assert taken.reference_id == second.id


def test_nothing_but_zeros_takes_no_number_and_is_not_told(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    store = MemoryStore([subscribe(acme, replace(pro, prices=pro.prices[1:]))])
    (skipped,) = close_due(store, daily("0", 0), at(2, 2))
    assert (skipped.status, skipped.invoice_number) == (InvoiceStatus.SKIPPED, None)
    assert (store.tables.numbers, events(store)) == ({}, [])


@pytest.mark.parametrize(
    ("decided", "skips", "status"),
    [
        (at(1, 10), False, InvoiceStatus.FINALIZED),
        (at(1, 5), False, InvoiceStatus.SKIPPED),
        (at(1, 10), True, None),
    ],
    ids=["cancelled at once", "planned before", "without a final invoice"],
)
def test_a_final_invoice_that_somebody_asked_for_is_finalized_though_it_is_empty(
    acme: Subscription,
    pro: Plan,
    daily: Daily,
    decided: datetime,
    *,
    skips: bool,
    status: InvoiceStatus | None,
) -> None:
    metered = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    ended = replace(
        metered,
        cancelled_at=at(1, 10),
        cancel_decided_at=decided,
        skip_final_invoice=skips,
        status=SubscriptionStatus.CANCELLED,
    )
    store = MemoryStore([ended])
    close_due(store, daily("0", 0), at(2))
    made = [each.status for each in store.invoices() if each.kind is InvoiceKind.FINAL]
    assert made == ([] if status is None else [status])


def test_what_an_invoice_owes_the_customer_goes_into_the_money_back_wallet(
    sold: Subscription, listed: Listed
) -> None:
    store = MemoryStore([sold])
    used = [(at(1, 5), Decimal(10_000))]
    close_due(store, listed(used), at(2, 1, 2))
    taken_back = [*used, (at(1, 6), Decimal(-9_000))]
    (carried,) = close_due(store, listed(taken_back), at(3, 1, 2))
    assert carried.carried_credit == Decimal("75.00")
    (held,) = store.wallets_of(ACME)
    (entry,) = store.tables.entries
    assert (entry.reason, entry.reference_id, settled_credits(held, at(4))) == (
        Reason.CREDIT_NOTE,
        carried.id,
        Decimal(75),
    )
    assert total(posting.value for posting in store.tables.postings) == 0


def test_settings_say_when_to_finalize_and_what_taxes_are_on(
    sold: Subscription, daily: Daily
) -> None:
    tenth = TaxRate(TaxRateId("vat"), TaxRateType.PERCENTAGE, Decimal(10))
    taxed = replace(sold, taxes=(TaxAttachment(TaxAttachmentId("t"), tenth),))
    config = BillingConfig(finalization_delay=timedelta(hours=5), tax_base=TaxBase.AFTER_CREDITS)
    store = MemoryStore([taxed], config=config)
    filled(store, "30")
    opening, renewal = close_due(store, daily("100", 28), at(2, 1, 4))
    assert (opening.total_prepaid_credits_applied, opening.total_tax) == (Decimal(20), Decimal(0))
    assert renewal.status is InvoiceStatus.DRAFT
    (renewal,) = close_due(store, daily("100", 28), at(2, 1, 5))
    # 53 less the 10 that are left is 43.
    assert (renewal.status, renewal.total_tax) == (InvoiceStatus.FINALIZED, Decimal("4.30"))


def test_a_commit_that_fails_leaves_no_gap_in_the_numbers(sold: Subscription, daily: Daily) -> None:
    class Failing(MemoryStore):
        fails = False

        def commit(self, changes: Changes) -> None:
            super().commit(changes)
            if self.fails:
                raise StoreError("the connection is gone")

    store = Failing([sold])
    filled(store, "100")
    before = store.tables.copy()
    store.fails = True
    with pytest.raises(StoreError):
        close_due(store, daily("100", 28), at(1))
    assert store.tables == before
    store.fails = False
    (opening,) = close_due(store, daily("100", 28), at(1))
    assert opening.invoice_number == "INV-202601-00001"


class Moving:
    """Usage that lets somebody else do something each time that it is read, so many times."""

    def __init__(self, usage: UsageReader, act: Callable[[], None], times: int) -> None:
        self._usage, self._act, self.left = usage, act, times

    def quantities(self, *arguments: object, **options: object) -> object:
        """Return what is read, after somebody else was there."""
        if self.left:
            self.left -= 1
            self._act()
        return self._usage.quantities(*arguments, **options)  # type: ignore[arg-type]  # as they came


@pytest.mark.parametrize(("times", "made"), [(1, True), (100, False)], ids=["once", "always"])
def test_a_draft_rests_on_the_subscription_that_is_there_when_it_is_committed(
    acme: Subscription, pro: Plan, daily: Daily, times: int, *, made: bool
) -> None:
    metered = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    store = MemoryStore([metered])
    (line,) = metered.lines

    def change() -> None:
        known = store.subscription(metered.id)
        assert known is not None
        day = at(1, 10) + timedelta(minutes=known.version)
        doubled = replace(
            line.price,
            id=f"p{known.version}",
            tiers=tuple(replace(each, unit_amount=Decimal(1)) for each in line.price.tiers),
        )
        last = known.lines[-1]
        changed = reprice(known, last.id, day, price=doubled)
        store.commit(Changes(subscriptions=(replace(changed, version=known.version + 1),)))

    usage = Moving(daily("100", 28), change, times)
    if not made:
        with pytest.raises(VersionConflict):
            close_due(store, usage, at(2, 1, 2))  # type: ignore[arg-type]  # a reader
        assert store.invoices() == ()
        assert 100 - usage.left >= ATTEMPTS_MAX
        return
    (invoice,) = close_due(store, usage, at(2, 1, 2))  # type: ignore[arg-type]  # a reader
    assert [each.price_id for each in invoice.lines] == ["use", "p1"]


def test_a_draft_is_computed_and_finalized_by_hand(sold: Subscription, daily: Daily) -> None:
    store = MemoryStore([sold])
    close_due(store, daily("100", 28), at(2, 1, 1))
    (_, draft) = store.invoices()
    same = compute_invoice(store, daily("100", 28), draft.id, at(2, 1, 1))
    assert same == draft
    more = compute_invoice(store, daily("100", 31), draft.id, at(2, 1, 5))
    assert (more.status, more.subtotal) == (InvoiceStatus.DRAFT, Decimal("56.00"))
    done = finalize_invoice(store, daily("100", 30), draft.id, at(2, 1, 1))
    assert (done.status, done.subtotal, done.invoice_number) == (
        InvoiceStatus.FINALIZED,
        Decimal("55.00"),
        "INV-202602-00001",
    )
    for use_case in (compute_invoice, finalize_invoice):
        with pytest.raises(InvalidOperation):
            use_case(store, daily("100", 31), draft.id, at(2, 2))
        with pytest.raises(NotFound):
            use_case(store, daily("100", 31), InvoiceId("none"), at(2, 2))


def test_an_opening_that_is_paid_at_once_activates_its_subscription(
    sold: Subscription, daily: Daily
) -> None:
    waiting = replace(sold, status=SubscriptionStatus.INCOMPLETE)
    for amount, status in (("100", SubscriptionStatus.ACTIVE), ("5", waiting.status)):
        store = MemoryStore([waiting])
        filled(store, amount)
        close_due(store, daily("0", 0), at(1))
        live = store.subscription(waiting.id)
        assert live is not None
        assert live.status is status


def test_of_two_wishes_to_be_looked_at_the_earlier_counts() -> None:
    found = merged(Changes(wake={ACME: at(2)}), Changes(wake={ACME: at(1)}), Changes())
    assert found.wake == {ACME: at(1)}
