"""Paid: what follows in the transaction in which an invoice becomes paid (wallets-alerts.md 8, 14).

Purchases that wait for it bring their credits, and a subscription that waits for its opening
invoice goes live.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from billing.alerts.watching import watch_settled
from billing.ports import Changes, Stores
from billing.subscriptions.activation import opening_paid
from billing.use_cases import telling
from billing.use_cases.transactions import merged, unfinalized_end
from billing.wallets.ledger import TopUp, top_up
from schemas.ids import EntryId
from schemas.invoice import Invoice, InvoiceKind, InvoiceStatus, PaymentStatus
from schemas.purchase import Purchase, PurchaseAction, PurchaseStatus, after
from schemas.subscription import Subscription
from schemas.wallet import Reason, WalletStatus

PAID = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID})


def is_paid(invoice: Invoice) -> bool:
    """Tell whether nothing of an invoice that is fixed is due any more."""
    return invoice.status is InvoiceStatus.FINALIZED and invoice.payment_status in PAID


def consequences(
    held: Stores, invoice: Invoice, at: datetime, *, subscription: Subscription | None = None
) -> Changes:
    """Return what follows from an invoice that is paid now; nothing where it is not.

    Done again it gives nothing more. `subscription` is that of the invoice, where it is known.
    """
    if not is_paid(invoice):
        return Changes()
    live = _activated(held, invoice, at, subscription)
    return merged(live, completed(held, held.purchases_for(invoice.id), at))


def completed(held: Stores, purchases: Sequence[Purchase], at: datetime) -> Changes:
    """Return the changes that bring the credits of pending purchases into their wallets.

    A wallet that was closed meanwhile takes nothing: its purchases were cancelled with it. An
    invoice pays one purchase of a wallet, so that no wallet is written twice.
    """
    parts = []
    for purchase in purchases:
        if purchase.status is not PurchaseStatus.PENDING:
            continue
        into = held.holdings(purchase.wallet_id)
        assert into is not None, "a purchase has a wallet"
        wallet = into.wallet
        if wallet.wallet_status is WalletStatus.CLOSED:
            continue
        waiting = unfinalized_end(held, (into,), wallet.customer_id, wallet.currency, at)
        posted = top_up(into, _credit_of(purchase), at, unfinalized_end=waiting)
        done = replace(
            purchase,
            status=after(purchase.status, PurchaseAction.COMPLETE),
            version=purchase.version + 1,
        )
        judged = watch_settled(held, (posted.holdings,), at, default=held.config().wallet_alerts)
        told = judged.outbox(held.external_id_of(purchase.customer_id))
        rows = (*telling.of_entries((posted,), at), telling.of_purchase(done, at))
        parts.append(
            Changes(
                posted=(posted,),
                purchases=(done,),
                streams=judged.streams,
                alerts=judged.alerts,
                outbox=(*rows, *told),
                wake={purchase.customer_id: at},
            )
        )
    return merged(*parts)


def _credit_of(purchase: Purchase) -> TopUp:
    """Return the top-up of a purchase: the entry has its id and key, and so is written once."""
    return TopUp(
        Reason.PURCHASED_CREDIT_INVOICED,
        credits=purchase.credits,
        priority=purchase.priority,
        expires_at=purchase.expires_at,
        idempotency_key=purchase.idempotency_key,
        description=purchase.description,
        # What was paid for is given, however late the payment came.
        clock_checked=False,
        metadata=purchase.metadata,
        created_by=purchase.created_by,
        entry_id=EntryId(purchase.id),
    )


def _activated(
    held: Stores, invoice: Invoice, at: datetime, subscription: Subscription | None
) -> Changes:
    """Return the change of a subscription that waited for its opening invoice to be paid."""
    name = invoice.subscription_id
    if invoice.kind is not InvoiceKind.OPENING or name is None:
        return Changes()
    waiting = subscription or held.subscription(name)
    if waiting is None:
        return Changes()
    live = opening_paid(waiting)
    if live is waiting:
        return Changes()
    live = replace(live, activated_at=live.activated_at or at, version=waiting.version + 1)
    body = {"subscription": {"id": live.id, "subscription_status": live.status.value}}
    row = telling.webhook(
        "subscription.activated", invoice.customer_id, at, body, live.id, live.version
    )
    # Credits that its grants owe were waiting for it.
    return Changes(subscriptions=(live,), outbox=(row,), wake={invoice.customer_id: at})
