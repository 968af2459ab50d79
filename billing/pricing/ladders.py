"""The ladder of a price: what one quantity costs, and which components that cost is made of.

Exact, never rounded, and nothing for a quantity of 0 or less. Source: billing.md 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from schemas.money import LOSSLESS, total
from schemas.price import BillingModel, Price, Rounding, TierMode

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Component:
    """One term of a cost: quantity × unit amount + flat amount.

    `tier` counts from 0, and is None for prices without tiers. The quantity of a PACKAGE price is
    the number of packages.
    """

    tier: int | None
    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Cost:
    """The exact cost of a quantity, and the components that sum to it."""

    amount: Decimal
    components: tuple[Component, ...] = ()


def cost(price: Price, quantity: Decimal) -> Cost:
    """Return the exact cost of a quantity. A quantity of 0 or less costs nothing, in every model.

    Bounds of tiers are inclusive, quantities may be fractional. SLAB rises without a jump down;
    VOLUME may fall when a bound is crossed. Raises TypeError for a float. Source: billing.md 4.

    >>> from schemas.price import PriceType, Tier
    >>> tiers = (Tier(10, Decimal(5), Decimal(1)), Tier(None, Decimal(4), Decimal(2)))
    >>> slab = Price("p", PriceType.USAGE, BillingModel.TIERED, "usd", tiers=tiers,
    ...              tier_mode=TierMode.SLAB)
    >>> cost(slab, Decimal("10.001")).amount
    Decimal('53.004')
    """
    return cost_between(price, ZERO, quantity)


def cost_between(price: Price, start: Decimal, end: Decimal) -> Cost:
    """Return what the units above `start`, up to `end`, cost: cost(end) − cost(start).

    Tiers entered and packages opened below `start` are not charged again. A VOLUME price has no
    place on a ladder, so it takes a `start` of 0 only. Source: billing.md 4.

    >>> from schemas.price import PriceType, TransformQuantity
    >>> packs = Price("p", PriceType.USAGE, BillingModel.PACKAGE, "usd", amount=Decimal(5),
    ...               transform_quantity=TransformQuantity(100))
    >>> cost_between(packs, Decimal(50), Decimal(100)).amount
    Decimal('0')
    """
    if end <= max(start, ZERO):
        return Cost(ZERO)
    components = tuple(_components(price, max(start, ZERO), end))
    return Cost(total([component.amount for component in components]), components)


def _components(price: Price, start: Decimal, end: Decimal) -> Iterator[Component]:
    """Yield the components of the units above `start` up to `end`, by the price's model."""
    if price.billing_model is BillingModel.FLAT_FEE:
        yield _component(None, LOSSLESS.subtract(end, start), price.amount)
    elif price.billing_model is BillingModel.PACKAGE:
        opened = LOSSLESS.subtract(_packages(price, end), _packages(price, start))
        if opened:
            yield _component(None, opened, price.amount)
    elif price.tier_mode is TierMode.SLAB:
        yield from _slab(price, start, end)
    else:
        assert price.tier_mode is TierMode.VOLUME, "a valid TIERED price has a tier mode"
        assert not start, "a VOLUME price is not priced from the middle"
        yield _volume(price, end)


def _packages(price: Price, quantity: Decimal) -> Decimal:
    """Return how many packages a quantity opens: exact, without tolerance."""
    package = price.transform_quantity
    assert package is not None, "a valid PACKAGE price has a size"
    whole, rest = LOSSLESS.divmod(quantity, Decimal(package.divide_by))
    return LOSSLESS.add(whole, 1) if rest and package.round is Rounding.UP else whole


def _slab(price: Price, start: Decimal, end: Decimal) -> Iterator[Component]:
    """Yield a component for each tier that holds units above `start`; the last tier is open."""
    floor = ZERO
    for index, tier in enumerate(price.tiers):
        bound = _bound(price, index)
        ceiling = end if bound is None else min(end, bound)
        # The flat amount belongs to the first unit of the tier, so it is due where that lies.
        flat = tier.flat_amount if start <= floor else ZERO
        if ceiling > max(floor, start):
            units = LOSSLESS.subtract(ceiling, max(floor, start))
            yield _component(index, units, tier.unit_amount, flat)
        if ceiling == end:
            return
        floor = ceiling


def _volume(price: Price, quantity: Decimal) -> Component:
    """Return the one component of the tier that holds the whole quantity."""
    index = next(
        index
        for index in range(len(price.tiers))
        if (bound := _bound(price, index)) is None or quantity <= bound
    )
    tier = price.tiers[index]
    return _component(index, quantity, tier.unit_amount, tier.flat_amount)


def is_volume(price: Price) -> bool:
    """Tell whether all units cost what the last tier reached says.

    >>> from schemas.price import PriceType
    >>> is_volume(Price("p", PriceType.USAGE, BillingModel.FLAT_FEE, "usd"))
    False
    """
    return price.billing_model is BillingModel.TIERED and price.tier_mode is TierMode.VOLUME


def _bound(price: Price, index: int) -> Decimal | None:
    """Return a tier's inclusive upper bound; the last tier has none, whatever it says."""
    bound = price.tiers[index].up_to
    return None if bound is None or index == len(price.tiers) - 1 else Decimal(bound)


def _component(
    tier: int | None, quantity: Decimal, unit_amount: Decimal, flat_amount: Decimal = ZERO
) -> Component:
    """Return a component with its amount."""
    amount = LOSSLESS.add(LOSSLESS.multiply(quantity, unit_amount), flat_amount)
    return Component(tier, quantity, unit_amount, flat_amount, amount)
