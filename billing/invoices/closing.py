"""Closing: which invoices are due, and what finalizing one does to it and to the wallets.

Pure functions; the use cases that load and commit are `billing.use_cases.closing_periods` and
`billing.use_cases.finalizing` (billing.md 8 and 15.3).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.drafting import period_end, settled_at
from billing.invoices.numbers import InvoiceNumber
from billing.periods.services import Window, services, windows
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import take
from billing.wallets.money_back import give_back, money_back_wallet
from billing.wallets.settlement import Take
from schemas.ids import InvoiceId, PaymentId, derived
from schemas.invoice import (
    Invoice,
    InvoiceAction,
    InvoiceKind,
    InvoiceStatus,
    InvoiceType,
    PaymentStatus,
    after,
)
from schemas.payment import InvoicePayment, PaymentMethod, PaymentState
from schemas.subscription import Subscription

# What will not change any more by itself.
CLOSED = frozenset({InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED, InvoiceStatus.VOIDED})


@dataclass(frozen=True, slots=True)
class Due:
    """An invoice that is due: the window that closed at `window.dated_at`."""

    subscription: Subscription
    window: Window


@dataclass(frozen=True, slots=True)
class Finalized:
    """A finalized invoice, what moved in wallets for it, and the payments that they made."""

    invoice: Invoice
    posted: tuple[Posted, ...] = ()
    payments: tuple[InvoicePayment, ...] = ()


def due(subscriptions: Iterable[Subscription], as_of: datetime) -> tuple[Due, ...]:
    """Return every invoice that is due by an instant, in the order of their dates.

    For one subscription that is opening, renewals, final. Source: billing.md 8.
    """
    found = [
        Due(subscription, window)
        for subscription in subscriptions
        for window in windows(subscription, as_of)
        if not left_out(subscription, window)
    ]
    return tuple(sorted(found, key=lambda each: (each.window.dated_at, each.subscription.id)))


def left_out(subscription: Subscription, window: Window) -> bool:
    """Tell whether a window gets no invoice because its cancellation said so (billing.md 9.1)."""
    return window.kind is InvoiceKind.FINAL and subscription.skip_final_invoice


def charges_nothing(subscription: Subscription, window: Window) -> bool:
    """Tell whether a window is an opening without lines, which is not made (billing.md 8)."""
    return window.kind is InvoiceKind.OPENING and not services(subscription, window)


def unclosed(
    subscription: Subscription,
    invoices: Mapping[InvoiceId, Invoice],
    at: datetime,
    *,
    since: datetime | None = None,
) -> Iterator[Window]:
    """Yield the windows that are due by an instant and whose invoices are to be made or finalized.

    With `since` only those after it: of the others the invoices are known to be closed. A voided
    invoice is closed: its window is billed again by a recalculation only.
    """
    # Looked up by what they are about: working out an id for each window of a long history costs more.
    made = {
        (each.kind, each.period): each.status in CLOSED
        for each in invoices.values()
        if each.subscription_id == subscription.id
    }
    for window in windows(subscription, at, since=since):
        closed = made.get((window.kind, window.period))
        if closed or left_out(subscription, window):
            continue
        if closed is not None or not charges_nothing(subscription, window):
            yield window


def was_requested(subscription: Subscription, window: Window) -> bool:
    """Tell whether somebody asked for the invoice of a window: the final one, cancelling at once.

    A cancellation that was decided before it took effect asks for nothing. Source: billing.md 15.3.
    """
    cancelled, decided = subscription.cancelled_at, subscription.cancel_decided_at
    at_once = cancelled is not None and decided is not None and cancelled <= decided
    return window.kind is InvoiceKind.FINAL and at_once and not subscription.skip_final_invoice


def closing_action(amounts: Iterable[Decimal], *, requested: bool = False) -> InvoiceAction:
    """Return whether an invoice is finalized, or skipped because all its lines are 0.

    One that somebody asked for is finalized all the same. Source: billing.md 15.3.

    >>> closing_action([Decimal(0)]).value, closing_action([Decimal(5), Decimal(-5)]).value
    ('skip', 'finalize')
    """
    if requested or any(amount != 0 for amount in amounts):
        return InvoiceAction.FINALIZE
    return InvoiceAction.SKIP


def action_of(invoice: Invoice) -> InvoiceAction:
    """Return what becomes of a draft whose time has come."""
    return closing_action([line.amount for line in invoice.lines], requested=invoice.requested)


def finalize(
    invoice: Invoice,
    wallets: Sequence[Holdings],
    at: datetime,
    *,
    unfinalized: datetime | None = None,
    number: InvoiceNumber | None = None,
    due_date: datetime | None = None,
) -> Finalized:
    """Finalize a draft: settle it, take from the wallets, set its states.

    An invoice whose lines are all 0 is skipped and takes nothing, unless it was asked for. One that
    buys credits is not settled from wallets. `unfinalized` is the earliest end of another period
    that has ended and is not finalized; `wallets` are all wallets of the customer. What the invoice
    carries over comes into the money-back wallet after the settlement. Raises InvalidOperation for
    an invoice that is no draft. Source: billing.md 15.3, wallets-alerts.md 7.
    """
    action = action_of(invoice)
    status = after(invoice.status, action)
    version = invoice.version + 1
    if action is InvoiceAction.SKIP:
        return Finalized(
            replace(invoice, status=status, payment_status=PaymentStatus.SUCCEEDED, version=version)
        )
    asked = () if invoice.invoice_type is InvoiceType.CREDIT else wallets
    drafted, settled = settled_at(invoice, asked, at)
    done = replace(
        drafted,
        status=status,
        amount_paid=settled.amount_paid,
        amount_remaining=settled.amount_remaining,
        payment_status=settled.payment_status,
        invoice_number=number.text if number else invoice.invoice_number,
        due_date=due_date,
        finalized_at=at,
        paid_at=at if settled.payment_status is PaymentStatus.SUCCEEDED else None,
        version=version,
    )
    takes = (*settled.prepaid.takes, *settled.payments)
    posted = _taken(done, wallets, takes, at, unfinalized)
    payments = tuple(credits_payment(done, part, at) for part in settled.payments)
    return Finalized(done, (*posted, *_carried(done, wallets, at, unfinalized)), payments)


def credits_payment(invoice: Invoice, part: Take, at: datetime, attempt: int = 1) -> InvoicePayment:
    """Return the payment that a wallet makes of an invoice, under the id that its debit names."""
    return InvoicePayment(
        id=PaymentId(derived("pay", invoice.id, part.wallet_id, attempt)),
        invoice_id=invoice.id,
        method=PaymentMethod.CREDITS,
        amount=part.amount,
        currency=invoice.currency,
        created_at=at,
        state=PaymentState.SUCCEEDED,
        attempts=1,
        succeeded_at=at,
    )


def _taken(
    invoice: Invoice,
    wallets: Sequence[Holdings],
    takes: Sequence[Take],
    at: datetime,
    unfinalized: datetime | None,
) -> tuple[Posted, ...]:
    """Return the debits of a settlement, one a wallet."""
    wanted = {part.wallet_id: part.amount for part in takes}
    return tuple(
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


def _carried(
    invoice: Invoice, wallets: Sequence[Holdings], at: datetime, unfinalized: datetime | None
) -> tuple[Posted, ...]:
    """Return the credit that an invoice carries over, as the write of the money-back wallet.

    An invoice that owes something back takes no prepaid credits, so that wallet has no other write.
    """
    if not invoice.carried_credit:
        return ()
    assert not invoice.total_prepaid_credits_applied, "what is owed back takes no credits"
    posted = give_back(
        money_back_wallet(wallets, invoice.customer_id, invoice.currency, at),
        invoice.carried_credit,
        at,
        key=derived("key", "carried", invoice.id),
        reference_id=invoice.id,
        unfinalized_end=unfinalized,
    )
    return (posted,)
