"""Settling changes: an invoice or a wallet credit of what a change of a subscription comes to.

Called inside `deciding`, so that what was charged cannot move meanwhile (billing.md 6).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.alerts.watching import watch_settled
from billing.invoices.closing import unclosed
from billing.invoices.drafting import ServiceKey, invoice_id, service_key
from billing.invoices.terms import terms_of
from billing.periods.services import Window
from billing.ports import Changes, Stores, UsageReader
from billing.pricing.proration import Outcome
from billing.subscriptions.change_invoices import change_invoice, change_invoice_id
from billing.subscriptions.changing import SettledChange
from billing.use_cases import telling
from billing.use_cases.closing_periods import close
from billing.use_cases.finalizing import finalized
from billing.use_cases.transactions import unfinalized_end
from billing.wallets.money_back import give_back, money_back_wallet
from schemas.errors import VersionConflict
from schemas.ids import derived
from schemas.invoice import Invoice, InvoiceStatus, Role
from schemas.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a change: its invoice, or the amount that went to a wallet, or neither."""

    invoice: Invoice | None = None
    credit: Decimal = Decimal(0)


def bring_up_to_date(
    stores: Stores, usage: UsageReader, subscription: Subscription, at: datetime
) -> None:
    """Make the invoices that were due before an instant, so that what they charge can be given back.

    Those that wait to be finalized stay drafts; what has the date of the instant knows the change.
    """
    for window in missing_windows(subscription, stores.invoices_of(subscription.id), at):
        close(stores, usage, subscription, window, at)


def check_up_to_date(subscription: Subscription, invoices: Sequence[Invoice], at: datetime) -> None:
    """Refuse with VersionConflict where an invoice that was due before an instant is not there."""
    if missing_windows(subscription, invoices, at):
        raise VersionConflict(f"subscription {subscription.id} has periods to be invoiced first")


def missing_windows(
    subscription: Subscription, invoices: Sequence[Invoice], at: datetime
) -> tuple[Window, ...]:
    """Return the windows that were due before an instant and have no invoice."""
    known = {each.id: each for each in invoices}
    return tuple(
        window
        for window in unclosed(subscription, known, at)
        if window.dated_at < at and invoice_id(subscription, window) not in known
    )


def settlement(
    held: Stores,
    subscription: Subscription,
    settled: SettledChange,
    invoices: Sequence[Invoice],
    at: datetime,
    *,
    change_id: str,
    effective_at: datetime,
) -> tuple[Came, Changes]:
    """Return what a settled change leads to, and all that is to be committed with it.

    `subscription` is what it becomes, `invoices` are those that it has.
    """
    match settled.outcome:
        case Outcome.NONE:
            return Came(), Changes()
        case Outcome.CREDIT:
            amount = settled.sum.net.copy_negate()
            return Came(credit=amount), _credited(held, subscription, amount, at, change_id)
        case Outcome.INVOICE:
            terms = terms_of(
                subscription,
                change_invoice_id(subscription, change_id),
                effective_at,
                invoices,
            )
            draft = change_invoice(
                subscription,
                settled,
                change_id=change_id,
                effective_at=effective_at,
                at=at,
                terms=replace(terms, tax_base=held.config().tax_base),
                billed=_billed(invoices),
            )
            invoice, changes = finalized(held, draft, at, subscription=subscription)
            return Came(invoice=invoice), changes


def _billed(invoices: Sequence[Invoice]) -> frozenset[ServiceKey]:
    """Return the services that invoices bill, drafts too: a store lets none be on a second one."""
    return frozenset(
        service_key(line)
        for invoice in invoices
        if invoice.status is not InvoiceStatus.VOIDED
        for line in invoice.lines
        if line.role is not Role.ADJUSTMENT
    )


def _credited(
    held: Stores, subscription: Subscription, amount: Decimal, at: datetime, change_id: str
) -> Changes:
    """Return the credit of the money-back wallet of who is invoiced, which is opened if missing."""
    payer, currency = subscription.payer_id, subscription.currency
    wallets = held.wallets_of(payer)
    into = money_back_wallet(wallets, payer, currency, at)
    posted = give_back(
        into,
        amount,
        at,
        key=derived("key", "change", change_id),
        unfinalized_end=unfinalized_end(held, (into,), payer, currency, at),
    )
    judged = watch_settled(held, (posted.holdings,), at)
    opened = held.holdings(into.wallet.id) is None
    rows = [
        *([telling.of_wallet("wallet.created", into, at)] if opened else []),
        *telling.of_entries((posted,), at),
        *judged.outbox(held.external_id_of(payer)),
    ]
    return Changes(
        posted=(posted,), streams=judged.streams, alerts=judged.alerts, outbox=tuple(rows)
    )
