"""Windows: a table of edges that clocks make hard, then laws against a clock read by the minute."""

from calendar import monthrange
from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.windows import (
    DAY,
    LENGTHS,
    MINUTE,
    ORIGINS,
    REPEATED,
    edges,
    instant,
    whole,
    window_of,
    window_size,
    window_starts,
)
from schemas.errors import ValidationFailed
from schemas.meter import WindowSize
from schemas.zones import zone, zone_names

# Zones whose clocks are set by an hour, by half an hour, at midnight, and by a whole day.
ZONES = [
    "UTC",
    "America/New_York",
    "America/Havana",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Sao_Paulo",
    "Antarctica/Troll",
]
SIZES = st.sampled_from(list(WindowSize))
INSTANTS = st.datetimes(datetime(1972, 2, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis wants naive bounds beside the zone


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Size, instant, zone and anchor; then the window's start and end.
HARD = {
    "a day before the island skipped one": (
        "DAY 2011-12-30T09:59Z Pacific/Apia -",
        "2011-12-29T10:00Z 2011-12-30T10:00Z",
    ),
    "the day that followed the one it never had": (
        "DAY 2011-12-30T10:00Z Pacific/Apia -",
        "2011-12-30T10:00Z 2011-12-31T10:00Z",
    ),
    "a midnight put off when the clock is set back from it": (
        "DAY 2017-02-19T02:30Z America/Sao_Paulo -",
        "2017-02-18T02:00Z 2017-02-19T03:00Z",
    ),
    "edges that no whole minute of UTC meets": (
        "HOUR 1971-06-01T12:00Z Africa/Monrovia -",
        "1971-06-01T11:44:30Z 1971-06-01T12:44:30Z",
    ),
    "a month from an anchor with microseconds": (
        "MONTH 2024-02-29T23:59:59Z UTC 2023-12-31T10:20:30.000001Z",
        "2024-02-29T10:20:30.000001Z 2024-03-31T10:20:30.000001Z",
    ),
    "a minute, the same in every zone": (
        "MINUTE 2024-01-15T10:44:59Z Asia/Kathmandu -",
        "2024-01-15T10:44Z 2024-01-15T10:45Z",
    ),
    "a week that began before 1970": (
        "WEEK 1970-01-01T00:00Z UTC -",
        "1969-12-29T00:00Z 1970-01-05T00:00Z",
    ),
}


@pytest.mark.parametrize(("asked", "found"), HARD.values(), ids=HARD)
def test_an_edge_lies_where_the_clock_passes_it(asked: str, found: str) -> None:
    size, moment, timezone, anchor = asked.split()
    window = window_of(
        WindowSize(size),
        at(moment),
        timezone=timezone,
        anchor=None if anchor == "-" else at(anchor),
    )
    assert [window.start, window.end] == [at(edge) for edge in found.split()]


@pytest.mark.parametrize("name", ["hour", "QUARTER", "", " DAY", "HOUR_OF_DAY"])
def test_a_size_is_named_exactly(name: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        window_size(name)
    assert refused.value.reason == "unknown_window"


@pytest.mark.parametrize("size", [WindowSize.MINUTE, WindowSize.DAY])
def test_an_unknown_zone_is_refused_whatever_the_size(size: WindowSize) -> None:
    with pytest.raises(ValidationFailed) as refused:
        window_of(size, at("2024-01-01T00:00Z"), timezone="Mars/Olympus")
    assert refused.value.reason == "unknown_timezone"


def test_no_zone_keeps_an_offset_for_less_than_the_step_in_which_changes_are_sought() -> None:
    # Changes are looked for day by day; those of the next decades are as far apart as of the last.
    moments = [at("2000-01-01T00:00Z") + timedelta(hours=6 * step) for step in range(4 * 365)]
    for name in sorted(zone_names())[::20]:
        region = zone(name)
        changes = [
            later
            for earlier, later in pairwise(moments)
            if earlier.astimezone(region).utcoffset() != later.astimezone(region).utcoffset()
        ]
        assert all(two - one > timedelta(days=2) for one, two in pairwise(changes)), name


@given(SIZES, INSTANTS, st.sampled_from(sorted(zone_names())), INSTANTS)
def test_windows_touch_and_each_holds_its_instant(
    size: WindowSize, moment: datetime, timezone: str, anchor: datetime
) -> None:
    window = window_of(size, moment, timezone=timezone, anchor=anchor)
    after = window_of(size, window.end, timezone=timezone, anchor=anchor)
    last = window_of(size, window.end - timedelta(microseconds=1), timezone=timezone, anchor=anchor)
    assert window.holds(moment)
    assert after.start == window.end
    assert last == window


@given(st.lists(INSTANTS, max_size=8), SIZES, st.sampled_from(ZONES))
def test_columns_and_single_instants_agree(
    moments: list[datetime], size: WindowSize, timezone: str
) -> None:
    column = pa.chunked_array([pa.array(moments, pa.timestamp("us", "UTC"))])
    starts = window_starts(size, column, timezone=timezone).to_pylist()
    assert starts == [window_of(size, each, timezone=timezone).start for each in moments]


@cache
def readings(low: int, high: int, timezone: str) -> list[int]:
    """Read a zone's clock minute by minute."""
    region = zone(timezone)
    found = []
    for moment in range(low, high, MINUTE):
        offset = instant(moment).astimezone(region).utcoffset()
        assert offset is not None
        found.append(moment + offset // timedelta(microseconds=1))
    return found


def clock_edges(size: WindowSize, low: int, high: int, timezone: str) -> list[int]:
    """Return the minutes in which a zone's clock passes a multiple of the size."""
    found: list[int] = []
    read = readings(low, high, timezone)
    greatest = read[0]
    for index, (before, now) in enumerate(pairwise(read), start=1):
        moment = low + index * MINUTE
        length, origin = LENGTHS[size], ORIGINS.get(size, 0)
        # The greatest multiple that the clock shows or has jumped over since the minute before.
        passed = now - (now - origin) % length
        if now <= before:
            # Set back: an edge only if the clock shows it once more, and the size repeats.
            if passed == now and size in REPEATED:
                found.append(moment)
        elif passed > before and (size in REPEATED or passed > greatest):
            found.append(moment)
        greatest = max(greatest, now)
    return found


# Days around a change of the clock, of each kind.
CHANGES = [
    ("America/New_York", "2024-03-10"),
    ("America/New_York", "2024-11-03"),
    ("America/Havana", "2024-11-03"),
    ("Africa/Cairo", "2024-04-26"),
    ("Australia/Lord_Howe", "2024-10-06"),
    ("Australia/Lord_Howe", "2024-04-07"),
    ("Pacific/Apia", "2011-12-31"),
    ("Antarctica/Troll", "2024-03-31"),
    ("Antarctica/Troll", "2024-10-27"),
    ("America/Sao_Paulo", "2017-02-19"),
    ("Africa/Casablanca", "2024-03-10"),
]


@pytest.mark.parametrize(("timezone", "day"), CHANGES)
@pytest.mark.parametrize(
    "size", [size for size in LENGTHS if size is not WindowSize.MINUTE], ids=str
)
def test_edges_are_what_a_clock_read_minute_by_minute_shows(
    size: WindowSize, timezone: str, day: str
) -> None:
    middle = whole(at(f"{day}T00:00Z"))
    low, high = middle - 2 * DAY, middle + 2 * DAY
    found = edges(size, low, high, timezone=timezone)
    inside = found[(found > low) & (found < high)]
    assert inside.tolist() == clock_edges(size, low, high, timezone)


@given(
    st.integers(1, 31), st.times(), st.integers(1971, 2190), st.integers(0, 11), st.integers(1, 40)
)
def test_months_clamp_the_anchor_and_never_drift(
    day: int, clock: time, year: int, month: int, count: int
) -> None:
    anchor = datetime.combine(datetime(2000, 1, day, tzinfo=UTC), clock, tzinfo=UTC)
    expected = []
    for index in range(year * 12 + month, year * 12 + month + count):
        length = monthrange(index // 12, index % 12 + 1)[1]
        expected.append(
            whole(anchor.replace(year=index // 12, month=index % 12 + 1, day=min(day, length)))
        )
    found = edges(WindowSize.MONTH, expected[0], expected[-1], anchor=anchor)
    assert found[:-1].tolist() == expected
    assert np.all(np.diff(found) > 0)
