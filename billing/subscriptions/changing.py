"""Changing: what a change of lines inside a period settles, and the invoice that it makes.

A change is seen by what it leaves: lines that end earlier give back what was charged for the rest,
lines that begin or go on longer are charged for it. All credits and charges of one request are
netted, each settled by itself (billing.md 6).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.periods.schedules import Span, spans
from billing.periods.services import grid_of, life_of, never_billed, schedule_of
from billing.pricing.ladders import Cost, cost
from billing.pricing.proration import (
    Change,
    ClosedLine,
    Outcome,
    Proration,
    net_of,
    prorate,
    settle_change,
)
from billing.subscriptions.charged import Charged, billed_until, charged_for
from schemas.ids import SubscriptionLineId
from schemas.invoice import Invoice
from schemas.money import total
from schemas.period import Interval
from schemas.price import BillingPeriod, InvoiceCadence, PriceType
from schemas.subscription import (
    NettedPart,
    ProrationBehavior,
    Subscription,
    SubscriptionLine,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a period of a line that a change closes or opens: `period` in its full one."""

    line: SubscriptionLine
    period: Interval
    cost: Cost
    proration: Proration


@dataclass(frozen=True, slots=True)
class CreditPart:
    """What is given back for a part: never more than what was charged and not given back before."""

    part: Part
    charged: Charged
    unused: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class ChargePart:
    """What is charged for a part."""

    part: Part
    amount: Decimal


@dataclass(frozen=True, slots=True)
class SettledChange:
    """All credits and charges of one request, in the order of lines and periods, and their sum.

    `until` is up to where periods have been charged: later ones are no matter of the change.
    """

    credits: tuple[CreditPart, ...]
    charges: tuple[ChargePart, ...]
    sum: Change
    until: datetime

    @property
    def outcome(self) -> Outcome:
        """Return whether an invoice, a wallet credit or nothing comes of it."""
        return self.sum.outcome

    def netted(self) -> tuple[NettedPart, ...]:
        """Return what is to be remembered because no invoice says it."""
        if self.outcome is Outcome.INVOICE:
            return ()
        credited = [_netted(each.part, each.amount.copy_negate()) for each in self.credits]
        charged = [_netted(each.part, each.amount) for each in self.charges]
        return tuple(each for each in (*credited, *charged) if each.amount)


def _netted(part: Part, amount: Decimal) -> NettedPart:
    return NettedPart(part.line.id, part.period, amount)


def settle_lines(
    before: Subscription,
    after: Subscription,
    invoices: Sequence[Invoice],
    *,
    decided_at: datetime,
    behavior: ProrationBehavior | None = None,
) -> SettledChange:
    """Return what a change settles, given a subscription before and after it and its invoices.

    `behavior` is that of the request, None the subscription's; with `none` nothing is settled. Only
    recurring fees in advance are: usage and fees in arrear are billed at the end of the period, and
    one-time fees never in part. Source: billing.md 6.
    """
    until = billed_until(before, invoices, decided_at)
    lost, gained = _moved(before, after)
    direction = _recurring(lost), _recurring(gained)
    given: list[CreditPart] = []
    charges: list[ChargePart] = []
    if (behavior or before.proration_behavior) is ProrationBehavior.CREATE_PRORATIONS:
        for line, interval in lost:
            for span in _charged_periods(before, line, interval, until):
                taken = charged_for(before, line, span.full, invoices)
                # Only what was charged for is unused: not what lies beyond it.
                rest = _up_to(span, taken.until)
                if rest is not None:
                    given.append(_credit(_part(before, line, rest), taken, before.currency))
        for line, interval in gained:
            for span in _charged_periods(after, line, interval, until):
                # A line that goes on longer may have been charged for that before it was cut.
                taken = charged_for(before, line, span.full, invoices)
                rest = _since(span, taken.until)
                if rest is not None:
                    charges.append(_charge(_part(after, line, rest), after.currency))
    # What was never charged is never given back, and needs no line that says so.
    credits_given = tuple(each for each in given if each.amount)
    found = net_of(
        [each.amount for each in credits_given], [each.amount for each in charges], *direction
    )
    return SettledChange(credits_given, tuple(charges), found, until)


