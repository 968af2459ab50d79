"""The laws of settling and allocating, each by its name (billing.md 2 and 19)."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_settings import LAW, MONEY

from schemas.money import allocate, minor_units, settle

# Ten thousand examples take their time on a machine that others use too.
pytestmark = pytest.mark.timeout(600)

# Currencies of 0, 2, 3 and 4 digits.
currencies = st.sampled_from(["JPY", "usd", "KWD", "CLF"])
exact = st.one_of(
    st.decimals(-(10**9), 10**9, places=6),
    st.fractions(min_value=-(10**6), max_value=10**6),
    # Halves of a minor unit, where rounding decides.
    st.integers(-(10**7), 10**7).map(lambda units: Decimal(units * 5).scaleb(-5)),
)
units = st.integers(-100_000, 100_000)
weights = st.lists(st.integers(0, 1000), min_size=1, max_size=5)


def amount_of(units: int, currency: str) -> Decimal:
    return Decimal(units).scaleb(-minor_units(currency))


@LAW
@given(exact, currencies)
def test_settling_what_is_settled_changes_nothing(amount: Decimal | Fraction, code: str) -> None:
    settled = settle(amount, code)
    assert settle(settled, code) == settled
    assert settled.as_tuple() == settle(settled, code).as_tuple()
    assert abs(Fraction(settled) - Fraction(amount)) * 10 ** minor_units(code) <= Fraction(1, 2)


@LAW
@given(exact, currencies)
def test_the_opposite_settles_to_the_opposite(amount: Decimal | Fraction, code: str) -> None:
    assert settle(-amount, code) == -settle(amount, code)
    assert not settle(amount, code).is_zero() or not settle(amount, code).is_signed()


@LAW
@given(exact, currencies)
def test_a_decimal_and_the_fraction_of_it_settle_alike(
    amount: Decimal | Fraction, code: str
) -> None:
    if isinstance(amount, Decimal):
        assert settle(amount, code).as_tuple() == settle(Fraction(amount), code).as_tuple()


@MONEY
@given(units, weights, currencies)
def test_parts_of_an_allocation_sum_to_the_whole(whole: int, parts: list[int], code: str) -> None:
    """Each lies within one minor unit of its share, and what weighs nothing gets nothing."""
    amount = amount_of(whole, code)
    if not any(parts):
        parts = [*parts, 1]
    shares = allocate(amount, parts, code)
    assert sum(shares) == amount
    unit, weight = amount_of(1, code), sum(parts)
    for share, part in zip(shares, parts, strict=True):
        assert part or not share
        assert share * amount >= 0
        # Within one unit: |share − amount × part / weight| < unit, without dividing.
        assert abs(share * weight - amount * part) < unit * weight


@LAW
@given(units, weights, st.fractions(Fraction(1, 50), 50), currencies)
def test_scaled_weights_share_alike(
    whole: int, parts: list[int], factor: Fraction, code: str
) -> None:
    amount, parts = amount_of(whole, code), [*parts, 1]
    scaled = [part * factor for part in parts]
    assert allocate(amount, parts, code) == allocate(amount, scaled, code)


@LAW
@given(units, weights, currencies)
def test_the_opposite_is_shared_out_to_the_opposite(
    whole: int, parts: list[int], code: str
) -> None:
    amount, parts = amount_of(whole, code), [*parts, 1]
    assert allocate(-amount, parts, code) == [-share for share in allocate(amount, parts, code)]
