"""Edges: the counted pairs of base windows that an edge cuts, as of one flush of each shard.

What a stored row of such a minute says it counts must be what its pairs come to; so a reading that
fell between two writes is noticed even where the marks of flushes do not tell.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import Frontier
from flows.metering.consistent_reads import within
from flows.metering.readback import PLACED, edge_events
from flows.metering.sharding import customer_shards
from flows.stores.choosing import EventChoice
from flows.stores.clickhouse import Store
from flows.stores.first_copies import restored_copies
from flows.stores.tables import CELLS
from operators.matching import match
from operators.partials import base_window_starts
from schemas.event import INSTANT
from schemas.meter import Meter
from schemas.usage import CELL, PAIRS, partial_schema

_PLACE = ("partition", "offset", "event_digest")
PLACED_PAIRS = pa.schema([*PAIRS, *(PLACED.field(name) for name in _PLACE)])
_TOLD = partial_schema(("counted",))


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """One of so many shards, and how far in the log it had come."""

    shard: int
    shards: int
    frontier: Frontier

    def own(self, table: pa.Table) -> pa.Table:
        """Return the rows whose customer is of the shard."""
        if self.shards == 1 or not table.num_rows:
            return table
        return table.filter(pa.array(customer_shards(table, self.shards) == self.shard))

    def reached(self, events: pa.Table) -> pa.Table:
        """Return the events or pairs that lie at or below the frontier."""
        return events.filter(pa.array(within(events, self.frontier, self.shards)))


@dataclass(frozen=True, slots=True)
class Edges:
    """What raw holds of cut minutes, and what rows say of them.

    `pairs` are PAIRS of the accepted events with their places in the log, `withdrawn` are PLACED, and
    `told` has a row for each stored cell with what it counts.
    """

    pairs: pa.Table
    withdrawn: pa.Table
    told: pa.Table


def read_edges(
    store: Store,
    meter: Meter,
    choice: EventChoice,
    minutes: Collection[datetime],
    rows: pa.Table,
) -> Edges:
    """Read the cut minutes of a choice from raw events; `rows` are the partials read before them."""
    cut = sorted(minutes)
    if not cut:
        return Edges(PLACED_PAIRS.empty_table(), PLACED.empty_table(), _TOLD.empty_table())
    events, withdrawn = edge_events(store, choice, cut)
    pairs = match([meter], events).counted
    places = pc.index_in(pairs["event_id"], value_set=events["event_id"].combine_chunks())
    for name in _PLACE:
        pairs = pairs.append_column(PLACED.field(name), events[name].take(places))
    said = rows.filter(pc.is_in(rows["window_start"], value_set=pa.array(cut, INSTANT)))
    return Edges(pairs, withdrawn, said.select(_TOLD.names))


def all_pairs(edges: Edges) -> pa.Table:
    """Return the pairs of everything that raw holds (PAIRS)."""
    return edges.pairs.select(PAIRS.names)


def pairs_of_shard(
    store: Store, meter: Meter, edges: Edges, place: ShardPlace, *, last: bool
) -> pa.Table | None:
    """Return the pairs of a shard's customers up to its place; None where its rows tell otherwise.

    Rows that were built from raw at a start may be ahead of the place. Then all that raw holds must be
    what they tell; where a withdrawn copy still counts, that would be chance. With `last`, what fits
    best is returned in any case.

    out: PAIRS
    """
    mine = place.own(edges.pairs)
    told = _counts(place.own(edges.told), [("counted", "sum")])
    everything = mine.select(PAIRS.names)
    inside = place.reached(mine).select(PAIRS.names)
    gone = place.own(edges.withdrawn)
    restored = _restored(store, meter, gone, place) if gone.num_rows else PAIRS.empty_table()
    inside = pa.concat_tables([inside, restored])
    if _counted(inside) == told:
        return inside
    if (last or not restored.num_rows) and _counted(everything) == told:
        return everything
    return inside if last else None


def _restored(store: Store, meter: Meter, gone: pa.Table, place: ShardPlace) -> pa.Table:
    """Return the pairs of withdrawn copies whose winner lies beyond the place: they count there."""
    starts = base_window_starts(gone["timestamp"])
    minutes = gone.append_column("window_start", starts).select(CELLS.names)
    cells = minutes.group_by(CELLS.names, use_threads=False).aggregate([]).cast(CELLS)
    copies = restored_copies(store, cells, lambda each: within(each, place.frontier, place.shards))
    return match([meter], copies).counted


def _counted(pairs: pa.Table) -> pa.Table:
    """Return how many pairs each cell has, in the order of the cells."""
    starts = base_window_starts(pairs["timestamp"])
    return _counts(pairs.append_column("window_start", starts), [([], "count_all")])


def _counts(table: pa.Table, measure: list[object]) -> pa.Table:
    """Return how many events each cell counts, in the order of the cells."""
    counted = table.group_by(list(CELL), use_threads=False).aggregate(measure)
    counted = counted.rename_columns([*CELL, "counted"])
    return counted.cast(_TOLD).sort_by([(name, "ascending") for name in CELL])
