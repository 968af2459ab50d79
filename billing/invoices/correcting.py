"""Correcting: which invoices that are final are rated again, and what that adds to the next one.

Usage that arrives while an invoice is a draft changes the draft; afterwards the difference goes
onto the next invoice of the subscription (billing.md 16).

Which of them have to be rated again is asked of the usage reader, where it knows
(`billing.ports.LateUsage`): the time of the earliest event that came since the newest final invoice
was computed, because that one carried what was late until then. Nothing came: nothing is read.
Else every final invoice whose period ends after that event is rated again, those of later periods
too, since an allowance or a commitment may carry a unit into them. Comparing an invoice's usage
with the usage now would read as much as rating does, and miss what moves between days that have an
allowance each. A reader that does not know is asked for everything: as exact, at the cost of the
history.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from billing.invoices.adjusting import adjustments, in_order
from billing.invoices.amounts import NO_TERMS, Terms
from billing.invoices.discounts import discount
from billing.invoices.drafting import draft
from billing.periods.services import windows
from billing.ports import LateUsage, UsageReader
from schemas.coupon import CouponAttachment, CouponCadence, CouponLevel
from schemas.ids import InvoiceId
from schemas.invoice import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Role
from schemas.money import LOSSLESS
from schemas.period import Interval
from schemas.subscription import Subscription

# An invoice in one of these states no longer follows usage; a void one is not billed again.
FINAL = frozenset({InvoiceStatus.FINALIZED, InvoiceStatus.SKIPPED})
# The invoices that carry what was late.
CARRIERS = frozenset({InvoiceKind.RENEWAL, InvoiceKind.FINAL, InvoiceKind.LATE})


def no_terms(_: Invoice) -> Terms:
    """Return the terms of an invoice on which no coupon and no tax was."""
    return NO_TERMS


def late_lines(
    invoice_id: InvoiceId,
    subscription: Subscription,
    known: Sequence[Invoice],
    usage: UsageReader,
    as_of: datetime,
) -> tuple[InvoiceLine, ...]:
    """Return the adjustments of an invoice that is computed now, as far back as usage has changed.

    `known` are all invoices of the subscription. Line coupons that took part in an original hold
    for its adjustments. Source: billing.md 16.
    """
    carried = [each for each in known if each.kind in CARRIERS]
    if not any(each.status in FINAL for each in carried):
        return ()
    since = None
    if isinstance(usage, LateUsage):
        customers = (subscription.external_customer_id,)
        closed = [each for each in carried if each.status is not InvoiceStatus.DRAFT]
        since = usage.arrived_since(customers, max(map(_computed_at, closed)))
        if since is None:
            return ()
    return corrections(
        invoice_id,
        subscription,
        known,
        usage,
        as_of=as_of,
        since=since,
        terms_of=lambda original: terms_then(subscription, original),
    )


def corrections(
    invoice_id: InvoiceId,
    subscription: Subscription,
    known: Iterable[Invoice],
    usage: UsageReader,
    *,
    as_of: datetime,
    since: datetime | None = None,
    terms_of: Callable[[Invoice], Terms] = no_terms,
) -> tuple[InvoiceLine, ...]:
    """Return the adjustments that the invoice `invoice_id` carries, in their order.

    `known` are the subscription's invoices in order of their dates, `as_of` the instant up to which
    usage is known. Every final one is rated again as it was then, by the terms that `terms_of` tells
    of it; with `since`, only those whose period ends after it. That must be the time of the earliest
    event that came late: an allowance or a commitment may carry it into later periods. An
    adjustment on a void invoice is not made again, unless that invoice was replaced.
    """
    every = [each for each in known if each.id != invoice_id]
    originals = {_window_of(each): each for each in every if each.status in FINAL}
    lines = [line for invoice in every for line in _counted(invoice, originals)]
    found: list[InvoiceLine] = []
    for window in windows(subscription, as_of, since=since):
        original = originals.get((window.kind, window.period))
        untouched = since is not None and window.period.end <= since
        if original is None or window.arrear is None or untouched:
            continue
        terms = terms_of(original)
        correct = draft(subscription, window, usage, (), as_of=as_of, terms=terms)
        found += adjustments(invoice_id, original, correct, lines)
    return in_order(found)


def terms_then(subscription: Subscription, original: Invoice) -> Terms:
    """Return the line coupons that took part in an invoice which is final, to rate it again.

    Those that took something off, and those of every invoice that could take nothing off, because
    there was nothing or because it rounded to nothing. How often they were used is settled, so
    nothing is counted.
    """
    applied = {each.attachment_id for each in original.coupon_applications}
    currency = original.currency

    def could_take(each: CouponAttachment) -> bool:
        return any(
            discount(each.coupon, LOSSLESS.subtract(line.amount, line.line_discount), currency)
            for line in original.lines
            if line.chain_id == each.chain_id and line.role is not Role.ADJUSTMENT
        )

    def took_part(each: CouponAttachment) -> bool:
        forever = each.coupon.cadence is CouponCadence.FOREVER and not could_take(each)
        return each.level is CouponLevel.LINE and (each.id in applied or forever)

    return Terms(tuple(each for each in subscription.coupons if took_part(each)))


def _computed_at(invoice: Invoice) -> datetime:
    """Return up to when an invoice knew usage; an imported one may not say, but has its date."""
    return invoice.computed_at or invoice.dated_at


def _window_of(invoice: Invoice) -> tuple[InvoiceKind, Interval]:
    """Return what a later generation of an invoice has in common with it."""
    return invoice.kind, invoice.period


def _counted(
    invoice: Invoice, originals: dict[tuple[InvoiceKind, Interval], Invoice]
) -> tuple[InvoiceLine, ...]:
    """Return the lines of an invoice that count as billed."""
    if invoice.status in FINAL:
        return invoice.lines
    replaced = invoice.kind is not InvoiceKind.LATE and _window_of(invoice) in originals
    if invoice.status is not InvoiceStatus.VOIDED or replaced:
        return ()
    return tuple(line for line in invoice.lines if line.role is Role.ADJUSTMENT)
