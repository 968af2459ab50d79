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
from flows.metering.cell_tables import apart, cells_by_type, of_meters, with_replaced
from flows.metering.open_cells import open_cells
from flows.metering.segment_log import SegmentLog, SegmentManifest
from operators.partials import Partials, empty
from schemas.event import INSTANT
from schemas.usage import CELL

# (cells by aggregation type, frontier) → their partials from raw events at or below the frontier.
Rebuild = Callable[[Mapping[str, pa.Table], Frontier], dict[str, Partials]]


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How a shard of cells runs.

    With `flush_every` of None it publishes only when its input ends. `generations` are the meters of
    this run with their generations: cells of any other do not outlive a restart.
    """

    flush_every: timedelta | None
    cells_in_memory_max: int
    generations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardPast:
    """What lies outside of the snapshots of a shard: its folder, and what the store says of it.

    `published` is the frontier that an earlier run has published or was about to; `corrections` are the
    correction numbers that it has written. `raw_until` says before which instant, in microseconds, all
    raw events lie.
    """

    folder: Path
    published: Mapping[tuple[int, int], int]
    corrections: Mapping[CellKey, int]
    raw_until: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class Joined:
    """When a meter joined a shard that had merged before: its older windows were never in memory.

    They start before the horizon, and hold what raw has up to the frontier.
    """

    horizon_us: int
    frontier: Frontier


@dataclass(frozen=True, slots=True)
class MergeSnapshot:
    """What recovery needs of a shard: its segments by name, how far it has come, and for which meters."""

    shard: int
    segments: SegmentManifest
    frontier: Frontier
    settled_frontier: Frontier
    horizon_us: int
    corrected: frozenset[CellKey]
    generations: Mapping[str, int]
    joined: Mapping[str, Joined]


@dataclass(slots=True)
class _Progress:
    """What a shard remembers beside its cells.

    Pending contributions lie between the settled frontier and the frontier. Windows before the horizon
    have left memory, or were brought back. The corrected cells lost an event that was counted in them,
    and are made anew before they are published. Meters that joined later have a horizon of their own.
    """

    frontier: Frontier = field(default_factory=dict)
    settled_frontier: Frontier = field(default_factory=dict)
    horizon_us: int = 0
    corrected: set[CellKey] = field(default_factory=set)
    joined: dict[str, Joined] = field(default_factory=dict)


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
        self._raw_until: Callable[[], int] = lambda: 0
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
        self._raw_until = past.raw_until
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
            dict(self._settings.generations),
            dict(progress.joined),
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
            changed[name] = with_replaced(changed[name], cells, partials)
        # Segments still hold the copies that lost their place.
        self._log().rewrite_next()

    def _bring_back(self) -> None:
        """Rebuild the pending cells that are not in memory, though raw has older events of theirs.

        All in one read, but for the first flush after a meter has joined.
        """
        settled = self._progress.settled_frontier
        wanted: list[tuple[Frontier, dict[str, pa.Table]]] = [(settled, {})]
        later = {
            m: each
            for m, each in self._progress.joined.items()
            if not reached(settled, each.frontier)
        }
        wanted += [(each.frontier, {}) for each in later.values()]
        for name, cells in self._cells.items():
            table = cells.pending().table
            old = table.filter(self._may_be_in_raw(table)).select(CELL)
            missing = cells.missing(old) if old.num_rows else old
            for (_, gone), part in zip(wanted, apart(missing, list(later)), strict=True):
                if part.num_rows:
                    gone[name] = part
        for frontier, gone in wanted:
            if gone:
                rebuilt = self._rebuild(gone, frontier)
                for name, partials in rebuilt.items():
                    self._cells[name].load(partials)
                self._log().take(rebuilt)

    def _may_be_in_raw(self, table: pa.Table) -> pa.ChunkedArray:
        """Tell which cells start before the horizon, or before that of their meter."""
        starts = table["window_start"].cast(pa.int64())
        old = pc.less(starts, self._progress.horizon_us)
        for meter_id, joined in self._progress.joined.items():
            mine = pc.equal(table["meter_id"], meter_id)
            old = pc.or_(old, pc.and_(mine, pc.less(starts, joined.horizon_us)))
        return old

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
        """Take up the state that a snapshot names, as far as its meters are metered on."""
        generations = self._settings.generations
        same = {m for m, number in snapshot.generations.items() if generations.get(m) == number}
        self._progress = _Progress(
            dict(snapshot.frontier),
            dict(snapshot.settled_frontier),
            snapshot.horizon_us,
            {cell for cell in snapshot.corrected if cell.meter_id in same},
            {m: joined for m, joined in snapshot.joined.items() if m in same},
        )
        new = sorted(generations.keys() - same)
        if new and snapshot.frontier:
            joined = Joined(self._raw_until(), dict(snapshot.frontier))
            self._progress.joined |= dict.fromkeys(new, joined)
        settled, unpublished = segments.resume(snapshot.segments)
        if same != snapshot.generations.keys():
            settled, unpublished = of_meters(settled, same), of_meters(unpublished, same)
            segments.rewrite_next()
        for name, partials in settled.items():
            self._cells[name].load(partials)
        for name, partials in unpublished.items():
            self._cells[name].add(partials)
        waiting = unpublished or self._progress.corrected
        if waiting and self._settings.flush_every is not None:
            self._due = datetime.now(UTC)
