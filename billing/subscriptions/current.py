"""The current period of a subscription: where it is at an instant (billing.md 5.2 and 7)."""

from datetime import datetime

from billing.periods.schedules import period_at
from billing.periods.services import never_billed, schedule_of
from schemas.period import Interval
from schemas.subscription import Subscription


def current_period(subscription: Subscription, at: datetime) -> Interval:
    """Return the billing period that holds an instant; while a trial lasts, the trial.

    Before the start that is the first one, and after the end the last. Source: billing.md 5.2, 7.
    """
    start, ends = subscription.starts_at, subscription.ends_at
    if subscription.trial_end is not None and (at < start or never_billed(subscription)):
        return Interval(subscription.start_date, start)
    if never_billed(subscription):
        return Interval(start, start)
    made = schedule_of(subscription)
    if ends is not None and at >= ends:
        return period_at(made, ends - at.resolution).period
    return period_at(made, max(at, start)).period
