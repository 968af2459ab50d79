"""Invoices as the wire shows them: from the record, and what is known of what it names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.api.environment import Environment
from billing.api.tax_answers import rate_answer
from schemas.api.answers.customers import CustomerResponse
from schemas.api.answers.invoices import InvoiceResponse
from schemas.api.answers.subscriptions import SubscriptionResponse
from schemas.coupon import Coupon, CouponType
from schemas.decimals import plain
from schemas.ids import derived
from schemas.invoice import (
    CouponApplied,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    InvoiceType,
    TaxApplied,
)
from schemas.money import LOSSLESS, total
from schemas.scope import Scope
from schemas.stored import Status, Stored
from schemas.subscription import Subscription, SubscriptionLine
from schemas.tax import TaxRate

Members = dict[str, Any]

CUSTOMER = "customer"
SUBSCRIPTION = "subscription"
EXPANDS = frozenset({CUSTOMER, SUBSCRIPTION, "coupon_applications", "tax_applied"})


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the records of some invoices.

    `sequences` say which invoice of its subscription each is. `customers` and `shown_subscriptions`
    hold those that are to be shown whole.
    """

    scope: Scope
    subscriptions: Mapping[str, Subscription] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    plan_names: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, Stored[TaxRate]] = field(default_factory=dict)
    customers: Mapping[str, CustomerResponse] = field(default_factory=dict)
    shown_subscriptions: Mapping[str, SubscriptionResponse] = field(default_factory=dict)
    with_lines: bool = True


def plans_of(subscriptions: Iterable[Subscription]) -> set[str]:
    """Return the plans that subscriptions and the prices of their lines name."""
    found: set[str] = set()
    for subscription in subscriptions:
        found |= {line.price.entity_id for line in subscription.lines}
        if subscription.plan_id:
            found.add(subscription.plan_id)
    return found - {""}


def known_of(
    environment: Environment, scope: Scope, invoices: Sequence[Invoice], *, with_lines: bool = True
) -> Beside:
    """Return what stands beside some invoices, read kind by kind. Raises StoreError."""
    reader, objects = environment.reader, environment.objects
    names = {each.subscription_id for each in invoices if each.subscription_id is not None}
    subscriptions = reader.subscriptions_by_id(names) if names else {}
    plans = objects.plans.those(plans_of(subscriptions.values())) if with_lines else {}
    rates = {tax.rate.id for each in invoices for tax in each.taxes}
    return Beside(
        scope,
        subscriptions,
        reader.sequences_of([each.id for each in invoices]) if names else {},
        {name: each.record.name for name, each in plans.items()},
        objects.tax_rates.those(rates) if rates else {},
        with_lines=with_lines,
    )


def invoice_answer(invoice: Invoice, beside: Beside) -> InvoiceResponse:
    """Return an invoice as it is read and found."""
    members = _amounts(invoice) | {
        **_record(invoice.id, beside.scope, invoice.created_at, _changed_at(invoice)),
        **_parties(invoice, beside),
        "invoice_type": invoice.invoice_type.value,
        "invoice_status": invoice.status.value,
        "payment_status": invoice.payment_status.value,
        "billing_reason": invoice.billing_reason.value,
        "invoice_number": None if _is_draft(invoice) else invoice.invoice_number,
        "currency": invoice.currency,
        "line_items": [_line(invoice, line, beside) for line in _lines(invoice, beside)],
        "coupon_applications": [
            _coupon_application(invoice, each, beside.scope) for each in invoice.coupon_applications
        ],
        "taxes": [_tax(invoice, each, beside) for each in invoice.taxes],
        "period_start": invoice.period.start,
        "period_end": invoice.period.end,
        "issue_date": invoice.dated_at,
        "due_date": invoice.due_date,
        "finalized_at": invoice.finalized_at,
        "paid_at": invoice.paid_at,
        "voided_at": invoice.voided_at,
        "last_computed_at": invoice.computed_at,
        "description": invoice.description or None,
        "idempotency_key": invoice.idempotency_key or "",
        "is_manually_edited": False,
        "invoice_pdf_url": invoice.pdf_url or None,
        "version": invoice.version,
        "metadata": dict(invoice.metadata),
    }
    return InvoiceResponse.model_validate(members)


