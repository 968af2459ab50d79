"""The catalog file: what it may say, key by key; a JSON Schema of it ships beside this module.

Field names are those of the REST API (api-fields.md), but that one object names another by its
lookup key (a customer by its external id; a name serves where it is unique). The doors of single
objects are shared with the API, which ignores unknown keys; who reads a file passes extra="forbid".
What the API has and this version has not is listed in `LATER`, to be refused as what it is.
"""

import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, model_validator

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
from schemas.price import (
    BillingModel,
    BillingPeriod,
    PriceRequest,
    TierMode,
    TierRequest,
    TransformQuantityRequest,
)
from schemas.subscription import BillingCycle, FeatureType, ProrationBehavior, ResetPeriod
from schemas.wallet import Reason, TopUpRequest, WalletRequest

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
        {"bucket_size", "filter_values", "group_id", "price_unit_config", "trial_period_days"}
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
    trial_period_days: ClassVar[Any]  # type: ignore[misc]  # no key of the file

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


class CatalogPlan(Part):
    """A plan with its prices and what it grants."""

    LATER: ClassVar[frozenset[str]] = frozenset({"credit_grants"})

    name: Name
    lookup_key: str = ""
    description: str = ""
    display_order: IntegerField | None = None
    metadata: MetadataField = {}
    prices: list[CatalogPrice] = []
    entitlements: list[CatalogEntitlement] = []


class CatalogCustomer(Part):
    """A customer by its external id."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "integration_entity_mapping",
            "onboarding_workflow_name",
            "skip_onboarding_workflow",
            "tax_rate_overrides",
        }
    )

    external_id: Name
    name: Annotated[str, Field(max_length=255)] = ""
    email: str = ""
    contact: Annotated[str, Field(max_length=20)] = ""
    address_line1: Annotated[str, Field(max_length=255)] = ""
    address_line2: Annotated[str, Field(max_length=255)] = ""
    address_city: Annotated[str, Field(max_length=100)] = ""
    address_state: Annotated[str, Field(max_length=100)] = ""
    address_postal_code: Annotated[str, Field(max_length=20)] = ""
    address_country: Annotated[str, Field(max_length=2)] = ""
    timezone: str = ""
    metadata: MetadataField = {}
    billing_currency: str = ""
    contact_persons: list[dict[str, Any]] = []
    tax_treatment: str = ""


class CatalogSubscription(Part):
    """A subscription of a customer to a plan; a file has no "now", so the start is needed."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "addons",
            "auto_invoice_threshold",
            "checkout",
            "collection_method",
            "commitment_amount",
            "commitment_duration",
            "coupons",
            "credit_grants",
            "enable_true_up",
            "fx_rates",
            "gateway_payment_method_id",
            "include_price_ids",
            "inheritance",
            "line_item_commitments",
            "line_item_coupons",
            "line_item_grouping",
            "line_items",
            "overage_factor",
            "override_entitlements",
            "override_line_items",
            "payment_behavior",
            "payment_terms",
            "phases",
            "subscription_coupons",
            "subscription_status",
            "tax_rate_overrides",
            "trial_period_days",
        }
    )

    customer: Name
    plan: Name
    lookup_key: str = ""
    currency: Annotated[str, Lower] | None = None
    billing_period: Annotated[BillingPeriod, Upper] | None = None
    billing_period_count: Annotated[IntegerField, Field(ge=0)] = 1
    billing_cycle: Annotated[BillingCycle, Lower] = BillingCycle.ANNIVERSARY
    billing_anchor: InstantField | None = None
    start_date: InstantField
    end_date: InstantField | None = None
    timezone: str = ""
    proration_behavior: Annotated[ProrationBehavior, Lower] = ProrationBehavior.NONE
    metadata: MetadataField = {}


class CatalogTopUp(TopUpRequest, Part):
    """Credits that come into a wallet at an instant; bought ones, unless a reason is given."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "bonus_credits_expiry_date_utc",
            "bonus_credits_to_add",
            "checkout",
            "coupons",
            "effective_date",
            "force_sync_invoice",
        }
    )

    at: InstantField
    transaction_reason: Annotated[Reason, Upper] = Reason.PURCHASED_CREDIT_DIRECT
    metadata: MetadataField = {}


class CatalogWallet(WalletRequest, Part):
    """A wallet of a customer, with what comes into it."""

    LATER: ClassVar[frozenset[str]] = frozenset({"auto_topup", "price_unit"})

    # The customer is named, so these are no keys of the file.
    customer_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    external_customer_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file

    customer: Name
    top_ups: list[CatalogTopUp] = []


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


class CatalogCancelBody(Part):
    """The body of a cancellation; other types need a clock and come later."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "cancel_at",
            "cancel_immediately_inovice_policy",
            "cancel_immediately_invoice_policy",
            "proration_behavior",
        }
    )

    cancellation_type: Literal["immediate"]
    reason: str = ""


class CatalogCancellation(Part):
    """At an instant, a subscription ends."""

    at: InstantField
    route: Literal["cancel"]
    subscription: Name
    body: CatalogCancelBody


# What happens later, told apart by the route; others of the API come later.
CatalogChange = Annotated[CatalogPriceChange | CatalogCancellation, Field(discriminator="route")]


class CatalogFile(Part):
    """The whole file; every section may be absent."""

    LATER: ClassVar[frozenset[str]] = frozenset({"coupons", "taxes", "addons", "groups"})

    meters: list[CatalogMeter] = []
    features: list[CatalogFeature] = []
    plans: list[CatalogPlan] = []
    customers: list[CatalogCustomer] = []
    subscriptions: list[CatalogSubscription] = []
    wallets: list[CatalogWallet] = []
    changes: list[CatalogChange] = []


def catalog_json_schema() -> str:
    """Return the JSON Schema (2020-12) of the file, as the text of `schemas/catalog.schema.json`.

    Editors complete and check a catalog with it; the loader itself judges by the models.

    >>> json.loads(catalog_json_schema())["title"]
    'Tally catalog'
    """
    schema = CatalogFile.model_json_schema()
    for definition in (schema, *schema["$defs"].values()):
        if "properties" in definition:
            definition["additionalProperties"] = False
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tally catalog",
    }
    empty = {name: {"type": "array", "maxItems": 0} for name in ("coupons", "taxes")}
    schema["properties"] |= empty
    return json.dumps(head | {k: v for k, v in schema.items() if k != "title"}, indent=2) + "\n"
