"""Numbers: a table of what texts mean, then laws that the scalar rule and the kernel both keep."""

import re
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.numbers import Number, read_number, to_values
from operators.properties import Kind
from schemas.decimals import VALUE
from schemas.verdict import Skip

LARGEST = "99999999999999999999.999999999999999999"

digits = st.text("0123456789", min_size=1, max_size=30)
numbers = st.one_of(
    st.from_regex(
        r"[+-]?([0-9]{1,24}(\.[0-9]{0,24})?|\.[0-9]{1,24})([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ),
    st.from_regex(r"-?(0|[1-9][0-9]{0,21})(\.[0-9]{1,20})?", fullmatch=True),
)
texts = st.one_of(
    numbers, st.text(max_size=8), st.sampled_from(["nan", "-INF", " 7 ", "1_0", "0x1"])
)


@pytest.mark.parametrize(
    ("text", "value", "rounded"),
    [
        ("5", "5", False),
        (" \t5\n", "5", False),
        ("+007.50", "7.5", False),
        (".5", "0.5", False),
        ("5.", "5", False),
        ("1.5E+3", "1500", False),
        ("-0", "0", False),
        ("0e999999999999999999999999", "0", False),
        (LARGEST, LARGEST, False),
        ("0.0000000000000000005", "0", True),  # Half goes to the even neighbour,
        ("0.0000000000000000015", "0.000000000000000002", True),  # whichever side that is.
        ("1e-999999999999999999999999", "0", True),
        ("0." + "0" * 5000 + "1e5001", "1", False),
        ("1" + "0" * 5000 + "e-5000", "1", False),
    ],
)
def test_a_number_is_read_exactly(text: str, value: str, rounded: bool) -> None:
    number = read_number(text)
    assert isinstance(number, Number)
    assert (number.value, number.rounded) == (Decimal(value), rounded)
    assert not number.value.is_signed() or number.value < 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Skip.NOT_A_NUMBER),
        ("5 GB", Skip.NOT_A_NUMBER),
        ("1_000", Skip.NOT_A_NUMBER),
        ("1,5", Skip.NOT_A_NUMBER),
        ("\u0665", Skip.NOT_A_NUMBER),  # A digit, but no ASCII digit.
        ("\u00a05", Skip.NOT_A_NUMBER),  # A space, but not one that is trimmed.
        ("sNaN", Skip.NOT_A_NUMBER),
        (" -Infinity ", Skip.NOT_FINITE),
        ("+nan", Skip.NOT_FINITE),
        ("1e20", Skip.OUT_OF_RANGE),
        ("-1e999999999999999999999999", Skip.OUT_OF_RANGE),
        (LARGEST + "5", Skip.OUT_OF_RANGE),  # Only after rounding.
    ],
)
def test_what_is_no_value_says_why(text: str, reason: Skip) -> None:
    assert read_number(text) is reason


@given(numbers)
def test_rounding_is_to_the_nearest_and_flagged_only_where_it_changed_something(text: str) -> None:
    sent, number = Fraction(Decimal(text)), read_number(text)
    if isinstance(number, Skip):
        assert number is Skip.OUT_OF_RANGE
        assert abs(sent) >= 10**20 - Fraction(1, 2 * 10**18)
        return
    assert abs(Fraction(number.value) - sent) <= Fraction(1, 2 * 10**18)
    assert number.rounded == (Fraction(number.value) != sent)


@given(st.text())
def test_any_text_gets_a_number_or_a_reason(text: str) -> None:
    assert isinstance(read_number(text), Number | Skip)


@given(st.lists(st.tuples(st.sampled_from(list(Kind)), texts), max_size=20))
def test_a_column_says_what_the_scalar_rule_says(cells: list[tuple[Kind, str]]) -> None:
    kinds = pa.array([kind for kind, _ in cells], pa.uint8())
    readable = (Kind.NUMBER, Kind.TEXT)
    column = pa.array([text if kind in readable else None for kind, text in cells], pa.string())
    values = to_values(kinds, column)
    assert values.value.type == VALUE
    for row, (kind, text) in enumerate(cells):
        expected = read_number(text) if kind in readable else Skip.WRONG_TYPE
        if kind is Kind.MISSING:
            expected = Skip.MISSING_FIELD
        got = (values.value[row].as_py(), values.skip[row].as_py(), values.rounded[row].as_py())
        if isinstance(expected, Skip):
            assert got == (None, expected.value, False)
        else:
            assert got == (expected.value, None, expected.rounded)


@given(st.integers(-(10**38) + 1, 10**38 - 1))
def test_every_value_that_fits_survives_being_written_and_read(units: int) -> None:
    value = Decimal(f"{units}e-18")
    text = f"{value:f}"
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text)
    values = to_values(pa.array([Kind.NUMBER], pa.uint8()), pa.array([text]))
    assert values.value[0].as_py() == value
