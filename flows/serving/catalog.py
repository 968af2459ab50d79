"""The catalog of a file as the API reads it, until catalogs live in the SQL store."""

import time
from collections.abc import Callable, Sequence

from flows.catalog import Catalog
from flows.catalog_names import ENVIRONMENT, TENANT
from schemas.meter import Meter
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription

# No definition older than this decides anything (metering.md 6.4).
FRESH_SECONDS = 1.0


class FileCatalog:
    """What a file defines, in the one scope that files have; implements billing.ports.CatalogReader.

    `with_generations` tells which generation of each meter is metered right now.
    """

    def __init__(
        self, catalog: Catalog, with_generations: Callable[[Sequence[Meter]], list[Meter]]
    ):
        self._catalog = catalog
        self._with_generations = with_generations
        self._scope = Scope(TENANT, ENVIRONMENT)
        self._meters: tuple[float, Sequence[Meter]] = (float("-inf"), ())

    def meters(self, scope: Scope) -> Sequence[Meter]:
        """Return all live meters, in the order of their ids."""
        if scope != self._scope:
            return ()
        asked_at, meters = self._meters
        now = time.monotonic()
        if now - asked_at > FRESH_SECONDS:
            found = self._with_generations(self._catalog.meters)
            meters = tuple(sorted(found, key=lambda meter: meter.id))
            self._meters = (now, meters)
        return meters

    def features(self, scope: Scope) -> Sequence[Feature]:
        """Return all live features, in the order of their ids."""
        if scope != self._scope:
            return ()
        return sorted(self._catalog.features, key=lambda feature: feature.id)

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in the order of their ids."""
        if scope != self._scope:
            return ()
        mine = (
            each
            for each in self._catalog.subscriptions
            if each.external_customer_id == external_customer_id
        )
        return sorted(mine, key=lambda each: each.id)

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        """Tell whether there is a customer of this external id."""
        return scope == self._scope and any(
            customer.external_id == external_customer_id for customer in self._catalog.customers
        )
