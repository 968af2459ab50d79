"""Taxes: which rates take part in an invoice, and what each comes to (billing.md 14).

Every rate is on the same base and rounded by itself; nothing compounds. Inclusive rates are a part
of the base, exclusive ones are added and are on what the inclusive ones leave.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from schemas.invoice import TaxApplied
from schemas.money import LOSSLESS, settle, total
from schemas.tax import TaxAttachment, TaxRateStatus, TaxRateType

ZERO = Decimal(0)


def agreed(
    overrides: Sequence[TaxAttachment] | None, inherited: Sequence[TaxAttachment]
) -> tuple[TaxAttachment, ...]:
    """Return the taxes of a new subscription: its own, where any are given, else the inherited.

    An empty list of its own means none. Source: billing.md 14.

    >>> agreed(None, ()), agreed([], ())
    ((), ())
    """
    return tuple(inherited if overrides is None else overrides)


def taking_part(
    attachments: Iterable[TaxAttachment],
    invoice_date: datetime,
    currency: str,
    *,
    named: Sequence[str] = (),
) -> tuple[TaxAttachment, ...]:
    """Return the attachments that take part in an invoice, by (priority, id of the rate).

    Those valid at its date and in its currency, of active rates, that apply by themselves or whose
    rate is `named`. Of one rate twice the lower priority number alone. Source: billing.md 14, 20.
    """
    found: dict[str, TaxAttachment] = {}
    for each in sorted(attachments, key=lambda each: (each.priority, each.rate.id, each.id)):
        valid = (each.start_date is None or each.start_date <= invoice_date) and (
            each.end_date is None or invoice_date < each.end_date
        )
        spoken = each.currency is None or each.currency.lower() == currency.lower()
        active = each.rate.status is TaxRateStatus.ACTIVE
        if valid and spoken and active and (each.auto_apply or each.rate.id in named):
            found.setdefault(each.rate.id, each)
    return tuple(found.values())


def taxed(taxes: Sequence[TaxApplied], base: Decimal, currency: str) -> tuple[TaxApplied, ...]:
    """Return taxes with their amounts on a base; on nothing there is none, fixed ones neither.

    >>> from schemas.tax import TaxRate
    >>> rates = [TaxApplied(code, TaxRate(code, TaxRateType.PERCENTAGE, Decimal(percent)))
    ...          for code, percent in (("state", "8.875"), ("city", "0.5"))]
    >>> [f"{tax.tax_amount}" for tax in taxed(rates, Decimal("99.99"), "usd")]
    ['8.87', '0.50']
    """
    settled = settle(max(base, ZERO), currency)
    hundred = 100 + sum((Fraction(tax.rate.value) for tax in taxes if tax.inclusive), Fraction(0))
    inside = {
        tax.attachment_id: settle(Fraction(settled) * Fraction(tax.rate.value) / hundred, currency)
        for tax in taxes
        if tax.inclusive
    }
    outside = LOSSLESS.subtract(settled, total(inside.values()))
    found = []
    for tax in taxes:
        on = settled if tax.inclusive else outside
        amount = inside[tax.attachment_id] if tax.inclusive else _added(tax, on, currency)
        found.append(replace(tax, taxable_amount=on, tax_amount=amount))
    return tuple(found)


def added_tax(taxes: Iterable[TaxApplied]) -> Decimal:
    """Return what taxes add to a total."""
    return total(tax.tax_amount for tax in taxes if not tax.inclusive)


def included_tax(taxes: Iterable[TaxApplied]) -> Decimal:
    """Return what taxes are inside a total already."""
    return total(tax.tax_amount for tax in taxes if tax.inclusive)


def _added(tax: TaxApplied, base: Decimal, currency: str) -> Decimal:
    """Return what an exclusive tax adds on a base."""
    if base <= 0:
        return settle(ZERO, currency)
    if tax.rate.type is TaxRateType.FIXED:
        return settle(tax.rate.value, currency)
    return settle(Fraction(base) * Fraction(tax.rate.value) / 100, currency)
