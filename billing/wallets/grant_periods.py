"""The periods of credit grants: when credits are given, and when they expire.

Everything here follows from the grant and its subscription; what became of a period is in
`billing/wallets/grant_applications.py`. No clock is read (wallets-alerts.md 10).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.periods.grid import anchored
from billing.periods.schedules import Schedule, period_at, spans
from billing.periods.services import schedule_of
from schemas.credit_grant import (
    ApplicationReason,
    CreditGrant,
    ExpirationType,
    ExpirationUnit,
    GrantApplication,
    GrantApplicationId,
    GrantCadence,
)
from schemas.ids import SubscriptionId, derived
from schemas.price import BillingPeriod
from schemas.subscription import Subscription, SubscriptionStatus

# A duration is one period of a grid that is anchored where it begins, so that months are clamped.
PERIOD_OF = {
    ExpirationUnit.DAY: BillingPeriod.DAILY,
    ExpirationUnit.WEEK: BillingPeriod.WEEKLY,
    ExpirationUnit.MONTH: BillingPeriod.MONTHLY,
    ExpirationUnit.YEAR: BillingPeriod.ANNUAL,
}
# In these the subscription has never been active.
INACTIVE = frozenset({SubscriptionStatus.DRAFT, SubscriptionStatus.INCOMPLETE})
# How far clamped months and the offsets of a zone can move the end of a duration.
SLACK = timedelta(days=4)


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which a subscription is paused, half-open; without an end it goes on."""

    start: datetime
    end: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Say whether an instant lies in it."""
        return self.start <= at and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """What of a subscription decides over its grants.

    `cycle` are its billing periods as agreed, `ends_at` is where it really ends, `active_from` is
    None while it was never active.
    """

    subscription_id: SubscriptionId
    cycle: Schedule
    active_from: datetime | None
    ends_at: datetime | None = None
    pauses: tuple[Pause, ...] = ()


def facts_of(subscription: Subscription, pauses: Iterable[Pause] = ()) -> GrantFacts:
    """Return what of a subscription decides over its grants.

    A cancellation ends the grants; the billing cycle in which credits expire stays as agreed, or
    the expiry of credits would hang on whether they were given before or after it was known.
    """
    end = subscription.end_date
    # One that is to end in its trial has no billing period, and needs none: the trial is one.
    agreed_end = end if end is not None and end > subscription.starts_at else None
    agreed = replace(subscription, cancelled_at=None, end_date=agreed_end)
    return GrantFacts(
        subscription.id,
        schedule_of(agreed),
        None if subscription.status in INACTIVE else subscription.start_date,
        subscription.ends_at,
        tuple(pauses),
    )


def end_of(grant: CreditGrant, facts: GrantFacts) -> datetime | None:
    """Return from when on no period begins: the end of the grant or of the subscription."""
    ends = [end for end in (grant.end_date, facts.ends_at) if end is not None]
    return min(ends, default=None)


def periods(
    grant: CreditGrant, facts: GrantFacts, *, since: datetime | None = None
) -> Iterator[GrantApplication]:
    """Yield the periods of a grant as pending applications, in order, each given in full.

    From the one that holds `since`. One-time grants have one. A recurring one has a period up to
    the first boundary after its start, then from boundary to boundary, counted from the anchor, as
    long as they start before the end. Source: wallets-alerts.md 10.
    """
    start, end = grant.start_date, end_of(grant, facts)
    assert start is not None, "a template has no periods"
    if grant.cadence is GrantCadence.ONETIME:
        if end is None or start < end:
            yield _application(grant, facts, start, None, ApplicationReason.ONETIME)
        return
    assert grant.period is not None, "a recurring grant has a period"
    timezone = facts.cycle.grid.timezone
    grid = anchored(grant.anchor or start, grant.period, grant.period_count, timezone)
    for span in spans(grid, start, None, since=since):
        begins = span.period.start
        if end is not None and begins >= end:
            return
        first = begins == start
        reason = ApplicationReason.FIRST if first else ApplicationReason.RECURRING
        yield _application(grant, facts, begins, span.period.end, reason)


def _application(
    grant: CreditGrant,
    facts: GrantFacts,
    start: datetime,
    end: datetime | None,
    reason: ApplicationReason,
) -> GrantApplication:
    """Return the pending application of a period, whose id follows from it."""
    return GrantApplication(
        id=GrantApplicationId(derived("cga", grant.id, start)),
        grant_id=grant.id,
        subscription_id=facts.subscription_id,
        period_start=start,
        period_end=end,
        reason=reason,
        credits=grant.credits,
        expires_at=expiry(grant, facts, start),
    )


def expiry(grant: CreditGrant, facts: GrantFacts, start: datetime) -> datetime | None:
    """Return when the credits of a period expire, None for never.

    So many units after the start of the period, clamped to the month, or the end of the billing
    period that holds it. Source: wallets-alerts.md 10.
    """
    match grant.expiration_type:
        case ExpirationType.NEVER:
            return None
        case ExpirationType.BILLING_CYCLE:
            cycle = facts.cycle
            # Before billing begins there is a trial, which is a period of its own.
            return cycle.start if start < cycle.start else period_at(cycle, start).period.end
        case ExpirationType.DURATION:
            return _later(grant, facts, start, 1)


def _later(grant: CreditGrant, facts: GrantFacts, at: datetime, times: int) -> datetime:
    """Return the instant so many durations of a grant later, or earlier."""
    assert grant.expiration_duration is not None, "checked with the terms"
    assert grant.expiration_duration_unit is not None, "checked with the terms"
    period = PERIOD_OF[grant.expiration_duration_unit]
    timezone = facts.cycle.grid.timezone
    return anchored(at, period, grant.expiration_duration, timezone).boundary(times)


def next_instants(grant: CreditGrant, facts: GrantFacts, at: datetime) -> Iterator[datetime]:
    """Yield when credits of a grant come and expire, the next instants after another among them.

    The expiry of a billing cycle is that of the cycle, and is left out.
    """
    since = at
    if grant.expiration_type is ExpirationType.DURATION:
        since = _later(grant, facts, at, -1) - SLACK
    for each in periods(grant, facts, since=since):
        yield each.period_start
        if grant.expiration_type is ExpirationType.DURATION and each.expires_at is not None:
            yield each.expires_at
        if each.period_start > at:
            return
