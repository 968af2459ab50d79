"""Timestamps as senders write them: RFC 3339 with zone and seconds (metering.md 2.1)."""

import re
from datetime import UTC, datetime, timedelta

from schemas.verdict import Rejection

_RFC_3339 = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})[Tt]"
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3]):(?P<zone_minute>[0-5][0-9]))"
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_END = (datetime(2200, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
# 0001-01-01T00:00:00Z: what some clients send for no time at all.
_ZERO_TIME = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND

# The calendar repeats after 400 years, so the year 0, which Python lacks, is read as the year 400.
_CYCLE_YEARS = 400
_CYCLE = timedelta(days=146_097) // _MICROSECOND


def read_timestamp(text: str) -> datetime | Rejection | None:
    """Read a timestamp, or say why it is none; None is the zero time, which means absent.

    Digits beyond microseconds are cut, never rounded. Accepted are the instants from 1970-01-01 up
    to but not including 2200-01-01, in UTC.

    >>> read_timestamp("2026-02-03T04:05:06.1234569+05:30")
    datetime.datetime(2026, 2, 2, 22, 35, 6, 123456, tzinfo=datetime.timezone.utc)
    >>> read_timestamp("2026-02-03").value, read_timestamp("1969-12-31T23:59:59Z").value
    ('timestamp_invalid', 'timestamp_out_of_range')
    """
    microseconds = _microseconds(text)
    if microseconds is None:
        return Rejection.TIMESTAMP_INVALID
    if microseconds == _ZERO_TIME:
        return None
    if not 0 <= microseconds < _END:
        return Rejection.TIMESTAMP_OUT_OF_RANGE
    return _EPOCH + timedelta(microseconds=microseconds)


def _microseconds(text: str) -> int | None:
    """Return the microseconds since 1970 that a text names, or None if it is no RFC 3339."""
    match = _RFC_3339.fullmatch(text)
    if match is None:
        return None
    year = int(match["year"])
    try:
        day = datetime(year or _CYCLE_YEARS, int(match["month"]), int(match["day"]), tzinfo=UTC)
        local = day.replace(
            hour=int(match["hour"]),
            minute=int(match["minute"]),
            second=int(match["second"]),
            microsecond=int((match["fraction"] or "")[:6].ljust(6, "0")),
        )
    except ValueError:
        return None
    offset = timedelta(hours=int(match["zone_hour"] or 0), minutes=int(match["zone_minute"] or 0))
    since = (local - _EPOCH) // _MICROSECOND - (0 if year else _CYCLE)
    return since + (offset if match["sign"] == "-" else -offset) // _MICROSECOND
