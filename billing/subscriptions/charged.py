"""What invoices have charged in advance for a line, and up to where periods have been charged at all.

A change gives back what was charged and is not used, and never anything else (billing.md 6).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.adjusting import ADJUSTS_ROLE
from billing.periods.schedules import billing_periods
from billing.periods.services import schedule_of
from schemas.ids import InvoiceLineId
from schemas.invoice import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, Role
from schemas.money import LOSSLESS, total
from schemas.period import Interval
from schemas.subscription import Subscription, SubscriptionLine

# Invoices that charge a billing period in advance.
CHARGING = frozenset({InvoiceKind.OPENING, InvoiceKind.RENEWAL})


@dataclass(frozen=True, slots=True)
class Charged:
    """What was charged for a line and period, net of discounts, and what of it was given back.

    `until` is the end of the time that it was charged for, None where nothing was. `line_id` is the
    first invoice line that charged it, None where no invoice did.
    """

    charged: Decimal = Decimal(0)
    credited: Decimal = Decimal(0)
    until: datetime | None = None
    line_id: InvoiceLineId | None = None


def charged_for(
    subscription: Subscription,
    line: SubscriptionLine,
    full: Interval,
    invoices: Iterable[Invoice],
) -> Charged:
    """Return what was charged for a line in a full period of its grid, and given back of it.

    On invoices that are not void, drafts among them, and by changes that led to no invoice.
    Source: billing.md 6.
    """
    found = [
        each
        for invoice in invoices
        if invoice.status is not InvoiceStatus.VOIDED
        for each in invoice.lines
        if each.subscription_line_id == line.id and full.holds(each.period.start) and _fee(each)
    ]
    netted = [
        part
        for change in subscription.changes
        for part in change.netted
        if part.line_id == line.id and full.holds(part.period.start)
    ]
    amounts = [*(_net(each) for each in found), *(part.amount for part in netted)]
    charging = [each for each in found if each.amount >= 0]
    ends = [each.period.end for each in charging]
    ends += [part.period.end for part in netted if part.amount >= 0]
    return Charged(
        total(amount for amount in amounts if amount > 0),
        total(amount.copy_negate() for amount in amounts if amount < 0),
        max(ends, default=None),
        charging[0].id if charging else None,
    )


def _fee(line: InvoiceLine) -> bool:
    """Tell whether an invoice line charges a fixed line, or gives back what was charged for one."""
    if line.role is Role.ADJUSTMENT:
        return line.metadata.get(ADJUSTS_ROLE) == Role.FIXED
    return line.role is Role.FIXED


def _net(line: InvoiceLine) -> Decimal:
    """Return an invoice line less its discounts."""
    return LOSSLESS.subtract(line.amount, LOSSLESS.add(line.line_discount, line.invoice_discount))


def billed_until(
    subscription: Subscription, invoices: Sequence[Invoice], decided_at: datetime
) -> datetime:
    """Return the instant before which every service in advance is on an invoice by now.

    A period is charged in advance at its start. So a change that is decided later settles what it
    changes before its end, and what starts at that end or after it is charged by the renewals, which
    know the change. One that is decided at the very start of a period is known to the invoice of
    that instant, unless that is final already.
    """
    agreed = replace(subscription, cancelled_at=None)
    ends = agreed.end_date
    if decided_at < agreed.starts_at or (ends is not None and ends <= agreed.starts_at):
        return agreed.starts_at
    made = schedule_of(agreed)
    if made.end is not None and decided_at >= made.end:
        return made.end
    period = next(billing_periods(made, since=decided_at)).period
    if period.start < decided_at or _closed_at(period.start, invoices):
        return period.end
    return period.start


def _closed_at(start: datetime, invoices: Iterable[Invoice]) -> bool:
    """Tell whether the invoice that charges a period in advance will not be drafted again."""
    return any(
        invoice.kind in CHARGING
        and invoice.dated_at == start
        and invoice.status is not InvoiceStatus.DRAFT
        for invoice in invoices
    )
