"""Requests about subscriptions, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.requests.prices import CreatePriceTier, TransformQuantity
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
    InvoiceCadenceWord,
    PaymentBehaviorWord,
    PaymentTermsWord,
    PriceTypeWord,
    PriceUnitTypeWord,
    ProrationBehaviorWord,
    SubscriptionLineItemEntityTypeWord,
    SubscriptionStatusWord,
    SubscriptionTypeWord,
)
from schemas.commitment import LineItemCommitmentConfig
from schemas.coupon import SubscriptionCouponInput
from schemas.doors import DecimalField, InstantField, IntegerField, MetadataField
from schemas.tax import TaxRateOverride


class InlinePrice(ApiRequest):
    """What a request says of: inline price."""

    LATER: ClassVar[Mapping[str, str]] = {"bucket_size": "M2", "price_unit_config": "M2"}

    type: PriceTypeWord
    billing_model: BillingModelWord
    billing_period: BillingPeriodWord
    billing_period_count: IntegerField | None = None
    invoice_cadence: InvoiceCadenceWord | None = None
    price_unit_type: PriceUnitTypeWord | None = None
    amount: DecimalField | None = None
    meter_id: str | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[CreatePriceTier] | None = None
    transform_quantity: TransformQuantity | None = None
    min_quantity: IntegerField | None = None
    trial_period_days: IntegerField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    lookup_key: str | None = None
    display_name: str | None = None
    description: str | None = None
    metadata: MetadataField | None = None
    filter_values: dict[str, list[str]] | None = None


class CreateSubscriptionLineItemRequest(ApiRequest):
    """What a request says of: create subscription line item."""

    LATER: ClassVar[Mapping[str, str]] = {
        "commitment_windowed": "M2",
        "commitment_time_buckets": "M2",
        "subscription_phase_id": "M2",
    }

    price_id: str | None = None
    price: InlinePrice | None = None
    quantity: DecimalField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    display_name: str | None = None
    metadata: MetadataField = {}
    proration_behavior: ProrationBehaviorWord | None = None
    commitment_type: CommitmentTypeWord | None = None
    commitment_amount: DecimalField | None = None
    commitment_quantity: DecimalField | None = None
    commitment_overage_factor: DecimalField | None = None
    commitment_true_up_enabled: StrictBool = False
    commitment_duration: BillingPeriodWord | None = None


class OverrideEntitlementRequest(ApiRequest):
    """What a request says of: override entitlement."""

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


class OverrideLineItemRequest(ApiRequest):
    """What a request says of: override line item."""

    LATER: ClassVar[Mapping[str, str]] = {
        "bucket_size": "M2",
        "price_unit_amount": "M2",
        "price_unit_tiers": "M2",
    }

    price_id: RequiredText
    quantity: DecimalField | None = None
    amount: DecimalField | None = None
    billing_model: BillingModelWord | None = None
    tier_mode: BillingTierWord | None = None
    tiers: list[CreatePriceTier] | None = None
    transform_quantity: TransformQuantity | None = None


class CreateSubscriptionRequest(ApiRequest):
    """What a request says of: create subscription."""

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
    billing_period_count: IntegerField | None = None
    billing_cycle: BillingCycleWord | None = None
    billing_anchor: InstantField | None = None
    start_date: InstantField | None = None
    end_date: InstantField | None = None
    timezone: str | None = None
    lookup_key: str | None = None
    metadata: MetadataField = {}
    subscription_status: SubscriptionStatusWord | None = None
    collection_method: CollectionMethodWord | None = None
    payment_behavior: PaymentBehaviorWord | None = None
    payment_terms: PaymentTermsWord | None = None
    proration_behavior: ProrationBehaviorWord | None = None
    commitment_amount: DecimalField | None = None
    commitment_duration: BillingPeriodWord | None = None
    overage_factor: DecimalField | None = None
    enable_true_up: StrictBool = False
    trial_period_days: IntegerField | None = None
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
    """What a search asks of: subscription."""

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
    """What a request says of: update subscription."""

    LATER: ClassVar[Mapping[str, str]] = {"parent_subscription_id": "M2"}

    status: SubscriptionStatusWord | None = None
    cancel_at: InstantField | None = None
    cancel_at_period_end: StrictBool | None = None


class ActivateDraftSubscriptionRequest(ApiRequest):
    """What a request says of: activate draft subscription."""

    start_date: InstantField


class CancelSubscriptionRequest(ApiRequest):
    """What a request says of: cancel subscription."""

    cancellation_type: CancellationTypeWord
    cancel_at: InstantField | None = None
    cancel_immediately_invoice_policy: CancelImmediatelyInvoicePolicyWord | None = None
    cancel_immediately_inovice_policy: CancelImmediatelyInvoicePolicyWord | None = None
    proration_behavior: ProrationBehaviorWord | None = None
    reason: str | None = None


class GetUsageBySubscriptionRequest(ApiRequest):
    """What a request says of: get usage by subscription."""

    subscription_id: RequiredText
    start_time: InstantField | None = None
    end_time: InstantField | None = None
    lifetime_usage: StrictBool = False


class UpdateSubscriptionLineItemRequest(ApiUpdate):
    """What a request says of: update subscription line item."""

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
    tiers: list[CreatePriceTier] | None = None
    transform_quantity: TransformQuantity | None = None
    effective_from: InstantField | None = None
    metadata: MetadataField | None = None
    commitment_type: CommitmentTypeWord | None = None
    commitment_amount: DecimalField | None = None
    commitment_quantity: DecimalField | None = None
    commitment_overage_factor: DecimalField | None = None
    commitment_true_up_enabled: StrictBool | None = None
    commitment_duration: BillingPeriodWord | None = None


class DeleteSubscriptionLineItemRequest(ApiRequest):
    """What a request says of: delete subscription line item."""

    effective_from: InstantField | None = None
    proration_behavior: ProrationBehaviorWord | None = None


class SubscriptionLineItemFilter(ApiSearch):
    """What a search asks of: subscription line item."""

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
