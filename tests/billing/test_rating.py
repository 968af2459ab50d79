"""What quantities cost, exactly (billing.md 4 and the cost laws of 19)."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing.rating import (
    Allowance,
    Segment,
    bucketed_cost,
    cost,
    distinct_costs,
    price_buckets,
    rate_segments,
)
from schemas.decimals import plain
from schemas.money import settle, total
from schemas.price import (
    BillingModel,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)

D = Decimal


def flat(amount: str) -> Price:
    return Price("flat", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", amount=D(amount))


def package(amount: str, size: int, rounding: Rounding = Rounding.UP) -> Price:
    return Price(
        "package",
        PriceType.USAGE,
        BillingModel.PACKAGE,
        "usd",
        amount=D(amount),
        transform_quantity=TransformQuantity(size, rounding),
    )


def tiered(mode: TierMode, *rows: tuple[int | None, str, str]) -> Price:
    return Price(
        "tiered",
        PriceType.USAGE,
        BillingModel.TIERED,
        "usd",
        tiers=tuple(Tier(up_to, D(unit), D(flat_amount)) for up_to, unit, flat_amount in rows),
        tier_mode=mode,
    )


def shown(*numbers: Decimal | Fraction | int | None) -> str:
    """Return figures as a line of text, which is how the tables below say what is expected."""
    return " ".join(plain(each) if isinstance(each, Decimal) else str(each) for each in numbers)


LADDER = ((10, "5", "1"), (20, "4", "2"), (None, "3", "3"))
SLAB = tiered(TierMode.SLAB, *LADDER)
VOLUME = tiered(TierMode.VOLUME, *LADDER)
PACKS = package("5", 100)
FULL_PACKS = package("5", 100, Rounding.DOWN)

quantities = st.decimals(0, 10**6, places=6)
rates = st.decimals(0, 100, places=4)


@st.composite
def ladders(draw: st.DrawFn, modes: tuple[TierMode, ...] = tuple(TierMode)) -> Price:
    bounds = sorted(draw(st.sets(st.integers(1, 10**6), max_size=5)))
    rows = [Tier(bound, draw(rates), draw(rates)) for bound in [*bounds, None]]
    return replace(SLAB, tiers=tuple(rows), tier_mode=draw(st.sampled_from(modes)))


flats = rates.map(lambda amount: replace(flat("0"), amount=amount))
packages = st.builds(
    lambda amount, size, rounding: replace(
        PACKS, amount=amount, transform_quantity=TransformQuantity(size, rounding)
    ),
    rates,
    st.integers(1, 1000),
    st.sampled_from(Rounding),
)
rising = st.one_of(flats, packages, ladders((TierMode.SLAB,)))
prices = st.one_of(flats, packages, ladders())


@pytest.mark.parametrize(
    ("quantity", "slab", "volume"),
    [
        ("0", "0", "0"),
        ("-3", "0", "0"),
        ("0.5", "3.5", "3.5"),
        ("10", "51", "51"),
        ("10.001", "53.004", "42.004"),
        ("20", "93", "82"),
        ("20.5", "97.5", "64.5"),
    ],
)
def test_tiers_include_their_bounds(quantity: str, slab: str, volume: str) -> None:
    assert cost(SLAB, D(quantity)).amount == D(slab)
    assert cost(VOLUME, D(quantity)).amount == D(volume)


@pytest.mark.parametrize(
    ("quantity", "up", "down"),
    [
        ("0", "0", "0"),
        ("0.5", "5", "0"),
        ("99.999", "5", "0"),
        ("100", "5", "5"),
        ("100.001", "10", "5"),
        ("-150", "0", "0"),
    ],
)
def test_packages_are_whole(quantity: str, up: str, down: str) -> None:
    assert cost(PACKS, D(quantity)).amount == D(up)
    assert cost(FULL_PACKS, D(quantity)).amount == D(down)


def test_no_digit_is_lost_above_28() -> None:
    found = cost(flat("0.123456789012345678"), D("99999999999999999999.999999999")).amount
    assert found == D("12345678901234567799.999999999876543210987654322")


def test_a_float_is_never_priced() -> None:
    with pytest.raises(TypeError):
        cost(flat("2"), 0.5)  # type: ignore[arg-type]  # what is refused


def test_components_say_which_tier_holds_what() -> None:
    first, second = cost(SLAB, D(12)).components
    assert shown(first.tier, first.quantity, first.unit_amount, first.flat_amount) == "0 10 5 1"
    assert shown(second.tier, second.quantity, second.amount) == "1 2 10"
    (packs,) = cost(PACKS, D(250)).components
    assert shown(packs.tier, packs.quantity, packs.unit_amount) == "None 3 5"
    assert cost(FULL_PACKS, D(99)).components == ()


def test_volume_may_fall_where_a_bound_is_crossed() -> None:
    assert cost(VOLUME, D("10.001")).amount < cost(VOLUME, D(10)).amount


def test_each_bucket_has_a_ladder_of_its_own() -> None:
    line = bucketed_cost(SLAB, [D(12), D(0), D(12), D(-1)])
    assert shown(line.quantity, line.amount) == "24 122"
    assert [row.cost.amount for row in line.rows] == [61, 0, 61, 0]


def test_an_allowance_covers_buckets_in_time_order() -> None:
    line = bucketed_cost(flat("1"), [D(7), D(5), D(2)], Allowance(10))
    assert [row.covered for row in line.rows] == [7, 3, 0]
    assert shown(line.covered, line.quantity, line.amount) == "10 4 4"


def test_many_buckets_are_explained_by_their_distinct_quantities() -> None:
    line = bucketed_cost(SLAB, [D(12), D(3), D("12.0"), D(0)])
    rows = distinct_costs(line.rows)
    assert [shown(row.quantity, row.count) for row in rows] == ["3 1", "12 2"]


def test_a_price_that_changes_keeps_the_place_on_the_ladder() -> None:
    old = tiered(TierMode.SLAB, (1000, "0.02", "0"), (None, "0.01", "0"))
    new = tiered(TierMode.SLAB, (1000, "0.04", "0"), (None, "0.02", "0"))
    first, second = rate_segments([Segment(old, D(800)), Segment(new, D(500))])
    assert shown(first.amount, second.amount) == "16 14"
    assert shown(second.start, *(part.quantity for part in second.components)) == "800 200 300"


@pytest.mark.parametrize(
    ("price", "amounts"),
    [
        (tiered(TierMode.SLAB, (10, "1", "5"), (None, "2", "3")), [9, 15]),
        (package("5", 10), [5, 5]),
        (package("5", 10, Rounding.DOWN), [0, 5]),
        (
            tiered(TierMode.VOLUME, (10, "1", "5"), (None, "2", "3")),
            [Fraction(116, 13), Fraction(261, 13)],
        ),
    ],
)
def test_what_was_opened_before_a_change_is_not_charged_again(
    price: Price, amounts: list[Fraction]
) -> None:
    parts = rate_segments([Segment(price, D(4)), Segment(price, D(9))])
    assert [part.amount for part in parts] == amounts


def test_an_allowance_is_used_up_in_time_order_over_a_change() -> None:
    parts = rate_segments([Segment(flat("1"), D(60)), Segment(flat("2"), D(60))], Allowance(100))
    figures = [shown(part.covered, part.billable, part.amount) for part in parts]
    assert figures == ["60 0 0", "40 20 40"]


@given(prices)
def test_nothing_costs_nothing(price: Price) -> None:
    for quantity in (D(0), D("-0.000001"), D(-7)):
        assert cost(price, quantity).amount == 0
        assert cost(price, quantity).components == ()


@given(rising, quantities, quantities)
def test_more_usage_never_costs_less(price: Price, some: Decimal, more: Decimal) -> None:
    assert cost(price, some).amount <= cost(price, some + more).amount


@given(ladders(), quantities)
def test_a_finite_last_tier_prices_as_an_open_one(price: Price, quantity: Decimal) -> None:
    *rest, last = price.tiers
    bound = (rest[-1].up_to or 0) + 7 if rest else 7
    finite = replace(price, tiers=(*rest, replace(last, up_to=bound)))
    assert cost(finite, quantity) == cost(price, quantity)


@given(prices, quantities)
def test_components_sum_to_the_cost_and_hold_units(price: Price, quantity: Decimal) -> None:
    found = cost(price, quantity)
    assert total(part.amount for part in found.components) == found.amount
    for part in found.components:
        assert part.quantity > 0
        assert part.amount == part.quantity * part.unit_amount + part.flat_amount


@given(ladders((TierMode.SLAB,)), st.integers(0, 60))
def test_a_slab_costs_what_its_units_cost_one_by_one(price: Price, units: int) -> None:
    small = replace(
        price,
        tiers=tuple(
            replace(tier, up_to=tier.up_to and index * 11 + tier.up_to % 11 + 1)
            for index, tier in enumerate(price.tiers)
        ),
    )
    expected, entered = D(0), set()
    for unit in range(1, units + 1):
        index = next(
            i for i, tier in enumerate(small.tiers) if tier.up_to is None or unit <= tier.up_to
        )
        expected += small.tiers[index].unit_amount
        if index not in entered:
            expected += small.tiers[index].flat_amount
        entered.add(index)
    assert cost(small, D(units)).amount == expected


@given(prices, st.lists(quantities, min_size=1, max_size=6), st.none() | st.integers(0, 10**6))
def test_splitting_a_period_changes_no_cost(
    price: Price, usages: list[Decimal], limit: int | None
) -> None:
    allowance = None if limit is None else Allowance(limit)
    parts = rate_segments([Segment(price, usage) for usage in usages], allowance)
    (whole,) = rate_segments([Segment(price, total(usages))], allowance)
    assert sum(part.amount for part in parts) == whole.amount
    assert total(part.covered for part in parts) == whole.covered
    assert total(part.billable for part in parts) == whole.billable
    for part in parts:
        assert part.amount == sum(Fraction(c.amount) for c in part.components) * part.share


@given(prices, st.lists(quantities, max_size=8))
def test_buckets_cost_what_each_costs_alone(price: Price, values: list[Decimal]) -> None:
    line = price_buckets(price, values, [D(0)] * len(values))
    assert line.amount == total(cost(price, value).amount for value in values)
    assert line.amount == total(row.cost.amount * row.count for row in distinct_costs(line.rows))


@given(flats, quantities)
def test_a_line_is_rounded_once(price: Price, quantity: Decimal) -> None:
    exact = Fraction(price.amount) * Fraction(quantity)
    assert settle(cost(price, quantity).amount, "usd") == settle(exact, "usd")
