"""The reset window that holds an instant: in which time an allowance is used up (billing.md 5.4)."""

from dataclasses import dataclass
from datetime import datetime

from billing.periods.schedules import reset_windows
from billing.periods.services import never_billed, schedule_of
from billing.pricing.charging import SUMS
from billing.subscriptions.current import current_period
from schemas.meter import Meter, ResetUsage
from schemas.period import Interval
from schemas.subscription import ResetPeriod, Subscription


@dataclass(frozen=True, slots=True)
class CurrentWindow:
    """A reset window; an `end` of None never comes. `anchor` is that of the billing periods."""

    start: datetime
    end: datetime | None
    anchor: datetime | None = None


def reset_window(
    subscription: Subscription, meter: Meter, reset: ResetPeriod | None, at: datetime
) -> CurrentWindow:
    """Return the window of an allowance at an instant; without a reset period the billing period.

    While a trial lasts it is the trial. What is no sum over events has its allowance in the billing
    period whatever is said. Source: billing.md 5.4 and 12.
    """
    period = current_period(subscription, at)
    if never_billed(subscription) or at < subscription.starts_at:
        return CurrentWindow(period.start, period.end)
    made = schedule_of(subscription)
    sums = meter.aggregation.type in SUMS and meter.reset_usage is not ResetUsage.NEVER
    if reset is None or not sums or not period.holds(at):
        return CurrentWindow(period.start, period.end, made.grid.first)
    instant = Interval(at, at + at.resolution)
    window = reset_windows(made.grid, reset.value, made.start, made.end, instant)[0]
    return CurrentWindow(window.start, window.end, made.grid.first)
