"""Pages of accepted events: the one way to list them, counted exactly, by offset or by cursor.

A page is found in three steps, each narrower than the one before: how many events each hour (or name)
holds, the keys of those hours that the page lies in, and the events of the page. Where properties are
asked for, candidates are judged by the operators, a piece at a time (metering.md 6.2), and only their
keys are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.stores.choosing import (
    NOT_WITHDRAWN,
    Chosen,
    Conditions,
    EventChoice,
    combined,
    event_conditions,
    instant,
    microseconds,
    scope_parameters,
)
from flows.stores.clickhouse import IN_SCOPE, Store
from flows.stores.cursors import Cursor, cursor_text, read_cursor
from flows.stores.engine import among, select
from flows.stores.event_reading import (
    EVENTS_TOGETHER,
    HOUR,
    Span,
    columns_of_events,
    in_span,
    read_chosen,
    spans,
)
from flows.stores.tables import schema
from operators.digests import identity_digests
from operators.matching import matches
from operators.properties import property_columns
from operators.windows import instant as at_instant
from schemas.event import INSTANT
from schemas.event_query import EventPage, EventQuery, EventSort, StoredEvent

# What names a row, in the order of the table's key, and what orders a page.
KEYS = columns_of_events(
    ["event_name", "external_customer_id", "timestamp", "event_digest", "event_id"]
)
_CANDIDATES = columns_of_events([*KEYS.names, "source", "properties"])
_SHOWN = columns_of_events(
    [
        "event_id",
        "event_name",
        "external_customer_id",
        "customer_id",
        "source",
        "timestamp",
        "ingested_at",
        "properties",
    ]
)
_HOURS = schema(
    pa.field("bin", INSTANT, nullable=False), pa.field("events", pa.uint64(), nullable=False)
)
_NAMES = schema(
    pa.field("bin", pa.string(), nullable=False), pa.field("events", pa.uint64(), nullable=False)
)
HOUR_MICROSECONDS = HOUR // timedelta(microseconds=1)


def read_page(store: Store, query: EventQuery) -> EventPage:
    """Return the page that a query asks for. Raises ValidationFailed (a cursor) and StoreError.

    `total_count` is of all pages; `has_more` tells whether events follow in the direction of travel:
    that of the order, or that of the cursor.
    """
    walk = _walk(query)
    if query.property_filters:
        keys, total = _judged_keys(store, query, walk)
    else:
        choice = choice_of(query)
        bins = _bins(store, choice, walk)
        total = sum(each.events for each in bins)
        keys = _ordered_keys(store, choice, walk, bins)
    has_more = keys.num_rows > query.page_size
    keys = keys.slice(0, query.page_size)
    events = _events(store, query, keys)
    ends = [cursor_text(_cursor_of(each)) for each in (*events[:1], *events[-1:])]
    first, last = ends or (None, None)
    return EventPage(events, total, has_more, first, last)


@dataclass(frozen=True, slots=True)
class _Bin:
    """The events of one hour, by its first microsecond, or of one name; and how many they are."""

    first: int | str
    events: int


@dataclass(frozen=True, slots=True)
class _Walk:
    """How keys are gone through for a page: from where, upwards or downwards, and how many of them."""

    sort: EventSort
    descending: bool
    beyond: Cursor | None
    offset: int
    rows: int

    @property
    def direction(self) -> str:
        """Return the word of SQL for the direction."""
        return "DESC" if self.descending else "ASC"

    def behind(self, part: _Bin) -> int:
        """Return 1 if a bin lies behind the place that the walk begins at, 0 if around it, else -1."""
        if self.beyond is None:
            return 1
        place, first = self.beyond.key(self.sort)[0], part.first
        if isinstance(place, int):
            place -= place % HOUR_MICROSECONDS
        after = (first > place) - (first < place)  # type: ignore[operator]  # both are of one kind
        return -after if self.descending else after


def _walk(query: EventQuery) -> _Walk:
    """Return the way to a page: rows newer than a key are gone through upwards, older ones down."""
    descending, beyond = query.descending, None
    if query.newer_than is not None:
        descending, beyond = False, read_cursor(query.newer_than, "iter_first_key")
    elif query.older_than is not None:
        descending, beyond = True, read_cursor(query.older_than, "iter_last_key")
    offset = query.offset if beyond is None else 0
    return _Walk(query.sort, descending, beyond, offset, query.page_size + 1)


def choice_of(query: EventQuery) -> EventChoice:
    """Return which raw events a query is about, all pages together."""
    event = None
    if query.event_id is not None:
        scope = {
            "tenant_id": query.scope.tenant_id,
            "environment_id": query.scope.environment_id,
        }
        named = pa.Table.from_pylist([scope | {"event_id": query.event_id}])
        event = (query.event_id, identity_digests(named)[0].as_py())
    customer, name = query.external_customer_id, query.event_name
    return EventChoice(
        query.scope,
        None if name is None else [name],
        Chosen(query.period.start, query.period.end, None if customer is None else [customer]),
        sources=None if query.source is None else [query.source],
        event=event,
        filters=query.property_filters,
    )


def _bins(store: Store, choice: EventChoice, walk: _Walk) -> list[_Bin]:
    """Return how many events each hour holds, or each name, in the order of a walk."""
    by_time = walk.sort is EventSort.TIMESTAMP
    columns = _HOURS if by_time else _NAMES
    expression = "toStartOfHour(timestamp)" if by_time else "event_name"
    where, parameters = combined(event_conditions(choice), ([NOT_WITHDRAWN], {}))
    # A row that was written twice has one digest; collapsing such rows would cost twice as much.
    rows = store.engine.read(
        f"SELECT {expression} AS bin, uniqExact(event_digest) FROM events "
        f"WHERE {where} GROUP BY bin ORDER BY bin {walk.direction}",
        columns,
        parameters,
    )
    first = rows["bin"].cast(pa.int64()) if by_time else rows["bin"]
    pairs = zip(first.to_pylist(), rows["events"].to_pylist(), strict=True)
    return [_Bin(each, events) for each, events in pairs]


def _wanted(bins: Sequence[_Bin], walk: _Walk) -> tuple[list[_Bin], int]:
    """Return the bins that a walk must look into, and how many of their first events it skips."""
    chosen: list[_Bin] = []
    offset, held = walk.offset, 0
    for each in bins:
        # How far behind the place a bin lies: those before it are passed, that with it is cut.
        behind = walk.behind(each)
        if behind < 0:
            continue
        if behind and not chosen and each.events <= offset:
            offset -= each.events
            continue
        chosen.append(each)
        held += each.events if behind else 0
        if held >= offset + walk.rows:
            break
    return chosen, offset


def _narrowed(choice: EventChoice, bins: Sequence[_Bin], sort: EventSort) -> EventChoice:
    """Return a choice cut down to some neighbouring bins."""
    if sort is EventSort.EVENT_NAME:
        return replace(choice, event_names=[str(each.first) for each in bins])
    starts = sorted(each.first for each in bins if isinstance(each.first, int))
    first, last = at_instant(starts[0]), at_instant(starts[-1])
    return in_span(choice, Span(first, last + HOUR, 0, ()))


def _ordered_keys(store: Store, choice: EventChoice, walk: _Walk, bins: Sequence[_Bin]) -> pa.Table:
    """Return the first keys of a walk, in its order (KEYS)."""
    chosen, offset = _wanted(bins, walk)
    if not chosen:
        return KEYS.empty_table()
    choice = _narrowed(choice, chosen, walk.sort)
    where, parameters = combined(event_conditions(choice), ([NOT_WITHDRAWN], {}), _beyond(walk))
    order = f"{walk.sort} {walk.direction}, event_id {walk.direction}"
    statement = f"{select(KEYS, 'events FINAL', where, order=order)}"
    statement += f" LIMIT {walk.rows} OFFSET {offset}"
    return store.engine.read(statement, KEYS, parameters)


def _beyond(walk: _Walk) -> Conditions:
    """Return the condition that leaves out what does not lie behind the place of a cursor."""
    if walk.beyond is None:
        return [], {}
    sign = "<" if walk.descending else ">"
    first: object = walk.beyond.event_name
    expression = "{beyond:String}"
    if walk.sort is EventSort.TIMESTAMP:
        first, expression = walk.beyond.at_microseconds, instant("{beyond:Int64}")
    column = str(walk.sort)
    # The first half alone lets the key of the table leave rows out.
    found = [
        f"{column} {sign}= {expression}",
        f"({column} {sign} {expression} OR event_id {sign} {{beyond_id:String}})",
    ]
    return found, {"beyond": first, "beyond_id": walk.beyond.event_id}


def _judged_keys(store: Store, query: EventQuery, walk: _Walk) -> tuple[pa.Table, int]:
    """Return the first keys of a walk among the events that pass the filters, and how many pass."""
    choice = choice_of(query)
    names = [each.key for each in query.property_filters]
    kept, total = KEYS.empty_table(), 0
    for span in spans(store, choice, EVENTS_TOGETHER):
        candidates = read_chosen(store, in_span(choice, span), _CANDIDATES)
        columns = property_columns(candidates["properties"], names)
        passed = candidates.filter(matches(query.property_filters, candidates, columns))
        total += passed.num_rows
        kept = _first_rows(pa.concat_tables([kept, passed.select(KEYS.names)]), walk)
    return kept.slice(walk.offset), total


def _first_rows(keys: pa.Table, walk: _Walk) -> pa.Table:
    """Return the first keys of a walk, in its order."""
    if walk.beyond is not None:
        keys = keys.filter(_behind(keys, walk))
    direction = "descending" if walk.descending else "ascending"
    order: list[tuple[str, Any]] = [(str(walk.sort), direction), ("event_id", direction)]
    return keys.sort_by(order).slice(0, walk.offset + walk.rows)


def _behind(keys: pa.Table, walk: _Walk) -> pa.ChunkedArray:
    """Tell which keys lie behind the place that a walk begins at."""
    assert walk.beyond is not None
    place, event_id = walk.beyond.key(walk.sort)
    column = keys[str(walk.sort)]
    if walk.sort is EventSort.TIMESTAMP:
        column = column.cast(pa.int64())
    differs = pc.less if walk.descending else pc.greater
    same = pc.and_(pc.equal(column, place), differs(keys["event_id"], event_id))
    return pc.or_(differs(column, place), same)


def _events(store: Store, query: EventQuery, keys: pa.Table) -> tuple[StoredEvent, ...]:
    """Return the events of some keys, in the order that the query asks for."""
    if not keys.num_rows:
        return ()
    named = pa.table(
        {
            "n": keys["event_name"],
            "c": keys["external_customer_id"],
            "m": keys["timestamp"].cast(pa.int64()),
            "d": [digest.hex() for digest in keys["event_digest"].to_pylist()],
        }
    )
    wanted = among(
        named,
        "n String, c String, m Int64, d String",
        f"n, c, {instant('m')}, toFixedString(unhex(d), 16)",
    )
    statement = select(
        _SHOWN,
        "events FINAL",
        IN_SCOPE,
        f"(event_name, external_customer_id, timestamp, event_digest) IN {wanted}",
        NOT_WITHDRAWN,
    )
    direction = "descending" if query.descending else "ascending"
    order: list[tuple[str, Any]] = [(str(query.sort), direction), ("event_id", direction)]
    rows = store.engine.read(statement, _SHOWN, scope_parameters(query.scope)).sort_by(order)
    return tuple(_event(row) for row in rows.to_pylist())


def _event(row: dict[str, Any]) -> StoredEvent:
    """Return a row as the record it is."""
    instants = {name: row[name].astimezone(UTC) for name in ("timestamp", "ingested_at")}
    return StoredEvent(**(row | instants))


def _cursor_of(event: StoredEvent) -> Cursor:
    """Return the place of an event."""
    return Cursor(microseconds(event.timestamp), event.event_name, event.event_id)
