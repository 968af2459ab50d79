"""Auto top-up: whether a falling balance buys credits by itself (wallets-alerts.md 12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum


class TopUpStatus(StrEnum):
    """What became of an auto top-up; one that is not invoiced is complete at once."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class Guard(StrEnum):
    """Why none is made, in the order in which the guards are tried."""

    DISABLED = "disabled"
    ABOVE_THRESHOLD = "above_threshold"
    PENDING = "pending"
    COOLDOWN = "cooldown"
    MAX_PER_PERIOD = "max_per_period"


class CapPeriod(StrEnum):
    """The calendar period, in UTC, in which top-ups are counted; weeks are those of ISO."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class AutoTopUp:
    """The settings: threshold and amount in credits, how long to wait, how many at most."""

    enabled: bool
    threshold: Decimal
    amount: Decimal
    invoicing: bool
    cooldown: timedelta = timedelta()
    cap: int = 10
    cap_period: CapPeriod = CapPeriod.DAY


@dataclass(frozen=True, slots=True)
class Made:
    """An auto top-up that was made, and what became of it."""

    at: datetime
    status: TopUpStatus


def _period(at: datetime, period: CapPeriod) -> tuple[int, ...]:
    """Return the name of the calendar period that holds an instant."""
    day = at.astimezone(UTC)
    match period:
        case CapPeriod.DAY:
            return day.year, day.month, day.day
        case CapPeriod.WEEK:
            return day.isocalendar()[:2]
        case CapPeriod.MONTH:
            return day.year, day.month


def guard(
    settings: AutoTopUp, made: Sequence[Made], ongoing_credits: Decimal, at: datetime
) -> Guard | None:
    """Return what keeps a wallet from topping itself up now, None if nothing does.

    `made` are the earlier ones of the wallet in order. A failed one counts for the cooldown only.
    Source: wallets-alerts.md 12.

    >>> settings = AutoTopUp(True, Decimal(5), Decimal(10), invoicing=True)
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> guard(settings, [Made(noon, TopUpStatus.PENDING)], Decimal(3), noon).value
    'pending'
    """
    if not settings.enabled:
        return Guard.DISABLED
    if ongoing_credits > settings.threshold:
        return Guard.ABOVE_THRESHOLD
    if any(each.status is TopUpStatus.PENDING for each in made):
        return Guard.PENDING
    if made and at < made[-1].at + settings.cooldown:
        return Guard.COOLDOWN
    period = _period(at, settings.cap_period)
    counted = [
        each
        for each in made
        if each.status is not TopUpStatus.FAILED and _period(each.at, settings.cap_period) == period
    ]
    return Guard.MAX_PER_PERIOD if len(counted) >= settings.cap else None
