"""Reading back: stored rows and raw events as the operators answer from them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from flows.stores.choosing import (
    IN_SCOPE,
    WITHDRAWN_POSITIONS,
    Chosen,
    Conditions,
    EventChoice,
    combined,
    conditions,
    event_conditions,
    instant,
    microseconds,
    scope_parameters,
)
from flows.stores.clickhouse import Store
from flows.stores.engine import select, selected
from flows.stores.event_reading import columns_of_events
from operators.matching import match
from operators.partials import Partials
from schemas.meter import AggregationType, Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, MEMBERS, PAIRS, PARTIAL_COLUMNS, partial_schema

# What `match` looks at in an event.
MATCHED = columns_of_events(
    [
        "tenant_id",
        "environment_id",
        "event_id",
        "event_name",
        "external_customer_id",
        "source",
        "timestamp",
        "properties",
    ]
)
# And what tells how far the log had come when it came.
PLACED = pa.schema([*MATCHED, *columns_of_events(["partition", "offset", "event_digest"])])
_EDGES = PLACED.append(pa.field("withdrawn", pa.bool_(), nullable=False))

_ALL = Chosen()


def stored_usage(
    store: Store,
    scope: Scope,
    meter: Meter,
    chosen: Chosen = _ALL,
    *,
    generation: int | None = None,
) -> Partials:
    """Return the stored rows of a meter whose base windows start in [start, end), and its members.

    Without a generation, of the one that is live. The rows are seen at one instant, the members,
    which are written before them, at a later one. Raises StoreError.
    """
    if generation is None:
        generation = store.live_generations(scope).get(meter.id, 1)
    columns = partial_schema(PARTIAL_COLUMNS[meter.aggregation.type])
    meant: Conditions = (
        ["meter_id = {meter:String}", "generation = {generation:Int32}"],
        {"meter": meter.id, "generation": generation},
    )
    where, parameters = combined(
        ([IN_SCOPE], scope_parameters(scope)), meant, conditions("window_start", chosen)
    )
    table = store.engine.read(select(columns, "usage FINAL", where), columns, parameters)
    # A cell that lost its only event to another is said to be empty.
    table = table.filter(pc.greater(table["counted"], 0))
    if meter.aggregation.type is not AggregationType.COUNT_UNIQUE:
        return Partials(table, None)
    members = select(MEMBERS, "usage_members FINAL", where)
    return Partials(table, store.engine.read(members, MEMBERS, parameters))


def cut_pairs(store: Store, scope: Scope, meter: Meter, interval: Interval) -> pa.Table:
    """Return the counted pairs of the base windows that the ends of an interval cut, from raw events.

    out: PAIRS
    """
    found = [PAIRS.empty_table()]
    for minute in sorted({minute_of(at) for at in (interval.start, interval.end)}):
        events = store.read_events(
            scope, [meter.event_name], start=minute, end=minute + BASE_WINDOW
        )
        found.append(match([meter], events).counted)
    return pa.concat_tables(found)


def edge_events(
    store: Store, choice: EventChoice, minutes: Sequence[datetime]
) -> tuple[pa.Table, pa.Table]:
    """Return the chosen events of some base windows: those that are accepted, and withdrawn copies.

    Both are seen at one instant. Raises StoreError. out: PLACED
    """
    ranges = [
        f"(timestamp >= {instant(str(at))} AND timestamp < {instant(str(at + _MINUTE))})"
        for at in map(microseconds, minutes)
    ]
    if not ranges:
        return PLACED.empty_table(), PLACED.empty_table()
    where, parameters = combined(event_conditions(choice), ([f"({' OR '.join(ranges)})"], {}))
    withdrawn = f"(log_partition, log_offset) IN ({WITHDRAWN_POSITIONS})"
    rows = store.engine.read(
        f"SELECT {selected(PLACED)}, {withdrawn} FROM events FINAL WHERE {where}",
        _EDGES,
        parameters,
    )
    gone = rows["withdrawn"]
    rows = rows.select(PLACED.names)
    return rows.filter(pc.invert(gone)), rows.filter(gone)


_MINUTE = int(BASE_WINDOW / timedelta(microseconds=1))


def minute_of(at: datetime) -> datetime:
    """Return the start of the base window that holds an instant.

    >>> minute_of(datetime(2026, 1, 1, 9, 30, 59)).isoformat()
    '2026-01-01T09:30:00'
    """
    return at - timedelta(seconds=at.second, microseconds=at.microsecond)
