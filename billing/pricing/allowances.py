"""Allowances: which units an entitlement covers, and what is left to be priced (billing.md 12).

An allowance belongs to a feature and a reset window. It is used up in time order over everything
that the window spans, whatever lines, versions or billing periods cut it, and is never prorated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from schemas.money import LOSSLESS

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The included units of one reset window; a limit of None is unlimited.

    `used_before` is what the window has used before the usage that is asked about.
    """

    limit: int | None
    used_before: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class WindowUsage:
    """The part of a reset window that lies inside one service period, with its allowance."""

    start: datetime | None
    end: datetime | None
    allowance: Allowance | None
    usage: Decimal


@dataclass(frozen=True, slots=True)
class CoveredWindow:
    """A reset window and the units of it that its allowance takes, as explanations show them."""

    start: datetime | None
    end: datetime | None
    limit: int | None
    used_before: Decimal
    usage: Decimal
    covered: Decimal


@dataclass(frozen=True, slots=True)
class CoveredPeriod:
    """The windows of a service period, the units that they cover together, and the rest."""

    windows: tuple[CoveredWindow, ...]
    covered: Decimal
    billable: Decimal


def covered(allowance: Allowance | None, usage: Decimal) -> Decimal:
    """Return how many of the units are covered: min(max(limit − used before, 0), usage).

    No allowance covers nothing, an unlimited one covers everything; usage below 0 is 0.
    Source: billing.md 12.

    >>> covered(Allowance(100, Decimal(70)), Decimal(50)), covered(Allowance(None), Decimal(50))
    (Decimal('30'), Decimal('50'))
    """
    used = max(usage, ZERO)
    if allowance is None:
        return ZERO
    if allowance.limit is None:
        return used
    left = LOSSLESS.subtract(Decimal(allowance.limit), max(allowance.used_before, ZERO))
    return min(max(left, ZERO), used)


def cover_in_order(allowance: Allowance | None, usages: Iterable[Decimal]) -> tuple[Decimal, ...]:
    """Return what one allowance covers of each part of its window, the parts given in time order.

    Source: billing.md 12 (buckets) and 4 (prices that change inside a period).

    >>> cover_in_order(Allowance(10), [Decimal(7), Decimal(5), Decimal(2)])
    (Decimal('7'), Decimal('3'), Decimal('0'))
    """
    parts = []
    for usage in usages:
        part = covered(allowance, usage)
        parts.append(part)
        if allowance is not None:
            spent = LOSSLESS.add(max(allowance.used_before, ZERO), max(usage, ZERO))
            allowance = Allowance(allowance.limit, spent)
    return tuple(parts)


def cover_windows(windows: Sequence[WindowUsage]) -> CoveredPeriod:
    """Return what the reset windows of one service period cover of its usage, each by itself.

    The rest is one quantity, which is priced from the first tier. Source: billing.md 12.

    >>> days = [WindowUsage(None, None, Allowance(10), Decimal(used)) for used in (15, 3, 12)]
    >>> period = cover_windows(days)
    >>> period.covered, period.billable
    (Decimal('23'), Decimal('7'))
    """
    rows = []
    total, used = ZERO, ZERO
    for window in windows:
        usage = max(window.usage, ZERO)
        part = covered(window.allowance, usage)
        limit = window.allowance.limit if window.allowance else 0
        before = max(window.allowance.used_before, ZERO) if window.allowance else ZERO
        rows.append(CoveredWindow(window.start, window.end, limit, before, usage, part))
        total, used = LOSSLESS.add(total, part), LOSSLESS.add(used, usage)
    return CoveredPeriod(tuple(rows), total, LOSSLESS.subtract(used, total))
