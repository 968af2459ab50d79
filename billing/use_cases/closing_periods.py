"""Closing periods: an invoice is drafted when its window closes, and computed until it is final.

A draft is computed outside the transaction, because it reads usage; inside, what it rests on is
looked at again, and if that has moved everything is done again. Every id follows from facts, so
closing twice leaves what closing once leaves (billing.md 15.3 and 15.6).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from billing.invoices.closing import CLOSED, charges_nothing, due, left_out
from billing.invoices.computing import Background, computed, has_next_invoice, late_invoice
from billing.invoices.drafting import invoice_id
from billing.invoices.editing import edited_as
from billing.periods.services import Window, windows
from billing.ports import Changes, Stores, UsageReader
from billing.use_cases.finalizing import finalized
from billing.use_cases.transactions import retried
from schemas.errors import InvalidOperation, NotFound, VersionConflict
from schemas.ids import InvoiceId
from schemas.invoice import Invoice, InvoiceAction, InvoiceKind, InvoiceType, after
from schemas.subscription import Subscription


def close_due(
    stores: Stores, usage: UsageReader, as_of: datetime, *, delay: timedelta | None = None
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
    delay: timedelta | None = None,
    last: bool | None = None,
) -> Invoice | None:
    """Draft one invoice, or compute its draft again, and finalize it if its time has come.

    Returns the invoice if anything changed. What is final or void stays as it is, and an opening
    invoice without lines is not made. `delay` is that of the settings unless given; `last`
    says that it is finalized whether it is over or not, or is not. Raises VersionConflict where
    others kept being first.
    """

    def decide() -> Invoice | None:
        known = stores.subscription(subscription.id) or subscription
        if known != subscription and window not in windows(known, at):
            # What was due when this was asked for is so no more.
            return None
        return _closed(stores, usage, known, window, at, delay=delay, last=last)

    return retried(decide)


def _closed(
    stores: Stores,
    usage: UsageReader,
    subscription: Subscription,
    window: Window,
    at: datetime,
    *,
    delay: timedelta | None,
    last: bool | None,
) -> Invoice | None:
    """Draft, and finalize if it is time, from what the stores say now."""
    name = invoice_id(subscription, window)
    known = stores.invoice(name)
    if (known is not None and known.status in CLOSED) or left_out(subscription, window):
        return None
    if known is None and charges_nothing(subscription, window):
        return None
    config = stores.config()
    waits = config.finalization_delay if delay is None else delay
    others = tuple(stores.invoices_of(subscription.id))
    background = Background(
        others, stores.wallets_of(subscription.payer_id), config.tax_base, waits
    )
    final = window.finalize_at(waits) <= at if last is None else last
    made = computed(subscription, window, usage, background, at, last=final)
    if not made.lines and made.kind is InvoiceKind.OPENING:
        return None
    if known is not None:
        made = edited_as(made, known)
        unchanged = replace(made, computed_at=known.computed_at, version=known.version)
        if unchanged == known and not final:
            return None
        made = replace(made, version=known.version if final else known.version + 1)
    return _commit(stores, subscription, others, made, at, last=final)


def close_late(
    stores: Stores, usage: UsageReader, subscription: Subscription, at: datetime
) -> Invoice | None:
    """Make the invoice of what came late for a subscription that has no next one, finalized at once.

    None where nothing came, or where an invoice is still to come. Source: billing.md 16.
    """

    def decide() -> Invoice | None:
        known = stores.subscription(subscription.id) or subscription
        others = tuple(stores.invoices_of(known.id))
        if has_next_invoice(known, others, at):
            return None
        wallets = stores.wallets_of(known.payer_id)
        background = Background(others, wallets, stores.config().tax_base)
        made = late_invoice(known, usage, background, at)
        return None if made is None else _commit(stores, known, others, made, at, last=True)

    return retried(decide)


def _commit(
    stores: Stores,
    subscription: Subscription,
    others: Sequence[Invoice],
    made: Invoice,
    at: datetime,
    *,
    last: bool,
) -> Invoice:
    """Commit a draft, or what it comes to when it is finalized, if what it rests on is still so."""
    with stores.deciding(made.customer_id) as held:
        now = held.subscription(subscription.id)
        if now is not None and now.version != subscription.version:
            raise VersionConflict(f"subscription {subscription.id} has moved on")
        if _versions(held.invoices_of(subscription.id)) != _versions(others):
            raise VersionConflict(f"invoices of subscription {subscription.id} have moved on")
        if not last:
            held.commit(Changes(invoices=(made,)))
            return made
        invoice, changes = finalized(
            held, made, at, subscription=subscription, due_at=made.due_date
        )
        held.commit(changes)
        return invoice


def _versions(invoices: Sequence[Invoice]) -> dict[InvoiceId, int]:
    return {each.id: each.version for each in invoices}


def finalize_invoice(
    stores: Stores, usage: UsageReader, invoice_name: InvoiceId, at: datetime
) -> Invoice:
    """Finalize a draft by hand, before its delay is over; one of a subscription is computed last.

    Raises NotFound, and InvalidOperation for what is no draft. Source: billing.md 15.3.
    """
    known = _draft(stores, invoice_name, InvoiceAction.FINALIZE)
    window = _window(stores, known, at)
    if window is not None:
        done = close(stores, usage, *window, at, last=True)
        return done or _known(stores, invoice_name)
    with stores.deciding(known.customer_id) as held:
        draft = _draft(held, invoice_name, InvoiceAction.FINALIZE)
        invoice, changes = finalized(held, draft, at, due_at=draft.due_date)
        held.commit(changes)
        return invoice


def compute_invoice(
    stores: Stores, usage: UsageReader, invoice_name: InvoiceId, at: datetime
) -> Invoice:
    """Compute a draft again with the usage known now; one without usage stays as it is.

    Raises NotFound, and InvalidOperation for what is no draft. Source: billing.md 15.2.
    """
    known = _draft(stores, invoice_name, InvoiceAction.COMPUTE)
    window = _window(stores, known, at)
    if window is None:
        return known
    return close(stores, usage, *window, at, last=False) or _known(stores, invoice_name)


def _known(stores: Stores, invoice_name: InvoiceId) -> Invoice:
    found = stores.invoice(invoice_name)
    if found is None:
        raise NotFound(f"there is no invoice {invoice_name}")
    return found


def _draft(stores: Stores, invoice_name: InvoiceId, action: InvoiceAction) -> Invoice:
    """Return an invoice to which something can be done; refuse what its state does not allow."""
    found = _known(stores, invoice_name)
    after(found.status, action)
    return found


def _window(stores: Stores, invoice: Invoice, at: datetime) -> tuple[Subscription, Window] | None:
    """Return the window of an invoice that is computed from usage, None for any other."""
    of_window = invoice.invoice_type is InvoiceType.SUBSCRIPTION
    if invoice.subscription_id is None or not of_window or invoice.kind is InvoiceKind.ONE_OFF:
        return None
    subscription = stores.subscription(invoice.subscription_id)
    if subscription is None:
        return None
    for window in windows(subscription, at):
        if invoice_id(subscription, window) == invoice.id:
            return subscription, window
    raise InvalidOperation(f"subscription {subscription.id} has no such period any more")
