"""Pages of accepted events: the one way to list them, counted exactly, by offset or by cursor.

A page is found in two steps. The keys that order events are read first, a narrow read however many
events there are; then the events of one page. Where properties are asked for, candidates are
judged by the operators, a piece at a time (metering.md 6.2), and only their keys are kept.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
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
from flows.stores.engine import among, select
from flows.stores.event_reading import (
    EVENTS_TOGETHER,
    columns_of_events,
    count_chosen,
    in_span,
    read_chosen,
    spans,
)
from operators.digests import identity_digests
from operators.matching import matches
from operators.properties import property_columns
from schemas.errors import ValidationFailed
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
# The first instant that no event can have, in microseconds (metering.md 2.1).
_END = microseconds(datetime(2200, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list of events, whatever the list is ordered by."""

    at_microseconds: int
    event_name: str
    event_id: str

    def key(self, sort: EventSort) -> tuple[int | str, str]:
        """Return what the place is in one order."""
        first = self.at_microseconds if sort is EventSort.TIMESTAMP else self.event_name
        return first, self.event_id


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as the opaque text that callers send back.

    >>> read_cursor(cursor_text(Cursor(5, "call", "é::1")), "iter_last_key").event_id
    'é::1'
    """
    parts = [cursor.at_microseconds, cursor.event_name, cursor.event_id]
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, field: str) -> Cursor:
    """Return the place that a cursor names. Raises ValidationFailed about `field` if it names none.

    >>> read_cursor("no cursor", "iter_last_key")
    Traceback (most recent call last):
        ...
    schemas.errors.ValidationFailed: iter_last_key is no cursor of this list
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (ValueError, binascii.Error, RecursionError):
        found = None
    match found:
        case [int() as at, str() as name, str() as event_id] if not isinstance(at, bool):
            if 0 <= at < _END and "\0" not in name + event_id and _is_unicode(name + event_id):
                return Cursor(at, name, event_id)
    raise ValidationFailed(f"{field} is no cursor of this list", field=field)


def _is_unicode(text: str) -> bool:
    """Tell whether a text is free of half surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


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
        total = count_chosen(store, choice)
        keys = _ordered_keys(store, choice, walk)
    has_more = keys.num_rows > query.page_size
    keys = keys.slice(0, query.page_size)
    events = _events(store, query, keys)
    ends = [cursor_text(_cursor_of(each)) for each in (*events[:1], *events[-1:])]
    first, last = ends or (None, None)
    return EventPage(events, total, has_more, first, last)


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


def _ordered_keys(store: Store, choice: EventChoice, walk: _Walk) -> pa.Table:
    """Return the first keys of a walk, in its order (KEYS)."""
    place: Conditions = ([], {})
    if walk.beyond is not None:
        sign = "<" if walk.descending else ">"
        first: object = walk.beyond.event_name
        expression = "{beyond:String}"
        if walk.sort is EventSort.TIMESTAMP:
            first, expression = walk.beyond.at_microseconds, instant("{beyond:Int64}")
        column = str(walk.sort)
        # The first half alone lets the key of the table leave rows out.
        place = (
            [
                f"{column} {sign}= {expression}",
                f"({column} {sign} {expression} OR event_id {sign} {{beyond_id:String}})",
            ],
            {"beyond": first, "beyond_id": walk.beyond.event_id},
        )
    where, parameters = combined(event_conditions(choice), ([NOT_WITHDRAWN], {}), place)
    order = f"{walk.sort} {walk.direction}, event_id {walk.direction}"
    statement = f"{select(KEYS, 'events FINAL', where, order=order)} "
    statement += f" LIMIT {walk.rows} OFFSET {walk.offset}"
    return store.engine.read(statement, KEYS, parameters)


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
