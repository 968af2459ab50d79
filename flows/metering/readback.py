"""Reading back: stored rows and raw events as the operators answer from them."""

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from flows.stores.clickhouse import Store
from operators.matching import match
from operators.partials import Partials
from schemas.meter import AggregationType, Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, MEMBERS, PAIRS, PARTIAL_COLUMNS, partial_schema


def stored_usage(store: Store, scope: Scope, meter: Meter) -> Partials:
    """Return all stored rows of a meter, and its members if it counts them."""
    rows = store.read_usage(scope, [meter.id])
    # A cell that lost its only event to another is said to be empty.
    rows = rows.filter(pc.greater(rows["counted"], 0))
    columns = partial_schema(PARTIAL_COLUMNS[meter.aggregation.type])
    table = rows.select(columns.names).cast(columns)
    if meter.aggregation.type is not AggregationType.COUNT_UNIQUE:
        return Partials(table, None)
    members = store.read_members(scope, [meter.id])
    return Partials(table, members.select(MEMBERS.names).cast(MEMBERS))


def cut_pairs(store: Store, scope: Scope, meter: Meter, interval: Interval) -> pa.Table:
    """Return the counted pairs of the base windows that the ends of an interval cut, from raw events.

    out: PAIRS
    """
    found = [PAIRS.empty_table()]
    for minute in sorted({_minute_of(at) for at in (interval.start, interval.end)}):
        events = store.read_events(
            scope, [meter.event_name], start=minute, end=minute + BASE_WINDOW
        )
        found.append(match([meter], events).counted)
    return pa.concat_tables(found)


def _minute_of(at: datetime) -> datetime:
    """Return the start of the base window that holds an instant."""
    return at - timedelta(seconds=at.second, microseconds=at.microsecond)
