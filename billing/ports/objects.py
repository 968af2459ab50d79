"""What is sold and to whom, as its owner changes it: stores of whole records with their lives."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self, TypeVar

from billing.ports.money import OutboxRow
from schemas.coupon import Coupon
from schemas.credit_grant import CreditGrant
from schemas.customer import Customer
from schemas.group import Group
from schemas.meter import Meter
from schemas.object_query import Page, Query
from schemas.price import Price
from schemas.stored import Stored
from schemas.subscription import Entitlement, Feature, Plan
from schemas.tax import TaxAssociation, TaxRate

Record = TypeVar("Record")


class ObjectStore(Protocol[Record]):
    """The objects of one kind in one scope."""

    def get(self, object_id: str) -> Stored[Record] | None:
        """Return an object whatever its status, None if there is none."""
        ...

    def those(self, object_ids: Collection[str]) -> Mapping[str, Stored[Record]]:
        """Return the objects of some ids that there are, whatever their status."""
        ...

    def by_lookup(self, key: str) -> Stored[Record] | None:
        """Return the live object of a lookup key, code or external id, None if there is none.

        Of the versions of a price it is the last; codes of coupons are found in any case.
        """
        ...

    def page(self, query: Query) -> Page[Record]:
        """Return a page of the objects that a query asks for, with their exact number.

        Raises ValidationFailed for what does not fit the record. No status is left out by itself.
        """
        ...

    def add(self, stored: Stored[Record]) -> None:
        """Add an object. Raises AlreadyExists where its id, or its key among live ones, is taken."""
        ...

    def replace(self, stored: Stored[Record]) -> None:
        """Write the next version of an object.

        Raises VersionConflict unless the version before it is there, NotFound if none is, and
        AlreadyExists where its key is taken.
        """
        ...


class Objects(Protocol):
    """The stores of all kinds of one scope; each call is a transaction of its own.

    Plans are kept without what hangs on them: their prices, entitlements and credit grants are
    objects of their own, whose parent is the plan (`billing.catalog.whole_plan` joins them).
    """

    @property
    def meters(self) -> ObjectStore[Meter]:
        """The meters."""
        ...

    @property
    def features(self) -> ObjectStore[Feature]:
        """The features; the parent of one is its meter."""
        ...

    @property
    def plans(self) -> ObjectStore[Plan]:
        """The plans."""
        ...

    @property
    def prices(self) -> ObjectStore[Price]:
        """All versions of all prices; the parent of one is its entity."""
        ...

    @property
    def entitlements(self) -> ObjectStore[Entitlement]:
        """The entitlements; the parent of one is its entity, which grants a feature once."""
        ...

    @property
    def credit_grants(self) -> ObjectStore[CreditGrant]:
        """The credit grants of plans and add-ons; subscriptions carry theirs."""
        ...

    @property
    def coupons(self) -> ObjectStore[Coupon]:
        """The coupons, by their codes."""
        ...

    @property
    def tax_rates(self) -> ObjectStore[TaxRate]:
        """The tax rates, by their codes."""
        ...

    @property
    def tax_associations(self) -> ObjectStore[TaxAssociation]:
        """What tax rates are attached to; the parent of one is its entity, which has a rate once."""
        ...

    @property
    def groups(self) -> ObjectStore[Group]:
        """The groups of prices and features."""
        ...

    @property
    def customers(self) -> ObjectStore[Customer]:
        """The customers, by their external ids."""
        ...

    def reading(self) -> AbstractContextManager[Self]:
        """Read one state of all kinds, whatever is written meanwhile."""
        ...

    def writing(self) -> AbstractContextManager[Self]:
        """Write several objects in one transaction: all of them, or none if anything is raised."""
        ...

    def tell(self, rows: Sequence[OutboxRow]) -> None:
        """Add rows to the outbox, in the transaction of what they tell of (`writing`).

        From there to its end nobody else changes what their customers have: what is read of those
        after it still holds when it stands.
        """
        ...
