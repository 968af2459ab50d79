"""Cancelling: when a subscription ends, and what is billed or given back for it (billing.md 9.1).

At once, at the end of its period, or on a date. A planned cancellation changes nothing until it
fires, and can be dropped until then; what was cancelled stays so.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.subscriptions.current import current_period
from schemas.cancellation import (
    CancellationInvoicePolicy,
    CancellationRequest,
    CancellationType,
)
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.period import Interval
from schemas.subscription import (
    ProrationBehavior,
    Subscription,
    SubscriptionAction,
    SubscriptionStatus,
    after,
)

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What a cancellation does.

    `status` is that of the subscription after the call, `invoice` whether its final invoice is made
    now, `refund` whether unused fees that were charged in advance are credited now.
    """

    effective_at: datetime
    status: SubscriptionStatus
    invoice: bool
    refund: bool

    @property
    def planned(self) -> bool:
        """Tell whether it takes effect later."""
        return self.status is not SubscriptionStatus.CANCELLED


def check_request(request: CancellationRequest) -> None:
    """Refuse a request that contradicts itself, whatever the subscription.

    Raises ValidationFailed (field `cancel_at`). Source: billing.md 9.1.

    >>> check_request(CancellationRequest(CancellationType.IMMEDIATE))
    """
    if request.type is CancellationType.END_OF_PERIOD and request.cancel_at is not None:
        raise ValidationFailed("the period says when it ends", field="cancel_at")
    if request.type is CancellationType.SCHEDULED_DATE and request.cancel_at is None:
        raise ValidationFailed("a scheduled cancellation needs its date", field="cancel_at")


def cancellation(
    request: CancellationRequest,
    *,
    status: SubscriptionStatus,
    current_period: Interval,
    proration_behavior: ProrationBehavior,
    now: datetime,
) -> Cancellation:
    """Return what a cancellation does to a subscription in its current period.

    Of a trialing subscription that period is the trial. Raises ValidationFailed (field `cancel_at`)
    for a request that contradicts itself and for an instant outside (period start, now], and
    InvalidOperation for a draft or a cancelled subscription. Source: billing.md 9.1.

    >>> from datetime import UTC
    >>> april = Interval(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))
    >>> found = cancellation(CancellationRequest(CancellationType.END_OF_PERIOD),
    ...     status=SubscriptionStatus.ACTIVE, current_period=april,
    ...     proration_behavior=ProrationBehavior.NONE, now=datetime(2026, 4, 16, tzinfo=UTC))
    >>> found.effective_at == april.end, found.status.value, found.invoice
    (True, 'active', False)
    """
    check_request(request)
    cancelled = after(status, SubscriptionAction.CANCEL)
    if request.type is CancellationType.END_OF_PERIOD:
        return Cancellation(current_period.end, status, invoice=False, refund=False)
    at = request.cancel_at or now
    if request.type is CancellationType.SCHEDULED_DATE and at > now:
        return Cancellation(at, status, invoice=False, refund=False)
    if not current_period.start < at <= now:
        raise ValidationFailed(
            "must lie in the current period and not in the future", field="cancel_at"
        )
    behavior = request.proration_behavior or proration_behavior
    return Cancellation(
        at,
        cancelled,
        invoice=request.invoice_policy is CancellationInvoicePolicy.GENERATE_INVOICE,
        refund=behavior is ProrationBehavior.CREATE_PRORATIONS
        and status is not SubscriptionStatus.TRIALING,
    )


def cancelled(subscription: Subscription, decided: Cancellation) -> Subscription:
    """Return a subscription with its cancellation, done or planned.

    A planned one is `cancelled_at` an instant that has not come, under a status that is not
    cancelled. Raises InvalidOperation where the subscription ends before that anyway.
    """
    ends = subscription.end_date
    if ends is not None and ends < decided.effective_at:
        raise InvalidOperation(f"subscription {subscription.id} ends before that")
    return replace(subscription, cancelled_at=decided.effective_at, status=decided.status)


def asked_for(
    subscription: Subscription, request: CancellationRequest, at: datetime
) -> tuple[Cancellation, Subscription]:
    """Return what a request to cancel does at an instant, and the subscription with it.

    When it was decided is kept, so that an invoice of a date before does not know it. Raises as
    `cancellation` and `cancelled` do. Source: billing.md 9.1.
    """
    period = current_period(subscription, at)
    now = at.replace(microsecond=0)
    if now <= period.start < at:
        # Bounds are whole seconds: what ends in the second in which it began has that second.
        now = period.start + SECOND
    elif at == period.start > subscription.starts_at and request.type is CancellationType.IMMEDIATE:
        # At the very end of a period it ends with it, and no other begins.
        period = current_period(subscription, at - at.resolution)
    decided = cancellation(
        request,
        status=subscription.status,
        current_period=period,
        proration_behavior=subscription.proration_behavior,
        now=now,
    )
    ended = cancelled(subscription, decided)
    skips = not decided.planned and request.invoice_policy is CancellationInvoicePolicy.SKIP
    return decided, replace(
        ended,
        cancel_decided_at=at,
        cancel_reason=request.reason,
        cancel_proration_behavior=request.proration_behavior,
        skip_final_invoice=skips,
    )


def ended_at_once(subscription: Subscription, at: datetime) -> Subscription:
    """Return a subscription that is cancelled at an instant, which bills what was used up to it.

    Raises as `asked_for` does. Source: billing.md 9.1.
    """
    return asked_for(subscription, CancellationRequest(CancellationType.IMMEDIATE), at)[1]


def planned_at(subscription: Subscription) -> datetime | None:
    """Return when a planned cancellation will fire, None where none is planned."""
    if subscription.status is SubscriptionStatus.CANCELLED:
        return None
    return subscription.cancelled_at


def dropped(subscription: Subscription) -> Subscription:
    """Return a subscription without its planned cancellation; without one it stays as it is.

    Raises InvalidOperation once it has fired, and for a draft. Source: billing.md 9.1.
    """
    # What cannot be cancelled has no cancellation that could be dropped.
    after(subscription.status, SubscriptionAction.CANCEL)
    return replace(
        subscription,
        cancelled_at=None,
        cancel_decided_at=None,
        cancel_reason="",
        cancel_proration_behavior=None,
    )


def fired(subscription: Subscription, at: datetime) -> Subscription:
    """Return a subscription whose planned cancellation takes effect if its instant has come.

    Before that, and without one, it stays as it is: running the job twice is running it once.
    """
    planned = planned_at(subscription)
    if planned is None or planned > at:
        return subscription
    return replace(subscription, status=after(subscription.status, SubscriptionAction.CANCEL))
