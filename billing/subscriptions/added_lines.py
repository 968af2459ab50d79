"""Added lines: what a subscription has beside what it took over from its plan (billing.md 7 and 9.2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.pricing.commitment_terms import NOT_BOTH, check_duration
from billing.subscriptions.subscribing import line_quantity
from schemas.commitment import Commitment
from schemas.errors import ValidationFailed
from schemas.ids import Fact, SubscriptionLineId, derived
from schemas.meter import Meter
from schemas.price import Price, PriceType
from schemas.subscription import Subscription, SubscriptionLine, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class LineRequest:
    """A line as it is asked for: a price that exists or was made for it, and what it says itself.

    `start_date` None is now, or the start of a subscription that is being made. `meter` is that of a
    usage price.
    """

    price: Price
    quantity: Decimal | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    meter: Meter | None = None
    display_name: str = ""
    commitment: Commitment | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def line_from(
    subscription: Subscription, request: LineRequest, start: datetime, *facts: Fact
) -> SubscriptionLine:
    """Return the line that a request asks for, under an id that follows from the facts.

    It begins at the latest of `start`, the price's start and that of the subscription, and ends at
    the earliest of its end and the price's. Raises ValidationFailed for another currency
    (`price_id`), an end before the start, a quantity that cannot be, and for a commitment on a fee
    or beside one of the subscription. Source: billing.md 7, 9.2 and 10.
    """
    price = request.price
    if price.currency.lower() != subscription.currency.lower():
        text = f"the price is in {price.currency}, the subscription in {subscription.currency}"
        raise ValidationFailed(text, field="price_id")
    begins = max(start, subscription.starts_at, price.start_date or start)
    ends = [end for end in (request.end_date, price.end_date) if end is not None]
    end = min(ends, default=None)
    if end is not None and end < begins:
        raise ValidationFailed("must not lie before the start of the line", field="end_date")
    _check_commitment(subscription, request)
    name = SubscriptionLineId(derived("subs_line", subscription.id, *facts))
    meter = request.meter
    shown = request.display_name or price.display_name or (meter.name if meter else "")
    return SubscriptionLine(
        id=name,
        chain_id=name,
        price=price,
        display_name=shown or price.lookup_key or price.id,
        start_date=begins,
        chain_start=begins,
        end_date=end,
        quantity=line_quantity(price, request.quantity),
        meter=meter,
        commitment=request.commitment,
        metadata=request.metadata,
    )


def _check_commitment(subscription: Subscription, request: LineRequest) -> None:
    """Refuse a commitment that the line cannot have."""
    promised, price = request.commitment, request.price
    if promised is None:
        return
    if price.type is not PriceType.USAGE:
        raise ValidationFailed("only usage has a commitment", field="commitment_type")
    if subscription.commitment is not None:
        raise ValidationFailed(NOT_BOTH, field="commitment_type")
    check_duration(promised, (price.billing_period, price.billing_period_count))


def shared_meters(subscription: Subscription, others: Iterable[Subscription]) -> tuple[str, ...]:
    """Return the meters that other live subscriptions of the customer bill too, in their order.

    Each bills the whole usage: the answer carries the warning `meter_shared`. Source: billing.md 7.
    """
    mine = {line.meter.id for line in subscription.lines if line.meter is not None}
    over = {SubscriptionStatus.DRAFT, SubscriptionStatus.CANCELLED}
    theirs = {
        line.meter.id
        for other in others
        if other.id != subscription.id
        and other.customer_id == subscription.customer_id
        and other.status not in over
        for line in other.lines
        if line.meter is not None
    }
    return tuple(sorted(mine & theirs))


def in_place(
    subscription: Subscription, line: SubscriptionLine, price: Price, quantity: Decimal
) -> Subscription:
    """Return a subscription one of whose lines has other terms from its beginning on.

    For one that nothing was charged for yet: a draft, or one that is on trial.
    """
    changed = replace(line, price=price, quantity=quantity)
    lines = tuple(changed if each is line else each for each in subscription.lines)
    return replace(subscription, lines=lines)
