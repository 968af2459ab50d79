"""The catalog in SQL as requests read it: what is metered and sold, at most a second old."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import and_, select

from billing.catalog import live
from billing.stores.database import Database
from billing.stores.money_models import SubscriptionRow
from billing.stores.objects import SqlObjects
from billing.stores.scoped import table_of
from schemas.meter import Meter
from schemas.object_query import Sort
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription

SUBSCRIPTIONS = table_of(SubscriptionRow)
BY_ID = (Sort("id"),)

# No definition older than this decides anything (metering.md 6.4).
FRESH_SECONDS = 1.0


def as_defined(meters: Sequence[Meter]) -> list[Meter]:
    """Return meters with the generation that they were stored with."""
    return list(meters)


class SqlCatalog:
    """What a database holds of any scope; implements billing.ports.CatalogReader.

    `with_generations` tells which generation of each meter is metered right now. Definitions are
    read again after a second; customers and subscriptions every time.
    """

    def __init__(
        self,
        database: Database,
        with_generations: Callable[[Sequence[Meter]], list[Meter]] = as_defined,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._with_generations = with_generations
        self._clock = clock
        self._known: dict[tuple[str, Scope], tuple[float, Sequence[Any]]] = {}

    def meters(self, scope: Scope) -> Sequence[Meter]:
        """Return all live meters, in the order of their ids. Raises StoreError."""
        found: Sequence[Meter] = self._fresh("meters", scope, self._read_meters)
        return found

    def features(self, scope: Scope) -> Sequence[Feature]:
        """Return all live features, in the order of their ids. Raises StoreError."""
        found: Sequence[Feature] = self._fresh("features", scope, self._read_features)
        return found

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in the order of their ids. Raises StoreError."""
        customer = self._objects(scope).customers.by_lookup(external_customer_id)
        if customer is None:
            return ()
        columns = SUBSCRIPTIONS.c
        mine = and_(
            columns.tenant_id == scope.tenant_id,
            columns.environment_id == scope.environment_id,
            columns.customer_id == customer.record.id,
        )
        with self._database.reading() as session:
            return tuple(session.scalars(select(columns.record).where(mine).order_by(columns.id)))

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        """Tell whether there is a live customer of this external id. Raises StoreError."""
        return self._objects(scope).customers.by_lookup(external_customer_id) is not None

    def forget(self) -> None:
        """Read everything again: what this process has written counts for its next request."""
        self._known.clear()

    def _read_meters(self, scope: Scope) -> Sequence[Meter]:
        stored = [each.record for each in live(self._objects(scope).meters)]
        return tuple(sorted(self._with_generations(stored), key=lambda meter: meter.id))

    def _read_features(self, scope: Scope) -> Sequence[Feature]:
        return tuple(each.record for each in live(self._objects(scope).features, sort=BY_ID))

    def _fresh(
        self, kind: str, scope: Scope, read: Callable[[Scope], Sequence[Any]]
    ) -> Sequence[Any]:
        """Return what is known of a kind, read again where it is too old."""
        asked_at, found = self._known.get((kind, scope), (float("-inf"), ()))
        now = self._clock()
        if now - asked_at >= FRESH_SECONDS:
            # The age counts from before the reading, which may have seen less than what came since.
            found = read(scope)
            self._known[kind, scope] = (now, found)
        return found

    def _objects(self, scope: Scope) -> SqlObjects:
        return SqlObjects(self._database, scope)
