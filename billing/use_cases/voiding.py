"""Voiding: an invoice is taken back with everything that it took, in one transaction.

Its number stays, its window is billed again by a recalculation only (billing.md 15.5).
"""

from dataclasses import replace
from datetime import datetime

from billing.alerts.watching import watch_settled
from billing.invoices.voiding import taken_lots, void
from billing.ports import Changes, Stores
from billing.use_cases import telling
from billing.use_cases.transactions import unfinalized_end
from schemas.errors import InvalidOperation, NotFound
from schemas.ids import InvoiceId
from schemas.invoice import Invoice
from schemas.payment import InvoicePayment, PaymentAction, PaymentMethod, PaymentState
from schemas.payment import after as payment_after
from schemas.purchase import Purchase, PurchaseAction, PurchaseStatus
from schemas.purchase import after as purchase_after


def void_invoice(stores: Stores, invoice_id: InvoiceId, at: datetime) -> Invoice:
    """Void an invoice: what it took from wallets goes back, lot by lot, and what was paid as credit.

    Payments by wallets are refunded, purchases that wait for it are cancelled. Raises NotFound, and
    InvalidOperation as `billing.invoices.voiding.void_refund` does, and where the credits that it
    paid for have come: they would be given twice. Source: billing.md 15.5, wallets-alerts.md 7.
    """
    known = stores.invoice(invoice_id)
    if known is None:
        raise NotFound(f"there is no invoice {invoice_id}")
    with stores.deciding(known.customer_id) as held:
        invoice = held.invoice(invoice_id)
        assert invoice is not None, "an invoice stays"
        purchases = held.purchases_for(invoice_id)
        if any(each.status is PurchaseStatus.COMPLETED for each in purchases):
            raise InvalidOperation(f"the credits that invoice {invoice_id} paid for have come")
        wallets = held.wallets_of(invoice.customer_id)
        taken = held.taken_for(invoice_id)
        done = void(
            invoice,
            taken_lots(taken.entries, taken.consumptions, taken.lots, invoice.currency),
            wallets,
            at,
            refunded=invoice.refunded_amount,
            unfinalized_end=unfinalized_end(
                held, wallets, invoice.customer_id, invoice.currency, at, leaving_out=invoice_id
            ),
        )
        payments = tuple(
            _refunded(each) for each in held.payments_of(invoice_id) if _by_wallet(each)
        )
        cancelled = tuple(_cancelled(each) for each in purchases if _pending(each))
        holdings = [each.holdings for each in done.posted]
        judged = watch_settled(held, holdings, at, default=held.config().wallet_alerts)
        rows = [
            telling.of_invoice(telling.INVOICE_VOIDED, done.invoice, at),
            *(
                telling.of_payment("payment.updated", each, invoice.customer_id, at)
                for each in payments
            ),
            *(telling.of_purchase(each, at) for each in cancelled),
            *telling.of_entries(done.posted, at),
            *judged.outbox(held.external_id_of(invoice.customer_id)),
        ]
        held.commit(
            Changes(
                posted=done.posted,
                invoices=(done.invoice,),
                payments=payments,
                purchases=cancelled,
                streams=judged.streams,
                alerts=judged.alerts,
                outbox=tuple(rows),
                wake={invoice.customer_id: at},
            )
        )
        return done.invoice


def _by_wallet(payment: InvoicePayment) -> bool:
    """Tell whether a wallet has made a payment, so that it gets it back."""
    return payment.method is PaymentMethod.CREDITS and payment.state is PaymentState.SUCCEEDED


def _refunded(payment: InvoicePayment) -> InvoicePayment:
    state = payment_after(payment.state, PaymentAction.REFUND)
    return replace(payment, state=state, version=payment.version + 1)


def _pending(purchase: Purchase) -> bool:
    return purchase.status is PurchaseStatus.PENDING


def _cancelled(purchase: Purchase) -> Purchase:
    status = purchase_after(purchase.status, PurchaseAction.CANCEL)
    return replace(purchase, status=status, version=purchase.version + 1)