# When a line is in force, an end of None is open.
_Life = tuple[datetime, datetime | None]
_Moved = list[tuple[SubscriptionLine, _Life]]


def _moved(before: Subscription, after: Subscription) -> tuple[_Moved, _Moved]:
    """Return the times of lines that a change takes away, and those that it adds."""
    then, now = _lives(before), _lives(after)
    lost: _Moved = []
    gained: _Moved = []
    for line, life in then.values():
        rest = _beyond(life, now[line.id][1] if line.id in now else None)
        if rest is not None:
            lost.append((line, rest))
    for line, life in now.values():
        rest = _beyond(life, then[line.id][1] if line.id in then else None)
        if rest is not None:
            gained.append((line, rest))
    return lost, gained


def _lives(subscription: Subscription) -> dict[SubscriptionLineId, tuple[SubscriptionLine, _Life]]:
    """Return the lines that are in force at any time with that time, by (start, id)."""
    if never_billed(subscription):
        return {}
    lines = sorted(subscription.lines, key=lambda line: (line.start_date, line.id))
    found = {}
    for line in lines:
        life = life_of(subscription, line)
        if life is not None:
            found[line.id] = (line, life)
    return found


def _beyond(life: _Life, other: _Life | None) -> _Life | None:
    """Return what of a life lies behind the end of another that began with it, None if nothing."""
    if other is None:
        return life
    start, end = other[1], life[1]
    if start is None or (end is not None and end <= start):
        return None
    return start, end


def _recurring(moved: _Moved) -> Decimal:
    """Return the cost of a full period of the recurring fees among lines."""
    return total(
        cost(line.price, line.quantity).amount for line, _ in moved if _recurring_fee(line)
    )


def _recurring_fee(line: SubscriptionLine) -> bool:
    price = line.price
    return price.type is PriceType.FIXED and price.billing_period is not BillingPeriod.ONETIME


def _charged_periods(
    subscription: Subscription, line: SubscriptionLine, interval: _Life, until: datetime
) -> Iterator[Span]:
    """Yield the periods of a fee in advance, cut to a time, that have been charged by now."""
    if not _recurring_fee(line) or line.price.invoice_cadence is not InvoiceCadence.ADVANCE:
        return
    start, end = interval
    for span in spans(grid_of(subscription, schedule_of(subscription), line), start, end):
        # A service belongs to the invoice of its own start, however late in it the change comes.
        if max(span.full.start, line.start_date, subscription.starts_at) >= until:
            return
        yield span


def _up_to(span: Span, end: datetime | None) -> Span | None:
    """Return what of a period lies before an instant, None where nothing does or there is none."""
    if end is None or end <= span.period.start:
        return None
    return Span(Interval(span.period.start, min(span.period.end, end)), span.full)


def _since(span: Span, start: datetime | None) -> Span | None:
    """Return what of a period lies after an instant, all of it without one, None where nothing."""
    if start is None or start <= span.period.start:
        return span
    return Span(Interval(start, span.period.end), span.full) if start < span.period.end else None


def _part(subscription: Subscription, line: SubscriptionLine, span: Span) -> Part:
    """Return a part of a period with its share and what the whole of it costs."""
    measured = prorate(
        span.period, span.full, subscription.proration_strategy, subscription.timezone
    )
    return Part(line, span.period, cost(line.price, line.quantity), measured)


def _credit(part: Part, taken: Charged, currency: str) -> CreditPart:
    """Return what a part that is not used any more gives back."""
    share = part.proration.coefficient
    closed = ClosedLine(part.cost.amount, taken.charged, taken.credited)
    (amount,) = settle_change([closed], [], share, currency).credits
    (unused,) = settle_change([], [part.cost.amount], share, currency).charges
    return CreditPart(part, taken, unused, amount)


def _charge(part: Part, currency: str) -> ChargePart:
    """Return what a part costs."""
    share = part.proration.coefficient
    (amount,) = settle_change([], [part.cost.amount], share, currency).charges
    return ChargePart(part, amount)
