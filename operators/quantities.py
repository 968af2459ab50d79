"""Quantities: what a meter gives for a period, as columns, for all customers and windows at once.

Every answer is made here; `operators.answers` puts it into the shape of a question. A period is
half-open.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.cells import Scope, cells, days_with, scope_of
from operators.finishing import ZERO, run, signed, values
from operators.folding import Column, Rule, instants, replaced
from operators.partials import distinct
from operators.usage import Usage
from operators.windows import Microseconds
from schemas.meter import Meter, WindowSize
from schemas.period import Interval

MEASURES = ("value", "quantity_signed", "counted")

SIZES = list(WindowSize)


def window_used(meter: Meter, window: WindowSize) -> WindowSize:
    """Return the size of the windows a meter answers in: the wider of window and bucket.

    >>> from schemas.meter import Aggregation, AggregationType
    >>> hourly = Aggregation(AggregationType.MAX, field="v", bucket_size=WindowSize.HOUR)
    >>> window_used(Meter("m", "t", "e", "Peak", "p", hourly), WindowSize.MINUTE).value
    'HOUR'
    """
    bucket = meter.aggregation.bucket_size
    return window if bucket is None else max(window, bucket, key=SIZES.index)


def quantities(
    meter: Meter,
    usage: Usage,
    period: Interval,
    *,
    by: Sequence[str] = (),
    window: WindowSize | None = None,
    timezone: str = "UTC",
    anchor: datetime | None = None,
    fill: bool = False,
) -> pa.Table:
    """Answer for each combination of the columns `by`, and for each window if one is asked for.

    A window's value is what the meter gives when asked for that window alone, cut to the period;
    it is listed if a counted event lies in it, with `fill` always. Source: metering.md 8

    in:  `by`: columns that rows and pairs have; a window narrower than the meter's bucket becomes
         the bucket
    out: by, window_start and window_end (natural; without windows the period), value,
         quantity_signed, counted; in the order of by and window

    >>> from datetime import UTC
    >>> from operators.usage import usage_of_pairs
    >>> from schemas.meter import Aggregation, AggregationType
    >>> from schemas.usage import PAIRS
    >>> day = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> nothing = usage_of_pairs(PAIRS.empty_table())
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> hours = quantities(meter, nothing, day, window=WindowSize.HOUR, fill=True)
    >>> hours.num_rows, hours["value"][0].as_py()
    (24, Decimal('0E-18'))
    """
    window = None if window is None else window_used(meter, window)
    days = None if fill else days_with(usage)
    scope = scope_of(meter, period, window=window, timezone=timezone, anchor=anchor, days=days)
    folded = cells(meter, usage, scope, by)
    if scope.running:
        everywhere = fill or window is None
        folded = run(meter.aggregation, folded, by, len(scope.spans) - 1 if everywhere else None)
    found = _measured(meter, folded, scope)
    if scope.buckets is not None:
        found = _summed(found, [*by, "span"])
    table = found.select([*by, "span", *MEASURES])
    if fill:
        table = _filled(table, by, len(scope.spans) - 1)
    table = table.sort_by([(name, "ascending") for name in [*by, "span"]])
    bounds = _bounds(table["span"], scope)
    for position, (name, column) in enumerate(bounds.items()):
        table = table.add_column(len(by) + position, name, column)
    return table.drop_columns("span").combine_chunks()


def buckets(
    meter: Meter,
    usage: Usage,
    period: Interval,
    *,
    by: Sequence[str] = (),
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> pa.Table:
    """List the buckets of a bucketed meter that hold a counted event, each priced on its own.

    out: by, bucket_start (natural, though the period may cut the bucket), group ("" where the meter
         has none), value, quantity_signed, counted; in the order of by, start, group by UTF-8 bytes

    >>> from datetime import UTC
    >>> from operators.usage import usage_of_pairs
    >>> from schemas.meter import Aggregation, AggregationType
    >>> from schemas.usage import PAIRS
    >>> day = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> nothing = usage_of_pairs(PAIRS.empty_table())
    >>> peak = Aggregation(AggregationType.MAX, field="v", bucket_size=WindowSize.HOUR)
    >>> buckets(Meter("m", "t", "e", "Peak", "p", peak), nothing, day).column_names
    ['bucket_start', 'group', 'value', 'quantity_signed', 'counted']
    """
    scope = scope_of(meter, period, timezone=timezone, anchor=anchor, days=days_with(usage))
    assert scope.buckets is not None, f"meter {meter.id} has no buckets"
    found = _measured(meter, cells(meter, usage, scope, by), scope)
    if "group" not in found.column_names:
        found = found.append_column("group", pa.repeat("", found.num_rows))
    keys = list(dict.fromkeys([*by, "bucket", "group"]))
    found = found.select([*keys, *MEASURES]).sort_by([(name, "ascending") for name in keys])
    starts = scope.buckets[found["bucket"].to_numpy()]
    position = found.schema.get_field_index("bucket")
    return found.set_column(position, "bucket_start", _instants(starts)).combine_chunks()


def _measured(meter: Meter, folded: pa.Table, scope: Scope) -> pa.Table:
    """Add the signed quantity and the value of each cell."""
    quantity = signed(meter.aggregation, folded, scope)
    return folded.append_column("quantity_signed", quantity).append_column(
        "value", values(quantity)
    )


def _summed(found: pa.Table, keys: list[str]) -> pa.Table:
    """Sum values, and signed quantities, of buckets: what is billed is the sum of the values."""
    rules: list[tuple[str, Rule]] = [(name, "sum") for name in MEASURES]
    summed = found.group_by(keys, use_threads=False).aggregate(rules)
    return summed.rename_columns([*keys, *MEASURES])


def _filled(table: pa.Table, by: Sequence[str], spans: int) -> pa.Table:
    """Add an empty row for each window that has none, for every key that has any."""
    shape = [*by, "span"]
    every = pa.table({"span": np.arange(spans)})
    if by:
        keys = distinct(table, by)
        index = np.repeat(np.arange(keys.num_rows), spans)
        numbers = np.tile(np.arange(spans), keys.num_rows)
        every = keys.take(index).append_column("span", pa.array(numbers))
    joined = every.join(table, shape, join_type="left outer")
    zeros: dict[str, pa.Scalar[Any]] = {
        "value": ZERO,
        "quantity_signed": ZERO,
        "counted": pa.scalar(0, pa.int64()),
    }
    for name, zero in zeros.items():
        joined = replaced(joined, name, cast("Column", pc.fill_null(joined[name], zero)))
    return joined.select([*shape, *MEASURES])


def _bounds(spans: Column, scope: Scope) -> dict[str, Column]:
    """Return the natural start and end of each row's window."""
    index = spans.to_numpy()
    return {
        "window_start": _instants(scope.spans[:-1][index]),
        "window_end": _instants(scope.spans[1:][index]),
    }


def _instants(numbers: Microseconds) -> Column:
    return instants(pa.chunked_array([numbers]))
