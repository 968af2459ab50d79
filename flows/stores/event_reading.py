"""Reading raw events in bearable pieces: spans of time, the columns that are needed, and no more.

Memory is bounded by one piece: `EVENTS_TOGETHER` events, or those of the busiest minute if it holds
more. Every read sees accepted copies only; while a copy is being withdrawn (ENGINE trap 3) both may be
seen for as long as that takes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from flows.stores.choosing import (
    NOT_WITHDRAWN,
    Chosen,
    EventChoice,
    combined,
    event_conditions,
)
from flows.stores.clickhouse import Store
from flows.stores.engine import select
from flows.stores.tables import STORED_EVENTS, schema
from schemas.event import INSTANT

# Events that are read together: enough that a call costs little, few enough for any memory.
EVENTS_TOGETHER = 200_000

HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_COUNTED = schema(
    pa.field("at", INSTANT, nullable=False), pa.field("events", pa.uint64(), nullable=False)
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, [start, end), with how many events it holds, and on which UTC days."""

    start: datetime
    end: datetime
    events: int
    days: tuple[int, ...]


def columns_of_events(names: Sequence[str]) -> pa.Schema:
    """Return some columns of STORED_EVENTS as a schema.

    >>> columns_of_events(["event_id", "timestamp"]).names
    ['event_id', 'timestamp']
    """
    return pa.schema([STORED_EVENTS.field(name) for name in names])


def read_chosen(store: Store, choice: EventChoice, columns: pa.Schema) -> pa.Table:
    """Return some columns of the chosen events, each event once, in no order. Raises StoreError."""
    where, parameters = combined(event_conditions(choice), ([NOT_WITHDRAWN], {}))
    return store.engine.read(select(columns, "events FINAL", where), columns, parameters)


def spans(store: Store, choice: EventChoice, together: int = EVENTS_TOGETHER) -> list[Span]:
    """Return stretches of whole minutes that hold all chosen events, each with a bearable number.

    They follow one another in time. An hour with too many events is cut into minutes.
    """
    found: list[Span] = []
    for hour in _counted(store, choice, HOUR):
        if hour.events > together:
            chosen = Chosen(hour.start, hour.end, choice.chosen.customers)
            inside = replace(choice, chosen=_within(choice.chosen, chosen))
            found += _counted(store, inside, MINUTE)
        else:
            found.append(hour)
    return list(_packed(found, together))


def _within(outer: Chosen, inner: Chosen) -> Chosen:
    """Return the part of a choice that lies in a stretch of time."""
    start, end = inner.start, inner.end
    assert start is not None
    assert end is not None
    return Chosen(
        start if outer.start is None else max(outer.start, start),
        end if outer.end is None else min(outer.end, end),
        outer.customers,
    )


def in_span(choice: EventChoice, span: Span) -> EventChoice:
    """Return the part of a choice that lies in a span."""
    return replace(choice, chosen=_within(choice.chosen, Chosen(span.start, span.end)))


def _counted(store: Store, choice: EventChoice, length: timedelta) -> Iterator[Span]:
    """Yield the hours or minutes that hold chosen events, in order of time.

    Copies that were written twice count twice here, which makes pieces smaller and nothing wrong.
    """
    unit = "toStartOfHour" if length == HOUR else "toStartOfMinute"
    where, parameters = combined(event_conditions(choice))
    rows = store.engine.read(
        f"SELECT {unit}(timestamp) AS at, count() FROM events WHERE {where} GROUP BY at ORDER BY at",
        _COUNTED,
        parameters,
    )
    for row in rows.to_pylist():
        day = (row["at"] - _BEGINNING) // DAY
        yield Span(row["at"], row["at"] + length, row["events"], (day,))


def _packed(parts: Sequence[Span], together: int) -> Iterator[Span]:
    """Yield parts joined with their followers as long as they hold few enough events."""
    open_span: Span | None = None
    for part in parts:
        if open_span is not None and open_span.events + part.events <= together:
            events = open_span.events + part.events
            days = tuple(dict.fromkeys(open_span.days + part.days))
            open_span = Span(open_span.start, part.end, events, days)
            continue
        if open_span is not None:
            yield open_span
        open_span = part
    if open_span is not None:
        yield open_span
