"""Snapshots: invoices, payments, wallets and their entries as webhooks show them.

A snapshot is made at the instant of its fact and never read again (wallets-alerts.md 13). Members
are those of api-fields.md, decimals and instants as plain text.
"""

from datetime import datetime

from billing.invoices.reports import Shown, line_as_json
from billing.pricing.explanation import instant
from billing.wallets.holdings import Holdings, balance, settled_credits
from schemas.decimals import plain
from schemas.invoice import Invoice, InvoiceLine
from schemas.money import LOSSLESS, total
from schemas.payment import InvoicePayment
from schemas.purchase import Purchase
from schemas.wallet import Entry, EntryType, Lot, Reason, WalletStatus


def invoice_snapshot(invoice: Invoice) -> Shown:
    """Return an invoice as a webhook shows it at the instant of its fact: InvoiceResponse."""
    return {
        "id": invoice.id,
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "invoice_type": invoice.invoice_type.value,
        "invoice_status": invoice.status.value,
        "payment_status": invoice.payment_status.value,
        "billing_reason": invoice.billing_reason.value,
        "invoice_number": invoice.invoice_number,
        "currency": invoice.currency,
        "line_items": [_line_snapshot(invoice, line) for line in invoice.lines],
        "coupon_applications": _coupon_snapshots(invoice),
        "taxes": _tax_snapshots(invoice),
        **_amounts(invoice),
        "period_start": instant(invoice.period.start),
        "period_end": instant(invoice.period.end),
        "issue_date": instant(invoice.dated_at),
        "due_date": instant(invoice.due_date),
        "finalized_at": instant(invoice.finalized_at),
        "voided_at": instant(invoice.voided_at),
        "last_computed_at": instant(invoice.computed_at),
        "description": invoice.description,
        "metadata": dict(invoice.metadata),
        "version": invoice.version,
    }


def _amounts(invoice: Invoice) -> Shown:
    """Return the amounts of an invoice, of which nothing is due beyond its total."""
    due = LOSSLESS.subtract(invoice.total, invoice.adjustment_amount)
    amounts = {
        "subtotal": invoice.subtotal,
        "total_discount": invoice.total_discount,
        "total_prepaid_credits_applied": invoice.total_prepaid_credits_applied,
        "total_tax": invoice.total_tax,
        "total": invoice.total,
        "amount_due": due,
        "amount_paid": invoice.amount_paid,
        "amount_remaining": invoice.amount_remaining,
        "adjustment_amount": invoice.adjustment_amount,
        "refunded_amount": invoice.refunded_amount,
        "carried_credit": invoice.carried_credit,
    }
    return {name: plain(amount) for name, amount in amounts.items()}


def _line_snapshot(invoice: Invoice, line: InvoiceLine) -> Shown:
    """Return a line as it is shown inside of its invoice."""
    return {
        "id": line.id,
        "invoice_id": invoice.id,
        "customer_id": invoice.customer_id,
        "subscription_id": invoice.subscription_id,
        "subscription_line_item_id": line.subscription_line_id,
        "price_id": line.price_id,
        "meter_id": line.meter_id,
        "currency": invoice.currency,
        "adjusted_entitlement_quantity": plain(line.covered_quantity),
        "line_item_discount": plain(line.line_discount),
        "invoice_level_discount": plain(line.invoice_discount),
        "prepaid_credits_applied": plain(total(each.amount for each in line.credits)),
        "metadata": dict(line.metadata),
        **line_as_json(line),
    }


def _coupon_snapshots(invoice: Invoice) -> list[Shown]:
    """Return what coupons took off."""
    return [
        {
            "coupon_id": each.coupon.id,
            "coupon_association_id": each.attachment_id,
            "invoice_line_item_id": each.line_id,
            "discount_type": each.coupon.type.value,
            "original_price": plain(each.original_price),
            "discounted_amount": plain(each.discounted_amount),
        }
        for each in invoice.coupon_applications
    ]


def _tax_snapshots(invoice: Invoice) -> list[Shown]:
    """Return what taxes came to."""
    return [
        {
            "tax_rate_id": each.rate.id,
            "tax_association_id": each.attachment_id,
            "taxable_amount": plain(each.taxable_amount),
            "tax_amount": plain(each.tax_amount),
        }
        for each in invoice.taxes
    ]


def payment_snapshot(payment: InvoicePayment) -> Shown:
    """Return a payment as a webhook shows it."""
    return {
        "id": payment.id,
        "destination_type": "INVOICE",
        "destination_id": payment.invoice_id,
        "payment_method_type": payment.method.value,
        "payment_status": payment.state.value,
        "amount": plain(payment.amount),
        "currency": payment.currency,
        "attempts": payment.attempts,
        "created_at": instant(payment.created_at),
        "succeeded_at": instant(payment.succeeded_at),
        "version": payment.version,
    }


def wallet_snapshot(held: Holdings, at: datetime) -> Shown:
    """Return a wallet as a webhook shows it, with its settled balance; a closed one holds nothing."""
    wallet = held.wallet
    closed = wallet.wallet_status is WalletStatus.CLOSED
    return {
        "id": wallet.id,
        "customer_id": wallet.customer_id,
        "name": wallet.name,
        "description": wallet.description,
        "currency": wallet.currency,
        "wallet_type": wallet.wallet_type.value,
        "wallet_status": wallet.wallet_status.value,
        "balance": "0" if closed else plain(balance(held, at)),
        "credit_balance": "0" if closed else plain(settled_credits(held, at)),
        "conversion_rate": plain(wallet.conversion_rate),
        "topup_conversion_rate": plain(wallet.topup_conversion_rate),
        "config": {
            "allowed_price_types": [each.value for each in wallet.allowed_price_types],
            "overdraft_limit": plain(wallet.overdraft_limit),
        },
        "priority": wallet.priority,
        "metadata": dict(wallet.metadata),
    }


def transaction_snapshot(entry: Entry, lot: Lot | None = None) -> Shown:
    """Return a ledger entry as a webhook shows it; `lot` is what a credit brought."""
    return {
        "id": entry.id,
        "wallet_id": entry.wallet_id,
        "type": entry.type.value,
        "amount": plain(entry.amount),
        "credit_amount": plain(entry.credits),
        "transaction_status": "completed",
        "transaction_reason": entry.reason.value,
        "reference_type": entry.reference_type.value,
        "reference_id": entry.reference_id,
        "description": entry.description,
        "idempotency_key": entry.idempotency_key,
        "expiry_date": instant(lot.expires_at) if lot else None,
        "priority": lot.priority if lot else None,
        "created_at": instant(entry.created_at),
    }


def purchase_snapshot(purchase: Purchase) -> Shown:
    """Return a purchase as a webhook shows it: a transaction that has moved nothing."""
    return {
        "id": purchase.id,
        "wallet_id": purchase.wallet_id,
        "type": EntryType.CREDIT.value,
        "credit_amount": plain(purchase.credits),
        "transaction_status": purchase.status.value,
        "transaction_reason": Reason.PURCHASED_CREDIT_INVOICED.value,
        "reference_type": "INVOICE",
        "reference_id": purchase.invoice_id,
        "description": purchase.description,
        "idempotency_key": purchase.idempotency_key,
        "expiry_date": instant(purchase.expires_at),
        "priority": purchase.priority,
        "created_at": instant(purchase.created_at),
    }
