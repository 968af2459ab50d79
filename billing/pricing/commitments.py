"""Commitments: what is inside a promised spend, what is above it, what is missing (billing.md 10).

A commitment is a spend at list price, measured after the allowance and before discounts. What is
above it costs `overage_factor` times as much; with true-up, what is missing to it is charged too.
With factor 1 it is a minimum spend if there is a true-up, else it changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from billing.pricing.ladders import cost
from schemas.commitment import Commitment, CommitmentType
from schemas.money import LOSSLESS, Exact, allocate, settle, total
from schemas.price import Price

ZERO = Decimal(0)
NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Committed:
    """The parts of a line with a commitment, exact; `overage` includes the factor."""

    within: Fraction
    overage: Fraction = NOTHING
    true_up: Fraction = NOTHING

    @property
    def exact(self) -> Fraction:
        """Return what the line costs: the sum of its parts, settled once."""
        return self.within + self.overage + self.true_up


@dataclass(frozen=True, slots=True)
class Shares:
    """The parts of a line with a commitment, in whole minor units."""

    within: Decimal
    overage: Decimal
    true_up: Decimal


@dataclass(frozen=True, slots=True)
class LineSplit:
    """A settled usage line against the commitment of its subscription.

    `used_before` is what was measured before it. `overage` includes the factor: with factor 1 it is
    the rest of the line, which then stays whole.
    """

    used_before: Decimal
    within: Decimal
    overage: Decimal


@dataclass(frozen=True, slots=True)
class SubscriptionSplit:
    """All usage lines of a subscription against its commitment, and what is missing to it.

    `used` is what was measured in the end, at list price.
    """

    lines: tuple[LineSplit, ...]
    used: Decimal
    true_up: Decimal

    @property
    def total(self) -> Decimal:
        """Return what all of it costs."""
        return total([self.true_up, *(total([line.within, line.overage]) for line in self.lines)])


def worth(price: Price, commitment: Commitment) -> Decimal:
    """Return what the commitment of a line is worth: its amount, or the cost of its quantity.

    >>> from schemas.price import BillingModel, PriceType
    >>> price = Price("p", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=Decimal(2))
    >>> worth(price, Commitment(CommitmentType.QUANTITY, Decimal(500)))
    Decimal('1000')
    """
    if commitment.type is CommitmentType.QUANTITY:
        return cost(price, commitment.value).amount
    return commitment.value


def commit(used: Exact, committed: Exact, factor: Decimal, *, true_up: bool) -> Committed:
    """Measure the usage of one line, at list price, against what it has promised.

    From the commitment on it costs c + (u − c) × factor; below it c if there is a true-up, else u.
    `committed` is what is left of the commitment where earlier periods of its time used some.
    Source: billing.md 10, "Line level".

    >>> parts = commit(Decimal(1400), Decimal(1000), Decimal("1.5"), true_up=False)
    >>> int(parts.within), int(parts.overage), int(parts.exact)
    (1000, 600, 1600)
    """
    u, c = Fraction(used), Fraction(committed)
    if u >= c:
        return Committed(c, overage=(u - c) * Fraction(factor))
    return Committed(u, true_up=c - u if true_up else NOTHING)


def shares(amount: Decimal, parts: Committed, currency: str) -> Shares:
    """Spread the settled amount of a line over its parts, so that they sum to it.

    >>> shares(Decimal("62.58"), Committed(Fraction(1700, 31), Fraction(240, 31)), "usd")
    Shares(within=Decimal('54.84'), overage=Decimal('7.74'), true_up=Decimal('0.00'))
    """
    return Shares(*allocate(amount, [parts.within, parts.overage, parts.true_up], currency))


def commit_lines(
    amounts: Sequence[Decimal],
    committed: Decimal,
    factor: Decimal,
    *,
    true_up: bool,
    currency: str,
    prior: Decimal = ZERO,
) -> SubscriptionSplit:
    """Measure the settled usage lines of a subscription, in their order, against its commitment.

    `committed` is settled; `prior` is what earlier periods of a cumulative commitment used at list
    price, and `true_up` holds for the last of them only. What is within adds up to
    min(usage, what is left of the commitment). Source: billing.md 10, "Subscription level".

    >>> split = commit_lines([Decimal(15), Decimal(5)], Decimal(10), Decimal(2), true_up=False,
    ...     currency="usd")
    >>> [(f"{line.within}", f"{line.overage}") for line in split.lines], f"{split.total}"
    ([('10.00', '10.00'), ('0.00', '10.00')], '30.00')
    """
    used, lines = prior, []
    for amount in amounts:
        # A minimum of settled amounts; settling it only gives it the digits of its currency.
        within = settle(min(amount, left(committed, used)), currency)
        over = Fraction(LOSSLESS.subtract(amount, within)) * Fraction(factor)
        lines.append(LineSplit(used, within, settle(over, currency)))
        used = LOSSLESS.add(used, amount)
    missing = settle(left(committed, used) if true_up else ZERO, currency)
    return SubscriptionSplit(tuple(lines), used, missing)


def left(committed: Decimal, used: Decimal) -> Decimal:
    """Return what is left of a commitment, not below 0.

    >>> left(Decimal(60), Decimal(70))
    Decimal('0')
    """
    return max(LOSSLESS.subtract(committed, used), ZERO)
