"""Services: which parts of which periods the lines of a subscription charge on an invoice.

An invoice has a window in arrear and one in advance; a line is charged for every service period
that ends in the one or starts in the other (billing.md 8). Nothing here knows usage or money.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.periods.schedules import (
    Grid,
    Schedule,
    Span,
    anchored,
    billing_periods,
    schedule,
    spans,
)
from billing.subscriptions.versions import known_at, opened_at
from schemas.invoice import BillingReason, InvoiceKind
from schemas.period import Interval
from schemas.price import BillingPeriod, InvoiceCadence, PriceType
from schemas.subscription import (
    BillingCycle,
    ProrationBehavior,
    Subscription,
    SubscriptionLine,
)

FINALIZATION_DELAY = timedelta(seconds=7200)


@dataclass(frozen=True, slots=True)
class Window:
    """What an invoice of a subscription is about.

    `dated_at` is the invoice date, and the instant whose facts it rests on: what is cancelled later
    changes no invoice that was made before.
    """

    kind: InvoiceKind
    reason: BillingReason
    period: Interval
    arrear: Interval | None
    advance: Interval | None
    dated_at: datetime

    def finalize_at(self, delay: timedelta = FINALIZATION_DELAY) -> datetime:
        """Return when it is finalized: at once, or after the delay if it bills what has ended."""
        return self.dated_at if self.kind is InvoiceKind.OPENING else self.dated_at + delay


@dataclass(frozen=True, slots=True)
class Service:
    """A service period of a line: the time that it charges for.

    `span` is the period of the chain's grid that it lies in, clipped to the life of the chain, with
    its full period: versions of one chain in one span share a ladder. ONETIME has none.
    """

    line: SubscriptionLine
    period: Interval
    span: Span | None


def schedule_of(subscription: Subscription) -> Schedule:
    """Return the billing periods of a subscription; after a trial they are anchored at its end.

    Raises ValidationFailed as `billing.periods.schedules.schedule` does. Source: billing.md 5.2 and 7.
    """
    calendar = subscription.billing_cycle is BillingCycle.CALENDAR
    anchor = subscription.billing_anchor if subscription.trial_end is None else None
    return schedule(
        subscription.billing_cycle.value,
        subscription.billing_period.value,
        subscription.billing_period_count,
        subscription.starts_at,
        anchor=None if calendar else anchor,
        end=subscription.ends_at,
        timezone=subscription.timezone,
    )


def as_known(subscription: Subscription, at: datetime) -> Subscription:
    """Return a subscription as it was known at an instant: what was decided later is not in it."""
    return known_at(subscription, at)


def never_billed(subscription: Subscription) -> bool:
    """Tell whether a subscription ended before billing began, as one cancelled in its trial."""
    ends = subscription.ends_at
    return ends is not None and ends <= subscription.starts_at


def windows(
    subscription: Subscription, as_of: datetime, *, since: datetime | None = None
) -> Iterator[Window]:
    """Yield the windows of a subscription's invoices that are due by `as_of`, in order.

    The opening at the start, a renewal at the end of each period, the final one at the end of the
    subscription. With `since` only those that are due after it, at a cost that what came before
    has no part in. Source: billing.md 8 and 15.4.
    """
    if never_billed(subscription) or subscription.starts_at > as_of:
        return
    planned = schedule_of(replace(subscription, cancelled_at=None))
    start = subscription.starts_at
    if since is not None and since < start:
        since = None
    if since is not None and planned.end is not None and since >= planned.end:
        return
    walk = billing_periods(planned, since=since)
    current: Interval | None = next(walk).period
    trial = subscription.trial_end is not None
    reason = BillingReason.SUBSCRIPTION_TRIAL_END if trial else BillingReason.SUBSCRIPTION_CREATE
    assert current is not None, "what is billed has a first period"
    if since is None:
        yield Window(InvoiceKind.OPENING, reason, current, None, current, start)
    cancelled = subscription.cancelled_at
    while current is not None:
        if cancelled is not None and cancelled <= current.end:
            if cancelled <= as_of and (since is None or cancelled > since):
                decided = subscription.cancel_decided_at
                planned_end = decided is not None and decided < cancelled
                # A cancellation that was planned is an end like an agreed one.
                cycle, at_once = BillingReason.SUBSCRIPTION_CYCLE, BillingReason.PRORATION
                yield _final(Interval(current.start, cancelled), cycle if planned_end else at_once)
            return
        if current.end > as_of:
            return
        following = next(walk, None)
        if following is None:
            yield _final(current, BillingReason.SUBSCRIPTION_CYCLE)
            return
        yield Window(
            InvoiceKind.RENEWAL,
            BillingReason.SUBSCRIPTION_CYCLE,
            current,
            current,
            following.period,
            current.end,
        )
        current = following.period


def _final(period: Interval, reason: BillingReason) -> Window:
    return Window(InvoiceKind.FINAL, reason, period, period, None, period.end)


def open_window(subscription: Subscription, at: datetime) -> Window | None:
    """Return the window of the preview at an instant: the renewal that would be made now.

    None before the start and after the end. Source: billing.md 8.
    """
    ends = subscription.ends_at
    if never_billed(subscription) or at < subscription.starts_at or (ends and at >= ends):
        return None
    walk = billing_periods(schedule_of(subscription), since=at)
    current, following = next(walk).period, next(walk, None)
    return Window(
        InvoiceKind.PREVIEW,
        BillingReason.SUBSCRIPTION_CYCLE,
        current,
        current,
        following.period if following else None,
        current.end,
    )


def open_services(
    subscription: Subscription, at: datetime
) -> tuple[tuple[Service, ...], Interval | None]:
    """Return the usage services that run at an instant, and the billing period that holds it.

    With the services that have ended inside the period, which its invoice will charge too; those
    of a longer grid run on beyond it. Nothing before the start and after the end.
    """
    window = open_window(subscription, at)
    if window is None:
        return (), None
    made, period = schedule_of(subscription), window.period
    metered = [line for line in subscription.lines if line.price.type is PriceType.USAGE]
    ends = [grid_of(subscription, made, line).around(at).end for line in metered]
    horizon = Interval(period.start, max(period.end, *ends) if ends else period.end)
    usage_only = replace(subscription, lines=tuple(metered))
    asked = replace(window, arrear=horizon, advance=None, dated_at=at)
    found = [service for service in services(usage_only, asked) if service.period.start <= at]
    return tuple(found), period


def services(subscription: Subscription, window: Window) -> tuple[Service, ...]:
    """Return the service periods that an invoice charges, lines by (start, id), then by period.

    Source: billing.md 8; partial periods and versions of a chain by 6 and 20.
    """
    known = as_known(subscription, window.dated_at)
    made = schedule_of(known)
    found: list[Service] = []
    for line in sorted(known.lines, key=lambda line: (line.start_date, line.id)):
        chain = [other for other in known.lines if other.chain_id == line.chain_id]
        due = _of_line(known, made, line, chain, window)
        found += sorted(due, key=lambda service: service.period.start)
    return tuple(found)


def life_of(
    subscription: Subscription, line: SubscriptionLine
) -> tuple[datetime, datetime | None] | None:
    """Return when a line is in force inside its subscription, None if never."""
    start = max(line.start_date, subscription.starts_at)
    ends = [end for end in (line.end_date, subscription.ends_at) if end is not None]
    end = min(ends, default=None)
    return None if end is not None and end <= start else (start, end)


def on_own_grid(subscription: Subscription, line: SubscriptionLine) -> bool:
    """Tell whether a line has a grid of its own: another period or count than its subscription."""
    own = line.price.billing_period, line.price.billing_period_count
    return own != (subscription.billing_period, subscription.billing_period_count)


def grid_of(subscription: Subscription, made: Schedule, line: SubscriptionLine) -> Grid:
    """Return the grid of a line's chain: the subscription's, or one anchored at the chain's start.

    Source: billing.md 5.3.
    """
    if not on_own_grid(subscription, line):
        return made.grid
    price = line.price
    return anchored(
        line.chain_start,
        price.billing_period,
        price.billing_period_count,
        subscription.timezone,
    )


def _of_line(
    subscription: Subscription,
    made: Schedule,
    line: SubscriptionLine,
    chain: Sequence[SubscriptionLine],
    window: Window,
) -> Iterator[Service]:
    """Yield the services of one line that a window charges."""
    life = life_of(subscription, line)
    if line.price.billing_period is BillingPeriod.ONETIME:
        yield from _onetime(subscription, line, window)
        return
    advance = line.price.invoice_cadence is InvoiceCadence.ADVANCE
    billed = window.advance if advance else window.arrear
    if life is None or billed is None:
        return
    whole = (
        line.price.type is PriceType.FIXED
        and subscription.proration_behavior is ProrationBehavior.NONE
    )
    for span in _chain_spans(subscription, made, line, chain, billed):
        in_force = span.period.cut(Interval(life[0], life[1] or max(life[0], span.period.end)))
        if in_force is None:
            continue
        period = in_force
        if whole:
            if _payer(subscription, chain, span, first=advance) is not line:
                continue
            if not on_own_grid(subscription, line):
                period = span.period
        if _charged(period, billed, advance=advance):
            yield Service(line, period, span)


def _charged(period: Interval, window: Interval, *, advance: bool) -> bool:
    """Tell whether a service period starts in the window, or ends in it."""
    if advance:
        return window.start <= period.start < window.end
    return window.start < period.end <= window.end


def _chain_spans(
    subscription: Subscription,
    made: Schedule,
    line: SubscriptionLine,
    chain: Sequence[SubscriptionLine],
    window: Interval,
) -> Iterator[Span]:
    """Yield the periods of a chain that meet a window, clipped to the life that its grid has."""
    start, end = made.start, made.end
    if on_own_grid(subscription, line):
        lives = [life for other in chain if (life := life_of(subscription, other)) is not None]
        start = min(life[0] for life in lives)
        ends = [life[1] for life in lives if life[1] is not None]
        end = max(ends) if len(ends) == len(lives) else None
    if end is not None and end <= start:
        return
    for span in spans(grid_of(subscription, made, line), start, end, since=window.start):
        if span.period.start >= window.end:
            return
        yield span


def _payer(
    subscription: Subscription, chain: Sequence[SubscriptionLine], span: Span, *, first: bool
) -> SubscriptionLine | None:
    """Return which version of a chain pays a fee that is never charged in part.

    The first in force in the period if it is charged in advance, the last in arrear.
    """
    in_force = []
    for line in chain:
        life = life_of(subscription, line)
        if life is None:
            continue
        if span.period.cut(Interval(life[0], life[1] or max(life[0], span.period.end))):
            in_force.append(line)
    in_force.sort(key=lambda line: (line.start_date, line.id))
    return in_force[0 if first else -1] if in_force else None


def _onetime(
    subscription: Subscription, line: SubscriptionLine, window: Window
) -> Iterator[Service]:
    """Yield the one charge of a ONETIME line, on the invoice whose advance window holds its start.

    A start before the subscription's is charged with the opening, and that of a line which was
    added once such an invoice was made with the next one.
    """
    advance, ends = window.advance, subscription.ends_at
    if advance is None or line.start_date >= advance.end or (ends and line.start_date >= ends):
        return
    added = opened_at(subscription, line.id)
    since = window.arrear.start if window.arrear else None
    late = added is not None and since is not None and since < added <= window.dated_at
    if window.kind is InvoiceKind.OPENING or line.start_date >= advance.start or late:
        yield Service(line, Interval(line.start_date, line.end_date or line.start_date), None)
