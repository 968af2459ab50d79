"""Cancelled, on trial, at an end: what time does to a subscription, once and whenever it is done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.configuration import BillingConfig
from billing.ports import UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.agreeing import SubscriptionTerms, agree
from billing.use_cases.closing_periods import close_due
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.subscription_cancellations import (
    CancelledSubscription,
    cancel_subscription,
    drop_cancellation,
)
from billing.use_cases.subscription_clock import advance, end_trial
from billing.use_cases.subscriptions import create_subscription
from billing.wallets.holdings import balance
from schemas.cancellation import (
    CancellationInvoicePolicy,
    CancellationRequest,
    CancellationType,
)
from schemas.customer import Customer
from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.invoice import BillingReason, Invoice, InvoiceKind, InvoiceStatus
from schemas.money import total
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType
from schemas.subscription import Plan, ProrationBehavior, Subscription, SubscriptionStatus

ACME = Customer(CustomerId("acme"), "acme")
NAME = SubscriptionId("s")
USAGE: UsageReader = NothingUsed()
PRORATED = ProrationBehavior.CREATE_PRORATIONS
IMMEDIATE = CancellationType.IMMEDIATE
END_OF_PERIOD = CancellationType.END_OF_PERIOD
SCHEDULED = CancellationType.SCHEDULED_DATE
SKIP = CancellationInvoicePolicy.SKIP


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def fee(name: str, amount: str, cadence: InvoiceCadence = InvoiceCadence.ADVANCE) -> Price:
    return Price(
        name,
        PriceType.FIXED,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(amount),
        invoice_cadence=cadence,
        display_name=name,
    )


def created(
    *prices: Price, now: datetime | None = None, end_date: datetime | None = None, **terms: Any
) -> MemoryStore:
    """Return a store with a subscription from 1 January on."""
    given = {"proration_behavior": PRORATED} | terms
    asked = SubscriptionTerms(at(1), "usd", end_date=end_date, **given)
    plan = Plan(PlanId("p"), "Plan", prices=prices)
    store = MemoryStore([], {ACME.id: "acme"})
    create_subscription(store, agree(NAME, asked, ACME, plan), at=now or at(1))
    return store


def known(store: MemoryStore) -> Subscription:
    found = store.subscription(NAME)
    assert found is not None
    return found


def cancel(
    store: MemoryStore, now: datetime, kind: CancellationType = IMMEDIATE, **how: Any
) -> CancelledSubscription:
    request = CancellationRequest(kind, **how)
    return cancel_subscription(store, USAGE, NAME, request, at=now)


def pass_over(store: MemoryStore, now: datetime) -> Subscription:
    """Do what time brings, as a pass does, and do it twice."""
    for _ in range(2):
        advance(store, known(store), now, usage=USAGE)
        close_due(store, USAGE, now)
    return known(store)


def lines(invoice: Invoice) -> list[tuple[str, str]]:
    return [(each.display_name, f"{each.amount:f}") for each in invoice.lines]


def held(store: MemoryStore) -> Decimal:
    return total(balance(each, at(12)) for each in store.wallets())


def billed(store: MemoryStore) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(each.kind.value, lines(each)) for each in store.invoices()]


def test_cancelled_at_once_unused_fees_come_back_and_the_rest_is_billed() -> None:
    store = created(fee("ahead", "31"), fee("behind", "62", InvoiceCadence.ARREAR))
    done = cancel(store, at(1, 16), reason="moved")
    assert (done.subscription.status, done.credit) == (SubscriptionStatus.CANCELLED, Decimal(16))
    assert (done.subscription.cancel_decided_at, done.subscription.cancel_reason) == (
        at(1, 16),
        "moved",
    )
    assert done.invoice is not None
    assert done.invoice.billing_reason is BillingReason.PRORATION
    assert lines(done.invoice) == [("behind", "30.00")]
    pass_over(store, at(3))
    assert billed(store) == [("opening", [("ahead", "31.00")]), ("final", [("behind", "30.00")])]
    # What came back pays a part of the final invoice.
    assert (held(store), store.invoices()[-1].total) == (Decimal(0), Decimal("14.00"))


@pytest.mark.parametrize(
    ("how", "credit", "kinds"),
    [
        ({}, "16.00", ["opening", "final"]),
        ({"invoice_policy": SKIP}, "16.00", ["opening"]),
        ({"proration_behavior": ProrationBehavior.NONE}, "0", ["opening", "final"]),
        ({"cancel_at": at(1, 6)}, "26.00", ["opening", "final"]),
    ],
)
def test_policy_and_proration_are_as_the_request_says(
    how: dict[str, Any], credit: str, kinds: list[str]
) -> None:
    store = created(fee("ahead", "31"), fee("behind", "62", InvoiceCadence.ARREAR))
    assert cancel(store, at(1, 16), **how).credit == Decimal(credit)
    pass_over(store, at(3))
    assert [kind for kind, _ in billed(store)] == kinds


def test_a_final_invoice_of_nothing_is_kept_because_it_was_asked_for() -> None:
    store = created(fee("ahead", "31"))
    cancel(store, at(1, 16))
    pass_over(store, at(2))
    final = store.invoices()[-1]
    assert (final.kind, final.status, final.lines) == (
        InvoiceKind.FINAL,
        InvoiceStatus.FINALIZED,
        (),
    )


def test_cancelling_in_the_second_of_the_start_is_possible() -> None:
    store = created(fee("ahead", "31"))
    done = cancel(store, at(1) + timedelta(milliseconds=300))
    assert done.subscription.cancelled_at == at(1) + timedelta(seconds=1)
    assert done.credit == Decimal("31.00")


def test_at_the_end_of_the_period_nothing_happens_before_it() -> None:
    store = created(fee("ahead", "31"))
    done = cancel(store, at(1, 16), END_OF_PERIOD)
    assert (done.subscription.status, done.subscription.cancelled_at, done.credit) == (
        SubscriptionStatus.ACTIVE,
        at(2),
        Decimal(0),
    )
    assert pass_over(store, at(1, 31)).status is SubscriptionStatus.ACTIVE
    assert pass_over(store, at(2, 2)).status is SubscriptionStatus.CANCELLED
    assert billed(store) == [("opening", [("ahead", "31.00")]), ("final", [])]
    assert (held(store), store.invoices()[-1].status) == (Decimal(0), InvoiceStatus.SKIPPED)


def test_a_date_inside_the_period_gives_back_what_is_unused_when_it_comes() -> None:
    store = created(fee("ahead", "31"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(1, 16))
    pass_over(store, at(1, 15))
    assert held(store) == 0
    # A late pass does what a timely one does.
    assert pass_over(store, at(1, 20)).status is SubscriptionStatus.CANCELLED
    assert held(store) == Decimal("16.00")
    assert store.invoices()[-1].billing_reason is BillingReason.SUBSCRIPTION_CYCLE


def test_a_date_in_a_later_period_is_an_end_that_its_invoices_know() -> None:
    store = created(fee("ahead", "28"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(2, 15))
    pass_over(store, at(2, 2))
    pass_over(store, at(3, 2))
    assert billed(store) == [
        ("opening", [("ahead", "28.00")]),
        ("renewal", [("ahead", "14.00")]),
        ("final", []),
    ]
    assert held(store) == 0


def test_a_late_pass_makes_no_difference_to_a_planned_end() -> None:
    timely, late = created(fee("ahead", "28")), created(fee("ahead", "28"))
    for store in (timely, late):
        cancel(store, at(1, 10), SCHEDULED, cancel_at=at(2, 15))
    pass_over(timely, at(2, 2))
    for store in (timely, late):
        pass_over(store, at(3, 2))
    assert billed(timely) == billed(late)
    assert (held(timely), held(late)) == (0, 0)


def test_a_plan_that_is_dropped_leaves_everything_as_if_it_had_not_been() -> None:
    store = created(fee("ahead", "28"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(2, 15))
    done = drop_cancellation(store, USAGE, NAME, at=at(1, 20))
    assert (done.subscription.cancelled_at, done.came.invoice) == (None, None)
    assert drop_cancellation(store, USAGE, NAME, at=at(1, 21)).subscription == done.subscription
    pass_over(store, at(2, 2))
    assert billed(store) == [("opening", [("ahead", "28.00")]), ("renewal", [("ahead", "28.00")])]


def test_dropping_it_after_a_part_was_charged_charges_the_rest() -> None:
    store = created(fee("ahead", "28"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(2, 15))
    pass_over(store, at(2, 1))
    done = drop_cancellation(store, USAGE, NAME, at=at(2, 1, 1))
    assert done.came.invoice is not None
    assert lines(done.came.invoice) == [("ahead", "14.00")]
    # The draft of the renewal is of before, and stays what it was.
    pass_over(store, at(2, 10))
    renewal = next(each for each in store.invoices() if each.kind is InvoiceKind.RENEWAL)
    assert lines(renewal) == [("ahead", "14.00")]
    assert pass_over(store, at(2, 20)).status is SubscriptionStatus.ACTIVE


def test_one_that_was_charged_in_full_is_charged_nothing_when_its_plan_is_dropped() -> None:
    store = created(fee("ahead", "31"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(1, 16))
    assert drop_cancellation(store, USAGE, NAME, at=at(1, 12)).came.invoice is None
    pass_over(store, at(1, 20))
    assert (len(store.invoices()), held(store)) == (1, 0)


def test_a_plan_gives_way_to_cancelling_at_once() -> None:
    store = created(fee("ahead", "31"))
    cancel(store, at(1, 10), END_OF_PERIOD)
    done = cancel(store, at(1, 16))
    assert (done.subscription.cancelled_at, done.credit) == (at(1, 16), Decimal("16.00"))


@pytest.mark.parametrize(
    ("kind", "how", "error"),
    [
        (SCHEDULED, {}, ValidationFailed),
        (END_OF_PERIOD, {"cancel_at": at(2)}, ValidationFailed),
        (IMMEDIATE, {"cancel_at": at(1)}, ValidationFailed),
        (IMMEDIATE, {"cancel_at": at(1, 20)}, ValidationFailed),
    ],
)
def test_a_cancellation_that_contradicts_itself_leaves_nothing(
    kind: CancellationType, how: dict[str, Any], error: type[Exception]
) -> None:
    store = created(fee("ahead", "31"))
    before = store.tables.copy()
    with pytest.raises(error):
        cancel(store, at(1, 16), kind, **how)
    assert store.tables == before


def test_what_is_cancelled_stays_so() -> None:
    store = created(fee("ahead", "31"))
    cancel(store, at(1, 16))
    before = store.tables.copy()
    with pytest.raises(InvalidOperation):
        cancel(store, at(1, 17))
    with pytest.raises(InvalidOperation):
        drop_cancellation(store, USAGE, NAME, at=at(1, 17))
    with pytest.raises(NotFound):
        drop_cancellation(store, USAGE, SubscriptionId("none"), at=at(1, 17))
    assert store.tables == before


def test_a_trial_ends_with_the_opening_invoice() -> None:
    store = created(fee("ahead", "31"), trial_period_days=14)
    assert (known(store).status, store.invoices()) == (SubscriptionStatus.TRIALING, ())
    assert pass_over(store, at(1, 14)).status is SubscriptionStatus.TRIALING
    assert pass_over(store, at(1, 15)).status is SubscriptionStatus.ACTIVE
    (opening,) = store.invoices()
    assert (opening.billing_reason, lines(opening)) == (
        BillingReason.SUBSCRIPTION_TRIAL_END,
        [("ahead", "31.00")],
    )
    assert (opening.period.start, opening.period.end) == (at(1, 15), at(2, 15))


def test_a_trial_may_end_early() -> None:
    store = created(fee("ahead", "31"), trial_period_days=14)
    done = end_trial(store, NAME, at=at(1, 8))
    assert (done.subscription.status, done.subscription.trial_end) == (
        SubscriptionStatus.ACTIVE,
        at(1, 8),
    )
    assert done.invoice is not None
    assert done.invoice.period.start == at(1, 8)
    with pytest.raises(InvalidOperation):
        end_trial(store, NAME, at=at(1, 9))


def test_a_trial_that_was_over_when_it_was_made_opens_at_once() -> None:
    store = created(fee("ahead", "31"), now=at(2), trial_period_days=14)
    assert known(store).status is SubscriptionStatus.ACTIVE
    assert [each.dated_at for each in store.invoices()] == [at(1, 15)]


def test_cancelled_in_its_trial_it_has_an_empty_invoice_and_no_other() -> None:
    store = created(fee("ahead", "31"), trial_period_days=14)
    done = cancel(store, at(1, 5))
    assert done.invoice is not None
    assert (done.invoice.lines, done.invoice.status, done.credit) == (
        (),
        InvoiceStatus.FINALIZED,
        Decimal(0),
    )
    assert pass_over(store, at(3)).status is SubscriptionStatus.CANCELLED
    assert len(store.invoices()) == 1


def test_a_trial_that_is_to_end_it_is_never_billed() -> None:
    store = created(fee("ahead", "31"), trial_period_days=14)
    cancel(store, at(1, 5), END_OF_PERIOD)
    assert pass_over(store, at(1, 20)).status is SubscriptionStatus.CANCELLED
    assert store.invoices() == ()


def test_an_agreed_end_ends_it() -> None:
    store = created(fee("ahead", "31"), end_date=at(2, 15))
    assert pass_over(store, at(2, 14)).status is SubscriptionStatus.ACTIVE
    done = pass_over(store, at(2, 16))
    assert (done.status, done.cancelled_at) == (SubscriptionStatus.CANCELLED, None)


def test_time_does_nothing_to_a_draft() -> None:
    store = created(fee("ahead", "31"))
    store.put_subscription(replace(known(store), status=SubscriptionStatus.DRAFT))
    assert advance(store, known(store), at(5), usage=USAGE) is known(store)


def test_without_usage_a_plan_waits_until_its_periods_are_invoiced() -> None:
    store = created(fee("ahead", "28"))
    cancel(store, at(1, 10), SCHEDULED, cancel_at=at(2, 15))
    waiting = advance(store, known(store), at(3))
    assert waiting.status is SubscriptionStatus.ACTIVE
    close_due(store, USAGE, at(3))
    assert advance(store, known(store), at(3)).status is SubscriptionStatus.CANCELLED


@pytest.mark.parametrize(
    ("enabled", "day", "status"),
    [
        (True, 4, SubscriptionStatus.ACTIVE),
        (True, 5, SubscriptionStatus.CANCELLED),
        (False, 5, SubscriptionStatus.ACTIVE),
    ],
)
def test_an_invoice_that_stays_unpaid_cancels_it_if_that_is_enabled(
    enabled: bool, day: int, status: SubscriptionStatus
) -> None:
    config = BillingConfig(auto_cancellation=enabled, grace_period_days=3)
    store = MemoryStore([], {ACME.id: "acme"}, config)
    plan = Plan(PlanId("p"), "Plan", prices=(fee("ahead", "31"),))
    asked = SubscriptionTerms(at(1), "usd")
    create_subscription(store, agree(NAME, asked, ACME, plan), at=at(1))
    # Due a day after its period, on 2 February.
    assert pass_over(store, at(2, day)).status is status
