"""Answers about usage and stored events, from the store: `billing.ports.UsageAnswers`.

A meter whose rows are all there is answered from them, with the minutes that an edge cuts from raw
events, both at one place in the log (`flows.metering.consistent_reads`). Whatever rows do not carry is
computed from raw events by the same operators (`flows.metering.raw_usage`); that is not cut at a flush,
so that it may show an event some hundred milliseconds before rows do.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
import pyarrow as pa

from flows.metering.consistent_reads import METERING, Settled, published, settled_readings
from flows.metering.edges import Edges, ShardPlace, all_pairs, pairs_of_shard, read_edges
from flows.metering.raw_usage import raw_usage
from flows.metering.readback import minute_of, stored_usage
from flows.metering.registry import definition
from flows.metering.sharding import customer_shards
from flows.stores.choosing import Chosen, EventChoice
from flows.stores.clickhouse import Store
from flows.stores.event_pages import read_page
from flows.stores.registry import Registered, definitions, registered_meters, shards_of
from flows.stores.tables import MeterState
from operators.answers import answer
from operators.cells import days_with, scope_of
from operators.partials import Partials, empty
from operators.quantities import window_used
from operators.usage import Usage
from operators.windows import Microseconds, instant
from schemas.answer import Answer
from schemas.event_query import EventPage, EventQuery, UsageQuery
from schemas.meter import AggregationType, Meter, ResetUsage
from schemas.scope import Scope
from schemas.usage import PAIRS
from schemas.zones import zone

# No definition that is older decides anything (metering.md 6.4).
REGISTRY_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class _Registry:
    """What the store said about meters and shards, and when."""

    read_at: float
    meters: dict[tuple[Scope, str], Registered]
    rules: dict[tuple[Scope, str, int], str]
    shards: int | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """Rows of a meter, and the edges that belong to them."""

    rows: Partials
    edges: Edges


class StoredAnswers:
    """Answers from one store; safe to ask from several threads at once.

    `clock` says how old the registry is, in seconds, and `pause` waits for a flush to end.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ):
        self._store = store
        self._clock = clock
        self._pause = pause
        self._known: _Registry | None = None

    def answer(self, query: UsageQuery) -> Answer:
        """Return what a meter gives for a period. Raises ValidationFailed and StoreError."""
        zone(query.timezone or "UTC")
        scope = query.scope
        meter = replace(query.meter, tenant_id=scope.tenant_id, environment_id=scope.environment_id)
        generation = None if _only_raw_tells(query) else self._generation_to_read(scope, meter)
        if generation is None:
            usage = self._from_raw(query, meter)
        else:
            usage = self._from_rows(query, replace(meter, generation=generation))
        return answer(
            meter,
            usage,
            query.period,
            window=query.window,
            timezone=query.timezone,
            anchor=query.anchor,
            group_by=query.group_by,
        )

    def events(self, query: EventQuery) -> EventPage:
        """Return a page of accepted events. Raises ValidationFailed (a cursor) and StoreError."""
        return read_page(self._store, query)

    def _generation_to_read(self, scope: Scope, meter: Meter) -> int | None:
        """Return the generation whose rows are those of a meter; None if no rows can be relied on.

        Rows of the live generation serve if its rule is the meter's, whatever number the caller knows.
        """
        registry = self._registry()
        found = registry.meters.get((scope, meter.id))
        if found is None or found.state is not MeterState.LIVE:
            return None
        rule = registry.rules.get((scope, meter.id, found.generation))
        if rule is None:
            return found.generation if found.generation == meter.generation else None
        return found.generation if rule == definition(meter) else None

    def _registry(self) -> _Registry:
        """Return what is registered, at most a second old."""
        now, known = self._clock(), self._known
        if known is None or now - known.read_at > REGISTRY_SECONDS_MAX:
            store = self._store
            # The meters first: the rule of each generation is written before it is registered.
            known = _Registry(
                now,
                registered_meters(store),
                definitions(store),
                shards_of(store, METERING),
            )
            self._known = known
        return known

    def _from_raw(self, query: UsageQuery, meter: Meter) -> Usage:
        """Return usage from raw events alone."""
        narrowed = replace(meter, filters=(*meter.filters, *query.filters))
        choice = EventChoice(
            query.scope,
            [meter.event_name],
            Chosen(_start_of(query), query.period.end, query.external_customer_ids),
            customer_id=query.customer_id,
            sources=query.sources,
            filters=narrowed.filters,
        )
        return raw_usage(self._store, narrowed, choice, query.group_by, partial(_cut, query))

    def _from_rows(self, query: UsageQuery, meter: Meter) -> Usage:
        """Return usage from stored rows, with the minutes that an edge cuts from raw events."""
        shards = self._registry().shards
        unique = meter.aggregation.type is AggregationType.COUNT_UNIQUE
        if shards is None or not (unique or _may_cut(query)):
            # One statement sees each flush of a shard whole or not at all.
            reading = self._read(query, meter)
            if shards is None or not reading.edges.told.num_rows:
                return Usage(reading.rows, all_pairs(reading.edges))
        return self._at_one_flush(query, meter, shards)

    def _read(self, query: UsageQuery, meter: Meter) -> _Reading:
        """Read the rows of a question, then its edges."""
        start, customers = _start_of(query), query.external_customer_ids
        first = None if start is None else minute_of(start)
        chosen = Chosen(first, query.period.end, customers)
        rows = stored_usage(self._store, query.scope, meter, chosen, generation=meter.generation)
        choice = EventChoice(
            query.scope,
            [meter.event_name],
            Chosen(customers=customers),
            filters=meter.filters,
        )
        minutes = _cut(query, days_with(Usage(rows)))
        return _Reading(rows, read_edges(self._store, meter, choice, minutes, rows.table))

    def _at_one_flush(self, query: UsageQuery, meter: Meter, shards: int) -> Usage:
        """Return rows and edges of each shard as one of its flushes left them."""
        asked = _shards_asked(query, shards)

        def part(
            reading: _Reading,
            shard: int,
            frontier: dict[tuple[int, int], int],
            last: bool,  # noqa: FBT001 - the shape that settled_readings asks for
        ) -> pa.Table | None:
            place = ShardPlace(shard, shards, frontier)
            return pairs_of_shard(self._store, meter, reading.edges, place, last=last)

        settled = list(
            settled_readings(
                asked,
                partial(published, self._store),
                partial(self._read, query, meter),
                part,
                self._pause,
            )
        )
        return _joined(meter, settled, asked, shards)


