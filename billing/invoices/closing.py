"""Closing: the use case of periods that end. Load, decide, save in one transaction.

An invoice is drafted when its window closes and computed again until it is finalized; finalizing
settles it, debits the wallets and judges their balances, all in one commit. Every id is derived
from facts, so closing twice leaves what closing once leaves (billing.md 15.3 and 15.6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from billing.alerts.watching import watch_settled
from billing.invoices.drafting import (
    ServiceKey,
    draft,
    invoice_id,
    period_end,
    service_key,
    settled_at,
)
from billing.invoices.reports import line_fact
from billing.invoices.terms import terms_of
from billing.periods.services import FINALIZATION_DELAY, Window, windows
from billing.ports import Changes, OutboxRow, Stores, UsageReader
from billing.wallets.claims import CLOSED, customer_unfinalized_end
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import take
from schemas.ids import OutboxId, SubscriptionId, derived
from schemas.invoice import Invoice, InvoiceAction, InvoiceKind, InvoiceStatus, PaymentStatus, after
from schemas.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Due:
    """An invoice that is due: the window that closed at `window.dated_at`."""

    subscription: Subscription
    window: Window


@dataclass(frozen=True, slots=True)
class Finalized:
    """A finalized invoice, and what it took from wallets."""

    invoice: Invoice
    posted: tuple[Posted, ...] = ()


def due(subscriptions: Iterable[Subscription], as_of: datetime) -> tuple[Due, ...]:
    """Return every invoice that is due by an instant, in the order of their dates.

    For one subscription that is opening, renewals, final. Source: billing.md 8.
    """
    found = [
        Due(subscription, window)
        for subscription in subscriptions
        for window in windows(subscription, as_of)
    ]
    return tuple(sorted(found, key=lambda each: (each.window.dated_at, each.subscription.id)))


def closing_action(amounts: Iterable[Decimal], *, requested: bool = False) -> InvoiceAction:
    """Return whether an invoice is finalized, or skipped because all its lines are 0.

    One that somebody asked for is finalized all the same. Source: billing.md 15.3.

    >>> closing_action([Decimal(0)]).value, closing_action([Decimal(5), Decimal(-5)]).value
    ('skip', 'finalize')
    """
    if requested or any(amount != 0 for amount in amounts):
        return InvoiceAction.FINALIZE
    return InvoiceAction.SKIP


def finalize(
    invoice: Invoice,
    wallets: Sequence[Holdings],
    at: datetime,
    *,
    unfinalized: datetime | None = None,
) -> Finalized:
    """Finalize a draft: settle it, take from the wallets, set its states.

    An invoice whose lines are all 0 is skipped and takes nothing. `unfinalized` is the earliest end
    of another period that has ended and is not finalized. Raises InvalidOperation for an invoice
    that is no draft. Source: billing.md 15.3, wallets-alerts.md 7.
    """
    action = closing_action([line.amount for line in invoice.lines])
    if action is InvoiceAction.SKIP:
        skipped = replace(
            invoice,
            status=after(invoice.status, action),
            payment_status=PaymentStatus.SUCCEEDED,
            version=invoice.version + 1,
        )
        return Finalized(skipped)
    status = after(invoice.status, action)
    drafted, settled = settled_at(invoice, wallets, at)
    wanted = {part.wallet_id: part.amount for part in (*settled.prepaid.takes, *settled.payments)}
    posted = tuple(
        take(
            held,
            wanted[held.wallet.id],
            at,
            invoice_id=invoice.id,
            period_end=period_end(invoice),
            unfinalized_end=unfinalized,
        )
        for held in wallets
        if held.wallet.id in wanted
    )
    done = replace(
        drafted,
        status=status,
        amount_paid=settled.amount_paid,
        amount_remaining=settled.amount_remaining,
        payment_status=settled.payment_status,
        finalized_at=at,
        version=invoice.version + 1,
    )
    return Finalized(done, posted)


def close_due(
    stores: Stores,
    usage: UsageReader,
    as_of: datetime,
    *,
    delay: timedelta = FINALIZATION_DELAY,
) -> tuple[Invoice, ...]:
    """Draft every invoice that is due and finalize those whose delay is over, in order.

    Returns those that changed. Running it again changes nothing but drafts whose usage changed.
    """
    changed = []
    for each in due(stores.live_subscriptions(), as_of):
        invoice = close(stores, usage, each.subscription, each.window, as_of, delay=delay)
        if invoice is not None:
            changed.append(invoice)
    return tuple(changed)


def close(
    stores: Stores,
    usage: UsageReader,
    subscription: Subscription,
    window: Window,
    at: datetime,
    *,
    delay: timedelta = FINALIZATION_DELAY,
) -> Invoice | None:
    """Draft one invoice, or compute its draft again, and finalize it if its time has come.

    Returns the invoice if anything changed. An opening invoice without lines is not made.
    """
    name = invoice_id(subscription, window)
    known = stores.invoice(name)
    if known is not None and known.status in CLOSED:
        return None
    wallets = stores.wallets_of(subscription.customer_id)
    made = draft(
        subscription,
        window,
        usage,
        wallets,
        as_of=at,
        billed=_billed(stores, subscription.id),
        delay=delay,
        terms=terms_of(subscription, name, window.dated_at, stores.invoices_of(subscription.id)),
    )
    if not made.lines and made.kind is InvoiceKind.OPENING:
        return None
    if known is not None:
        if replace(made, computed_at=known.computed_at, version=known.version) == known:
            made = known
        else:
            made = replace(made, version=known.version + 1)
    if made.finalize_at <= at:
        return _finalized(stores, subscription, made, at)
    if made is known:
        return None
    stores.commit(Changes(invoices=(made,)))
    return made


def _finalized(stores: Stores, subscription: Subscription, made: Invoice, at: datetime) -> Invoice:
    """Finalize a draft, debit the wallets and tell of it, in one commit."""
    wallets = stores.wallets_of(subscription.customer_id)
    # The one that is being finalized counts by its own period end, which the ledger adds.
    others = customer_unfinalized_end(
        stores,
        subscription.customer_id,
        subscription.currency,
        at,
        leaving_out=made.id,
    )
    done = finalize(made, wallets, at, unfinalized=others)
    held = [posted.holdings for posted in done.posted]
    judged = watch_settled(stores, held, at)
    customer = subscription.external_customer_id
    stores.commit(
        Changes(
            posted=done.posted,
            invoices=(done.invoice,),
            streams=judged.streams,
            alerts=judged.alerts,
            outbox=(*_told(done.invoice, customer, at), *judged.outbox(customer)),
        )
    )
    return done.invoice


def _billed(stores: Stores, subscription_id: SubscriptionId) -> set[ServiceKey]:
    """Return the services that finalized invoices have, so that none is billed twice."""
    return {
        service_key(line)
        for invoice in stores.invoices_of(subscription_id)
        if invoice.status in CLOSED and invoice.status is not InvoiceStatus.VOIDED
        for line in invoice.lines
    }


def _told(invoice: Invoice, customer: str, at: datetime) -> tuple[OutboxRow, ...]:
    """Return what is told of a finalized invoice: each of its lines. A skipped one is not told."""
    if invoice.status is not InvoiceStatus.FINALIZED:
        return ()
    return tuple(
        OutboxRow(
            id=OutboxId(derived("msg", line.id, invoice.version)),
            topic="invoice_lines",
            key=invoice.customer_id,
            at=at,
            payload=line_fact(invoice, line, customer),
        )
        for line in invoice.lines
    )
