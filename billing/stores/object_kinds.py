"""The kinds of objects that are kept alike, and what is read off a record into columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from schemas.coupon import Coupon
from schemas.credit_grant import CreditGrant
from schemas.customer import Customer
from schemas.entitlement_grant import GrantAggregation
from schemas.errors import AlreadyExists
from schemas.group import Group
from schemas.meter import Meter
from schemas.price import Price
from schemas.stored import Stored
from schemas.subscription import Entitlement, Feature, Plan
from schemas.tax import TaxAssociation, TaxRate

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Kind(Generic[Record]):
    """One kind: its word and record, its key among live objects, its name, and what it hangs on.

    `key` "" is none, and `folded` keys are found in any case. `key_field` is what callers call it.
    """

    word: str
    record: type[Record]
    key: Callable[[Record], str]
    name: Callable[[Record], str]
    parent: Callable[[Record], str | None]
    key_field: str = "lookup_key"
    folded: bool = False

    def columns(self, stored: Stored[Record]) -> dict[str, Any]:
        """Return what stands in the columns of a row."""
        record: Any = stored.record
        return {
            "id": record.id,
            "lookup_key": self.looked_up(self.key(stored.record)) or None,
            "name": self.name(stored.record),
            "parent_id": self.parent(stored.record) or None,
            "status": str(stored.status),
            "created_at": stored.created_at,
            "updated_at": stored.updated_at,
            "created_by": stored.created_by,
            "updated_by": stored.updated_by,
            "version": stored.version,
        }

    def looked_up(self, key: str) -> str:
        """Return a key as it is compared."""
        return key.lower() if self.folded else key

    def taken(self) -> AlreadyExists:
        """Return the refusal of an object whose id or key another one has."""
        return AlreadyExists(
            f"another {self.word} has this {self.key_field.replace('_', ' ')} or id",
            field=self.key_field,
            reason="unique",
        )


def _price_key(price: Price) -> str:
    """Return the key of a chain's last version; those before it have given it up."""
    return price.lookup_key if price.replaced_by is None else ""


def _entitlement_key(entitlement: Entitlement) -> str:
    """Return what an entity grants once (api.md 4.9); grants in parallel may be several."""
    grant = entitlement.grant
    if grant is not None and grant.aggregation is GrantAggregation.PARALLEL:
        return ""
    return f"{entitlement.entity_type}/{entitlement.entity_id}/{entitlement.feature_id}"


def _association_key(association: TaxAssociation) -> str:
    """Return what an entity has once (api.md 4.20)."""
    entity = f"{association.entity_type}/{association.entity_id}"
    return f"{entity}/{association.tax_rate_id}"


METER = Kind("meter", Meter, lambda m: m.lookup_key, lambda m: m.name, lambda _: None)
FEATURE = Kind("feature", Feature, lambda f: f.lookup_key, lambda f: f.name, lambda f: f.meter_id)
PLAN = Kind("plan", Plan, lambda p: p.lookup_key, lambda p: p.name, lambda _: None)
PRICE = Kind("price", Price, _price_key, lambda p: p.display_name, lambda p: p.entity_id)
ENTITLEMENT = Kind(
    "entitlement",
    Entitlement,
    _entitlement_key,
    lambda _: "",
    lambda e: e.entity_id,
    key_field="feature_id",
)
CREDIT_GRANT = Kind(
    "credit grant",
    CreditGrant,
    lambda _: "",
    lambda g: g.name,
    lambda g: g.plan_id or g.addon_id or g.subscription_id,
)
COUPON = Kind(
    "coupon",
    Coupon,
    lambda c: c.coupon_code,
    lambda c: c.name,
    lambda _: None,
    key_field="coupon_code",
    folded=True,
)
TAX_RATE = Kind(
    "tax rate", TaxRate, lambda t: t.code, lambda t: t.name, lambda _: None, key_field="code"
)
TAX_ASSOCIATION = Kind(
    "tax association",
    TaxAssociation,
    _association_key,
    lambda _: "",
    lambda t: t.entity_id,
    key_field="tax_rate_code",
)
GROUP = Kind("group", Group, lambda g: g.lookup_key, lambda g: g.name, lambda _: None)
CUSTOMER = Kind(
    "customer",
    Customer,
    lambda c: c.external_id,
    lambda c: c.name,
    lambda c: c.parent_customer_id,
    key_field="external_id",
)

# By the name that each has in `billing.ports.objects.Objects`.
KINDS: Mapping[str, Kind[Any]] = {
    "meters": METER,
    "features": FEATURE,
    "plans": PLAN,
    "prices": PRICE,
    "entitlements": ENTITLEMENT,
    "credit_grants": CREDIT_GRANT,
    "coupons": COUPON,
    "tax_rates": TAX_RATE,
    "tax_associations": TAX_ASSOCIATION,
    "groups": GROUP,
    "customers": CUSTOMER,
}
