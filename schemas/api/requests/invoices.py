"""Requests about invoices, with the fields of api-fields.md."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictBool

from schemas.api.fields import word_of
from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    InvoiceBillingReasonWord,
    InvoiceStatusWord,
    InvoiceTypeWord,
    PaymentStatusWord,
    PriceTypeWord,
)
from schemas.doors import (
    DecimalField,
    InstantField,
    MetadataField,
    read_decimal,
    read_instant,
    read_metadata,
)
from schemas.tax import TaxRateOverride

# What a new invoice can be: it is void or skipped only by what happens to it later.
NEW_STATUSES = ("DRAFT", "FINALIZED")
# What can be said of the payment of a new invoice.
NEW_PAYMENT_STATUSES = ("PENDING", "SUCCEEDED", "OVERPAID", "FAILED")


def _instant_or_none(value: object) -> object:
    """Return an instant; null leaves what is there, and the empty text is none (api.md 1.5)."""
    return None if value is None else read_instant(value)


class CreateInvoiceLineItemRequest(ApiRequest):
    """A line of a one-off invoice; what the server works out itself is taken and not read."""

    LATER: ClassVar[Mapping[str, str]] = {"price_unit": "M2", "price_unit_amount": "M2"}

    amount: DecimalField
    quantity: DecimalField
    display_name: str = ""
    price_id: str | None = None
    price_type: PriceTypeWord | None = None
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
    """A coupon for the whole of a one-off invoice."""

    coupon_id: RequiredText
    coupon_association_id: str | None = None


class InvoiceLineItemCoupon(ApiRequest):
    """A coupon for the lines of one price, which `line_item_id` names."""

    line_item_id: RequiredText
    coupon_id: RequiredText
    coupon_association_id: str | None = None
    subscription_line_item_id: str | None = None


class CreateInvoiceRequest(ApiRequest):
    """A one-off invoice: its lines, what they sum to, and what is taken off and added."""

    LATER: ClassVar[Mapping[str, str]] = {"force_sync_invoice": "M4", "checkout": "M2"}

    customer_id: RequiredText
    currency: RequiredText
    subtotal: DecimalField
    total: DecimalField
    amount_due: DecimalField
    line_items: list[CreateInvoiceLineItemRequest] = []
    invoice_type: InvoiceTypeWord = "ONE_OFF"
    billing_reason: InvoiceBillingReasonWord = "MANUAL"
    invoice_status: Annotated[str, BeforeValidator(word_of(NEW_STATUSES, cased=str.upper))] = (
        "FINALIZED"
    )
    payment_status: Annotated[
        str | None, BeforeValidator(word_of(NEW_PAYMENT_STATUSES, cased=str.upper))
    ] = None
    amount_paid: Annotated[Decimal | None, BeforeValidator(read_decimal), Field(ge=0)] = None
    due_date: InstantField | None = None
    issue_date: InstantField | None = None
    period_start: InstantField | None = None
    period_end: InstantField | None = None
    description: str = ""
    invoice_number: Annotated[str, Field(max_length=255)] | None = None
    idempotency_key: Annotated[str, Field(max_length=255)] | None = None
    coupons: list[str] = []
    invoice_coupons: list[InvoiceCoupon] = []
    line_item_coupons: list[InvoiceLineItemCoupon] = []
    tax_rates: list[str] = []
    tax_rate_overrides: list[TaxRateOverride] | None = None
    subscription_id: str | None = None
    billing_period: str | None = None
    metadata: MetadataField = {}
    invoice_pdf_url: str = ""
    total_prepaid_applied: DecimalField | None = None


class GetPreviewInvoiceRequest(ApiRequest):
    """Which subscription's invoice to show, as it would be now."""

    subscription_id: RequiredText
    period_start: InstantField | None = None
    period_end: InstantField | None = None
    hide_zero_charges_line_items: StrictBool = False


class InvoiceFilter(ApiSearch):
    """Which invoices to search for; those that were skipped are found only when asked for."""

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


class InvoiceQuery(ApiRequest):
    """What a read of one invoice may be asked to show beside it."""

    LATER: ClassVar[Mapping[str, str]] = {"group_by": "M2"}

    expand: str | list[str] | None = None
    expand_by_source: Annotated[
        str | None, BeforeValidator(word_of(("true", "false"), cased=str.lower))
    ] = None
    group_by: str | list[str] | None = None


class UpdateInvoiceRequest(ApiUpdate):
    """What is to be changed of an invoice: only what is there; "" clears the link."""

    LATER: ClassVar[Mapping[str, str]] = {"apply_discount": "M2"}

    due_date: Annotated[InstantField | None, BeforeValidator(_instant_or_none)] = None
    invoice_pdf_url: str | None = None
    metadata: Annotated[dict[str, str] | None, BeforeValidator(read_metadata)] = None
