"""What is metered and sold, as requests read it."""

from collections.abc import Sequence
from typing import Protocol

from schemas.meter import Meter
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription


class CatalogReader(Protocol):
    """Reads what is metered and sold in one scope."""

    def meters(self, scope: Scope) -> Sequence[Meter]:
        """Return all live meters, in the order of their ids."""
        ...

    def features(self, scope: Scope) -> Sequence[Feature]:
        """Return all live features, in the order of their ids."""
        ...

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in the order of their ids."""
        ...

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        """Tell whether there is a customer of this external id."""
        ...
