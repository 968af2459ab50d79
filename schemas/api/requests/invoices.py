"""Requests about invoices, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    InvoiceBillingReasonWord,
    InvoiceStatusWord,
    InvoiceTypeWord,
    PaymentStatusWord,
)
from schemas.doors import DecimalField, InstantField, MetadataField
from schemas.tax import TaxRateOverride


class CreateInvoiceLineItemRequest(ApiRequest):
    """What a request says of: create invoice line item."""

    LATER: ClassVar[Mapping[str, str]] = {"price_unit": "M2", "price_unit_amount": "M2"}

    amount: DecimalField
    quantity: DecimalField
    display_name: str | None = None
    price_id: str | None = None
    price_type: str | None = None
    meter_id: str | None = None
    meter_display_name: str | None = None
    plan_id: str | None = None
    plan_display_name: str | None = None
    entity_id: str | None = None
    entity_type: str | None = None
    subscription_id: str | None = None
    subscription_line_item_id: str | None = None
    period_start: InstantField | None = None
    period_end: InstantField | None = None
    metadata: MetadataField = {}
    line_item_discount: DecimalField | None = None
    invoice_level_discount: DecimalField | None = None
    prepaid_credits_applied: DecimalField | None = None
    adjusted_entitlement_quantity: DecimalField | None = None
    commitment_info: dict[str, object] | None = None


class InvoiceCoupon(ApiRequest):
    """What a request says of: invoice coupon."""

    coupon_id: RequiredText
    coupon_association_id: str | None = None


class InvoiceLineItemCoupon(ApiRequest):
    """What a request says of: invoice line item coupon."""

    line_item_id: RequiredText
    coupon_id: RequiredText
    coupon_association_id: str | None = None
    subscription_line_item_id: str | None = None


class CreateInvoiceRequest(ApiRequest):
    """What a request says of: create invoice."""

    LATER: ClassVar[Mapping[str, str]] = {"force_sync_invoice": "M4", "checkout": "M2"}

    customer_id: RequiredText
    currency: RequiredText
    subtotal: DecimalField
    total: DecimalField
    amount_due: DecimalField
    line_items: list[CreateInvoiceLineItemRequest] = []
    invoice_type: InvoiceTypeWord | None = None
    billing_reason: InvoiceBillingReasonWord | None = None
    invoice_status: InvoiceStatusWord | None = None
    payment_status: PaymentStatusWord | None = None
    amount_paid: DecimalField | None = None
    due_date: InstantField | None = None
    issue_date: InstantField | None = None
    period_start: InstantField | None = None
    period_end: InstantField | None = None
    description: str | None = None
    invoice_number: str | None = None
    idempotency_key: str | None = None
    coupons: list[str] = []
    invoice_coupons: list[InvoiceCoupon] = []
    line_item_coupons: list[InvoiceLineItemCoupon] = []
    tax_rates: list[str] = []
    tax_rate_overrides: list[TaxRateOverride] | None = None
    subscription_id: str | None = None
    billing_period: str | None = None
    metadata: MetadataField = {}
    invoice_pdf_url: str | None = None
    total_prepaid_applied: DecimalField | None = None


class GetPreviewInvoiceRequest(ApiRequest):
    """What a request says of: get preview invoice."""

    subscription_id: RequiredText
    period_start: InstantField | None = None
    period_end: InstantField | None = None
    hide_zero_charges_line_items: StrictBool = False


class InvoiceFilter(ApiSearch):
    """What a search asks of: invoice."""

    invoice_ids: list[str] | None = None
    customer_id: str | None = None
    external_customer_id: str | None = None
    subscription_id: str | None = None
    subscription_customer_id: list[str] | None = None
    invoice_type: InvoiceTypeWord | None = None
    invoice_status: list[InvoiceStatusWord] | None = None
    payment_status: list[PaymentStatusWord] | None = None
    billing_reason: InvoiceBillingReasonWord | None = None
    currency: str | None = None
    amount_due_gt: DecimalField | None = None
    amount_remaining_gt: DecimalField | None = None
    period_start_gte: InstantField | None = None
    period_start_lte: InstantField | None = None
    period_end_gte: InstantField | None = None
    period_end_lte: InstantField | None = None
    finalized_at_gte: InstantField | None = None
    voided_at_gte: InstantField | None = None
    skip_line_items: StrictBool | None = None


class UpdateInvoiceRequest(ApiUpdate):
    """What a request says of: update invoice."""

    LATER: ClassVar[Mapping[str, str]] = {"apply_discount": "M2"}

    due_date: InstantField | None = None
    invoice_pdf_url: str | None = None
    metadata: MetadataField | None = None


class UpdatePaymentStatusRequest(ApiUpdate):
    """What a request says of: update payment status."""

    payment_status: PaymentStatusWord
    amount: DecimalField | None = None
