"""Claims: what the subscriptions and invoices of a customer will ask wallets for.

Open periods are priced by the usage so far, ended ones by their drafts, and finalized invoices ask
for what remains of them. Everything is computed anew from facts, so the order in which usage and
ledger writes arrive does not matter (wallets-alerts.md 9).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from billing.invoices.closing import CLOSED, unclosed
from billing.invoices.computing import billed_services
from billing.invoices.drafting import ServiceKey, draft, invoice_id, net_lines, service_key
from billing.invoices.terms import terms_of
from billing.periods.services import Window, as_known, open_services, open_window
from billing.ports import Stores, UsageReader
from billing.pricing.charging import Charging
from billing.pricing.committing import Charged, charges
from billing.wallets.balances import Claim, ClaimState
from billing.wallets.holdings import Holdings
from billing.wallets.settlement import NetLine
from schemas.ids import CustomerId, InvoiceId, SubscriptionId
from schemas.invoice import Invoice, InvoiceLine, InvoiceStatus, InvoiceType, Role
from schemas.money import total
from schemas.period import Interval
from schemas.subscription import Subscription
from schemas.tax import TaxBase

__all__ = [
    "CLOSED",
    "claims_of",
    "customer_unfinalized_end",
    "open_charged",
    "open_claim",
    "unfinalized_end",
]


def unfinalized_end(
    subscriptions: Iterable[Subscription],
    invoices: Mapping[InvoiceId, Invoice],
    currency: str,
    at: datetime,
    *,
    leaving_out: InvoiceId | None = None,
) -> datetime | None:
    """Return the earliest end of a period that has ended and is not finalized, None if none.

    Lots that lived to it are claimable. `leaving_out` is an invoice that is being finalized or
    voided now. Source: wallets-alerts.md 6.
    """
    ends = [
        window.arrear.end
        for subscription in subscriptions
        if subscription.currency.lower() == currency.lower()
        for window in unclosed(subscription, invoices, at)
        if window.arrear is not None and invoice_id(subscription, window) != leaving_out
    ]
    return min(ends, default=None)


def customer_unfinalized_end(
    stores: Stores,
    customer_id: CustomerId,
    currency: str,
    at: datetime,
    *,
    leaving_out: InvoiceId | None = None,
) -> datetime | None:
    """Return the earliest end of a customer's ended periods that are not finalized, None if none.

    `leaving_out` is an invoice that is being finalized or voided now.
    """
    subscriptions = stores.subscriptions_of(customer_id)
    invoices = {
        invoice.id: invoice for each in subscriptions for invoice in stores.invoices_of(each.id)
    }
    return unfinalized_end(subscriptions, invoices, currency, at, leaving_out=leaving_out)


def claims_of(
    subscriptions: Sequence[Subscription],
    invoices: Mapping[InvoiceId, Invoice],
    usage: UsageReader,
    at: datetime,
    *,
    closed: Mapping[SubscriptionId, datetime] | None = None,
    wallets: Sequence[Holdings] = (),
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS,
) -> tuple[Claim, ...]:
    """Return the claims of one customer at an instant, in all currencies.

    `closed` says of subscriptions up to which date all their invoices are closed; then only those
    of `invoices` are needed that `billing.wallets.claim_facts` keeps. `wallets` count where taxes
    are on what credits leave. What came late for earlier invoices is as the last computation of the
    draft has it.
    """
    found: list[Claim] = []
    for subscription in subscriptions:
        own = [each for each in invoices.values() if each.subscription_id == subscription.id]
        billed = billed_services(own)
        since = (closed or {}).get(subscription.id)
        for window in unclosed(subscription, invoices, at, since=since):
            name = invoice_id(subscription, window)
            terms = terms_of(subscription, name, window.dated_at, own)
            made = draft(
                subscription,
                window,
                usage,
                wallets,
                as_of=at,
                billed=billed,
                terms=replace(terms, tax_base=tax_base),
                adjustments=_late(invoices.get(name)),
            )
            found.append(_drafted(made, subscription, window))
        claim = open_claim(subscription, usage, at, own)
        if claim is not None:
            found.append(claim)
    found += [_finalized(invoice) for invoice in invoices.values() if _owed(invoice)]
    return tuple(found)


def open_claim(
    subscription: Subscription,
    usage: UsageReader,
    at: datetime,
    others: Sequence[Invoice] = (),
) -> Claim | None:
    """Return what the usage of a subscription's open period costs so far, None where none is open.

    Each line is settled and discounted as the preview shows it, given the subscription's invoices;
    fees, and what is missing to a commitment, are no part of it.
    """
    charged, period = open_charged(subscription, usage, at)
    if period is None:
        return None
    known = as_known(subscription, at)
    nets = _discounted(known, usage, at, others) if known.coupons else {}
    lines = []
    for service, charge in charged:
        key = service.line.chain_id, service.period.start, service.period.end, charge.role
        # A service of a longer grid runs on beyond the preview, undiscounted until it is on one.
        lines.append(nets.get(key) or NetLine(service.line.price.type, charge.amount))
    return Claim(
        state=ClaimState.OPEN,
        currency=subscription.currency,
        period_end=period.end,
        lines=tuple(lines),
        subscription_id=subscription.id,
    )


def open_charged(
    subscription: Subscription, usage: UsageReader, at: datetime
) -> tuple[tuple[Charged, ...], Interval | None]:
    """Return what each usage line that runs at an instant costs so far, and its billing period.

    What lies above a commitment comes after its line; what is missing to one is left out. Nothing
    where no period is open.
    """
    known = as_known(subscription, at)
    running, period = open_services(known, at)
    if period is None:
        return (), None
    found = charges(Charging(known, usage, at), running, period)
    return tuple(each for each in found if each[1].role is not Role.TRUE_UP), period


def _late(stored: Invoice | None) -> tuple[InvoiceLine, ...]:
    """Return the corrections that a stored draft carries."""
    lines = stored.lines if stored is not None else ()
    return tuple(line for line in lines if line.role is Role.ADJUSTMENT)


def _discounted(
    subscription: Subscription, usage: UsageReader, at: datetime, others: Sequence[Invoice]
) -> dict[ServiceKey, NetLine]:
    """Return the lines of the preview at an instant, less their discounts."""
    window = open_window(subscription, at)
    if window is None:
        return {}
    terms = terms_of(subscription, invoice_id(subscription, window), at, others)
    preview = draft(subscription, window, usage, (), as_of=at, terms=terms)
    keys = [service_key(line) for line in preview.lines]
    return dict(zip(keys, net_lines(preview), strict=True))


def _drafted(invoice: Invoice, subscription: Subscription, window: Window) -> Claim:
    """Return the claim of a draft: all its lines and its tax."""
    return Claim(
        state=ClaimState.DRAFT,
        currency=subscription.currency,
        period_end=window.period.end,
        lines=net_lines(invoice),
        tax=invoice.total_tax,
        subscription_id=subscription.id,
        invoice_id=invoice.id,
    )


def _owed(invoice: Invoice) -> bool:
    """Tell whether a finalized invoice has something unpaid that wallets may pay.

    One that buys credits is never settled from wallets.
    """
    unpaid = invoice.status is InvoiceStatus.FINALIZED and invoice.amount_remaining > 0
    return unpaid and invoice.invoice_type is not InvoiceType.CREDIT


def _finalized(invoice: Invoice) -> Claim:
    """Return the claim of what remains of a finalized invoice."""
    return Claim(
        state=ClaimState.FINALIZED,
        currency=invoice.currency,
        period_end=invoice.period.end,
        lines=net_lines(invoice),
        credits_applied=tuple(
            total(part.amount for part in line.credits) for line in invoice.lines
        ),
        tax=invoice.total_tax,
        amount_paid=invoice.amount_paid,
        subscription_id=invoice.subscription_id or "",
        invoice_id=invoice.id,
    )
