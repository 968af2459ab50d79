"""Answers about invoices, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.answers.taxes import TaxRateResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import (
    CouponType,
    InvoiceStatus,
    InvoiceType,
    PaymentStatus,
    TaxRateEntityType,
)

if TYPE_CHECKING:
    from schemas.api.answers.events import CommitmentInfo
    from schemas.api.answers.subscriptions import SubscriptionResponse


class CouponApplicationResponse(Record):
    """What a coupon took off an invoice or one of its lines."""

    coupon_id: str
    coupon_association_id: str
    invoice_id: str
    invoice_line_item_id: IfSet[str] = None
    subscription_id: IfSet[str] = None
    discount_type: CouponType
    discount_percentage: IfSet[WireDecimal] = None
    original_price: WireDecimal
    discounted_amount: WireDecimal
    final_price: WireDecimal
    currency: str
    applied_at: WireTime
    coupon_snapshot: IfSet[dict[str, object]] = None
    metadata: IfSet[dict[str, str]] = None


class InvoiceLineItemResponse(Record):
    """A line: what was charged for, and how its amount comes about (`explanation` is ours)."""

    invoice_id: str
    customer_id: str
    subscription_id: IfSet[str] = None
    subscription_line_item_id: IfSet[str] = None
    entity_type: IfSet[str] = None
    entity_id: IfSet[str] = None
    plan_display_name: IfSet[str] = None
    price_id: IfSet[str] = None
    price_type: IfSet[str] = None
    meter_id: IfSet[str] = None
    meter_display_name: IfSet[str] = None
    display_name: str
    quantity: WireDecimal
    adjusted_entitlement_quantity: IfSet[WireDecimal] = None
    amount: WireDecimal
    currency: str
    line_item_discount: WireDecimal
    invoice_level_discount: WireDecimal
    prepaid_credits_applied: WireDecimal
    period_start: IfSet[WireTime] = None
    period_end: IfSet[WireTime] = None
    commitment_info: "IfSet[CommitmentInfo]" = None
    parent_line_item_id: IfSet[str] = None
    price_unit: IfSet[str] = None
    price_unit_id: IfSet[str] = None
    price_unit_amount: IfSet[WireDecimal] = None
    metadata: IfSet[dict[str, str]] = None
    explanation: dict[str, object]


class TaxAppliedResponse(Record):
    """What a tax came to on an invoice."""

    tax_rate_id: str
    tax_rate: TaxRateResponse
    tax_association_id: IfSet[str] = None
    entity_type: TaxRateEntityType
    entity_id: str
    taxable_amount: WireDecimal
    tax_amount: WireDecimal
    currency: str
    applied_at: WireTime
    idempotency_key: IfSet[str] = None
    metadata: IfSet[dict[str, str]] = None


class InvoiceResponse(Record):
    """An invoice, or the preview of one, which is not stored."""

    customer_id: str
    customer: IfSet[CustomerResponse] = None
    subscription_id: IfSet[str] = None
    subscription: "IfSet[SubscriptionResponse]" = None
    subscription_customer_id: IfSet[str] = None
    invoice_type: InvoiceType
    invoice_status: InvoiceStatus
    payment_status: PaymentStatus
    billing_reason: IfSet[str] = None
    billing_period: IfSet[str] = None
    billing_sequence: int
    invoice_number: str | None
    currency: str
    line_items: list[InvoiceLineItemResponse]
    subtotal: WireDecimal
    total_discount: WireDecimal
    total_prepaid_credits_applied: WireDecimal
    total_tax: WireDecimal
    total: WireDecimal
    amount_due: WireDecimal
    amount_paid: WireDecimal
    amount_remaining: WireDecimal
    overpaid_amount: IfSet[WireDecimal] = None
    adjustment_amount: WireDecimal
    refunded_amount: WireDecimal
    coupon_applications: IfSet[list[CouponApplicationResponse]] = None
    taxes: IfSet[list[TaxAppliedResponse]] = None
    period_start: IfSet[WireTime] = None
    period_end: IfSet[WireTime] = None
    issue_date: IfSet[WireTime] = None
    due_date: IfSet[WireTime] = None
    finalized_at: IfSet[WireTime] = None
    paid_at: IfSet[WireTime] = None
    voided_at: IfSet[WireTime] = None
    last_computed_at: IfSet[WireTime] = None
    description: IfSet[str] = None
    idempotency_key: str
    is_manually_edited: bool
    invoice_pdf_url: IfSet[str] = None
    hosted_invoice_url: IfSet[str] = None
    recalculated_invoice_id: IfSet[str] = None
    source_type: IfSet[str] = None
    version: int
    metadata: IfSet[dict[str, str]] = None


class ListInvoicesResponse(ApiAnswer):
    """A page of invoices."""

    items: list[InvoiceResponse]
    pagination: PaginationResponse


class CustomerInvoiceSummary(ApiAnswer):
    """What a customer owes in one currency."""

    customer_id: str
    currency: str
    total_revenue_amount: WireDecimal
    total_unpaid_amount: WireDecimal
    total_overdue_amount: WireDecimal
    total_invoice_count: int
    unpaid_invoice_count: int
    overdue_invoice_count: int
    unpaid_usage_charges: WireDecimal
    unpaid_fixed_charges: WireDecimal


class CustomerMultiCurrencyInvoiceSummary(ApiAnswer):
    """What a customer owes, currency by currency."""

    customer_id: str
    default_currency: str
    summaries: list[CustomerInvoiceSummary]
