"""Writing invoices with their lines, the numbers that they take, and their payments."""

from collections.abc import Iterator, Sequence

from sqlalchemy import bindparam, delete, insert

from billing.invoices.numbers import InvoiceNumber
from billing.stores.invoice_models import InvoiceLineRow, InvoiceRow, PaymentRow, SeriesRow
from billing.stores.live_services import is_live
from billing.stores.scoped import here, table_of
from billing.stores.transactions import Transaction, Upsert, Values, next_version
from schemas.errors import AlreadyExists, VersionConflict
from schemas.invoice import Invoice
from schemas.payment import InvoicePayment

SET_INVOICES = next_version(InvoiceRow)
CLEAR_LINES = (
    delete(table_of(InvoiceLineRow))
    .where(here(InvoiceLineRow))
    .where(InvoiceLineRow.invoice_id.in_(bindparam("names", expanding=True)))
)
ADD_LINES = insert(table_of(InvoiceLineRow))
TAKE_NUMBERS = Upsert(SeriesRow, where="invoice_series.last = excluded.last - 1")
SET_PAYMENTS = next_version(PaymentRow)
DELETE_PAYMENTS = (
    delete(table_of(PaymentRow))
    .where(here(PaymentRow))
    .where(PaymentRow.id == bindparam("name"), PaymentRow.version == bindparam("was"))
)


def write_invoices(transaction: Transaction, invoices: Sequence[Invoice]) -> None:
    """Write invoices, and the rows of their lines anew.

    Raises VersionConflict for one that is not one version behind, AlreadyExists for a service or a
    number that another invoice has.
    """
    if not invoices:
        return
    transaction.advance(
        SET_INVOICES,
        [_invoice_values(each) for each in invoices],
        "an invoice",
        taken=AlreadyExists("another invoice has this number", reason="unique"),
    )
    # What stands last of each: a commit may draft and finalize at once.
    latest = {each.id: each for each in invoices}
    transaction.named(CLEAR_LINES, [each.id for each in invoices if each.version > 1])
    transaction.write(
        ADD_LINES,
        [values for each in latest.values() for values in _line_values(each)],
        taken=AlreadyExists("a service of this invoice is billed already", reason="unique"),
    )


def write_numbers(transaction: Transaction, numbers: Sequence[InvoiceNumber]) -> None:
    """Take numbers; raises VersionConflict for one that does not follow the last of its series."""
    for number in numbers:
        series = number.series
        values = {
            "prefix": series.prefix,
            "date_part": series.date_part,
            "last": number.sequence,
        }
        transaction.advance(TAKE_NUMBERS, [values], f"the series of number {number.text}")


def write_payments(transaction: Transaction, payments: Sequence[InvoicePayment]) -> None:
    """Write payments; raises VersionConflict for one that was outrun, or whose key was used."""
    transaction.advance(
        SET_PAYMENTS,
        [
            {
                "id": each.id,
                "invoice_id": each.invoice_id,
                "state": each.state,
                "created_at": each.created_at,
                "idempotency_key": each.idempotency_key,
                "version": each.version,
                "record": each,
            }
            for each in payments
        ],
        "a payment",
        taken=VersionConflict("the key of a payment was used meanwhile: read again and repeat"),
    )


def delete_payments(transaction: Transaction, payments: Sequence[InvoicePayment]) -> None:
    """Delete payments as they were read; raises VersionConflict for one that has moved on."""
    for each in payments:
        values = {"name": each.id, "was": each.version}
        transaction.advance(DELETE_PAYMENTS, [values], f"payment {each.id}")


def _invoice_values(invoice: Invoice) -> Values:
    """Return the row of an invoice."""
    return {
        "id": invoice.id,
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "kind": invoice.kind,
        "invoice_type": invoice.invoice_type,
        "status": invoice.status,
        "payment_status": invoice.payment_status,
        "currency": invoice.currency,
        "dated_at": invoice.dated_at,
        "finalize_at": invoice.finalize_at,
        "due_date": invoice.due_date,
        "invoice_number": invoice.invoice_number,
        "total": invoice.total,
        "amount_remaining": invoice.amount_remaining,
        "version": invoice.version,
        "created_at": invoice.created_at or invoice.computed_at or invoice.dated_at,
        "record": invoice,
    }


def _line_values(invoice: Invoice) -> Iterator[Values]:
    """Yield the rows of an invoice's lines, in their order."""
    for position, line in enumerate(invoice.lines):
        yield {
            "invoice_id": invoice.id,
            "position": position,
            "id": line.id,
            "subscription_id": invoice.subscription_id,
            "chain_id": line.chain_id,
            "period_start": line.period.start,
            "period_end": line.period.end,
            "role": line.role,
            "amount": line.amount,
            "live": is_live(invoice, line),
        }
