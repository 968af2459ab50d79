"""Merge: the stateful step that grows the cells of one shard and says which of them changed.

Three rules keep it exact over crashes (ENGINE traps 1 to 3):
- a cell that left memory is rebuilt from raw events at or below what this shard has merged, no further;
- after a crash nothing is published until the replay has passed all that was published before, so that a
  row of the same version always has the same content;
- the version is the number of events that a row contains, below a correction number that grows when a cell
  changes otherwise than by growing.

What a cell contains follows from the frontier alone, and the published frontiers of all runs follow one
another: so a cell has changed between two of them by growing, or it was corrected on the way.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from bytewax.operators import StatefulBatchLogic

from flows.metering.batches import CellChange, CellKey, Frontier, PartialBatch, advance, reached
from flows.metering.open_cells import open_cells, without_cells
from flows.metering.segment_log import SegmentLog, SegmentManifest
from operators.partials import Partials, empty
from schemas.event import INSTANT
from schemas.usage import CELL, CELL_FIELDS

# (cells by aggregation type, frontier) → their partials from raw events at or below the frontier.
Rebuild = Callable[[Mapping[str, pa.Table], Frontier], dict[str, Partials]]


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How a shard of cells runs.

    With `flush_every` of None it publishes only when its input ends.
    """

    flush_every: timedelta | None
    cells_in_memory_max: int


@dataclass(frozen=True, slots=True)
class ShardPast:
    """What lies outside of the snapshots of a shard: its folder, and what the store says of it.

    `published` is the frontier that an earlier run has published or was about to; `corrections` are the
    correction numbers that it has written.
    """

    folder: Path
    published: Mapping[tuple[int, int], int]
    corrections: Mapping[CellKey, int]


@dataclass(frozen=True, slots=True)
class MergeSnapshot:
    """What recovery needs of a shard: its segments by name, and how far it has come."""

    shard: int
    segments: SegmentManifest
    frontier: Frontier
    settled_frontier: Frontier
    horizon_us: int
    corrected: frozenset[CellKey]


@dataclass(slots=True)
class _Progress:
    """What a shard remembers beside its cells.

    Pending contributions lie between the settled frontier and the frontier. Windows before the horizon
    have left memory, or were brought back. The corrected cells lost an event that was counted in them,
    and are made anew before they are published.
    """

    frontier: Frontier = field(default_factory=dict)
    settled_frontier: Frontier = field(default_factory=dict)
    horizon_us: int = 0
    corrected: set[CellKey] = field(default_factory=set)


