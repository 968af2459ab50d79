"""Editing: what may be changed of an invoice by hand, and how a draft that is computed anew keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from schemas.errors import InvalidOperation
from schemas.invoice import Invoice, InvoiceStatus


@dataclass(frozen=True, slots=True)
class InvoiceEdit:
    """What is to be changed of an invoice; None leaves it as it is, and "" clears the link."""

    due_date: datetime | None = None
    pdf_url: str | None = None
    metadata: Mapping[str, str] | None = None


def edited(invoice: Invoice, edit: InvoiceEdit, at: datetime) -> Invoice:
    """Return an invoice as it is changed, a version later; the same one where nothing changes.

    No amount ever changes. Raises InvalidOperation for one that is void.
    """
    if invoice.status is InvoiceStatus.VOIDED:
        raise InvalidOperation(f"invoice {invoice.id} is VOIDED", reason="already_voided")
    changed = replace(
        invoice,
        due_date=invoice.due_date if edit.due_date is None else edit.due_date,
        pdf_url=invoice.pdf_url if edit.pdf_url is None else edit.pdf_url,
        metadata=invoice.metadata if edit.metadata is None else dict(edit.metadata),
    )
    if changed == invoice:
        return invoice
    return replace(changed, edited_at=at, version=invoice.version + 1)


def edited_as(made: Invoice, known: Invoice) -> Invoice:
    """Return a draft that was computed anew with what was changed of the one before."""
    return replace(
        made,
        created_at=known.created_at,
        edited_at=known.edited_at,
        due_date=known.due_date,
        pdf_url=known.pdf_url,
        metadata=known.metadata,
    )
