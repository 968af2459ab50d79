"""What an allowance covers, and that it does so once (billing.md 12 and 19)."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing.allowances import (
    Allowance,
    WindowUsage,
    cover_in_order,
    cover_windows,
    covered,
)
from schemas.money import total

D = Decimal

usages = st.lists(st.decimals(0, 1000, places=3), max_size=10)
limits = st.integers(0, 3000)


@pytest.mark.parametrize(
    ("limit", "used_before", "usage", "taken"),
    [
        (100, "0", "500", "100"),
        (100, "0", "80", "80"),
        (100, "50", "100", "50"),
        (100, "100", "80", "0"),
        (100, "130", "20", "0"),
        (None, "1000000", "80", "80"),
        (1, "0", "2.5", "1"),
        (0, "0", "5", "0"),
        (100, "-40", "120", "100"),
        (100, "0", "-5", "0"),
    ],
)
def test_the_first_units_are_covered(
    limit: int | None, used_before: str, usage: str, taken: str
) -> None:
    assert covered(Allowance(limit, D(used_before)), D(usage)) == D(taken)


def test_without_an_allowance_nothing_is_covered() -> None:
    assert covered(None, D(5)) == 0
    assert cover_in_order(None, [D(5), D(6)]) == (D(0), D(0))


@pytest.mark.parametrize(
    ("limit", "days", "taken", "billable"),
    [
        (10, [("0", "15"), ("0", "3"), ("0", "12")], "23", "7"),
        (1000, [("0", "2100"), ("0", "200"), ("0", "200")], "1400", "1100"),
        (10, [("6", "8"), ("0", "3"), ("0", "15")], "17", "9"),
        (5, [], "0", "0"),
        (None, [("0", "15")], "15", "0"),
    ],
)
def test_each_reset_window_has_its_allowance_and_the_rest_is_one_quantity(
    limit: int | None, days: list[tuple[str, str]], taken: str, billable: str
) -> None:
    windows = [
        WindowUsage(None, None, Allowance(limit, D(before)), D(usage)) for before, usage in days
    ]
    period = cover_windows(windows)
    assert (period.covered, period.billable) == (D(taken), D(billable))
    assert [row.usage for row in period.windows] == [D(usage) for _, usage in days]
    assert total(row.covered for row in period.windows) == period.covered


@given(limits, usages)
def test_an_allowance_covers_once_however_its_window_is_cut(
    limit: int, parts: list[Decimal]
) -> None:
    assert total(cover_in_order(Allowance(limit), parts)) == min(D(limit), total(parts))
    used, taken = D(0), D(0)
    for part in parts:
        taken += covered(Allowance(limit, used), part)
        used += part
    assert taken == min(D(limit), total(parts))


@given(usages)
def test_an_unlimited_allowance_covers_everything(parts: list[Decimal]) -> None:
    assert cover_in_order(Allowance(None), parts) == tuple(parts)
