"""Usage of metered files as rows: each meter, customer, group and window with its quantity.

What `tally meter` prints and what the demo shows. Everything is asked of `operators.answers`, as
invoices are, so that both show the same number.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pyarrow as pa

from operators.answers import totals_by_customer
from operators.partials import Partials
from operators.usage import Usage
from schemas.meter import Meter, WindowSize
from schemas.period import Interval

# The columns of an answer, in order (the JSON members of `tally meter`).
COLUMNS = (
    "meter",
    "external_customer_id",
    "group",
    "window_start",
    "window_end",
    "value",
    "event_count",
)

DAY = timedelta(days=1)


class Metered(Protocol):
    """What was metered: the stored rows of each meter, and the pairs that an edge cuts out."""

    @property
    def first_event_at(self) -> datetime | None:
        """Return the earliest timestamp of an accepted event."""
        ...

    @property
    def last_event_at(self) -> datetime | None:
        """Return the latest timestamp of an accepted event."""
        ...

    def usage(self, meter: Meter) -> Partials:
        """Return all stored rows of a meter."""
        ...

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        """Return the counted pairs of the base windows that the interval cuts. out: PAIRS."""
        ...


def whole_days(first: datetime | None, last: datetime | None) -> Interval | None:
    """Return the UTC days from that of the first event to that of the last; None without events.

    >>> at = datetime(2026, 1, 5, 23, 59, tzinfo=UTC)
    >>> str(whole_days(at, at).end)
    '2026-01-06 00:00:00+00:00'
    """
    if first is None or last is None:
        return None
    return Interval(midnight(first), midnight(last) + DAY)


def midnight(at: datetime) -> datetime:
    """Return 00:00 UTC of an instant's day."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def usage_of(metered: Metered, meter: Meter, period: Interval) -> Usage:
    """Return what a question about a period is answered from, pairs where an edge cuts."""
    rows = metered.usage(meter)
    whole = not any(at.second or at.microsecond for at in (period.start, period.end))
    return Usage(rows, None if whole else metered.edges(meter, period))


def usage_rows(
    metered: Metered,
    meters: Iterable[Meter],
    names: Mapping[str, str],
    period: Interval,
    *,
    window: WindowSize | None = None,
) -> list[dict[str, object]]:
    """Return the answers of all meters, ordered by meter, customer, group and window.

    `names` says how each meter is called by its id. Rows without a counted event are left out.
    out: COLUMNS; group is None where the meter has none
    """
    rows: list[dict[str, object]] = []
    for meter in sorted(meters, key=lambda each: names[each.id]):
        table = totals_by_customer(meter, usage_of(metered, meter, period), period, window=window)
        table = table.append_column("event_count", table["counted"])
        table = table.append_column("meter", pa.repeat(names[meter.id], table.num_rows))
        rows += table.select(list(COLUMNS)).to_pylist()
    return rows
