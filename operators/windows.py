"""Windows: the calendar cells of metering.md 8, whose edges the local clock of a time zone draws.

Edges are computed here, from the pinned zone data, and never by a store: base windows are UTC
minutes everywhere, and zone and anchor act only when usage is read (ENGINE trap 12). Inside, an
instant is a whole number of microseconds since 1970, and a local clock reading is such a number as
well.
"""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.folding import Column, instants, microseconds
from schemas.errors import ValidationFailed
from schemas.meter import WindowSize
from schemas.period import Interval
from schemas.zones import zone

Microseconds: TypeAlias = npt.NDArray[np.int64]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Local clock readings that are a multiple of the length, counted from the origin, are edges.
LENGTHS = {
    WindowSize.MINUTE: MINUTE,
    WindowSize.QUARTER_HOUR: 15 * MINUTE,
    WindowSize.HALF_HOUR: 30 * MINUTE,
    WindowSize.HOUR: HOUR,
    WindowSize.THREE_HOURS: 3 * HOUR,
    WindowSize.SIX_HOURS: 6 * HOUR,
    WindowSize.HALF_DAY: 12 * HOUR,
    WindowSize.DAY: DAY,
    WindowSize.WEEK: 7 * DAY,
}

# 1970-01-01 was a Thursday; weeks start on Monday, the 5th.
ORIGINS = {WindowSize.WEEK: 4 * DAY}

# Where the clock is set back over an edge of one of these, the edge comes twice.
REPEATED = {WindowSize.QUARTER_HOUR, WindowSize.HALF_HOUR, WindowSize.HOUR}

# No window with a jump inside is longer than this: a month, and a day that a zone may skip or
# repeat.
REACH = 33 * DAY


def window_size(name: str) -> WindowSize:
    """Return the size of a name, compared exactly: `hour` is none.

    Raises ValidationFailed (reason `unknown_window`). Source: metering.md 8

    >>> window_size("15MIN").value
    '15MIN'
    """
    try:
        return WindowSize(name)
    except ValueError:
        raise ValidationFailed(
            f"{name!r} is no window size", field="window_size", reason="unknown_window"
        ) from None


def window_of(
    size: WindowSize, at: datetime, *, timezone: str = "UTC", anchor: datetime | None = None
) -> Interval:
    """Return the window that holds an instant, in UTC.

    The anchor moves months only. Raises ValidationFailed (reason `unknown_timezone`).

    >>> at = datetime(2024, 3, 31, 12, tzinfo=UTC)
    >>> day = window_of(WindowSize.DAY, at, timezone="Europe/Berlin")
    >>> day.start.isoformat(), (day.end - day.start).total_seconds() / 3600
    ('2024-03-30T23:00:00+00:00', 23.0)
    """
    moment = whole(at)
    start, end = edges(size, moment, moment, timezone=timezone, anchor=anchor)
    return Interval(instant(int(start)), instant(int(end)))


