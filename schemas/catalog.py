"""The catalog file: what it may say, key by key; a JSON Schema of it ships beside this module.

Field names are those of the REST API (api-fields.md), but that one object names another by its
lookup key (a customer by its external id; a name serves where it is unique). The doors of single
objects are shared with the API, which ignores unknown keys; who reads a file passes extra="forbid".
What the API has and this version has not is listed in `LATER`, to be refused as what it is.
"""

import json
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from schemas.catalog_changes import CatalogChange, CatalogTopUpBody
from schemas.catalog_products import (
    CatalogCreditGrant,
    CatalogFeature,
    CatalogMeter,
    CatalogPlan,
    Lower,
    Name,
    Part,
    Upper,
)
from schemas.commitment import Duration, Factor, LineItemCommitmentConfig, Promised
from schemas.coupon import CreateCouponRequest, SubscriptionCouponInput
from schemas.doors import InstantField, IntegerField, MetadataField
from schemas.price import BillingPeriod
from schemas.subscription import BillingCycle, ProrationBehavior
from schemas.tax import CreateTaxRateRequest, TaxRateOverride
from schemas.wallet import WalletRequest


class CatalogCoupon(CreateCouponRequest, Part):
    """A coupon; subscriptions name it by its code, or by its name."""


class CatalogTaxRate(CreateTaxRateRequest, Part):
    """A tax rate; customers and subscriptions name it by its code."""


class CatalogTaxRateOverride(TaxRateOverride, Part):
    """A tax rate by its code, attached to a customer or a subscription."""


class CatalogSubscriptionCoupon(SubscriptionCouponInput, Part):
    """A coupon of a subscription, or of its line of one price, with dates."""

    # The price is named, so this is no key of the file.
    price_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file

    price: Name | None = None


class CatalogContactPerson(Part):
    """Somebody to talk to at a customer."""

    first_name: Name
    last_name: str = ""
    email: str = ""
    mobile: str = ""
    salutation: str = ""
    designation: str = ""
    department: str = ""
    is_primary: StrictBool = False


class CatalogCustomer(Part):
    """A customer by its external id."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "integration_entity_mapping",
            "onboarding_workflow_name",
            "skip_onboarding_workflow",
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
    metadata: MetadataField = Field(default_factory=dict)
    billing_currency: str = ""
    contact_persons: list[CatalogContactPerson] = Field(default_factory=list)
    tax_treatment: str = ""
    tax_rate_overrides: list[CatalogTaxRateOverride] = Field(default_factory=list)


class CatalogLineCommitment(LineItemCommitmentConfig, Part):
    """What one usage line of a subscription promises."""

    LATER: ClassVar[frozenset[str]] = frozenset({"commitment_time_buckets", "is_window_commitment"})


class CatalogSubscription(Part):
    """A subscription of a customer to a plan; a file has no "now", so the start is needed."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            "addons",
            "auto_invoice_threshold",
            "checkout",
            "collection_method",
            "fx_rates",
            "gateway_payment_method_id",
            "include_price_ids",
            "inheritance",
            "line_item_grouping",
            "line_items",
            "override_entitlements",
            "override_line_items",
            "payment_behavior",
            "payment_terms",
            "phases",
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
    trial_period_days: Annotated[IntegerField, Field(ge=0)] | None = None
    # A draft is invoiced once it is activated, by a change of the file.
    subscription_status: Annotated[Literal["active", "draft"], Lower] = "active"
    credit_grants: list[CatalogCreditGrant] = Field(default_factory=list)
    commitment_amount: Promised | None = None
    commitment_duration: Duration | None = None
    overage_factor: Factor = Decimal(1)
    enable_true_up: StrictBool = False
    coupons: list[Name] = Field(default_factory=list)
    subscription_coupons: list[CatalogSubscriptionCoupon] = Field(default_factory=list)
    # None are those of the customer, an empty list is no tax.
    tax_rate_overrides: list[CatalogTaxRateOverride] | None = None
    # By the lookup key of a price of the plan.
    line_item_coupons: dict[str, list[Name]] = Field(default_factory=dict)
    line_item_commitments: dict[str, CatalogLineCommitment] = Field(default_factory=dict)
    metadata: MetadataField = Field(default_factory=dict)


class CatalogTopUp(CatalogTopUpBody):
    """Credits that come into a wallet at an instant; bought ones, unless a reason is given."""

    at: InstantField


class CatalogWallet(WalletRequest, Part):
    """A wallet of a customer, with what comes into it."""

    LATER: ClassVar[frozenset[str]] = frozenset({"auto_topup", "price_unit"})

    # The customer is named, so these are no keys of the file.
    customer_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file
    external_customer_id: ClassVar[Any]  # type: ignore[misc]  # no key of the file

    customer: Name
    top_ups: list[CatalogTopUp] = Field(default_factory=list)


class CatalogFile(Part):
    """The whole file; every section may be absent."""

    LATER: ClassVar[frozenset[str]] = frozenset({"addons", "groups"})

    meters: list[CatalogMeter] = Field(default_factory=list)
    features: list[CatalogFeature] = Field(default_factory=list)
    coupons: list[CatalogCoupon] = Field(default_factory=list)
    taxes: list[CatalogTaxRate] = Field(default_factory=list)
    plans: list[CatalogPlan] = Field(default_factory=list)
    customers: list[CatalogCustomer] = Field(default_factory=list)
    subscriptions: list[CatalogSubscription] = Field(default_factory=list)
    wallets: list[CatalogWallet] = Field(default_factory=list)
    changes: list[CatalogChange] = Field(default_factory=list)


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
    return json.dumps(head | {k: v for k, v in schema.items() if k != "title"}, indent=2) + "\n"
