"""Telling: the outbox rows of what happens to invoices, payments and wallets.

A row is made in the transaction of its fact and has its finished payload (wallets-alerts.md 13).
Its id follows from the fact, so that one fact is told once.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from billing.invoices.reports import line_fact
from billing.invoices.snapshots import (
    invoice_snapshot,
    payment_snapshot,
    purchase_snapshot,
    transaction_snapshot,
    wallet_snapshot,
)
from billing.ports import OutboxRow
from billing.wallets.holdings import Holdings, Posted
from schemas.ids import CustomerId, Fact, OutboxId, derived
from schemas.invoice import Invoice, InvoiceStatus
from schemas.payment import InvoicePayment
from schemas.purchase import Purchase

INVOICE_FINALIZED = "invoice.update.finalized"
INVOICE_PAID = "invoice.update.payment"
INVOICE_VOIDED = "invoice.update.voided"


def webhook(
    event: str,
    customer_id: CustomerId,
    at: datetime,
    body: Mapping[str, object],
    *facts: Fact,
) -> OutboxRow:
    """Return the row of a webhook; its facts tell it from all other rows of the same event."""
    return OutboxRow(
        id=OutboxId(derived("msg", event, *facts)),
        topic=None,
        key=customer_id,
        at=at,
        payload={},
        event=event,
        body=body,
        customer_id=customer_id,
    )


def of_lines(invoice: Invoice, customer: str, at: datetime) -> tuple[OutboxRow, ...]:
    """Return what the topic `invoice_lines` is told of a finalized invoice: each of its lines."""
    if invoice.status is not InvoiceStatus.FINALIZED:
        return ()
    return tuple(
        OutboxRow(
            id=OutboxId(derived("msg", line.id, invoice.version)),
            topic="invoice_lines",
            key=invoice.customer_id,
            at=at,
            payload=line_fact(invoice, line, customer),
            customer_id=invoice.customer_id,
        )
        for line in invoice.lines
    )


def of_invoice(event: str, invoice: Invoice, at: datetime) -> OutboxRow:
    """Return the webhook of an invoice."""
    body = {"invoice": invoice_snapshot(invoice)}
    return webhook(event, invoice.customer_id, at, body, invoice.id, invoice.version)


def of_payment(
    event: str, payment: InvoicePayment, customer_id: CustomerId, at: datetime
) -> OutboxRow:
    """Return the webhook of a payment."""
    body = {"payment": payment_snapshot(payment)}
    return webhook(event, customer_id, at, body, payment.id, payment.version)


def of_wallet(event: str, held: Holdings, at: datetime, *facts: Fact) -> OutboxRow:
    """Return the webhook of a wallet."""
    body = {"wallet": wallet_snapshot(held, at)}
    wallet = held.wallet
    return webhook(event, wallet.customer_id, at, body, wallet.id, held.sequence, *facts)


def of_entries(posted: Iterable[Posted], at: datetime) -> tuple[OutboxRow, ...]:
    """Return a webhook for each entry that ledger writes appended."""
    return tuple(
        webhook(
            "wallet.transaction.created",
            each.holdings.wallet.customer_id,
            at,
            {
                "transaction": transaction_snapshot(
                    entry, next((lot for lot in each.lots if lot.entry_id == entry.id), None)
                ),
                "wallet": wallet_snapshot(each.holdings, at),
            },
            entry.id,
        )
        for each in posted
        for entry in each.entries
    )


def of_purchase(purchase: Purchase, at: datetime) -> OutboxRow:
    """Return the webhook of a purchase: a transaction that is created, and updated by its end."""
    first = purchase.version == 1
    event = "wallet.transaction.created" if first else "wallet.transaction.updated"
    member = "transaction" if first else "updated_transaction"
    body = {member: purchase_snapshot(purchase)}
    return webhook(event, purchase.customer_id, at, body, purchase.id, purchase.version)
