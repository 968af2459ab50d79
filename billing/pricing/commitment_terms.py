"""The terms of commitments: what a subscription agrees to, and over which time it is measured.

A commitment spans the period of what has promised it, or a longer `duration`: then it is
cumulative, on the grid of the subscription's anchor. Of a time that is cut by the life of a line or
subscription it counts in part, whatever the proration behavior (billing.md 10).
"""

from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from billing.periods.schedules import Schedule, Span, period_multiple
from billing.pricing.proration import coefficient
from schemas.commitment import Commitment
from schemas.errors import ValidationFailed
from schemas.period import Interval
from schemas.price import BillingPeriod, PriceType
from schemas.subscription import Subscription, SubscriptionLine

NOT_BOTH = "commitments of a subscription and of its lines exclude each other"

# A recurring period and its count.
Recurring = tuple[BillingPeriod, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """The time over which a commitment is measured, for one period of it.

    `inside` is the part in which it is in force, `share` its part of the full time. Usage of
    `inside` before the period counts too, and the last period is charged for what is missing.
    """

    inside: Interval
    share: Fraction
    last: bool


def measured(
    subscription: Subscription,
    made: Schedule,
    commitment: Commitment,
    period: Recurring,
    span: Span,
    *,
    life: tuple[datetime, datetime | None],
) -> Measured:
    """Return the time over which the commitment of a period is measured.

    `period` says how long its periods are, `span` is the one in question, cut to what is charged,
    in its full period; `life` is that of the line or subscription. A period belongs to the time
    that holds its start. Source: billing.md 10.
    """
    full = span.full
    if commitment.duration is not None and _times(commitment.duration, period) > 1:
        grid = replace(made.grid, period=commitment.duration, count=1)
        full = grid.around(span.period.start)
    start, end = life
    inside = full.cut(Interval(start, max(start, end or full.end)))
    assert inside is not None, "what is charged is in force"
    share = coefficient(inside, full, subscription.proration_strategy, subscription.timezone)
    return Measured(inside, share, last=span.period.end >= inside.end)


def commit_subscription(subscription: Subscription, commitment: Commitment) -> Subscription:
    """Return a subscription whose usage, all together, has promised a spend.

    Raises ValidationFailed where a line has promised one already, and for a duration that is no
    whole number of billing periods. Source: billing.md 10.
    """
    if any(line.commitment for line in subscription.lines):
        raise ValidationFailed(NOT_BOTH, field="commitment_amount")
    period = subscription.billing_period, subscription.billing_period_count
    check_duration(commitment, period)
    return replace(subscription, commitment=commitment)


def commit_line(subscription: Subscription, price_id: str, commitment: Commitment) -> Subscription:
    """Return a subscription whose usage of one plan price has promised a spend.

    All versions of its line have the commitment, each for its own time. Raises ValidationFailed
    where the subscription has promised one already, for a price that is no line of it, for a fee,
    and for a duration that is no whole number of the line's periods. Source: billing.md 10.
    """
    if subscription.commitment is not None:
        raise ValidationFailed(NOT_BOTH)
    line = _line_of(subscription, price_id)
    check_duration(commitment, (line.price.billing_period, line.price.billing_period_count))
    lines = tuple(
        replace(each, commitment=commitment) if each.chain_id == line.chain_id else each
        for each in subscription.lines
    )
    return replace(subscription, lines=lines)


def _line_of(subscription: Subscription, price_id: str) -> SubscriptionLine:
    """Return the first line of a price, or of a version of it; only usage may commit."""
    for line in subscription.lines:
        if price_id in {line.price.id, line.price.parent_price_id}:
            if line.price.type is not PriceType.USAGE:
                raise ValidationFailed("only usage has a commitment")
            return line
    raise ValidationFailed("the subscription has no line of this price")


def _times(duration: BillingPeriod, period: Recurring) -> int:
    """Return how many periods a duration holds, 0 where that is no whole number."""
    if duration is BillingPeriod.ONETIME:
        return 0
    return period_multiple((duration, 1), period) or 0


def check_duration(commitment: Commitment, period: Recurring) -> None:
    """Refuse a duration that is not a whole number of the periods that it is made of.

    >>> from decimal import Decimal
    >>> from schemas.commitment import CommitmentType
    >>> year = Commitment(CommitmentType.AMOUNT, Decimal(1), duration=BillingPeriod.ANNUAL)
    >>> check_duration(year, (BillingPeriod.MONTHLY, 1))
    """
    if commitment.duration is not None and not _times(commitment.duration, period):
        count, word = period[1], period[0].value
        text = f"must be a whole number of billing periods ({count} × {word})"
        raise ValidationFailed(text, field="commitment_duration")
