"""Rating: what quantities cost by a price, exactly and never rounded (billing.md 4).

`cost` prices one quantity, `bucketed_cost` every bucket on its own, `rate_segments` a period whose
price changes inside it. Each answers with the components that its amount is made of, so that a line
can be explained and computed again. Rounding is left to `schemas.money.settle`, once a line.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing.pricing.allowances import Allowance, cover_in_order, covered
from billing.pricing.ladders import Component, Cost, cost, cost_between, is_volume
from schemas.money import LOSSLESS, total
from schemas.price import Price

__all__ = [
    "Allowance",
    "BucketCost",
    "BucketedCost",
    "Component",
    "Cost",
    "DistinctCost",
    "Segment",
    "SegmentCost",
    "bucketed_cost",
    "cost",
    "cost_between",
    "covered",
    "distinct_costs",
    "price_buckets",
    "price_segments",
    "rate_segments",
]

ZERO = Decimal(0)
ONE = Fraction(1)


@dataclass(frozen=True, slots=True)
class BucketCost:
    """One bucket: what it holds, what the allowance takes, and what the rest costs."""

    value: Decimal
    covered: Decimal
    quantity: Decimal
    cost: Cost


@dataclass(frozen=True, slots=True)
class BucketedCost:
    """All buckets of a line, in the order given, and their exact sums."""

    rows: tuple[BucketCost, ...]
    covered: Decimal
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class DistinctCost:
    """A quantity that buckets have, how many have it, and what one of them costs."""

    quantity: Decimal
    count: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a period in which one price holds, and the usage inside it."""

    price: Price
    usage: Decimal


@dataclass(frozen=True, slots=True)
class SegmentCost:
    """What a segment costs by its own price, from its place on the ladder of the period.

    `start` is the billable usage before the segment. The amount is that of the components times
    `share`: 1 but for a VOLUME price, whose components are those of the whole period's quantity.
    """

    price: Price
    start: Decimal
    covered: Decimal
    billable: Decimal
    components: tuple[Component, ...]
    share: Fraction
    amount: Fraction


def bucketed_cost(
    price: Price, values: Sequence[Decimal], allowance: Allowance | None = None
) -> BucketedCost:
    """Price each bucket, and each group in it, on its own; one allowance covers them in order.

    `values` are in time order. Tiers and packages start anew in each; empty and zero buckets cost
    nothing. Where several reset windows meet in the line, use `price_buckets`.
    Source: billing.md 4.

    >>> from schemas.price import BillingModel, PriceType
    >>> price = Price("p", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> line = bucketed_cost(price, [Decimal(3), Decimal(4)], Allowance(5))
    >>> line.covered, line.quantity, line.amount
    (Decimal('5'), Decimal('2'), Decimal('4'))
    """
    return price_buckets(price, values, cover_in_order(allowance, values))


def price_buckets(
    price: Price, values: Sequence[Decimal], covered_values: Sequence[Decimal]
) -> BucketedCost:
    """Price what is left of each bucket once its covered units are taken off.

    Both sequences have one element for each bucket and group, in the same order. A negative value
    counts as 0. Source: billing.md 4 and 12.

    >>> from schemas.price import BillingModel, PriceType
    >>> price = Price("p", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> price_buckets(price, [Decimal(3)], [Decimal(1)]).amount
    Decimal('4')
    """
    # Buckets repeat few quantities, and equal ones cost the same.
    known: dict[Decimal, Cost] = {}
    rows = []
    for value, taken in zip(values, covered_values, strict=True):
        held = max(value, ZERO)
        rest = LOSSLESS.subtract(held, taken)
        if rest not in known:
            known[rest] = cost(price, rest)
        rows.append(BucketCost(held, taken, rest, known[rest]))
    return BucketedCost(
        tuple(rows),
        covered=total([row.covered for row in rows]),
        quantity=total([row.quantity for row in rows]),
        amount=total([row.cost.amount for row in rows]),
    )


def distinct_costs(rows: Sequence[BucketCost]) -> tuple[DistinctCost, ...]:
    """Return each quantity above 0 that buckets have, once, in ascending order with its count.

    Lines of many buckets are explained by these. Source: billing.md 18.

    >>> from schemas.price import BillingModel, PriceType
    >>> price = Price("p", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> rows = bucketed_cost(price, [Decimal(3), Decimal(0), Decimal(3)]).rows
    >>> [(row.quantity, row.count) for row in distinct_costs(rows)]
    [(Decimal('3'), 2)]
    """
    costs = {row.quantity: row.cost for row in rows if row.quantity}
    counts = Counter(row.quantity for row in rows)
    return tuple(
        DistinctCost(quantity, counts[quantity], costs[quantity]) for quantity in sorted(costs)
    )


def rate_segments(
    segments: Sequence[Segment], allowance: Allowance | None = None
) -> tuple[SegmentCost, ...]:
    """Price a period whose price changes inside it: one allowance and one ladder for all of it.

    `segments` are in time order. Each costs, by its own price, cost(C + u) − cost(C), with u its
    billable usage and C that before it; a VOLUME price costs cost(Q) × u / Q, with Q that of the
    whole period. Where several reset windows meet in the period, use `price_segments`.
    Source: billing.md 4.

    >>> from schemas.price import BillingModel, PriceType
    >>> old = Price("a", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> new = Price("b", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(3))
    >>> parts = rate_segments([Segment(old, Decimal(4)), Segment(new, Decimal(5))], Allowance(6))
    >>> [(int(part.covered), int(part.billable), int(part.amount)) for part in parts]
    [(4, 0, 0), (2, 3, 9)]
    """
    usages = [segment.usage for segment in segments]
    return price_segments(segments, cover_in_order(allowance, usages))


def price_segments(
    segments: Sequence[Segment], covered_usages: Sequence[Decimal]
) -> tuple[SegmentCost, ...]:
    """Price the segments of a period once the covered units of each are known.

    The costs are exact before rounding: with one price in all segments they sum to cost(Q).
    Source: billing.md 4.

    >>> from schemas.price import BillingModel, PriceType
    >>> flat = Price("a", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> price_segments([Segment(flat, Decimal(4))], [Decimal(1)])[0].amount
    Fraction(6, 1)
    """
    billables = [
        LOSSLESS.subtract(max(segment.usage, ZERO), taken)
        for segment, taken in zip(segments, covered_usages, strict=True)
    ]
    whole = total(billables)
    rows, start = [], ZERO
    for segment, taken, billable in zip(segments, covered_usages, billables, strict=True):
        end = LOSSLESS.add(start, billable)
        share = ONE
        if not billable:
            part = Cost(ZERO)
        elif is_volume(segment.price):
            part = cost(segment.price, whole)
            share = Fraction(billable) / Fraction(whole)
        else:
            part = cost_between(segment.price, start, end)
        amount = Fraction(part.amount)
        if share is not ONE:
            amount *= share
        rows.append(
            SegmentCost(segment.price, start, taken, billable, part.components, share, amount)
        )
        start = end
    return tuple(rows)