def _only_raw_tells(query: UsageQuery) -> bool:
    """Tell whether a question is about what stored rows do not carry."""
    return bool(
        query.filters
        or query.group_by
        or query.sources is not None
        or query.customer_id is not None
    )


def _start_of(query: UsageQuery) -> datetime | None:
    """Return from where on a question reads: a running total has no beginning."""
    running = query.meter.reset_usage is ResetUsage.NEVER
    return None if running else query.period.start


def _may_cut(query: UsageQuery) -> bool:
    """Tell whether an edge of a question may cut a base window, but for zones of old times."""
    ends = (query.period.start, query.period.end, query.anchor)
    return any(at is not None and (at.second or at.microsecond) for at in ends)


def _cut(query: UsageQuery, days: Microseconds) -> list[datetime]:
    """Return the base windows that an edge of a question cuts, on the days that hold usage."""
    scope = scope_of(
        query.meter,
        query.period,
        window=None if query.window is None else window_used(query.meter, query.window),
        timezone=query.timezone,
        anchor=query.anchor,
        days=days,
    )
    return [instant(int(at)) for at in scope.cut_minutes()]


def _shards_asked(query: UsageQuery, shards: int) -> set[int]:
    """Return the shards that hold the customers of a question."""
    customers = query.external_customer_ids
    if customers is None:
        return set(range(shards))
    named = pa.table({"external_customer_id": pa.array(customers, pa.string())})
    return set(customer_shards(named, shards).tolist()) if customers else set()


def _joined(
    meter: Meter,
    settled: Sequence[Settled[_Reading, pa.Table]],
    asked: set[int],
    shards: int,
) -> Usage:
    """Return what the readings hold for the shards that each of them settled."""
    pairs = [part for each in settled for part in each.parts.values()]
    rows = [_rows_of(each.reading.rows, each.parts.keys(), asked, shards) for each in settled]
    members = [each.members for each in rows if each.members is not None]
    nothing = empty(meter.aggregation.type)
    return Usage(
        Partials(
            pa.concat_tables([nothing.table, *(each.table for each in rows)]),
            pa.concat_tables(members) if members else nothing.members,
        ),
        pa.concat_tables([PAIRS.empty_table(), *pairs]),
    )


def _rows_of(rows: Partials, mine: Collection[int], asked: set[int], shards: int) -> Partials:
    """Return the rows and members of some shards, without looking where they are all that was asked."""
    if set(mine) == asked:
        return rows
    wanted = np.array(sorted(mine))

    def pick(table: pa.Table) -> pa.Table:
        if not table.num_rows:
            return table
        return table.filter(pa.array(np.isin(customer_shards(table, shards), wanted)))

    return Partials(pick(rows.table), None if rows.members is None else pick(rows.members))
