"""The amounts of an invoice in their order: lines, discounts, credits, taxes (billing.md 15.1).

What is agreed with a customer comes as `Terms`. Discounts follow from the lines alone; taxes are
computed where credits are, because a setting may put them on what credits leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from billing.invoices.coupons import taking_part as coupons_taking_part
from billing.invoices.discounts import DiscountedLine, GrossLine, discounted
from billing.invoices.taxes import added_tax, included_tax, taxed
from billing.invoices.taxes import taking_part as taxes_taking_part
from schemas.coupon import CouponAttachment, CouponAttachmentId, CouponLevel
from schemas.invoice import CouponApplied, Invoice, InvoiceLine, Role, TaxApplied
from schemas.money import LOSSLESS, total
from schemas.tax import TaxAttachment, TaxBase


@dataclass(frozen=True, slots=True)
class Terms:
    """The coupons and taxes of a subscription, as an invoice of it needs them.

    `applications` tells on how many of its other invoices each coupon took something off.
    """

    coupons: tuple[CouponAttachment, ...] = ()
    taxes: tuple[TaxAttachment, ...] = ()
    applications: Mapping[CouponAttachmentId, int] = field(default_factory=dict)
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS


NO_TERMS = Terms()


def with_terms(invoice: Invoice, terms: Terms) -> Invoice:
    """Return an invoice with its discounts, and with the taxes that take part, not yet computed."""
    coupons = coupons_taking_part(
        terms.coupons, terms.applications, invoice.period, invoice.currency
    )
    taxes = taxes_taking_part(terms.taxes, invoice.dated_at, invoice.currency)
    return replace(
        with_discounts(invoice, coupons),
        taxes=tuple(TaxApplied(each.id, each.rate, each.inclusive) for each in taxes),
        tax_base=terms.tax_base,
    )


def with_discounts(invoice: Invoice, coupons: Sequence[CouponAttachment]) -> Invoice:
    """Return an invoice with what coupons take off its lines, in the order given."""
    if not coupons and not any(line.discounts for line in invoice.lines):
        # Most have none, and their lines are as they came.
        return replace(invoice, total_discount=Decimal(0), coupon_applications=())
    gross = [_gross(line) for line in invoice.lines]
    rest = discounted(gross, coupons, invoice.currency)
    lines = tuple(
        _discounted_line(line, left) for line, left in zip(invoice.lines, rest, strict=True)
    )
    return replace(
        invoice,
        lines=lines,
        total_discount=total(
            LOSSLESS.add(line.line_discount, line.invoice_discount) for line in lines
        ),
        coupon_applications=_applications(lines, coupons),
    )


def taxable(invoice: Invoice, credits_applied: Decimal) -> Decimal:
    """Return what the taxes of an invoice are on, below 0 where the customer is owed something."""
    base = LOSSLESS.subtract(invoice.subtotal, invoice.total_discount)
    if invoice.tax_base is TaxBase.AFTER_CREDITS:
        return LOSSLESS.subtract(base, credits_applied)
    return base


def with_taxes(invoice: Invoice, credits_applied: Decimal) -> Invoice:
    """Return an invoice with its taxes computed, given the credits on its lines."""
    taxes = taxed(invoice.taxes, taxable(invoice, credits_applied), invoice.currency)
    return replace(
        invoice, taxes=taxes, total_tax=added_tax(taxes), included_tax=included_tax(taxes)
    )


def _gross(line: InvoiceLine) -> GrossLine:
    """Return a line before this invoice's coupons: an adjustment has discounts already."""
    kept = tuple(each for each in line.discounts if each.level is CouponLevel.LINE)
    if line.role is not Role.ADJUSTMENT:
        kept = ()
    return GrossLine(line.amount, line.chain_id, line.period, line.role, kept)


def _discounted_line(line: InvoiceLine, left: DiscountedLine) -> InvoiceLine:
    """Return a line with its discounts, and an explanation that tells of them."""
    if not left.discounts and not line.discounts:
        return line
    shown = [
        {
            "coupon_id": each.coupon_id,
            "level": each.level.value,
            "base": f"{each.base:f}",
            "amount": f"{each.amount:f}",
        }
        for each in left.discounts
    ]
    return replace(
        line,
        line_discount=left.off(CouponLevel.LINE),
        invoice_discount=left.off(CouponLevel.INVOICE),
        discounts=left.discounts,
        explanation={**line.explanation, "discounts": shown},
    )


def _applications(
    lines: Sequence[InvoiceLine], coupons: Sequence[CouponAttachment]
) -> tuple[CouponApplied, ...]:
    """Return what each coupon took off: one a line for line coupons, one for an invoice coupon."""
    found = []
    subtotal = total(line.amount for line in lines)
    left = LOSSLESS.subtract(subtotal, total(line.line_discount for line in lines))
    for attachment in coupons:
        parts = [
            (line, part)
            for line in lines
            for part in line.discounts
            # What an adjustment has of a line coupon belongs to the invoice of its original.
            if part.attachment_id == attachment.id
            and not (part.level is CouponLevel.LINE and line.role is Role.ADJUSTMENT)
        ]
        if attachment.level is CouponLevel.LINE:
            found += [
                CouponApplied(attachment.id, attachment.coupon, part.base, part.amount, line.id)
                for line, part in parts
            ]
            continue
        amount = total(part.amount for _, part in parts)
        if amount:
            found.append(CouponApplied(attachment.id, attachment.coupon, left, amount))
        left = LOSSLESS.subtract(left, amount)
    return tuple(found)
