"""Answers about subscriptions, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.coupons import CouponAssociationResponse
from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.invoices import InvoiceResponse
from schemas.api.answers.meters import MeterResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.answers.plans import PlanResponse
from schemas.api.answers.prices import Price, PriceResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import (
    BillingCadence,
    BillingCycle,
    BillingPeriod,
    CancellationType,
    CommitmentType,
    InvoiceCadence,
    PauseStatus,
    PaymentTerms,
    PriceType,
    ProrationBehavior,
    SubscriptionLineItemEntityType,
    SubscriptionStatus,
    SubscriptionType,
)

if TYPE_CHECKING:
    from schemas.api.answers.effective_entitlements import AggregatedFeature


class SubscriptionLineItem(Record):
    """A line as it stands inside its subscription."""

    subscription_id: str
    customer_id: str
    entity_type: SubscriptionLineItemEntityType
    entity_id: str
    plan_display_name: IfSet[str] = None
    price_id: str
    price: IfSet[Price] = None
    price_type: PriceType
    meter_id: IfSet[str] = None
    meter: IfSet[MeterResponse] = None
    meter_display_name: IfSet[str] = None
    display_name: str
    quantity: WireDecimal
    currency: str
    billing_period: BillingPeriod
    billing_period_count: int
    invoice_cadence: InvoiceCadence
    start_date: WireTime
    end_date: IfSet[WireTime] = None
    commitment_type: IfSet[CommitmentType] = None
    commitment_amount: IfSet[WireDecimal] = None
    commitment_quantity: IfSet[WireDecimal] = None
    commitment_overage_factor: IfSet[WireDecimal] = None
    commitment_true_up_enabled: bool
    commitment_windowed: bool
    commitment_duration: IfSet[BillingPeriod] = None
    price_unit: str
    price_unit_id: str
    metadata: IfSet[dict[str, str]] = None


class SubscriptionResponse(Record):
    """A subscription; `warnings` (ours) are words for what is accepted and may surprise."""

    lookup_key: IfSet[str] = None
    customer_id: str
    customer: IfSet[CustomerResponse] = None
    invoicing_customer_id: IfSet[str] = None
    plan_id: str
    plan: IfSet[PlanResponse] = None
    subscription_status: SubscriptionStatus
    subscription_type: SubscriptionType
    currency: str
    billing_cadence: BillingCadence
    billing_period: BillingPeriod
    billing_period_count: int
    billing_cycle: BillingCycle
    billing_anchor: WireTime
    start_date: WireTime
    end_date: IfSet[WireTime] = None
    current_period_start: WireTime
    current_period_end: WireTime
    cancel_at: WireTime | None
    cancel_at_period_end: bool
    cancelled_at: IfSet[WireTime] = None
    trial_start: WireTime | None
    trial_end: WireTime | None
    timezone: str
    collection_method: str
    payment_behavior: str
    payment_terms: IfSet[PaymentTerms] = None
    proration_behavior: ProrationBehavior
    commitment_amount: IfSet[WireDecimal] = None
    commitment_duration: IfSet[BillingPeriod] = None
    overage_factor: IfSet[WireDecimal] = None
    enable_true_up: bool
    auto_invoice_threshold: IfSet[WireDecimal] = None
    pause_status: PauseStatus
    parent_subscription_id: IfSet[str] = None
    line_items: IfSet[list[SubscriptionLineItem]] = None
    coupon_associations: IfSet[list[CouponAssociationResponse]] = None
    entitlements: "IfSet[list[AggregatedFeature]]" = None
    latest_invoice: IfSet[InvoiceResponse] = None
    synced_price_sequence: IfSet[int] = None
    line_item_grouping: IfSet[str] = None
    version: int
    metadata: IfSet[dict[str, str]] = None
    warnings: IfSet[list[str]] = None


class SubscriptionLineItemResponse(SubscriptionLineItem):
    """A line as its own routes show it, with the whole of its price."""

    price: IfSet[PriceResponse] = None


class ListSubscriptionsResponse(ApiAnswer):
    """A page of subscriptions."""

    items: list[SubscriptionResponse]
    pagination: PaginationResponse


class ProrationDetail(ApiAnswer):
    """What a cancellation gives back, or charges, for the rest of a period of a line."""

    line_item_id: str
    price_id: str
    plan_name: IfSet[str] = None
    description: IfSet[str] = None
    original_amount: WireDecimal
    credit_amount: WireDecimal
    charge_amount: WireDecimal
    proration_days: int


class CancelSubscriptionResponse(ApiAnswer):
    """What a cancellation did, or planned, with its final invoice if one was made."""

    subscription_id: str
    status: SubscriptionStatus
    cancellation_type: CancellationType
    effective_date: WireTime
    processed_at: WireTime
    message: str
    reason: IfSet[str] = None
    proration_details: list[ProrationDetail]
    total_credit_amount: WireDecimal
    proration_invoice: IfSet[InvoiceResponse] = None


class ListSubscriptionLineItemsResponse(ApiAnswer):
    """A page of lines."""

    items: list[SubscriptionLineItemResponse]
    pagination: PaginationResponse
