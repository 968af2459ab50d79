"""The grid: boundaries at one local clock, every so many months or days (billing.md 5.1).

A grid has a boundary B(k) for every whole k, each computed from the anchor and never from its
neighbour, in the local time of one zone. Nothing here looks at a clock.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache

from schemas.errors import ValidationFailed
from schemas.period import Interval
from schemas.price import BillingPeriod
from schemas.zones import zone

MONTHS = {
    BillingPeriod.MONTHLY: 1,
    BillingPeriod.QUARTERLY: 3,
    BillingPeriod.HALF_YEARLY: 6,
    BillingPeriod.ANNUAL: 12,
}
DAYS = {BillingPeriod.DAILY: 1, BillingPeriod.WEEKLY: 7}
# Both in one table: so many months and so many days from one boundary to the next.
STEPS = {
    **{period: (months, 0) for period, months in MONTHS.items()},
    **{period: (0, days) for period, days in DAYS.items()},
}

# How many boundaries are remembered. One invoice asks for the same few dozens of times, and
# subscriptions of one anchor share theirs.
REMEMBERED = 4096

# The boundaries that fall outside the years that a datetime has. One can look as far as one likes,
# and finds the end of time there.
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)

DAY = timedelta(days=1)
MIDNIGHT = time()


@dataclass(frozen=True, slots=True)
class Grid:
    """Boundaries at one local clock, every so many months or days; `first` is B(0).

    `day` and `clock` are the anchor's in local time, which are kept because the anchor itself may
    lie elsewhere: a midnight that does not exist, or the second of two equal ones.
    """

    day: date
    clock: time
    first: datetime
    period: BillingPeriod
    count: int
    timezone: str

    def boundary(self, k: int) -> datetime:
        """Return B(k) in UTC. Source: billing.md 5.1.

        >>> grid = anchored(datetime(2026, 1, 31, tzinfo=UTC), BillingPeriod.MONTHLY, 1, "UTC")
        >>> [f"{grid.boundary(k):%m-%d}" for k in (0, 1, 2)]
        ['01-31', '02-28', '03-31']
        """
        if k == 0:
            return self.first
        months, days = STEPS[self.period]
        steps = k * self.count
        return _boundary(self.day, self.clock, self.timezone, steps * months, steps * days)

    def position(self, at: datetime) -> int:
        """Return the highest k with B(k) ≤ at.

        >>> grid = anchored(datetime(2026, 1, 31, tzinfo=UTC), BillingPeriod.MONTHLY, 1, "UTC")
        >>> grid.position(datetime(2026, 2, 28, tzinfo=UTC))
        1
        """
        if self.period in DAYS:
            k = (at.date() - self.day).days // (self.count * DAYS[self.period])
        else:
            months = (at.year - self.day.year) * 12 + at.month - self.day.month
            k = months // (self.count * MONTHS[self.period])
        # The estimate ignores clock, zone and short months: it is one off at most, or two where a
        # local day was skipped.
        while self.boundary(k) > at:
            k -= 1
        while self.boundary(k + 1) <= at < LAST:
            k += 1
        return k

    def around(self, at: datetime) -> Interval:
        """Return the full period that holds an instant: [B(k), B(k+1)).

        >>> grid = anchored(datetime(2026, 1, 31, tzinfo=UTC), BillingPeriod.MONTHLY, 1, "UTC")
        >>> str(grid.around(datetime(2026, 3, 1, tzinfo=UTC)).end.date())
        '2026-03-31'
        """
        k = self.position(at)
        return Interval(self.boundary(k), self.boundary(k + 1))

    def between(self, j: int, k: int) -> int:
        """Count the boundaries after B(j) up to B(k); those that coincide are one.

        Only days can coincide: the boundary of a local date that its zone skipped is that of the
        next date, so it is that next one which does not count. The zone's offset is a whole day ahead
        from the skipped date on.

        >>> start = datetime(2011, 12, 28, tzinfo=UTC)
        >>> grid = anchored(start, BillingPeriod.DAILY, 1, "Pacific/Apia")
        >>> grid.boundary(3) == grid.boundary(4), grid.between(2, 4)
        (True, 1)
        """
        if self.period is not BillingPeriod.DAILY or self.count > 1:
            return k - j
        known = zone(self.timezone)
        before = self.boundary(j - 1).astimezone(known).utcoffset() or timedelta()
        after = self.boundary(k - 1).astimezone(known).utcoffset() or timedelta()
        return k - j - max(round((after - before) / DAY), 0)


@lru_cache(maxsize=REMEMBERED)
def _boundary(day: date, clock: time, timezone: str, months: int, days: int) -> datetime:
    """Return the instant so many local months or days from a local day, at its clock."""
    if months:
        year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
        if not MINYEAR <= year <= MAXYEAR:
            return FIRST if months < 0 else LAST
        last_day = monthrange(year, month + 1)[1]
        return local_instant(date(year, month + 1, min(day.day, last_day)), clock, timezone)
    ordinal = day.toordinal() + days
    if not 1 <= ordinal <= date.max.toordinal():
        return FIRST if days < 0 else LAST
    return local_instant(date.fromordinal(ordinal), clock, timezone)


def local_instant(day: date, clock: time, timezone: str) -> datetime:
    """Return the instant of a local time, in UTC.

    A time that does not exist moves forward by the gap; one that happens twice is the first.
    Source: billing.md 5.1.

    >>> local_instant(date(2026, 3, 8), time(2, 30), "America/New_York")
    datetime.datetime(2026, 3, 8, 7, 30, tzinfo=datetime.timezone.utc)
    """
    try:
        # Fold 0 is the first of two, and reads a time in a gap by the offset before it.
        return datetime.combine(day, clock, tzinfo=zone(timezone)).astimezone(UTC)
    except OverflowError:
        return FIRST if day.year == MINYEAR else LAST


def days_later(at: datetime, days: int, timezone: str) -> datetime:
    """Return the instant so many local days later, at the same local clock.

    Source: billing.md 7 (trials) and 15.4 (due dates).

    >>> days_later(datetime(2026, 3, 7, 17, tzinfo=UTC), 1, "America/New_York").hour
    16
    """
    local = _local(at, timezone)
    ordinal = local.toordinal() + days
    if not 1 <= ordinal <= date.max.toordinal():
        return FIRST if days < 0 else LAST
    return local_instant(date.fromordinal(ordinal), local.time(), timezone)


def _local(at: datetime, timezone: str) -> datetime:
    """Return an instant in local time; what leaves the calendar there is refused."""
    try:
        return at.astimezone(zone(timezone))
    except OverflowError as error:
        raise ValidationFailed(
            f"{at} lies outside the local calendar", field="start_date"
        ) from error


def checked_period(period: str, count: int) -> BillingPeriod:
    """Return a period that a grid can have; ONETIME, other words and counts below 1 are refused.

    >>> checked_period("WEEKLY", 2)
    <BillingPeriod.WEEKLY: 'WEEKLY'>
    """
    if period not in MONTHS and period not in DAYS:
        raise ValidationFailed(f"{period!r} is no recurring period", field="billing_period")
    if count < 1:
        raise ValidationFailed("must be 1 or more", field="billing_period_count")
    return BillingPeriod(period)


def anchored(anchor: datetime, period: str, count: int, timezone: str) -> Grid:
    """Return the grid of an anchor, which is cut to whole seconds and is B(0) itself.

    Raises ValidationFailed for an unknown zone, ONETIME, or a count below 1.
    Source: billing.md 5.1.

    >>> anchored(datetime(2026, 1, 31, tzinfo=UTC), "MONTHLY", 1, "UTC").boundary(-1).day
    31
    """
    recurring = checked_period(period, count)
    first = anchor.astimezone(UTC).replace(microsecond=0)
    local = _local(first, timezone)
    return Grid(local.date(), local.time(), first, recurring, count, timezone)


def calendar_grid(start: datetime, period: str, count: int, timezone: str) -> Grid:
    """Return the grid whose anchor is the next calendar boundary after a start.

    The next midnight, Monday, 1st of the month, of the quarter, of the half-year, or 1 January, at
    00:00 local time; never the start itself. Raises as `anchored` does. Source: billing.md 5.2.

    >>> calendar_grid(datetime(2026, 1, 1, tzinfo=UTC), "QUARTERLY", 1, "UTC").first
    datetime.datetime(2026, 4, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    recurring = checked_period(period, count)
    today = _local(start, timezone).date()
    if today.year == MAXYEAR:
        raise ValidationFailed("has no calendar boundary after it", field="start_date")
    if recurring is BillingPeriod.DAILY:
        day = today + DAY
    elif recurring is BillingPeriod.WEEKLY:
        day = today + (7 - today.weekday()) * DAY
    else:
        length = MONTHS[recurring]
        months = today.year * 12 + (today.month - 1) // length * length + length
        day = date(months // 12, months % 12 + 1, 1)
    first = local_instant(day, MIDNIGHT, timezone)
    return Grid(day, MIDNIGHT, first, recurring, count, timezone)


def period_multiple(longer: tuple[str, int], shorter: tuple[str, int]) -> int | None:
    """Return how many times a (period, count) holds another, or None where it does not evenly.

    Both must be of months or both of days. Raises ValidationFailed for ONETIME or a count below 1.
    Source: billing.md 5.3.

    >>> period_multiple(("QUARTERLY", 1), ("MONTHLY", 1))
    3
    >>> period_multiple(("MONTHLY", 1), ("WEEKLY", 4)) is None
    True
    """
    long, short = checked_period(*longer), checked_period(*shorter)
    if (long in MONTHS) != (short in MONTHS):
        return None
    unit = MONTHS if long in MONTHS else DAYS
    times, rest = divmod(unit[long] * longer[1], unit[short] * shorter[1])
    return times if times and not rest else None
