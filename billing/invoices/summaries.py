"""Summaries: what a customer has been invoiced, what of it is open, and what is overdue."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.invoices.drafting import net_lines
from schemas.invoice import Invoice, InvoiceStatus
from schemas.money import allocate, total
from schemas.price import PriceType

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class InvoiceSummary:
    """What a customer has been invoiced in one currency.

    What is open is told apart by what it is for: the two parts sum to it.
    """

    currency: str
    total_revenue_amount: Decimal
    total_unpaid_amount: Decimal
    total_overdue_amount: Decimal
    total_invoice_count: int
    unpaid_invoice_count: int
    overdue_invoice_count: int
    unpaid_usage_charges: Decimal
    unpaid_fixed_charges: Decimal


def summaries(invoices: Iterable[Invoice], at: datetime) -> tuple[InvoiceSummary, ...]:
    """Return a summary for each currency, in the order of their codes: finalized invoices count."""
    found: defaultdict[str, list[Invoice]] = defaultdict(list)
    for invoice in invoices:
        if invoice.status is InvoiceStatus.FINALIZED:
            found[invoice.currency].append(invoice)
    return tuple(_summary(currency, found[currency], at) for currency in sorted(found))


def _summary(currency: str, invoices: list[Invoice], at: datetime) -> InvoiceSummary:
    unpaid = [each for each in invoices if each.amount_remaining > 0]
    overdue = [each for each in unpaid if each.due_date is not None and each.due_date < at]
    parts = [_open_parts(each) for each in unpaid]
    return InvoiceSummary(
        currency=currency,
        total_revenue_amount=total(each.total for each in invoices),
        total_unpaid_amount=total(each.amount_remaining for each in unpaid),
        total_overdue_amount=total(each.amount_remaining for each in overdue),
        total_invoice_count=len(invoices),
        unpaid_invoice_count=len(unpaid),
        overdue_invoice_count=len(overdue),
        unpaid_usage_charges=total(usage for usage, _ in parts),
        unpaid_fixed_charges=total(fixed for _, fixed in parts),
    )


def _open_parts(invoice: Invoice) -> tuple[Decimal, Decimal]:
    """Return what remains of an invoice, split by what its lines come to: usage, and all else."""
    lines = [(line.price_type, line.net) for line in net_lines(invoice) if line.net > 0]
    if not lines:
        return ZERO, invoice.amount_remaining
    weights = [
        total(net for kind, net in lines if (kind is PriceType.USAGE) is of_usage)
        for of_usage in (True, False)
    ]
    usage, fixed = allocate(invoice.amount_remaining, weights, invoice.currency)
    return usage, fixed
