"""Partials: what events of one cell contribute to a meter, built and merged (metering.md 7.1).

A cell is one meter, customer, group and base window. Any grouping of the same events into batches
and any order of merging gives the same partial; the order of its rows is no part of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.folding import Column, fold, instants, microseconds, times
from schemas.usage import BASE_WINDOW, CELL, MEMBERS, PARTIAL_COLUMNS, partial_schema

BASE_WINDOW_MICROSECONDS = int(BASE_WINDOW.total_seconds()) * 1_000_000

MEMBER_CELL = (*CELL, "member")


@dataclass(frozen=True, slots=True)
class Partials:
    """Partial rows of meters of one aggregation type, one row a cell.

    `table` has the columns of `schemas.usage.partial_schema`. `members` has those of MEMBERS for
    COUNT_UNIQUE, each member of a cell once, and is None for every other type.
    """

    table: pa.Table
    members: pa.Table | None


def empty(aggregation_type: str) -> Partials:
    """Return the partial of no event: merging it changes nothing.

    >>> empty("SUM").table.num_rows, empty("COUNT_UNIQUE").members.num_rows
    (0, 0)
    """
    unique = aggregation_type == "COUNT_UNIQUE"
    return Partials(
        partial_schema(PARTIAL_COLUMNS[aggregation_type]).empty_table(),
        MEMBERS.empty_table() if unique else None,
    )


def base_window_starts(timestamps: Column) -> Column:
    """Return the start of the base window, a UTC minute, that holds each instant.

    >>> from datetime import UTC, datetime
    >>> at = pa.chunked_array([[datetime(2026, 1, 1, 9, 30, 59, tzinfo=UTC)]])
    >>> base_window_starts(at)[0].as_py().isoformat()
    '2026-01-01T09:30:00+00:00'
    """
    # Events lie at or after 1970, so that dividing whole numbers rounds down.
    minutes = pc.divide(microseconds(timestamps), BASE_WINDOW_MICROSECONDS)
    return instants(pc.multiply(minutes, BASE_WINDOW_MICROSECONDS))


def lift(aggregation_type: str, pairs: pa.Table) -> pa.Table:
    """Return each counted pair as a partial of its own, with all columns it came with.

    in:  PAIRS, perhaps with more columns
    out: the columns of `pairs`, window_start, and the partial columns of the type. Sums are still
         as narrow as the values: `fold` widens them where it must.

    >>> from schemas.usage import PAIRS
    >>> lift("SUM", PAIRS.empty_table()).column_names[-3:]
    ['window_start', 'counted', 'sum']
    """
    starts = base_window_starts(pairs["timestamp"])
    lifted: dict[str, Callable[[], Column]] = {
        "counted": lambda: pa.chunked_array([np.ones(pairs.num_rows, dtype=np.int64)]),
        "sum": lambda: pairs["value"],
        "moment": lambda: _moments(pairs, starts),
        "maximum": lambda: pairs["value"],
        "minimum": lambda: pairs["value"],
        "latest_at": lambda: pairs["timestamp"],
        "latest_id": lambda: pairs["event_id"],
        "latest_value": lambda: pairs["value"],
    }
    table = pairs.append_column("window_start", starts)
    for name in PARTIAL_COLUMNS[aggregation_type]:
        table = table.append_column(name, lifted[name]())
    return table


def _moments(pairs: pa.Table, starts: Column) -> Column:
    """Return value × (t − window_start) in microseconds: small, because relative to the window."""
    return times(
        pairs["value"], pc.subtract(microseconds(pairs["timestamp"]), microseconds(starts))
    )


def start(aggregation_type: str, pairs: pa.Table) -> Partials:
    """Return the partials of counted pairs, any number of meters of one aggregation type at once.

    in:  PAIRS of meters that all have this type
    out: partials by meter, customer, group and base window. Source: metering.md 7.1 `start`

    >>> from datetime import UTC, datetime
    >>> from schemas.usage import PAIRS
    >>> at = datetime(2026, 1, 1, 9, 30, 59, tzinfo=UTC)
    >>> row = {"meter_id": "m", "external_customer_id": "acme", "group": "", "timestamp": at}
    >>> pairs = [row | {"event_id": "a", "value": 2}, row | {"event_id": "b", "value": 3}]
    >>> started = start("SUM", pa.Table.from_pylist(pairs, schema=PAIRS))
    >>> started.table.select(["counted", "sum"]).to_pylist()
    [{'counted': 2, 'sum': Decimal('5.000000000000000000')}]
    """
    columns = PARTIAL_COLUMNS[aggregation_type]
    if pairs.num_rows == 0:
        return empty(aggregation_type)
    lifted = lift(aggregation_type, pairs)
    table = fold(lifted, CELL, columns).cast(partial_schema(columns))
    if aggregation_type != "COUNT_UNIQUE":
        return Partials(table, None)
    return Partials(table, distinct(lifted, MEMBER_CELL).cast(MEMBERS))


def merge(aggregation_type: str, partials: Sequence[Partials]) -> Partials:
    """Return the partials of all events that any of the given partials contains.

    Associative and commutative, with `empty` as its identity. The caller sees to it that no event
    is in two of them: a partial does not know its events. Source: metering.md 7.1 `merge`

    >>> merge("COUNT", []).table.num_rows
    0
    """
    columns = PARTIAL_COLUMNS[aggregation_type]
    filled = [each for each in partials if each.table.num_rows]
    if not filled:
        return empty(aggregation_type)
    table = pa.concat_tables([each.table for each in filled])
    merged = fold(table, CELL, columns).cast(partial_schema(columns))
    if aggregation_type != "COUNT_UNIQUE":
        return Partials(merged, None)
    members = pa.concat_tables([each.members for each in filled if each.members is not None])
    return Partials(merged, distinct(members, MEMBER_CELL).cast(MEMBERS))


def distinct(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """Return each combination of the key columns once.

    >>> distinct(pa.table({"a": [1, 1, 2]}), ["a"])["a"].to_pylist()
    [1, 2]
    """
    return table.group_by(list(keys), use_threads=False).aggregate([])


def ordered(partials: Partials) -> Partials:
    """Return the same partials with their rows in the order of their cells, for publication.

    Replaying a log must give the same bytes, whatever the batches were (metering.md 14, G6).

    >>> ordered(empty("COUNT")).members is None
    True
    """
    members = partials.members
    return Partials(
        partials.table.sort_by([(name, "ascending") for name in CELL]).combine_chunks(),
        None
        if members is None
        else members.sort_by([(name, "ascending") for name in MEMBER_CELL]).combine_chunks(),
    )
