"""Proration: which part of a period is charged, and what a change inside a period settles.

A part is measured against the full period of the grid, exactly, in seconds or in local days. What
is prorated is the cost of a quantity by the price's model. Source: billing.md 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from schemas.errors import ValidationFailed
from schemas.money import LOSSLESS, settle, total
from schemas.period import Interval
from schemas.subscription import ProrationBehavior, ProrationStrategy
from schemas.zones import zone

ZERO = Decimal(0)
NOTHING = timedelta()
MICROSECOND = timedelta(microseconds=1)


class Outcome(StrEnum):
    """What the netted credits and charges of a request lead to."""

    INVOICE = "invoice"
    CREDIT = "credit"
    NONE = "none"


class Direction(StrEnum):
    """How the recurring cost of the lines opened compares with that of the lines closed."""

    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    LATERAL = "lateral"


@dataclass(frozen=True, slots=True)
class Proration:
    """A part of a full period, as the explanation shows it: numerator of denominator.

    Both count seconds, or local days where the strategy says so and the full period has any; the
    days are those of `timezone`.
    """

    strategy: ProrationStrategy
    service: Interval
    full: Interval
    numerator: Decimal
    denominator: Decimal
    timezone: str = "UTC"

    @property
    def coefficient(self) -> Fraction:
        """Return the part as an exact fraction, in [0, 1]."""
        return Fraction(self.numerator) / Fraction(self.denominator)


@dataclass(frozen=True, slots=True)
class FixedCharge:
    """What a fixed line is charged for one period, exact; `proration` is None where in full."""

    service: Interval
    exact: Fraction
    proration: Proration | None


@dataclass(frozen=True, slots=True)
class ClosedLine:
    """An ADVANCE line that a change closes.

    `cost` is that of a full period, `charged` what invoices took for this one, net of discounts,
    `credited` what was given back of it before.
    """

    cost: Decimal
    charged: Decimal
    credited: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Change:
    """What a change settles: a credit for each line closed, a charge for each opened, netted."""

    credits: tuple[Decimal, ...]
    charges: tuple[Decimal, ...]
    net: Decimal
    outcome: Outcome
    direction: Direction


def prorate(
    service: Interval,
    full: Interval,
    strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED,
    timezone: str = "UTC",
) -> Proration:
    """Measure the part of a full period that a service takes; what lies outside does not count.

    By days the day of the start counts and the day of the end does not, in the zone given; a full
    period without a whole day is measured in seconds. Raises ValidationFailed (field `period`) for
    a full period that does not end after its start. Source: billing.md 6.

    >>> from datetime import UTC
    >>> january = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    >>> part = prorate(Interval(datetime(2026, 1, 15, tzinfo=UTC), january.end), january)
    >>> part.numerator, part.denominator
    (Decimal('1468800'), Decimal('2678400'))
    """
    if full.end <= full.start:
        raise ValidationFailed("a full period must end after its start", field="period")
    inside = service.cut(full)
    if strategy is ProrationStrategy.DAY_BASED:
        whole = _days(full, timezone)
        if whole:
            used = _days(inside, timezone) if inside else 0
            return Proration(strategy, service, full, Decimal(used), Decimal(whole), timezone)
    spent = _seconds(inside.end - inside.start) if inside else ZERO
    whole_length = _seconds(full.end - full.start)
    return Proration(strategy, service, full, spent, whole_length, timezone)


def coefficient(
    service: Interval,
    full: Interval,
    strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED,
    timezone: str = "UTC",
) -> Fraction:
    """Return the part of a full period that a service takes, exact, in [0, 1].

    Raises as `prorate` does. Source: billing.md 6.

    >>> from datetime import UTC
    >>> january = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    >>> coefficient(Interval(datetime(2026, 1, 15, tzinfo=UTC), january.end), january)
    Fraction(17, 31)
    """
    return prorate(service, full, strategy, timezone).coefficient


def _seconds(length: timedelta) -> Decimal:
    """Return a length in seconds, fractions included, exactly."""
    return LOSSLESS.divide(Decimal(length // MICROSECOND), Decimal(10**6))


def _days(interval: Interval, timezone: str) -> int:
    """Count the local days of an interval: that of the start, and not that of the end."""
    known = zone(timezone)
    return (interval.end.astimezone(known).date() - interval.start.astimezone(known).date()).days


def fixed_charge(
    cost: Decimal,
    period: Interval,
    full: Interval,
    line: tuple[datetime, datetime | None],
    *,
    behavior: ProrationBehavior,
    strategy: ProrationStrategy = ProrationStrategy.SECOND_BASED,
    timezone: str = "UTC",
) -> FixedCharge | None:
    """Return what a fixed line is charged for a billing period, or None where it is not in force.

    With `create_prorations` the cost times the part in force; with `none` the whole cost for the
    whole billing period, however short the part. Which of several versions pays is the caller's
    matter. `line` is the line's life, None an open end. Source: billing.md 6.

    >>> from datetime import UTC
    >>> april = Interval(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))
    >>> life = (datetime(2026, 4, 11, tzinfo=UTC), None)
    >>> behavior = ProrationBehavior.CREATE_PRORATIONS
    >>> fixed_charge(Decimal(60), april, april, life, behavior=behavior).exact
    Fraction(40, 1)
    """
    start, end = line
    if end is not None and end <= start:
        return None
    life = Interval(start, max(start, period.end) if end is None else end)
    in_force = period.cut(life)
    if in_force is None:
        return None
    if behavior is ProrationBehavior.NONE:
        return FixedCharge(period, Fraction(cost), None)
    part = prorate(in_force, full, strategy, timezone)
    # A full period is charged in full, and its explanation need not say so.
    return FixedCharge(
        in_force, Fraction(cost) * part.coefficient, part if part.coefficient < 1 else None
    )


def settle_change(
    closed: Sequence[ClosedLine], opened: Sequence[Decimal], part: Fraction, currency: str
) -> Change:
    """Net what is given back for lines closed against what lines opened cost for the rest.

    `opened` are the costs of a full period, `part` the coefficient of the rest. A credit is never
    more than what was charged and not yet credited, nor less than 0; each credit and charge is
    settled by itself. That repeating a request repeats nothing is the caller's matter.
    Source: billing.md 6.

    >>> change = settle_change([ClosedLine(Decimal(10), Decimal(10))], [Decimal(20)],
    ...                        Fraction(17, 31), "usd")
    >>> change.net, str(change.outcome), str(change.direction)
    (Decimal('5.49'), 'invoice', 'upgrade')
    """
    given_back = tuple(_credit(line, part, currency) for line in closed)
    charges = tuple(settle(Fraction(cost) * part, currency) for cost in opened)
    return net_of(given_back, charges, total(line.cost for line in closed), total(opened))


def net_of(
    given_back: Sequence[Decimal], charges: Sequence[Decimal], before: Decimal, after: Decimal
) -> Change:
    """Net settled credits against settled charges, of lines with whatever grids.

    `before` is the recurring cost of the lines closed, `after` that of the lines opened.
    """
    net = LOSSLESS.subtract(total(charges), total(given_back))
    direction = _direction(before, after)
    return Change(tuple(given_back), tuple(charges), net, _outcome(net), direction)


def _credit(line: ClosedLine, part: Fraction, currency: str) -> Decimal:
    """Return what a closed line gives back."""
    unused = settle(Fraction(line.cost) * part, currency)
    return max(min(unused, LOSSLESS.subtract(line.charged, line.credited)), ZERO)


def _outcome(net: Decimal) -> Outcome:
    """Return what a netted sum leads to."""
    if not net:
        return Outcome.NONE
    return Outcome.INVOICE if net > 0 else Outcome.CREDIT


def _direction(before: Decimal, after: Decimal) -> Direction:
    """Return the direction from one recurring cost to another."""
    if before == after:
        return Direction.LATERAL
    return Direction.UPGRADE if after > before else Direction.DOWNGRADE
