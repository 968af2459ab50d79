"""Values are read at the doors exactly as they were written (api.md 1.4 to 1.7)."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from schemas.doors import (
    given,
    read_decimal,
    read_instant,
    read_integer,
    read_interval,
    read_metadata,
)
from schemas.errors import ValidationFailed

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

NO_DECIMAL_TEXTS = """
    abc NaN Infinity 1e999999999 1e-41 1_000 \u0661 1,5 0x1 --1
""".split()  # noqa: SIM905 (a list of texts is read best as a text)
NO_DECIMALS = ["", 0.1, True, None, [], Decimal("NaN"), Decimal("Infinity"), 10**40, "9" * 5000]

NO_INSTANT_TEXTS = """
    2026-01-01T00:00:00 2026-01-01 1767225600 2026-02-30T00:00:00Z 20260101T000000Z
    2026-01-01T00:00:60Z 0001-01-01T00:00:00+01:00 2026-01-01T00:00:00.1234567890Z
""".split()  # noqa: SIM905 (a list of texts is read best as a text)
NO_INSTANTS = ["", 1767225600, None, NEW_YEAR.replace(tzinfo=None)]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0.1", "0.1"),
        (" 1e+06 ", "1000000"),
        ("-.5", "-0.5"),
        ("5.", "5"),
        (7, "7"),
        (Decimal("0.123456789012345678901234567890"), "0.123456789012345678901234567890"),
        ("0e-900", "0"),
    ],
)
def test_a_decimal_is_read_as_written(value: object, number: str) -> None:
    assert read_decimal(value) == Decimal(number)


@pytest.mark.parametrize("value", [*NO_DECIMAL_TEXTS, *NO_DECIMALS])
def test_what_is_no_exact_decimal_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (a door's refusal has no type of its own)
        read_decimal(value)


@pytest.mark.parametrize("value", ["1", 1.0, True, Decimal("1.5"), None, Decimal("1e999999")])
def test_what_is_no_json_integer_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (a door's refusal has no type of its own)
        read_integer(value)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01T00:00:00.999999999Z", NEW_YEAR),
        ("2026-01-01t05:30:00+05:30", NEW_YEAR),
        ("2025-12-31 19:00:00-05:00", NEW_YEAR),
    ],
)
def test_an_instant_is_utc_and_cut_to_seconds(text: str, instant: datetime) -> None:
    assert read_instant(text) == instant


@pytest.mark.parametrize("value", [*NO_INSTANT_TEXTS, *NO_INSTANTS])
def test_a_time_without_a_zone_or_of_another_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (a door's refusal has no type of its own)
        read_instant(value)


def test_null_and_the_empty_text_are_not_given_but_an_empty_amount_is_a_fault() -> None:
    body: dict[str, object] = {"lookup_key": "", "tier_mode": None, "amount": "", "tiers": []}
    assert given(body) == {"amount": "", "tiers": []}


def test_metadata_holds_texts() -> None:
    read = read_metadata({"a": "x", "b": True, "c": Decimal("1.50"), "d": {}})
    assert read == {"a": "x", "b": "true", "c": "1.50", "d": {}}


def test_an_interval_that_ends_before_it_starts_is_refused_by_name() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_interval(NEW_YEAR, NEW_YEAR.replace(year=2025), field="period")
    assert refused.value.field == "period"


@over(st.decimals(-(10**20), 10**20, places=18))
def test_a_decimal_and_its_text_are_read_alike(number: Decimal) -> None:
    assert read_decimal(str(number)) == read_decimal(number) == number
