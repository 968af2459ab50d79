"""Dues: when time alone brings something to do for a customer, without any news."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from billing.periods.services import open_window, windows
from billing.wallets.grant_periods import facts_of, next_instants
from schemas.subscription import Subscription, SubscriptionStatus
from schemas.wallet import Lot

# What is due at an instant, and was not done then, is looked for again so much later.
OVERDUE_EVERY = timedelta(minutes=1)


def next_due(
    subscriptions: Iterable[Subscription],
    lots: Iterable[Lot],
    after: datetime,
    delay: timedelta,
) -> datetime | None:
    """Return the first instant after another at which there is something to do, None if never.

    Trials, periods and delays that end, cancellations that fire, grants that give credits, and lots
    that expire. `delay` is how long renewals and final invoices wait for late usage.

    >>> from datetime import UTC
    >>> next_due([], [], datetime(2026, 1, 1, tzinfo=UTC), timedelta(0)) is None
    True
    """
    found = [lot.expires_at for lot in lots if lot.expires_at is not None]
    for subscription in subscriptions:
        found += _of_subscription(subscription, after, delay)
    return min((at for at in found if at > after), default=None)


def _of_subscription(
    subscription: Subscription, after: datetime, delay: timedelta
) -> Iterator[datetime]:
    """Yield instants at which something is to be done for a subscription, the next one among them."""
    if subscription.status is SubscriptionStatus.DRAFT:
        return
    yield subscription.starts_at
    if subscription.ends_at is not None:
        yield subscription.ends_at
    for grant in subscription.credit_grants:
        yield from next_instants(grant, facts_of(subscription), after)
    # What closed longer ago than the delay has been finalized, or is overdue.
    for window in windows(subscription, after, since=after - delay):
        yield window.finalize_at(delay)
    current = open_window(subscription, after)
    if current is not None:
        yield current.period.end
