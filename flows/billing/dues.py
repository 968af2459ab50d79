"""When time alone changes what a customer owes: the next instant at which to bill without news."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from billing.accounts import Account
from billing.periods.services import open_services, open_window, windows
from billing.wallets.grant_periods import facts_of, next_instants
from billing.wallets.opening import WalletOpening
from schemas.meter import AggregationType
from schemas.subscription import Subscription

# An average over time moves with each instant; its bill is made anew so often.
DRIFT = timedelta(minutes=1)


def next_due(account: Account, after: datetime, delay: timedelta) -> datetime | None:
    """Return the first instant after another at which the account has to be billed, None if never.

    Periods, services, lines and delays that end or begin, wallets that are opened or filled, grants
    that give credits, lots that expire, and a minute later for what is averaged over time.

    >>> from datetime import UTC
    >>> from schemas.ids import CustomerId
    >>> idle = Account(CustomerId("c"), "acme")
    >>> next_due(idle, datetime(2026, 1, 1, tzinfo=UTC), timedelta(0)) is None
    True
    """
    return min((at for at in _instants(account, after, delay) if at > after), default=None)


def _instants(account: Account, after: datetime, delay: timedelta) -> Iterator[datetime]:
    """Yield instants at which something happens, the next one among them."""
    for opening in account.openings:
        yield from _of_wallet(opening)
    for subscription in account.subscriptions:
        yield from _of_subscription(subscription, after, delay)


def _of_wallet(opening: WalletOpening) -> Iterator[datetime]:
    """Yield when a wallet is opened, and when its lots begin and end."""
    yield opening.at
    expiries = [opening.request.initial_credits_expiry_date_utc]
    for each in opening.top_ups:
        yield each.at
        expiries.append(each.request.expires_at)
    yield from (at for at in expiries if at is not None)


def _of_subscription(
    subscription: Subscription, after: datetime, delay: timedelta
) -> Iterator[datetime]:
    """Yield when something of a subscription begins or ends."""
    for grant in subscription.credit_grants:
        yield from next_instants(grant, facts_of(subscription), after)
    yield subscription.starts_at
    if subscription.ends_at is not None:
        yield subscription.ends_at
    for line in subscription.lines:
        yield line.start_date
        if line.end_date is not None:
            yield line.end_date
    for window in windows(subscription, after):
        yield window.finalize_at(delay)
    current = open_window(subscription, after)
    if current is None:
        return
    yield current.period.end
    running, _ = open_services(subscription, after)
    for service in running:
        yield service.period.end
        meter = service.line.meter
        if meter is not None and meter.aggregation.type is AggregationType.WEIGHTED_SUM:
            yield after + DRIFT