class MergeLogic(StatefulBatchLogic[PartialBatch, CellChange, MergeSnapshot]):
    """The state of one shard of cells; see the module for its rules.

    Bytewax does not tell a logic its key, so a new shard learns its number from its first batch.
    """

    def __init__(
        self,
        settings: MergeSettings,
        past_of: Callable[[int], ShardPast],
        rebuild: Rebuild,
        snapshot: MergeSnapshot | None,
    ):
        self._settings = settings
        self._past_of = past_of
        self._rebuild = rebuild
        self._shard = -1
        self._published: Mapping[tuple[int, int], int] = {}
        self._corrections: dict[CellKey, int] = {}
        self._cells = open_cells()
        self._progress = _Progress()
        self._segments: SegmentLog | None = None
        self._due: datetime | None = None
        if snapshot is not None:
            self._resume(snapshot, self._open(snapshot.shard))

    def _open(self, shard: int) -> SegmentLog:
        """Take up the past of a shard."""
        past = self._past_of(shard)
        self._shard = shard
        self._published = past.published
        self._corrections = dict(past.corrections)
        self._segments = SegmentLog(past.folder)
        return self._segments

    def on_batch(self, values: Sequence[PartialBatch]) -> tuple[Iterable[CellChange], bool]:
        """Take in contributions; they are published at the next flush."""
        segments = self._segments or self._open(values[0].shard)
        for batch in values:
            for name, partials in batch.partials.items():
                self._cells[name].add(partials)
            segments.take(batch.partials)
            advance(self._progress.frontier, batch.frontier)
            self._progress.corrected |= batch.corrected
        if self._due is None and self._settings.flush_every is not None:
            self._due = datetime.now(UTC) + self._settings.flush_every
        return [], self.RETAIN

    def on_notify(self) -> tuple[Iterable[CellChange], bool]:
        """Publish what has changed."""
        return self._flush(), self.RETAIN

    def on_eof(self) -> tuple[Iterable[CellChange], bool]:
        """Publish what has changed: the input ends, the windows stay open."""
        return self._flush(), self.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken for the next flush."""
        return self._due

    def snapshot(self) -> MergeSnapshot:
        """Make what was taken in since the last snapshot durable, and name it."""
        manifest = self._log().seal(self._whole)
        progress = self._progress
        return MergeSnapshot(
            self._shard,
            manifest,
            dict(progress.frontier),
            dict(progress.settled_frontier),
            progress.horizon_us,
            frozenset(progress.corrected),
        )

    def _whole(self) -> tuple[dict[str, Partials], dict[str, Partials]]:
        """Return all cells: the settled rows, and what is pending."""
        settled = {name: cells.settled() for name, cells in self._cells.items()}
        return settled, {name: cells.pending() for name, cells in self._cells.items()}

    def _flush(self) -> list[CellChange]:
        """Merge what is pending and return the changed cells, or nothing while a replay catches up."""
        self._due = None
        if not reached(self._progress.frontier, self._published):
            if self._settings.flush_every is not None:
                self._due = datetime.now(UTC) + self._settings.flush_every
            return []
        self._bring_back()
        changed = {name: cells.settle() for name, cells in self._cells.items()}
        self._progress.settled_frontier = dict(self._progress.frontier)
        corrected = frozenset(self._progress.corrected)
        if corrected:
            self._correct(corrected, changed)
        self._log().published()
        self._evict()
        if not any(partials.table.num_rows for partials in changed.values()):
            return []
        frontier, numbers = dict(self._progress.frontier), dict(self._corrections)
        return [CellChange(self._shard, changed, frontier, numbers, corrected)]

    def _correct(self, corrected: frozenset[CellKey], changed: dict[str, Partials]) -> None:
        """Make cells anew without the copies that lost their place, and rank them above what they were."""
        self._corrections |= {cell: self._corrections.get(cell, 0) + 1 for cell in corrected}
        self._progress.corrected = set()
        wanted = cells_by_type(corrected)
        for name, cells in wanted.items():
            self._cells[name].drop(cells)
        rebuilt = self._rebuild(wanted, self._progress.settled_frontier)
        for name, cells in wanted.items():
            partials = rebuilt.get(name, empty(name))
            self._cells[name].load(partials)
            changed[name] = _replaced(changed[name], cells, partials)
        # Segments still hold the copies that lost their place.
        self._log().rewrite_next()

    def _bring_back(self) -> None:
        """Rebuild the pending cells that have left memory from raw events, all in one read."""
        horizon = pa.scalar(self._progress.horizon_us, pa.int64()).cast(INSTANT)
        gone = {}
        for name, cells in self._cells.items():
            table = cells.pending().table
            old = table.filter(pc.less(table["window_start"], horizon)).select(CELL)
            missing = cells.missing(old) if old.num_rows else old
            if missing.num_rows:
                gone[name] = missing
        if gone:
            rebuilt = self._rebuild(gone, self._progress.settled_frontier)
            for name, partials in rebuilt.items():
                self._cells[name].load(partials)
            self._log().take(rebuilt)

    def _evict(self) -> None:
        """Let the older half of the windows go when memory holds too many; raw and usage have them."""
        rows = sum(cells.row_count() for cells in self._cells.values())
        if rows <= self._settings.cells_in_memory_max:
            return
        chunks = [chunk for cells in self._cells.values() for chunk in cells.starts().chunks]
        starts = pa.chunked_array(chunks, INSTANT).cast(pa.int64())
        middle = pc.quantile(starts, 0.5, interpolation="lower")[0].cast(pa.int64())
        # Where more than half of the rows are of the oldest window, that one goes.
        newer = starts.filter(pc.greater(starts, pc.min(starts)))
        if not len(newer):
            return
        horizon = pc.max_element_wise(middle, pc.min(newer))
        for cells in self._cells.values():
            cells.evict(horizon.cast(INSTANT))
        self._progress.horizon_us = max(self._progress.horizon_us, horizon.as_py())
        self._log().rewrite_next()

    def _log(self) -> SegmentLog:
        """Return the segments, which are there from the first batch on."""
        assert self._segments is not None
        return self._segments

    def _resume(self, snapshot: MergeSnapshot, segments: SegmentLog) -> None:
        """Take up the state that a snapshot names."""
        self._progress = _Progress(
            dict(snapshot.frontier),
            dict(snapshot.settled_frontier),
            snapshot.horizon_us,
            set(snapshot.corrected),
        )
        settled, unpublished = segments.resume(snapshot.segments)
        for name, partials in settled.items():
            self._cells[name].load(partials)
        for name, partials in unpublished.items():
            self._cells[name].add(partials)
        waiting = unpublished or snapshot.corrected
        if waiting and self._settings.flush_every is not None:
            self._due = datetime.now(UTC)


def cells_by_type(cells: Iterable[CellKey]) -> dict[str, pa.Table]:
    """Return cell keys as tables of columns CELL, by aggregation type.

    >>> cells_by_type([])
    {}
    """
    by_type: dict[str, list[CellKey]] = {}
    for cell in cells:
        by_type.setdefault(cell.aggregation_type, []).append(cell)
    return {
        name: pa.table(
            [
                [cell.meter_id for cell in each],
                [cell.external_customer_id for cell in each],
                [cell.group for cell in each],
                [cell.window_start for cell in each],
            ],
            schema=pa.schema(CELL_FIELDS),
        )
        for name, each in by_type.items()
    }


def _replaced(changed: Partials, cells: pa.Table, rebuilt: Partials) -> Partials:
    """Return changed rows and members with those of some cells replaced by what was rebuilt.

    A cell of which nothing is left gets a row that says so: readers have seen another.
    """
    gone = without_cells(cells, rebuilt.table)
    nothing = {name: gone[name] for name in CELL} | {"counted": pa.repeat(0, gone.num_rows)}
    rows = [
        nothing.get(field.name, pa.nulls(gone.num_rows, field.type))
        for field in changed.table.schema
    ]
    table = pa.concat_tables(
        [
            without_cells(changed.table, cells),
            rebuilt.table,
            pa.table(rows, names=changed.table.column_names).cast(changed.table.schema),
        ]
    )
    if changed.members is None or rebuilt.members is None:
        return Partials(table, None)
    return Partials(
        table, pa.concat_tables([without_cells(changed.members, cells), rebuilt.members])
    )
