"""Prices that exist for one subscription alone: those of its lines, kept beside those of plans."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from billing.api.environment import Environment
from schemas.errors import Refused
from schemas.price import Price, PriceEntityType
from schemas.stored import Status, changed, made
from schemas.subscription import Subscription


def own_prices(subscription: Subscription) -> tuple[Price, ...]:
    """Return the prices that exist for one subscription alone, each once."""
    found = {
        line.price.id: line.price
        for line in subscription.lines
        if line.price.entity_type is PriceEntityType.SUBSCRIPTION
        and line.price.entity_id == subscription.id
    }
    return tuple(found.values())


@contextmanager
def added_prices(
    kept: Environment, prices: Iterable[Price], at: datetime, by: str
) -> Iterator[None]:
    """Add the prices of what is done inside, and take them away again if that is refused.

    They are not of one transaction with it: what is cut off between leaves prices that nobody has.
    """
    with kept.objects.writing() as inside:
        new = [made(each, at, by) for each in prices if inside.prices.get(each.id) is None]
        for stored in new:
            inside.prices.add(stored)
    try:
        yield
    except Refused:
        with kept.objects.writing() as inside:
            for stored in new:
                inside.prices.replace(changed(stored, stored.record, at, by, Status.DELETED))
        raise