def preview_answer(
    preview: Invoice, beside: Beside, sequence: int, *, without_zeros: bool = False
) -> InvoiceResponse:
    """Return a preview: it has no id and no instants of its own, so that two in a row are the same."""
    shown = invoice_answer(preview, beside)
    lines = [
        line.model_copy(update={"invoice_id": "", "created_at": None, "updated_at": None})
        for line in shown.line_items
        if line.amount or not without_zeros
    ]
    return shown.model_copy(
        update={
            "id": "",
            "created_at": None,
            "updated_at": None,
            "last_computed_at": None,
            "billing_sequence": sequence,
            "line_items": lines,
        }
    )


def _lines(invoice: Invoice, beside: Beside) -> Sequence[InvoiceLine]:
    return invoice.lines if beside.with_lines else ()


def _is_draft(invoice: Invoice) -> bool:
    return invoice.status is InvoiceStatus.DRAFT


def _is_preview(invoice: Invoice) -> bool:
    return invoice.kind is InvoiceKind.PREVIEW


def _record(
    name: str, scope: Scope, created_at: datetime | None, updated_at: datetime | None
) -> Members:
    """Return what a record says of itself, where it is not one of the object stores."""
    return {
        "id": name,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": Status.PUBLISHED.value,
        "created_at": created_at,
        "updated_at": updated_at,
        "created_by": "",
        "updated_by": "",
    }


def _changed_at(invoice: Invoice) -> datetime | None:
    """Return the last instant at which an invoice is known to have changed."""
    known = (
        invoice.created_at,
        invoice.computed_at,
        invoice.edited_at,
        invoice.finalized_at,
        invoice.paid_at,
        invoice.voided_at,
    )
    return max((each for each in known if each is not None), default=None)


def _parties(invoice: Invoice, beside: Beside) -> Members:
    """Return who is invoiced, and for what."""
    subscription = beside.subscriptions.get(invoice.subscription_id or "")
    other = subscription is not None and subscription.customer_id != invoice.customer_id
    of_period = subscription is not None and invoice.invoice_type is InvoiceType.SUBSCRIPTION
    return {
        "customer_id": invoice.customer_id,
        "customer": beside.customers.get(invoice.customer_id),
        "subscription_id": invoice.subscription_id,
        "subscription": beside.shown_subscriptions.get(invoice.subscription_id or ""),
        "subscription_customer_id": subscription.customer_id if subscription and other else None,
        "billing_period": subscription.billing_period.value if subscription and of_period else None,
        "billing_sequence": 0 if not of_period else beside.sequences.get(invoice.id, 0),
    }


def _amounts(invoice: Invoice) -> Members:
    """Return the amounts of an invoice."""
    due = LOSSLESS.subtract(invoice.total, invoice.adjustment_amount)
    over = LOSSLESS.subtract(invoice.amount_paid, due)
    return {
        "subtotal": invoice.subtotal,
        "total_discount": invoice.total_discount,
        "total_prepaid_credits_applied": invoice.total_prepaid_credits_applied,
        "total_tax": invoice.total_tax,
        "total": invoice.total,
        "amount_due": due,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": invoice.amount_remaining,
        "overpaid_amount": over if over > 0 else None,
        "adjustment_amount": invoice.adjustment_amount,
        "refunded_amount": invoice.refunded_amount,
    }


def _line(invoice: Invoice, line: InvoiceLine, beside: Beside) -> Members:
    """Return a line, with the names of what it charges for."""
    subscription = beside.subscriptions.get(invoice.subscription_id or "")
    item = _item(subscription, line)
    price, meter = (item.price, item.meter) if item else (None, None)
    owner = price.entity_id if price else ""
    plan = beside.plan_names.get(owner or (subscription.plan_id or "" if subscription else ""))
    metered = meter is not None and line.meter_id == meter.id
    return {
        **_record(line.id, beside.scope, invoice.created_at, _changed_at(invoice)),
        "invoice_id": invoice.id,
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "subscription_line_item_id": line.subscription_line_id,
        "entity_type": price.entity_type.value if price and owner else None,
        "entity_id": owner or None,
        "plan_display_name": plan,
        "price_id": line.price_id,
        "price_type": line.price_type.value,
        "meter_id": line.meter_id,
        "meter_display_name": meter.name if meter and metered else None,
        "display_name": line.display_name,
        "quantity": line.quantity,
        "adjusted_entitlement_quantity": line.covered_quantity or None,
        "amount": line.amount,
        "currency": invoice.currency,
        "line_item_discount": line.line_discount,
        "invoice_level_discount": line.invoice_discount,
        "prepaid_credits_applied": total(each.amount for each in line.credits),
        "period_start": line.period.start,
        "period_end": line.period.end,
        "commitment_info": _commitment(line.explanation.get("commitment")),
        "metadata": dict(line.metadata),
        "explanation": dict(line.explanation),
    }


