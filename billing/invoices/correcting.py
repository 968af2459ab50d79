"""Correcting: which invoices that are final are rated again, and what that adds to the next one.

Usage that arrives while an invoice is a draft changes the draft; afterwards the difference goes
onto the next invoice of the subscription (billing.md 16).
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from billing.invoices.adjusting import adjustments, in_order
from billing.invoices.amounts import NO_TERMS, Terms
from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import UsageReader
from schemas.ids import InvoiceId
from schemas.invoice import Invoice, InvoiceLine, InvoiceStatus
from schemas.subscription import Subscription

# An invoice in one of these states no longer follows usage; a void one is not billed again.
FINAL = frozenset({InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED})


def no_terms(_: Invoice) -> Terms:
    """Return the terms of an invoice on which no coupon and no tax was."""
    return NO_TERMS


def corrections(
    invoice_id: InvoiceId,
    subscription: Subscription,
    known: Iterable[Invoice],
    usage: UsageReader,
    *,
    as_of: datetime,
    since: datetime | None = None,
    terms_of: Callable[[Invoice], Terms] = no_terms,
) -> tuple[InvoiceLine, ...]:
    """Return the adjustments that the invoice `invoice_id` carries, in their order.

    `known` are the subscription's invoices in order of their dates, `as_of` the instant up to which
    usage is known. Every final one is rated again as it was then, by the terms that `terms_of` tells
    of it; with `since`, only those whose period ends after it. That must be the time of the earliest
    event that came late: an allowance or a commitment may carry it into later periods.
    """
    final = [invoice for invoice in known if invoice.status in FINAL]
    lines = [line for invoice in final for line in invoice.lines]
    originals = {(invoice.kind, invoice.period): invoice for invoice in final}
    found: list[InvoiceLine] = []
    for window in windows(subscription, as_of):
        original = originals.get((window.kind, window.period))
        untouched = since is not None and window.period.end <= since
        if original is None or window.arrear is None or untouched:
            continue
        terms = terms_of(original)
        correct = draft(subscription, window, usage, (), as_of=as_of, terms=terms)
        found += adjustments(invoice_id, original, correct, lines)
    return in_order(found)
