"""Answers: what a meter gives for a period, the one way from usage to quantities.

`tally meter`, usage queries, balances and invoices all ask here, so that the same meter, customer
and interval give the same number to the last digit (metering.md 1). A period is half-open.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa

from operators.quantities import buckets, quantities, window_used
from operators.usage import Usage
from schemas.answer import Answer, Bucket, Group, Point
from schemas.meter import Meter, WindowSize
from schemas.period import Interval

# A row of a finished table, as Python values.
Row: TypeAlias = dict[str, Any]


def answer(
    meter: Meter,
    usage: Usage,
    period: Interval,
    *,
    window: WindowSize | None = None,
    timezone: str = "UTC",
    anchor: datetime | None = None,
    fill: bool = False,
    group_by: Sequence[str] = (),
) -> Answer:
    """Answer one question about all usage given, several customers together.

    Averages, latest readings, greatest and smallest values and members of several customers are
    computed over their events together. `group_by` names columns of the pairs. Raises
    ValidationFailed (reason `unknown_timezone`). Source: metering.md 7, 8

    >>> from operators.usage import usage_of_pairs
    >>> from schemas.meter import Aggregation, AggregationType
    >>> from schemas.usage import PAIRS
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> first, second = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
    >>> row = {"meter_id": "m", "external_customer_id": "acme", "group": "", "event_id": "a"}
    >>> pairs = pa.Table.from_pylist([row | {"timestamp": first}], schema=PAIRS)
    >>> answer(meter, usage_of_pairs(pairs), Interval(first, second)).counted
    1
    """
    ask = partial(quantities, meter, usage, period, timezone=timezone, anchor=anchor)
    totals = ask().to_pylist()
    total = _measures(totals[0]) if totals else (Decimal(0), Decimal(0), 0)
    used = None if window is None else window_used(meter, window)
    windows = ask(window=used, fill=fill).to_pylist() if used is not None else []
    listed: list[Row] = []
    if meter.aggregation.bucket_size is not None:
        listed = buckets(meter, usage, period, timezone=timezone, anchor=anchor).to_pylist()
    groups = ask(by=group_by).to_pylist() if group_by else []
    points = ask(by=group_by, window=used, fill=fill).to_pylist() if group_by and used else []
    of_group: dict[tuple[str, ...], list[Point]] = {}
    for row in points:
        of_group.setdefault(_key(row, group_by), []).append(_point(row))
    return Answer(
        *total,
        window=used,
        windows=tuple(_point(row) for row in windows),
        buckets=tuple(
            Bucket(_utc(row["bucket_start"]), row["group"], *_measures(row)) for row in listed
        ),
        groups=tuple(
            Group(key, *_measures(row), windows=tuple(of_group.get(key, [])))
            for row in groups
            for key in [_key(row, group_by)]
        ),
    )


def _key(row: Row, group_by: Sequence[str]) -> tuple[str, ...]:
    """Return the texts that name the group of a row."""
    return tuple(row[name] for name in group_by)


def _point(row: Row) -> Point:
    """Return a row of a window as a point."""
    return Point(_utc(row["window_start"]), _utc(row["window_end"]), *_measures(row))


def _utc(at: datetime) -> datetime:
    """Return an instant of Arrow with the zone that all of ours have."""
    return at.astimezone(UTC)


def _measures(row: Row) -> tuple[Decimal, Decimal, int]:
    """Return the value, the signed quantity and the count of a row."""
    return row["value"], row["quantity_signed"], row["counted"]


def totals_by_customer(
    meter: Meter,
    usage: Usage,
    period: Interval,
    *,
    window: WindowSize | None = None,
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> pa.Table:
    """Answer for every customer, and every group of a meter that has groups, at once.

    out: external_customer_id, group (null where the meter has none), window_start, window_end,
         value, quantity_signed, counted; ordered by customer, group, window. Without a window
         there is one row for the whole period; those without a counted event are left out.

    >>> from operators.usage import usage_of_pairs
    >>> from schemas.meter import Aggregation, AggregationType
    >>> from schemas.usage import PAIRS
    >>> day = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> nothing = usage_of_pairs(PAIRS.empty_table())
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> totals_by_customer(meter, nothing, day).column_names[:3]
    ['external_customer_id', 'group', 'window_start']
    """
    by = ["external_customer_id"]
    if meter.aggregation.group_by is not None:
        by.append("group")
    table = quantities(meter, usage, period, by=by, window=window, timezone=timezone, anchor=anchor)
    if meter.aggregation.group_by is None:
        table = table.add_column(1, "group", pa.nulls(table.num_rows, pa.string()))
    return table
