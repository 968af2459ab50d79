"""Computing: the invoice of a window as it stands at an instant, with all that is agreed and known.

Preview, draft, last computation and the claims on wallets all come from here, so they show one
invoice (billing.md 15.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from billing.invoices.amounts import with_terms
from billing.invoices.closing import CLOSED, unclosed, was_requested
from billing.invoices.correcting import late_lines
from billing.invoices.drafting import (
    ServiceKey,
    draft,
    invoice_id,
    service_key,
    with_settlement,
)
from billing.invoices.terms import terms_of
from billing.periods.services import FINALIZATION_DELAY, Window
from billing.ports import UsageReader
from billing.wallets.holdings import Holdings
from schemas.ids import InvoiceId, derived
from schemas.invoice import (
    BillingReason,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    Role,
)
from schemas.money import total
from schemas.period import Interval
from schemas.subscription import Subscription
from schemas.tax import TaxBase


@dataclass(frozen=True, slots=True)
class Background:
    """What an invoice rests on beside usage: the others of its subscription, wallets, settings."""

    invoices: Sequence[Invoice] = ()
    wallets: Sequence[Holdings] = ()
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS
    delay: timedelta = FINALIZATION_DELAY


def computed(
    subscription: Subscription,
    window: Window,
    usage: UsageReader,
    background: Background,
    at: datetime,
    *,
    last: bool = False,
) -> Invoice:
    """Return the invoice of a window with the usage before an instant, as a draft of version 1.

    It carries what was late for invoices that are final, if it is the next one of its subscription:
    of several that wait, the first; and in its `last` computation in any case, which is settled when
    it is finalized. What others bill already is left out. Source: billing.md 8, 11, 13 to 16.
    """
    name = invoice_id(subscription, window)
    others = background.invoices
    late: tuple[InvoiceLine, ...] = ()
    if window.arrear is not None and (last or _next_of_all(subscription, window, others)):
        late = late_lines(name, subscription, others, usage, at)
    terms = terms_of(subscription, name, window.dated_at, others)
    made = draft(
        subscription,
        window,
        usage,
        None if last else background.wallets,
        as_of=at,
        billed=billed_services(others),
        delay=background.delay,
        terms=replace(terms, tax_base=background.tax_base),
        adjustments=late,
    )
    return replace(made, requested=was_requested(subscription, window))


def late_invoice(
    subscription: Subscription, usage: UsageReader, background: Background, at: datetime
) -> Invoice | None:
    """Return the invoice of what came late for a subscription that has no next invoice, if any.

    It is dated at the instant at which it is made and finalized at once. Its id follows from how
    many of them there were, so that two that find the same do it once. Source: billing.md 16.
    """
    known = background.invoices
    number = sum(each.kind is InvoiceKind.LATE for each in known)
    name = InvoiceId(derived("inv", subscription.id, InvoiceKind.LATE.value, number))
    lines = late_lines(name, subscription, known, usage, at)
    if not lines:
        return None
    subtotal = total(line.amount for line in lines)
    starts, ends = zip(*((line.period.start, line.period.end) for line in lines), strict=True)
    blank = Invoice(
        id=name,
        customer_id=subscription.payer_id,
        subscription_id=subscription.id,
        kind=InvoiceKind.LATE,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        currency=subscription.currency.lower(),
        period=Interval(min(starts), max(ends)),
        dated_at=at,
        finalize_at=at,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
        computed_at=at,
        created_at=at,
    )
    terms = replace(terms_of(subscription, name, at, known), tax_base=background.tax_base)
    return with_settlement(with_terms(blank, terms), background.wallets, at)


def has_next_invoice(subscription: Subscription, invoices: Sequence[Invoice], at: datetime) -> bool:
    """Tell whether a subscription has an invoice to come that carries what was late."""
    ends = subscription.ends_at
    if ends is None or ends > at:
        return True
    known = {each.id: each for each in invoices}
    return any(window.arrear for window in unclosed(subscription, known, at))


def billed_services(invoices: Sequence[Invoice]) -> frozenset[ServiceKey]:
    """Return the services that closed invoices bill, so that none is billed twice (15.6).

    Corrections bill none, and a void invoice none any more.
    """
    return frozenset(
        service_key(line)
        for invoice in invoices
        if invoice.status in CLOSED and invoice.status is not InvoiceStatus.VOIDED
        for line in invoice.lines
        if line.role is not Role.ADJUSTMENT
    )


def _next_of_all(subscription: Subscription, window: Window, invoices: Sequence[Invoice]) -> bool:
    """Tell whether no invoice in arrear waits before the one of a window."""
    known = {each.id: each for each in invoices}
    earlier = unclosed(subscription, known, window.dated_at)
    first = next((each for each in earlier if each.arrear), window)
    # A preview is of another kind than the invoice that it shows.
    return first.arrear == window.arrear
