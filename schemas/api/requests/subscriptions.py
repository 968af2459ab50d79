"""Requests about subscriptions, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from schemas.api.fields import word_of
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    BillingCadenceWord,
    BillingCycleWord,
    BillingModelWord,
    BillingPeriodWord,
    BillingTierWord,
    CancelImmediatelyInvoicePolicyWord,
    CancellationTypeWord,
    CollectionMethodWord,
    CommitmentTypeWord,
    EntitlementAggregationModeWord,
    EntitlementGrantAllocationBehaviorWord,
    EntitlementGrantDurationUnitWord,
    EntitlementGrantMeasureWord,
    PaymentBehaviorWord,
    PaymentTermsWord,
    ProrationBehaviorWord,
    SubscriptionLineItemEntityTypeWord,
    SubscriptionStatusWord,
    SubscriptionTypeWord,
)
from schemas.commitment import Factor, LineItemCommitmentConfig, Promised
from schemas.coupon import SubscriptionCouponInput
from schemas.doors import DecimalField, InstantField, IntegerField, MetadataField
from schemas.errors import NotBuiltYet
from schemas.price_request import PriceRequest, TierRequest, TransformQuantityRequest
from schemas.tax import TaxRateOverride

LIMIT = "usage_limit"

Quantity = Annotated[DecimalField, Field(ge=0)]
Days = Annotated[IntegerField, Field(ge=0)]
CreatedStatusWord = Annotated[
    Literal["active", "draft"], BeforeValidator(word_of(["active", "draft"], cased=str.lower))
]


class InlinePrice(PriceRequest):
    """A price made for one line of one subscription, whose currency and owner it gets."""

    LATER: ClassVar[Mapping[str, str]] = {"bucket_size": "M2", "price_unit_config": "M2"}

    entity_type: ClassVar[Any]  # type: ignore[misc]  # it belongs to its subscription
    entity_id: ClassVar[Any]  # type: ignore[misc]  # likewise
    plan_id: ClassVar[Any]  # type: ignore[misc]  # likewise
    currency: ClassVar[Any]  # type: ignore[misc]  # its subscription's

    @model_validator(mode="before")
    @classmethod
    def _refuse_later(cls, body: Any) -> Any:
        """Refuse what is not built yet."""
        for name, milestone in cls.LATER.items():
            if isinstance(body, Mapping) and body.get(name):
                raise NotBuiltYet(f"{name} belongs to {milestone}: not built yet", field=name)
        return body


class CreateSubscriptionLineItemRequest(ApiRequest):
    """A line that a subscription gets beside those of its plan; `price_id` or `price` says for what."""

    LATER: ClassVar[Mapping[str, str]] = {
        "commitment_windowed": "M2",
        "commitment_time_buckets": "M2",
        "subscription_phase_id": "M2",
    }

    price_id: str | None = None
    price: InlinePrice | None = None
    quantity: Quantity | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    display_name: str | None = None
    metadata: MetadataField = {}
    proration_behavior: ProrationBehaviorWord | None = None
    commitment_type: CommitmentTypeWord | None = None
    commitment_amount: Promised | None = None
    commitment_quantity: Promised | None = None
    commitment_overage_factor: Factor | None = None
    commitment_true_up_enabled: StrictBool = False
    commitment_duration: BillingPeriodWord | None = None


class OverrideEntitlementRequest(ApiRequest):
    """Terms of its own for one entitlement of the plan; null as the limit is no limit."""

    entitlement_id: RequiredText
    usage_limit: IntegerField | None = None
    is_enabled: StrictBool | None = None
    static_value: str | None = None
    config_value: dict[str, object] | None = None
    grant_measure: EntitlementGrantMeasureWord | None = None
    grant_quota: DecimalField | None = None
    grant_duration_value: IntegerField | None = None
    grant_duration_unit: EntitlementGrantDurationUnitWord | None = None
    grant_allocation_behavior: EntitlementGrantAllocationBehaviorWord | None = None
    aggregation_mode: EntitlementAggregationModeWord | None = None
    grant_unlimited: StrictBool | None = None

    @classmethod
    def prepared(cls, body: object) -> object:
        """Return the members that are given; null is one where it says that there is no limit."""
        kept = super().prepared(body)
        if isinstance(body, Mapping) and isinstance(kept, dict) and LIMIT in body:
            kept[LIMIT] = body[LIMIT]
        return kept


class OverrideLineItemRequest(ApiRequest):
    """Money terms or a quantity of its own for the line of one price of the plan."""

    LATER: ClassVar[Mapping[str, str]] = {
        "bucket_size": "M2",
        "price_unit_amount": "M2",
        "price_unit_tiers": "M2",
    }

    price_id: RequiredText
    quantity: Quantity | None = None
    amount: DecimalField | None = None
    billing_model: BillingModelWord | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[TierRequest] | None = None
    transform_quantity: TransformQuantityRequest | None = None


class CreateSubscriptionRequest(ApiRequest):
    """A customer subscribes to a plan, with everything that differs from what the plan says."""

    LATER: ClassVar[Mapping[str, str]] = {
        "auto_invoice_threshold": "M2",
        "gateway_payment_method_id": "M4",
        "credit_grants": "M2",
        "addons": "M2",
        "phases": "M2",
        "inheritance": "M2",
        "fx_rates": "M2",
        "checkout": "M2",
    }

    plan_id: RequiredText
    customer_id: str | None = None
    external_customer_id: str | None = None
    currency: RequiredText
    billing_period: BillingPeriodWord | None = None
    billing_period_count: Days | None = None
    billing_cycle: BillingCycleWord | None = None
    billing_anchor: InstantField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    timezone: str | None = None
    lookup_key: str | None = None
    metadata: MetadataField = {}
    subscription_status: CreatedStatusWord | None = None
    collection_method: CollectionMethodWord | None = None
    payment_behavior: PaymentBehaviorWord | None = None
    payment_terms: PaymentTermsWord | None = None
    proration_behavior: ProrationBehaviorWord | None = None
    commitment_amount: Promised | None = None
    commitment_duration: BillingPeriodWord | None = None
    overage_factor: Factor | None = None
    enable_true_up: StrictBool = False
    trial_period_days: Days | None = None
    override_line_items: list[OverrideLineItemRequest] = []
    override_entitlements: list[OverrideEntitlementRequest] = []
    line_items: list[CreateSubscriptionLineItemRequest] = []
    line_item_commitments: dict[str, LineItemCommitmentConfig] = {}
    coupons: list[str] = []
    line_item_coupons: dict[str, list[str]] = {}
    subscription_coupons: list[SubscriptionCouponInput] = []
    tax_rate_overrides: list[TaxRateOverride] | None = None
    include_price_ids: list[str] | None = None
    line_item_grouping: str | None = None


class SubscriptionFilter(ApiSearch):
    """Which subscriptions are asked for; without a status those of all."""

    subscription_ids: list[str] | None = None
    customer_id: str | None = None
    customer_ids: list[str] | None = None
    external_customer_id: str | None = None
    invoicing_customer_ids: list[str] | None = None
    parent_subscription_ids: list[str] | None = None
    plan_id: str | None = None
    subscription_status: list[SubscriptionStatusWord] | None = None
    subscription_type: list[SubscriptionTypeWord] | None = None
    billing_cadence: list[BillingCadenceWord] | None = None
    billing_period: list[BillingPeriodWord] | None = None
    active_at: InstantField | None = None
    effective_date_for_update: InstantField | None = None
    trial_end_due_lte: InstantField | None = None
    with_line_items: StrictBool | None = None
    with_coupon_associations: StrictBool | None = None


class UpdateSubscriptionRequest(ApiUpdate):
    """Plan or drop a cancellation; a status only where that is a lawful next step."""

    LATER: ClassVar[Mapping[str, str]] = {"parent_subscription_id": "M2"}

    status: SubscriptionStatusWord | None = None
    cancel_at: InstantField | None = None
    cancel_at_period_end: StrictBool | None = None


class ActivateDraftSubscriptionRequest(ApiRequest):
    """When a draft begins."""

    start_date: InstantField


class CancelSubscriptionRequest(ApiRequest):
    """When to cancel, and what becomes of what is open; an older spelling of the policy is read too."""

    cancellation_type: CancellationTypeWord
    cancel_at: InstantField | None = None
    cancel_immediately_invoice_policy: CancelImmediatelyInvoicePolicyWord | None = None
    cancel_immediately_inovice_policy: CancelImmediatelyInvoicePolicyWord | None = None
    proration_behavior: ProrationBehaviorWord | None = None
    reason: str | None = None


class GetUsageBySubscriptionRequest(ApiRequest):
    """Whose usage, over which time; without times that of the current period."""

    subscription_id: RequiredText
    start_time: InstantField | None = None
    end_time: InstantField | None = None
    lifetime_usage: StrictBool = False


class UpdateSubscriptionLineItemRequest(ApiUpdate):
    """Other money terms from an instant on; metadata and commitment change in place."""

    LATER: ClassVar[Mapping[str, str]] = {
        "commitment_windowed": "M2",
        "commitment_time_buckets": "M2",
        "bucket_size": "M2",
        "price_unit_amount": "M2",
        "price_unit_tiers": "M2",
    }

    amount: DecimalField | None = None
    billing_model: BillingModelWord | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[TierRequest] | None = None
    transform_quantity: TransformQuantityRequest | None = None
    effective_from: InstantField | None = None
    metadata: MetadataField | None = None
    commitment_type: CommitmentTypeWord | None = None
    commitment_amount: Promised | None = None
    commitment_quantity: Promised | None = None
    commitment_overage_factor: Factor | None = None
    commitment_true_up_enabled: StrictBool | None = None
    commitment_duration: BillingPeriodWord | None = None


class DeleteSubscriptionLineItemRequest(ApiRequest):
    """When a line ends, and whether what was paid for the rest is given back."""

    effective_from: InstantField | None = None
    proration_behavior: ProrationBehaviorWord | None = None


class SubscriptionLineItemFilter(ApiSearch):
    """Which lines are asked for: those active now, unless it says otherwise."""

    subscription_line_item_ids: list[str] | None = None
    subscription_ids: list[str] | None = None
    customer_ids: list[str] | None = None
    price_ids: list[str] | None = None
    meter_ids: list[str] | None = None
    entity_ids: list[str] | None = None
    entity_type: SubscriptionLineItemEntityTypeWord | None = None
    addon_association_ids: list[str] | None = None
    currencies: list[str] | None = None
    billing_periods: list[str] | None = None
    active_filter: StrictBool | None = None
    current_period_start: InstantField | None = None


class EntitledQuery(BaseModel):
    """Which features of which subscriptions are shown; nothing said is all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feature_ids: list[str] = []
    subscription_ids: list[str] = []


class CustomerUsageQuery(EntitledQuery):
    """Whose usage is shown, by either name, and of which features and subscriptions."""

    customer_id: str | None = None
    customer_lookup_key: str | None = None
    feature_lookup_keys: list[str] = []