def window_starts(
    size: WindowSize,
    timestamps: Column,
    *,
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> Column:
    """Return the natural start of the window that holds each instant.

    Raises ValidationFailed (reason `unknown_timezone`). Source: metering.md 8

    >>> at = pa.chunked_array([[datetime(2024, 1, 15, 10, 44, tzinfo=UTC)]])
    >>> window_starts(WindowSize.HOUR, at)[0].as_py().isoformat()
    '2024-01-15T10:00:00+00:00'
    """
    moments = microseconds(timestamps).to_numpy()
    if len(moments) == 0:
        return pa.chunked_array([pa.array([], timestamps.type)])
    found = edges_around(size, days_of(timestamps), timezone=timezone, anchor=anchor)
    starts = found[np.searchsorted(found, moments, side="right") - 1]
    return instants(pa.chunked_array([starts]))


def edges(
    size: WindowSize,
    first: int,
    last: int,
    *,
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> Microseconds:
    """Return the edges of the windows that hold any instant from `first` to `last`, both included.

    in:  microseconds since 1970
    out: ascending; the greatest edge that is not after `first` is the first of them, the smallest
         that is after `last` is the last: one more edge than windows.

    >>> (edges(WindowSize.DAY, 0, DAY) // DAY).tolist()
    [0, 1, 2]
    """
    region = zone(timezone or "UTC")
    reach = 2 * MINUTE if size is WindowSize.MINUTE else REACH
    low, high = first - reach, last + reach
    if size is WindowSize.MINUTE:
        found = np.arange(low - low % MINUTE, high, MINUTE, dtype=np.int64)
    else:
        found = _edges_between(size, low, high, region, anchor)
    begin = int(np.searchsorted(found, first, side="right")) - 1
    end = int(np.searchsorted(found, last, side="right"))
    return found[begin : end + 1]


def days_of(timestamps: Column) -> Microseconds:
    """Return the UTC days in which instants lie, counted from 1970, each once, ascending.

    >>> days_of(pa.chunked_array([[datetime(1970, 1, 2, 12, tzinfo=UTC)]])).tolist()
    [1]
    """
    # No event lies before 1970, so that dividing whole numbers rounds down.
    return np.sort(pc.unique(pc.divide(microseconds(timestamps), DAY)).to_numpy())


def edges_around(
    size: WindowSize,
    days: Microseconds,
    *,
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> Microseconds:
    """Return the edges of the windows that hold any instant of the given UTC days.

    One event of another century must not cost all the windows between: stretches without days are
    left out, and appear as one long window that holds nothing.

    >>> len(edges_around(WindowSize.HOUR, np.array([0, 50_000])))
    50
    """
    zone(timezone or "UTC")
    breaks = np.flatnonzero(np.diff(days) > REACH // DAY) + 1
    runs = [run for run in np.split(days, breaks) if len(run)]
    found = [
        edges(size, int(run[0]) * DAY, int(run[-1] + 1) * DAY - 1, timezone=timezone, anchor=anchor)
        for run in runs
    ]
    return np.unique(np.concatenate([np.array([], dtype=np.int64), *found]))


def _edges_between(
    size: WindowSize, low: int, high: int, region: ZoneInfo, anchor: datetime | None
) -> Microseconds:
    """Return all edges in a stretch of time, one stretch of constant offset after the other."""
    jumps = [at for at in _jumps_between(low, high, region) if low < at < high]
    found: list[Microseconds] = []
    before: int | None = None
    for begin, end in zip([low, *jumps], [*jumps, high], strict=True):
        offset = _offset(region, begin)
        clock = _clock_edges(size, begin + offset, end + offset, region, anchor)
        if before is not None and offset > before:
            # The clock jumps forward: where that skips or meets an edge, the jump is the edge.
            skipped = _clock_edges(size, begin + before, begin + offset + 1, region, anchor)
            found.append(np.full(min(len(skipped), 1), begin, dtype=np.int64))
        elif before is not None and offset < before and size not in REPEATED:
            # The clock was set back: readings before the old one have been edges already.
            clock = clock[clock >= begin + before]
        found.append(clock - offset)
        before = offset
    return np.unique(np.concatenate(found))


def _clock_edges(
    size: WindowSize, low: int, high: int, region: ZoneInfo, anchor: datetime | None
) -> Microseconds:
    """Return the local clock readings in [low, high) that are edges."""
    if size is WindowSize.MONTH:
        return _month_edges(low, high, region, anchor)
    length, origin = LENGTHS[size], ORIGINS.get(size, 0)
    begin = low + (origin - low) % length
    return np.arange(begin, high, length, dtype=np.int64)


def _month_edges(low: int, high: int, region: ZoneInfo, anchor: datetime | None) -> Microseconds:
    """Return the readings in [low, high) at the anchor's day and clock time, the day clamped."""
    local = EPOCH if anchor is None else anchor.astimezone(region)
    clock = timedelta(
        hours=local.hour,
        minutes=local.minute,
        seconds=local.second,
        microseconds=local.microsecond,
    )
    first, last = instant(low - 32 * DAY), instant(high + 32 * DAY)
    readings: list[int] = []
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        year, index = divmod(month, 12)
        day = min(local.day, monthrange(year, index + 1)[1])
        readings.append(whole(datetime(year, index + 1, day, tzinfo=UTC) + clock))
    found = np.array(readings, dtype=np.int64)
    return found[(found >= low) & (found < high)]


def _jumps_between(low: int, high: int, region: ZoneInfo) -> list[int]:
    """Return when a zone changes its offset, in the years that a stretch touches."""
    years = range(instant(low).year, instant(high).year + 1)
    return [at for year in years for at in _jumps(region.key, year)]


@cache
def _jumps(name: str, year: int) -> tuple[int, ...]:
    """Return the instants of one UTC year at which the offset of a zone changes.

    Zone data gives no list of them. Offsets are compared day by day, since none has lasted less
    than a week since 1970, and each change is then found to the second.
    """
    region = zone(name)
    begin = whole(datetime(year, 1, 1, tzinfo=UTC))
    days = 366 if monthrange(year, 2)[1] == 29 else 365
    steps = range(begin, begin + days * DAY + 1, DAY)
    offsets = [_offset(region, at) for at in steps]
    return tuple(
        _jump(region, at, at + DAY)
        for at, old, new in zip(steps, offsets, offsets[1:], strict=False)
        if old != new
    )


def _jump(region: ZoneInfo, low: int, high: int) -> int:
    """Return when the offset changes between `low`, which lies before it, and `high`."""
    old = _offset(region, low)
    low, high = low // 1_000_000, high // 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(region, middle * 1_000_000) == old:
            low = middle
        else:
            high = middle
    return high * 1_000_000


def _offset(region: ZoneInfo, at: int) -> int:
    """Return how far a zone's clock is ahead of UTC at an instant, in microseconds."""
    offset = instant(at).astimezone(region).utcoffset()
    assert offset is not None, "an aware instant has an offset"
    return offset // MICROSECOND


def whole(at: datetime) -> int:
    """Return an aware instant as microseconds since 1970.

    >>> whole(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (at - EPOCH) // MICROSECOND


def instant(microsecond: int) -> datetime:
    """Return the instant of a number of microseconds since 1970.

    >>> instant(1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(microseconds=microsecond)