def _item(subscription: Subscription | None, line: InvoiceLine) -> SubscriptionLine | None:
    """Return the line of a subscription that an invoice line charges."""
    lines = subscription.lines if subscription else ()
    return next((each for each in lines if each.id == line.subscription_line_id), None)


def _commitment(told: object) -> Members | None:
    """Return how a line stands to a commitment, as its explanation has it."""
    if not isinstance(told, Mapping):
        return None
    of_quantity = told["type"] == "quantity"
    return {
        "type": told["type"],
        "amount": Decimal(told["prorated"]),
        "quantity": Decimal(told["value"]) if of_quantity else None,
        "overage_factor": Decimal(told["overage_factor"]),
        "true_up_enabled": told["true_up_enabled"],
        "is_windowed": False,
        "computed_commitment_utilized_amount": Decimal(told["within"]),
        "computed_overage_amount": Decimal(told["overage"]),
        "computed_true_up_amount": Decimal(told["true_up"]),
    }


def _applied_at(invoice: Invoice) -> datetime:
    """Return when discounts and taxes were applied; on a preview, when they will be."""
    if _is_preview(invoice):
        return invoice.dated_at
    return invoice.finalized_at or invoice.computed_at or invoice.dated_at


def _coupon_application(invoice: Invoice, applied: CouponApplied, scope: Scope) -> Members:
    """Return what a coupon took off."""
    coupon, at = applied.coupon, _applied_at(invoice)
    name = derived("coupon_app", invoice.id, applied.attachment_id, applied.line_id)
    is_part = coupon.type is CouponType.PERCENTAGE
    return {
        **_record(name, scope, at, at),
        "coupon_id": coupon.id,
        "coupon_association_id": applied.attachment_id if invoice.subscription_id else "",
        "invoice_id": "" if _is_preview(invoice) else invoice.id,
        "invoice_line_item_id": applied.line_id,
        "subscription_id": invoice.subscription_id,
        "discount_type": coupon.type.value,
        "discount_percentage": coupon.value if is_part else None,
        "original_price": applied.original_price,
        "discounted_amount": applied.discounted_amount,
        "final_price": LOSSLESS.subtract(applied.original_price, applied.discounted_amount),
        "currency": invoice.currency,
        "applied_at": at,
        "coupon_snapshot": _snapshot(coupon),
    }


def _snapshot(coupon: Coupon) -> Members:
    """Return a coupon as it was when it was granted."""
    worth = "percentage_off" if coupon.type is CouponType.PERCENTAGE else "amount_off"
    return {
        "id": coupon.id,
        "name": coupon.name,
        "coupon_code": coupon.coupon_code,
        "type": coupon.type.value,
        "cadence": coupon.cadence.value,
        worth: plain(coupon.value),
        "currency": coupon.currency,
    }


def _tax(invoice: Invoice, applied: TaxApplied, beside: Beside) -> Members:
    """Return what a tax came to, with its rate as it was then."""
    at = _applied_at(invoice)
    name = derived("taxapp", invoice.id, applied.attachment_id)
    life = beside.rates.get(applied.rate.id) or Stored(applied.rate, at, at)
    return {
        **_record(name, beside.scope, at, at),
        "tax_rate_id": applied.rate.id,
        "tax_rate": rate_answer(replace(life, record=applied.rate), beside.scope),
        "tax_association_id": applied.attachment_id,
        "entity_type": "invoice",
        "entity_id": "" if _is_preview(invoice) else invoice.id,
        "taxable_amount": applied.taxable_amount,
        "tax_amount": applied.tax_amount,
        "currency": invoice.currency,
        "applied_at": at,
    }
