"""Usage as a line over time: which windows it has, what they hold, and how high each stands."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.client.readings import WatchedMeter, fitting_size, latest_range, named, reading
from flows.client.sparkline import BLOCKS, sparkline
from schemas.errors import NotFound
from schemas.meter import WindowSize
from schemas.period import Interval

NOON = datetime(2026, 1, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOKENS = WatchedMeter("meter_1", "Tokens", None, is_running=False)

decimals = st.decimals(0, 10**20, places=18)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([], ""),
        (["0", "0"], "▁▁"),
        (["7"], "█"),
        (["0", "1", "2", "3", "4", "5", "6", "7"], BLOCKS),
        (["0", "0.000000000000000001", "99999999999999999999"], "▁▂█"),
        ([None, "1", None], " █ "),
        (["0.1", "0.1"], "██"),
    ],
)
def test_a_line_shows_the_ratios_of_its_values(values: Sequence[str | None], line: str) -> None:
    assert sparkline([None if value is None else Decimal(value) for value in values]) == line


@given(st.lists(decimals, min_size=1))
def test_a_greater_value_never_stands_lower(values: list[Decimal]) -> None:
    heights = [BLOCKS.index(block) for block in sparkline(sorted(values))]
    assert heights == sorted(heights)
    assert heights[-1] == (7 if max(values) else 0)
    assert heights.count(0) == values.count(Decimal(0))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2199, 1, 1)))  # noqa: DTZ001 - made UTC below
def test_the_usual_range_is_whole_windows_and_holds_now(at: datetime) -> None:
    now = at.replace(tzinfo=UTC)
    period = latest_range(now)
    assert period.end - HOUR / 2 <= now < period.end
    assert fitting_size(period) is WindowSize.HALF_HOUR
    found = reading(TOKENS, Decimal(0), WindowSize.HALF_HOUR, {}, period).windows
    assert [found[0][0], found[-1][0] + HOUR / 2] == [period.start, period.end]
    assert len(found) == 48


@pytest.mark.parametrize(
    ("hours", "size", "points"),
    [
        (1, "MINUTE", 60),
        (12, "15MIN", 48),
        (24, "30MIN", 48),
        (48, "HOUR", 48),
        (7 * 24, "3HOUR", 56),
        (30 * 24, "12HOUR", 60),
        (60 * 24, "DAY", 60),
        (365 * 24, "WEEK", 53),
        (10 * 365 * 24, "MONTH", 121),
    ],
)
def test_windows_are_as_small_as_a_line_has_room(hours: int, size: str, points: int) -> None:
    period = Interval(NOON.replace(day=5, hour=0), NOON.replace(day=5, hour=0) + hours * HOUR)
    assert fitting_size(period) == size
    found = reading(TOKENS, Decimal(0), WindowSize(size), {}, period).windows
    assert len(found) == points
    assert all(one < other for (one, _), (other, _) in pairwise(found))


def test_a_window_without_events_is_nothing_and_a_running_total_stays() -> None:
    period = Interval(NOON, NOON + 4 * HOUR)
    points = {NOON + HOUR: Decimal(5), NOON + 2 * HOUR: Decimal(7)}
    once = reading(TOKENS, Decimal(12), WindowSize.HOUR, points, period)
    assert [value for _, value in once.windows] == [0, 5, 7, 0]
    running = replace(TOKENS, is_running=True)
    total = reading(running, Decimal(7), WindowSize.HOUR, points, period)
    assert [value for _, value in total.windows] == [None, 5, 7, 7]


def test_meters_are_found_by_name_or_id_and_a_wrong_name_is_told() -> None:
    other = WatchedMeter("meter_2", "Calls", None, is_running=False)
    meters = [other, TOKENS]
    assert named(meters, []) == meters
    assert named(meters, ["Tokens"]) == named(meters, ["meter_1"]) == [TOKENS]
    with pytest.raises(NotFound, match="no meter 'tokens'; there are: Calls, Tokens"):
        named(meters, ["tokens"])
