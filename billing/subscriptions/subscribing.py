"""Subscribing: which lines a subscription takes over from its plan, and how they change later.

Changes are functions from a subscription to a subscription; the facts they leave, lines with their
dates, are what invoices are drafted from (billing.md 7 and 9).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing.wallets.credit_grants import copied
from schemas.errors import ValidationFailed
from schemas.ids import SubscriptionLineId, derived
from schemas.price import BillingPeriod, Price, PriceType
from schemas.subscription import Plan, Subscription, SubscriptionLine


def line_quantity(price: Price, requested: Decimal | None) -> Decimal:
    """Return the quantity of a line: what was asked for, else min_quantity, else 1; 0 for usage.

    `min_quantity` is a default and never a floor. Raises ValidationFailed for a negative quantity,
    and for a positive one on usage. Source: billing.md 4 and 20.

    >>> from schemas.price import BillingModel
    >>> seat = Price("p", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", min_quantity=5)
    >>> line_quantity(seat, None), line_quantity(seat, Decimal(2))
    (Decimal('5'), Decimal('2'))
    """
    if requested is not None and requested < 0:
        raise ValidationFailed("must not be negative", field="quantity")
    if price.type is PriceType.USAGE:
        if requested:
            raise ValidationFailed("the meter gives the quantity of usage", field="quantity")
        return Decimal(0)
    return requested or Decimal(price.min_quantity or 1)


def taken_over(subscription: Subscription, price: Price) -> bool:
    """Tell whether a plan's price becomes a line by itself: by its currency and its period.

    Source: billing.md 7, "Lines".
    """
    fits = price.billing_period is BillingPeriod.ONETIME or (
        price.billing_period is subscription.billing_period
        and price.billing_period_count == subscription.billing_period_count
    )
    return fits and price.currency.lower() == subscription.currency.lower()


def chains(prices: Iterable[Price]) -> list[list[Price]]:
    """Group prices into version chains, each in order of start, chains as their first price came.

    A price without a parent is the first of its chain (billing.md 3.3).
    """
    found: dict[str, list[Price]] = {}
    for price in prices:
        found.setdefault(price.parent_price_id or price.id, []).append(price)

    def start(price: Price) -> tuple[bool, datetime | None]:
        return price.start_date is not None, price.start_date

    return [sorted(chain, key=start) if len(chain) > 1 else chain for chain in found.values()]


def in_force_for(subscription: Subscription, chain: Sequence[Price]) -> list[Price]:
    """Return the versions of a price that a subscription has, each until the next begins.

    A usage price is followed through its versions; a fixed one stays as it was when the
    subscription began, because its successors reach only new subscriptions (billing.md 9.4).
    """
    starts, ends = subscription.starts_at, subscription.ends_at
    alive = [
        price
        for price in chain
        if (price.end_date is None or price.end_date > starts)
        and (price.start_date is None or ends is None or price.start_date < ends)
    ]
    if not alive or alive[0].type is PriceType.USAGE:
        return alive
    first = alive[0]
    # An end that is the start of the next version is a change of price and not an end of the fee.
    changed = any(other.start_date == first.end_date for other in chain if other is not first)
    return [replace(first, end_date=chain[-1].end_date)] if changed else [first]


def subscribe(subscription: Subscription, plan: Plan) -> Subscription:
    """Return a subscription with the lines and entitlements that it takes over from its plan.

    A line starts at the later of the subscription's start and the price's, and ends at the price's
    end. Line ids follow from the subscription and the price, so that doing it twice is doing it
    once. Source: billing.md 7.
    """
    prices = [price for price in plan.prices if taken_over(subscription, price)]
    lines: list[SubscriptionLine] = []
    for chain in chains(prices):
        versions = in_force_for(subscription, chain)
        previous: SubscriptionLine | None = None
        for price in versions:
            line = _line(subscription, plan, price, previous)
            lines.append(line)
            previous = line
    taken = copied(subscription, plan.credit_grants)
    grants = (*taken, *(grant for grant in subscription.credit_grants if grant not in taken))
    return replace(
        subscription, lines=tuple(lines), entitlements=plan.entitlements, credit_grants=grants
    )


def _line(
    subscription: Subscription, plan: Plan, price: Price, previous: SubscriptionLine | None
) -> SubscriptionLine:
    """Return the line of a price, as a version of the line before it in its chain."""
    start = max(subscription.starts_at, price.start_date or subscription.starts_at)
    name = SubscriptionLineId(derived("subs_line", subscription.id, price.id))
    meter = plan.meters.get(price.meter_id or "")
    shown = price.display_name or (meter.name if meter else plan.name)
    return SubscriptionLine(
        id=name,
        chain_id=previous.chain_id if previous else name,
        price=price,
        display_name=shown,
        start_date=start,
        chain_start=previous.chain_start if previous else start,
        end_date=price.end_date,
        quantity=line_quantity(price, None),
        meter=meter,
        replaces=previous.id if previous else None,
    )


def reprice(
    subscription: Subscription,
    line_id: SubscriptionLineId,
    at: datetime,
    *,
    price: Price | None = None,
    quantity: Decimal | None = None,
) -> Subscription:
    """Replace a line at an instant by a version with another price or quantity.

    The line ends there and the version starts there, in the same chain; the same values change
    nothing. Raises ValidationFailed where the line is not in force. Source: billing.md 9.2.
    """
    line = next((line for line in subscription.lines if line.id == line_id), None)
    if line is None or at < line.start_date or (line.end_date is not None and at >= line.end_date):
        raise ValidationFailed(f"no line {line_id} is in force then", field="line_item_id")
    new_price = price or line.price
    new_quantity = line_quantity(new_price, quantity) if quantity is not None else line.quantity
    if (new_price, new_quantity) == (line.price, line.quantity):
        return subscription
    version = replace(
        line,
        id=SubscriptionLineId(derived("subs_line", subscription.id, line.id, at)),
        price=new_price,
        quantity=new_quantity,
        start_date=at,
        replaces=line.id,
    )
    # A version that starts where its predecessor did leaves nothing of it.
    kept = [replace(line, end_date=at) if other is line else other for other in subscription.lines]
    return replace(subscription, lines=(*kept, version))
