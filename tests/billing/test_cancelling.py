"""Cancelling: when it takes effect, what is billed and given back, and what can be taken back."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.periods.services import windows
from billing.subscriptions.cancelling import (
    cancellation,
    cancelled,
    dropped,
    fired,
    planned_at,
)
from billing.subscriptions.subscribing import subscribe
from schemas.cancellation import (
    CancellationInvoicePolicy,
    CancellationRequest,
    CancellationType,
)
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.invoice import InvoiceKind
from schemas.period import Interval
from schemas.subscription import Plan, ProrationBehavior, Subscription, SubscriptionStatus

IMMEDIATE = CancellationType.IMMEDIATE
END_OF_PERIOD = CancellationType.END_OF_PERIOD
SCHEDULED = CancellationType.SCHEDULED_DATE
SKIP = CancellationInvoicePolicy.SKIP
PRORATED = ProrationBehavior.CREATE_PRORATIONS


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


APRIL, NOW = Interval(at(4), at(5)), at(4, 16)


def asked(
    request: CancellationRequest,
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
    behavior: ProrationBehavior = ProrationBehavior.NONE,
) -> tuple[datetime, str, bool, bool]:
    found = cancellation(
        request, status=status, current_period=APRIL, proration_behavior=behavior, now=NOW
    )
    assert found.planned == (found.status is status)
    return found.effective_at, found.status.value, found.invoice, found.refund


@pytest.mark.parametrize(
    ("request_", "effective", "status", "invoice", "refund"),
    [
        (CancellationRequest(IMMEDIATE), NOW, "cancelled", True, False),
        (CancellationRequest(IMMEDIATE, at(4, 2)), at(4, 2), "cancelled", True, False),
        (CancellationRequest(IMMEDIATE, invoice_policy=SKIP), NOW, "cancelled", False, False),
        # Unused fees come back whatever becomes of the final invoice.
        (
            CancellationRequest(IMMEDIATE, invoice_policy=SKIP, proration_behavior=PRORATED),
            NOW,
            "cancelled",
            False,
            True,
        ),
        (CancellationRequest(END_OF_PERIOD), at(5), "active", False, False),
        (
            CancellationRequest(END_OF_PERIOD, proration_behavior=PRORATED),
            at(5),
            "active",
            False,
            False,
        ),
        (CancellationRequest(SCHEDULED, at(6, 10)), at(6, 10), "active", False, False),
        # A date gone by acts at once, at that date.
        (CancellationRequest(SCHEDULED, at(4, 10)), at(4, 10), "cancelled", True, False),
    ],
)
def test_a_cancellation_takes_effect_as_it_says(
    request_: CancellationRequest, effective: datetime, status: str, invoice: bool, refund: bool
) -> None:
    assert asked(request_) == (effective, status, invoice, refund)


def test_the_subscription_says_whether_fees_come_back_unless_the_request_does() -> None:
    assert asked(CancellationRequest(IMMEDIATE), behavior=PRORATED)[3]
    kept = CancellationRequest(IMMEDIATE, proration_behavior=ProrationBehavior.NONE)
    assert not asked(kept, behavior=PRORATED)[3]


def test_nothing_comes_back_of_a_trial() -> None:
    trial = asked(CancellationRequest(IMMEDIATE), SubscriptionStatus.TRIALING, PRORATED)
    assert trial == (NOW, "cancelled", True, False)


@pytest.mark.parametrize(
    "request_",
    [
        CancellationRequest(END_OF_PERIOD, at(4, 20)),
        CancellationRequest(SCHEDULED),
        CancellationRequest(IMMEDIATE, at(4, 17)),  # in the future
        CancellationRequest(IMMEDIATE, at(4)),  # at the start, where nothing has been yet
        CancellationRequest(SCHEDULED, at(3, 20)),  # in a period that is closed
    ],
)
def test_an_instant_that_makes_no_sense_is_refused(request_: CancellationRequest) -> None:
    with pytest.raises(ValidationFailed) as refused:
        asked(request_)
    assert refused.value.field == "cancel_at"


@pytest.mark.parametrize("kind", list(CancellationType))
@pytest.mark.parametrize("status", [SubscriptionStatus.DRAFT, SubscriptionStatus.CANCELLED])
def test_drafts_are_deleted_and_what_is_cancelled_stays_so(
    kind: CancellationType, status: SubscriptionStatus
) -> None:
    with pytest.raises(InvalidOperation):
        asked(CancellationRequest(kind, at(4, 10) if kind is SCHEDULED else None), status)


@pytest.fixture
def planned(acme: Subscription, pro: Plan) -> Subscription:
    sold = subscribe(acme, pro)
    found = cancellation(
        CancellationRequest(END_OF_PERIOD),
        status=sold.status,
        current_period=APRIL,
        proration_behavior=sold.proration_behavior,
        now=NOW,
    )
    return cancelled(sold, found)


def test_a_planned_cancellation_ends_the_billing_where_it_says(planned: Subscription) -> None:
    assert (planned.status, planned_at(planned)) == (SubscriptionStatus.ACTIVE, at(5))
    every = list(windows(planned, at(9)))
    assert [window.period.end for window in every] == [at(2), at(2), at(3), at(4), at(5)]
    assert every[-1].kind is InvoiceKind.FINAL


def test_a_planned_cancellation_can_be_dropped_until_it_fires(planned: Subscription) -> None:
    assert planned_at(dropped(planned)) is None
    assert fired(planned, at(4, 30)) is planned
    done = fired(planned, at(5))
    assert (done.status, done.cancelled_at) == (SubscriptionStatus.CANCELLED, at(5))
    assert fired(done, at(6)) is done
    assert planned_at(done) is None
    with pytest.raises(InvalidOperation):
        dropped(done)


def test_a_subscription_that_ends_before_cannot_be_cancelled_later(acme: Subscription) -> None:
    short = replace(acme, end_date=at(5))
    request = CancellationRequest(SCHEDULED, at(6))
    found = cancellation(
        request,
        status=short.status,
        current_period=APRIL,
        proration_behavior=short.proration_behavior,
        now=NOW,
    )
    with pytest.raises(InvalidOperation):
        cancelled(short, found)


def test_cancelling_at_once_bills_up_to_that_instant(acme: Subscription, pro: Plan) -> None:
    sold = subscribe(acme, pro)
    found = cancellation(
        CancellationRequest(IMMEDIATE),
        status=sold.status,
        current_period=APRIL,
        proration_behavior=sold.proration_behavior,
        now=NOW,
    )
    *_, last = windows(cancelled(sold, found), NOW)
    assert (last.kind, last.arrear, last.advance) == (
        InvoiceKind.FINAL,
        Interval(at(4), NOW),
        None,
    )
