"""Edits of invoices: when they are due, where their document is, and what is noted on them."""

from datetime import datetime

from billing.invoices.editing import InvoiceEdit, edited
from billing.ports import Changes, Stores
from billing.use_cases import telling
from schemas.errors import NotFound
from schemas.ids import InvoiceId
from schemas.invoice import Invoice

INVOICE_UPDATED = "invoice.update"


def edit_invoice(stores: Stores, invoice_id: InvoiceId, edit: InvoiceEdit, at: datetime) -> Invoice:
    """Change what may be changed of an invoice, and tell of it; what is so already is no change.

    Raises NotFound, and InvalidOperation for one that is void. Source: api-fields.md.
    """
    known = stores.invoice(invoice_id)
    if known is None:
        raise NotFound(f"there is no invoice {invoice_id}")
    with stores.deciding(known.customer_id) as held:
        invoice = held.invoice(invoice_id)
        assert invoice is not None, "an invoice stays"
        changed = edited(invoice, edit, at)
        if changed is not invoice:
            row = telling.of_invoice(INVOICE_UPDATED, changed, at)
            held.commit(Changes(invoices=(changed,), outbox=(row,)))
        return changed
