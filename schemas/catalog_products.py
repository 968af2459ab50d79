"""The products of a catalog file: meters, features, plans with their prices, and price changes.

Field names are those of the REST API; what it has and this version has not is listed in `LATER` of
its object, to be refused as what it is.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, model_validator

from schemas.credit_grant import CreditGrantTerms
from schemas.doors import (
    DOOR,
    DecimalField,
    InstantField,
    IntegerField,
    MetadataField,
    read_lower,
    read_upper,
)
from schemas.meter import MeterRequest
from schemas.price import BillingModel, TierMode
from schemas.price_request import PriceRequest, TierRequest, TransformQuantityRequest
from schemas.subscription import FeatureType, ResetPeriod

Upper = BeforeValidator(read_upper)
Lower = BeforeValidator(read_lower)
# What names another object of the file.
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A part of the file: null is absent, and so is an empty value of what comes later."""

    model_config = DOOR

    # Keys of the API that this version does not have yet.
    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, body: object) -> object:
        """Drop what says nothing."""
        if not isinstance(body, dict):
            return body
        return {
            key: value
            for key, value in body.items()
            if value is not None and not (key in cls.LATER and value in ([], {}, "", False, 0, "0"))
        }


class CatalogMeter(MeterRequest, Part):
    """A meter; `lookup_key` is ours: its name in answers and for other objects."""

    lookup_key: str = ""


class CatalogFeature(Part):
    """A feature; a metered one names its meter."""

    LATER: ClassVar[frozenset[str]] = frozenset({"alert_settings", "group_id", "reporting_unit"})

    name: Name
    lookup_key: str = ""
    type: Annotated[FeatureType, Lower]
    meter: str | None = None
    description: str = ""
    unit_singular: str = ""
    unit_plural: str = ""
    metadata: MetadataField = {}


class CatalogPrice(PriceRequest, Part):
    """A price of the plan that it stands in; a usage price names its meter."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"bucket_size", "filter_values", "group_id", "price_unit_config"}
    )

    # The plan is where the price stands, and the meter is named, so these are no keys of the file.
    entity_type: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    entity_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    plan_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    meter_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    bucket_size: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    filter_values: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    group_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    price_unit_config: ClassVar[Any]  # type: ignore[misc]  # no key of the file

    meter: str | None = None


class CatalogEntitlement(Part):
    """What a plan grants of a feature; no `usage_limit` means unlimited, and such usage is free."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "aggregation_mode",
            "end_date",
            "grant_allocation_behavior",
            "grant_duration_unit",
            "grant_duration_value",
            "grant_measure",
            "grant_quota",
            "grant_unlimited",
            "parent_entitlement_id",
            "start_date",
        }
    )

    feature: Name
    feature_type: Annotated[FeatureType, Lower] | None = None
    is_enabled: StrictBool = True
    usage_limit: Annotated[IntegerField, Field(ge=0)] | None = None
    usage_reset_period: Annotated[ResetPeriod, Upper] | None = None
    is_soft_limit: StrictBool = False
    static_value: str = ""
    config_value: dict[str, Any] | None = None


class CatalogCreditGrant(CreditGrantTerms, Part):
    """A credit grant of the plan or subscription that it stands in; a plan's has no dates."""


class CatalogPlan(Part):
    """A plan with its prices, what it grants, and the credits that it gives."""

    name: Name
    lookup_key: str = ""
    description: str = ""
    display_order: IntegerField | None = None
    metadata: MetadataField = {}
    prices: list[CatalogPrice] = []
    entitlements: list[CatalogEntitlement] = []
    credit_grants: list[CatalogCreditGrant] = []


class CatalogPriceUpdate(Part):
    """The body of a price update: what the successor has in place of its predecessor's."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"bucket_size", "group_id", "price_unit_amount", "price_unit_tiers"}
    )

    amount: DecimalField | None = None
    billing_model: Annotated[BillingModel, Upper] | None = None
    tier_mode: Annotated[TierMode, Upper] | None = None
    tiers: list[TierRequest] | None = None
    transform_quantity: TransformQuantityRequest | None = None


class CatalogPriceChange(Part):
    """At an instant, the price of that lookup key gets other terms."""

    at: InstantField
    route: Literal["update"]
    price: Name
    body: CatalogPriceUpdate
