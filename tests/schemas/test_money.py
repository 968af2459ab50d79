"""Money is rounded once, by one function, and spread without loss (billing.md 2 and 19)."""

from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ValidationFailed
from schemas.money import MINOR_UNITS, Money, allocate, minor_units, settle, total

D = Decimal
WIDE = Context(prec=200)

amounts = st.decimals(-(10**20), 10**20, allow_nan=False, allow_infinity=False, places=9)
currencies = st.sampled_from(["usd", "JPY", "Kwd", "clf"])
weights = st.lists(st.decimals(0, 1000, places=3), min_size=1, max_size=12)


def unit(currency: str) -> Decimal:
    return D(1).scaleb(-minor_units(currency))


@pytest.mark.parametrize(
    ("amount", "currency", "settled"),
    [
        ("10.275", "usd", "10.28"),
        ("-10.275", "usd", "-10.28"),
        ("10.274999999999999999999999", "usd", "10.27"),
        ("0.5", "jpy", "1"),
        ("0.0005", "KWD", "0.001"),
        ("0.00005", "CLF", "0.0001"),
        ("-0.001", "usd", "0.00"),
        ("123456789012345678901234567890.125", "usd", "123456789012345678901234567890.13"),
        ("99999999999999999999.995", "eur", "100000000000000000000.00"),
    ],
)
def test_an_amount_settles_half_away_from_zero(amount: str, currency: str, settled: str) -> None:
    assert str(settle(D(amount), currency)) == settled


def test_a_third_settles_without_passing_through_decimals() -> None:
    assert settle(Fraction(100, 3), "usd") == D("33.33")
    assert settle(Fraction(1, 200), "usd") == D("0.01")


@pytest.mark.parametrize("digits", [0, 2, 3, 4])
def test_the_list_of_currencies_is_that_of_2026(digits: int) -> None:
    counts = {0: 17, 2: 139, 3: 7, 4: 2}
    assert sum(1 for each in MINOR_UNITS.values() if each == digits) == counts[digits]


@pytest.mark.parametrize(
    "code",
    ["XAU", "XDR", "XXX", "XTS", "XYZ", "US", "", "BGN", "HRK", "ANG", "ZWL", "u\u017fd", "usd "],
)
def test_a_code_without_minor_units_or_not_listed_is_refused(code: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        settle(D(1), code)
    assert refused.value.field == "currency"


def test_a_float_is_never_money() -> None:
    for refuse in (
        lambda: settle(0.1, "usd"),  # type: ignore[arg-type]  # what is refused
        lambda: allocate(D(1), [0.5], "usd"),  # type: ignore[list-item]  # what is refused
        lambda: Money(0.1, "usd"),  # type: ignore[arg-type]  # what is refused
        lambda: Money(D(1), "usd") * 0.1,  # type: ignore[operator]  # what is refused
    ):
        with pytest.raises(TypeError):
            refuse()


def test_two_currencies_are_never_added() -> None:
    with pytest.raises(ValidationFailed):
        Money(D(1), "usd") + Money(D(1), "eur")


def test_sums_and_products_of_money_are_exact() -> None:
    product = Money(D("99999999999999999999.999999999"), "USD") * D("0.123456789012345678")
    assert product.amount == D("12345678901234567799.999999999876543210987654322")
    assert (product - product).amount == 0
    assert (-product + product).settled() == Money(D("0.00"), "usd")
    assert total([D("0.1")] * 10 + [D(10) ** 40]) == D("1" + "0" * 39 + "1")


@pytest.mark.parametrize(
    ("amount", "parts", "given_weights"),
    [
        ("0.10", "0.03 0.04 0.03", "0.33 0.34 0.33"),
        ("0.10", "0.04 0.03 0.03", "1 1 1"),
        ("-0.10", "-0.04 -0.03 -0.03", "1 1 1"),
        ("0.02", "0.01 0.00 0.01", "5 0 5"),
        ("0", "0.00 0.00", "0 0"),
        ("0.01", "0.00 0.01", "1 2"),
    ],
)
def test_an_amount_is_spread_by_largest_remainder(
    amount: str, parts: str, given_weights: str
) -> None:
    spread = allocate(D(amount), [D(weight) for weight in given_weights.split()], "usd")
    assert spread == [D(part) for part in parts.split()]


@pytest.mark.parametrize(
    ("amount", "given_weights", "field"),
    [
        ("0.001", ["1"], "amount"),
        ("1", ["0", "0"], "weights"),
        ("1", [], "weights"),
        ("1", ["2", "-1"], "weights"),
        ("0", ["1", "-1"], "weights"),
    ],
)
def test_what_cannot_be_spread_is_refused(
    amount: str, given_weights: list[str], field: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        allocate(D(amount), [D(weight) for weight in given_weights], "usd")
    assert refused.value.field == field


@given(amounts, currencies)
def test_settling_twice_settles_once(amount: Decimal, currency: str) -> None:
    once = settle(amount, currency)
    assert settle(once, currency) == once
    assert settle(amount.copy_negate(), currency) == -once


@given(amounts, currencies)
def test_settling_agrees_with_the_rounding_of_the_decimal_module(
    amount: Decimal, currency: str
) -> None:
    expected = amount.quantize(unit(currency), rounding=ROUND_HALF_UP, context=WIDE)
    assert settle(amount, currency) == expected


@given(amounts, currencies, weights)
def test_parts_sum_to_the_amount_each_within_a_unit_of_its_share(
    amount: Decimal, currency: str, parts: list[Decimal]
) -> None:
    settled = settle(amount, currency)
    if not any(parts):
        parts = [*parts, D(1)]
    spread = allocate(settled, parts, currency)
    assert total(spread) == settled
    whole = sum(map(Fraction, parts))
    for part, weight in zip(spread, parts, strict=True):
        share = Fraction(settled) * Fraction(weight) / whole
        assert abs(Fraction(part) - share) < Fraction(unit(currency))
        assert weight or not part
    scaled = [weight * 7 / 8 for weight in parts]
    assert allocate(settled, scaled, currency) == spread
    assert allocate(settled.copy_negate(), parts, currency) == [
        part.copy_negate() for part in spread
    ]
