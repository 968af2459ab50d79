"""Periods: what is cut from a grid of boundaries (billing.md 5.2 to 5.4).

Billing periods, the periods of lines and the reset windows of allowances are the full periods of a
grid, clipped to a life. They are half-open, and tile that life.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from billing.periods.grid import (
    LAST,
    REMEMBERED,
    Grid,
    anchored,
    calendar_grid,
    checked_period,
    days_later,
    local_instant,
    period_multiple,
)
from schemas.errors import ValidationFailed
from schemas.period import Interval
from schemas.price import InvoiceCadence

__all__ = [
    "Grid",
    "PeriodAt",
    "ResetWindow",
    "Schedule",
    "Span",
    "anchored",
    "billing_periods",
    "calendar_grid",
    "days_later",
    "first_periods",
    "line_periods",
    "local_instant",
    "period_at",
    "period_multiple",
    "reset_window",
    "reset_windows",
    "schedule",
    "spans",
]


@dataclass(frozen=True, slots=True)
class Span:
    """A period as it is charged, and the full period of the grid that it was cut from."""

    period: Interval
    full: Interval


@dataclass(frozen=True, slots=True)
class Schedule:
    """The billing periods of a subscription: its grid, clipped to its life; end None is open."""

    grid: Grid
    start: datetime
    end: datetime | None


@dataclass(frozen=True, slots=True)
class PeriodAt:
    """The billing period that holds an instant, its full period, and its number from 0."""

    period: Interval
    full: Interval
    index: int


@dataclass(frozen=True, slots=True)
class ResetWindow:
    """The time over which one allowance is used up; end None is open."""

    start: datetime
    end: datetime | None


@lru_cache(maxsize=REMEMBERED)
def schedule(
    cycle: str,
    period: str,
    count: int,
    start: datetime,
    *,
    anchor: datetime | None = None,
    end: datetime | None = None,
    timezone: str = "UTC",
) -> Schedule:
    """Return the billing periods of a subscription; bounds are cut to whole seconds.

    `cycle` is `anniversary` (anchored at `anchor`, else at the start) or `calendar`, which takes no
    anchor. Raises ValidationFailed for an unknown cycle, zone or period, ONETIME, a count below 1,
    an anchor on a calendar cycle, and an end that is not after the start. Source: billing.md 5.2.

    >>> made = schedule("calendar", "MONTHLY", 1, datetime(2026, 1, 15, tzinfo=UTC))
    >>> [f"{span.period.start:%m-%d}" for span in first_periods(made, 2)]
    ['01-15', '02-01']
    """
    start = start.astimezone(UTC).replace(microsecond=0)
    end = end and end.astimezone(UTC).replace(microsecond=0)
    if end is not None and end <= start:
        raise ValidationFailed("must be after the start", field="end_date")
    if cycle == "calendar":
        if anchor is not None:
            raise ValidationFailed("is not for calendar cycles", field="billing_anchor")
        return Schedule(calendar_grid(start, period, count, timezone), start, end)
    if cycle != "anniversary":
        raise ValidationFailed(f"{cycle!r} is no billing cycle", field="billing_cycle")
    return Schedule(anchored(anchor or start, period, count, timezone), start, end)


def spans(
    grid: Grid, start: datetime, end: datetime | None, *, since: datetime | None = None
) -> Iterator[Span]:
    """Yield the full periods of a grid clipped to a life [start, end), in order.

    From the one that holds `since`, where given and later than the start. Without an end there is
    one for each period of the rest of the calendar: take what is needed.
    Source: billing.md 5.2 and 5.3.

    >>> grid = anchored(datetime(2026, 2, 1, tzinfo=UTC), "MONTHLY", 1, "UTC")
    >>> life = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 2, 10, tzinfo=UTC)
    >>> [span.period.end.day for span in spans(grid, *life)]
    [1, 10]
    """
    at = start if since is None else max(start, since)
    k = grid.position(at)
    while at < LAST and (end is None or at < end):
        full = Interval(grid.boundary(k), grid.boundary(k + 1))
        k += 1
        # Boundaries that coincide are one: between them there is no period.
        if full.start == full.end:
            continue
        closing = full.end if end is None else min(full.end, end)
        yield Span(Interval(max(full.start, start), closing), full)
        at = full.end


def first_periods(made: Schedule, take: int) -> tuple[Span, ...]:
    """Return the first billing periods of a schedule, fewer if the end comes first.

    >>> len(first_periods(schedule("anniversary", "DAILY", 1, datetime(2026, 1, 1, tzinfo=UTC)), 3))
    3
    """
    walk = billing_periods(made)
    return tuple(span for _, span in zip(range(take), walk, strict=False))


def billing_periods(made: Schedule, *, since: datetime | None = None) -> Iterator[Span]:
    """Yield the billing periods of a schedule in order, from the one that holds `since`.

    They tile the life of the subscription, and none is longer than its full period.
    Source: billing.md 5.2.

    >>> made = schedule("anniversary", "ANNUAL", 1, datetime(2024, 2, 29, tzinfo=UTC))
    >>> next(billing_periods(made, since=datetime(2027, 6, 1, tzinfo=UTC))).period.end.date()
    datetime.date(2028, 2, 29)
    """
    return spans(made.grid, made.start, made.end, since=since)


def period_at(made: Schedule, at: datetime) -> PeriodAt:
    """Return the billing period that holds an instant, however far away.

    Raises ValidationFailed (field `at`) for an instant before the start, or at or after the end.
    Source: billing.md 5.2.

    >>> made = schedule("calendar", "MONTHLY", 1, datetime(2026, 1, 15, tzinfo=UTC))
    >>> found = period_at(made, datetime(2026, 2, 1, tzinfo=UTC))
    >>> found.index, found.period.end.month
    (1, 3)
    """
    if at < made.start or (made.end is not None and at >= made.end):
        raise ValidationFailed("the subscription has no period then", field="at")
    span = next(billing_periods(made, since=at))
    index = made.grid.between(made.grid.position(made.start), made.grid.position(at))
    return PeriodAt(span.period, span.full, index)


def line_periods(
    grid: Grid,
    start: datetime,
    end: datetime | None,
    *,
    cadence: InvoiceCadence,
    window: Interval,
) -> tuple[Span, ...]:
    """Return the service periods of a line that are charged with a window of an invoice.

    ARREAR: those that end in (window start, window end]; ADVANCE: those that start in [window
    start, window end). The grid is the line's own, anchored at the start of its chain, or the
    subscription's; [start, end) is the line's life within it. Source: billing.md 5.3 and 8.

    >>> january, april = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    >>> grid = anchored(january, "MONTHLY", 1, "UTC")
    >>> len(line_periods(grid, january, None, cadence=InvoiceCadence.ARREAR,
    ...                  window=Interval(january, april)))
    3
    """
    found = []
    for span in spans(grid, start, end, since=window.start):
        if cadence is InvoiceCadence.ADVANCE:
            if span.period.start >= window.end:
                break
            if span.period.start >= window.start:
                found.append(span)
        elif span.period.end > window.end:
            break
        else:
            found.append(span)
    return tuple(found)


def reset_window(
    grid: Grid, reset_period: str, start: datetime, end: datetime | None, at: datetime
) -> ResetWindow:
    """Return the window in which an allowance is used up that holds an instant.

    DAILY is the local calendar day, NEVER the life of the subscription, anything else the grid of
    the subscription's anchor with that period and count 1; all clipped to the life [start, end).
    Raises ValidationFailed for an unknown period and an instant outside. Source: billing.md 5.4.

    >>> start = datetime(2026, 1, 15, 12, tzinfo=UTC)
    >>> grid = anchored(start, "MONTHLY", 1, "UTC")
    >>> reset_window(grid, "DAILY", start, None, start).end
    datetime.datetime(2026, 1, 16, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if at < start or (end is not None and at >= end):
        raise ValidationFailed("the subscription has no window then", field="at")
    if reset_period == "NEVER":
        return ResetWindow(start, end)
    period = next(spans(_reset_grid(grid, reset_period, start), start, end, since=at)).period
    return ResetWindow(period.start, period.end)


def reset_windows(
    grid: Grid, reset_period: str, start: datetime, end: datetime | None, within: Interval
) -> tuple[ResetWindow, ...]:
    """Return every reset window that a service period meets, whole, in order.

    Source: billing.md 5.4 and 12.

    >>> start = datetime(2026, 1, 15, 12, tzinfo=UTC)
    >>> grid = anchored(start, "MONTHLY", 1, "UTC")
    >>> days = Interval(start, datetime(2026, 1, 17, tzinfo=UTC))
    >>> len(reset_windows(grid, "DAILY", start, None, days))
    2
    """
    if reset_period == "NEVER":
        return (ResetWindow(start, end),)
    found = []
    walk = spans(_reset_grid(grid, reset_period, start), start, end, since=within.start)
    for span in walk:
        if span.period.start >= within.end:
            break
        found.append(ResetWindow(span.period.start, span.period.end))
    return tuple(found)


def _reset_grid(grid: Grid, reset_period: str, start: datetime) -> Grid:
    """Return the grid of a reset period on the anchor of a subscription's grid."""
    if reset_period == "DAILY":
        return calendar_grid(start, "DAILY", 1, grid.timezone)
    return replace(grid, period=checked_period(reset_period, 1), count=1)
