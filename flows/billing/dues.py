"""When time alone changes what a customer owes: the next instant at which to look without news."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from billing.periods.services import open_services, open_window
from billing.wallets.claim_facts import ClaimFacts
from schemas.meter import AggregationType
from schemas.subscription import Subscription

# An average over time moves with each instant; its claim is made anew so often.
DRIFT = timedelta(minutes=1)


def next_due(facts: ClaimFacts, after: datetime) -> datetime | None:
    """Return the first instant after another at which claims or balances change, None if never.

    Periods, services and lines that end or begin, lots that expire, and a minute later for what is
    averaged over time. What the scheduler does comes as a change of the ledger.

    >>> from datetime import UTC
    >>> from schemas.ids import CustomerId
    >>> next_due(ClaimFacts(CustomerId("c"), ("acme",)), datetime(2026, 1, 1, tzinfo=UTC)) is None
    True
    """
    return min((at for at in _instants(facts, after) if at > after), default=None)


def _instants(facts: ClaimFacts, after: datetime) -> Iterator[datetime]:
    """Yield instants at which something happens, the next one among them."""
    for held in facts.wallets:
        yield from (lot.expires_at for lot in held.lots if lot.expires_at is not None)
    for subscription in facts.subscriptions:
        yield from _of_subscription(subscription, after)


def _of_subscription(subscription: Subscription, after: datetime) -> Iterator[datetime]:
    """Yield when something of a subscription begins or ends."""
    yield subscription.starts_at
    if subscription.ends_at is not None:
        yield subscription.ends_at
    for line in subscription.lines:
        yield line.start_date
        if line.end_date is not None:
            yield line.end_date
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
