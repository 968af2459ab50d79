"""The sources and shards of a flow that is watched: the plain ones, which tell what they do as well."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from bytewax.inputs import FixedPartitionedSource, Source, StatefulSourcePartition

from flows.metering.batches import CellChange, PartialBatch, ReadBatch
from flows.metering.merging import MergeLogic, MergeSettings, MergeSnapshot, Rebuild, ShardPast
from flows.metering.observing import (
    CellSize,
    FlowObserver,
    ObservedChange,
    ObservedPartials,
    Receipts,
)

# Counting the windows in memory reads their columns: no more often than this.
COUNT_SECONDS = 10.0


def observed_source(source: Source[ReadBatch], observer: FlowObserver) -> Source[ReadBatch]:
    """Return a source that tells of its snapshots; one without partitions makes none."""
    if isinstance(source, FixedPartitionedSource):
        return _ObservedSource(source, observer)
    return source


class _ObservedSource(FixedPartitionedSource[ReadBatch, Any]):
    """Another source, watched."""

    def __init__(self, source: FixedPartitionedSource[ReadBatch, Any], observer: FlowObserver):
        self._source = source
        self._observer = observer

    def list_parts(self) -> list[str]:
        return self._source.list_parts()

    def build_part(
        self,
        step_id: str,
        for_part: str,
        resume_state: Any,
    ) -> StatefulSourcePartition[ReadBatch, Any]:
        part = self._source.build_part(step_id, for_part, resume_state)
        return _ObservedPartition(part, self._observer)


class _ObservedPartition(StatefulSourcePartition[ReadBatch, Any]):
    """Another partition, watched."""

    def __init__(self, part: StatefulSourcePartition[ReadBatch, Any], observer: FlowObserver):
        self._part = part
        self._observer = observer

    def next_batch(self) -> Iterable[ReadBatch]:
        return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> Any:
        state = self._part.snapshot()
        self._observer.snapshot_made()
        return state

    def close(self) -> None:
        self._part.close()


class ObservedMerge(MergeLogic):
    """A shard of cells that tells its size, and hands on when its events were received."""

    def __init__(
        self,
        settings: MergeSettings,
        past_of: Callable[[int], ShardPast],
        rebuild: Rebuild,
        snapshot: MergeSnapshot | None,
        *,
        observer: FlowObserver,
        folder_of: Callable[[int], Path],
    ):
        self._observer = observer
        self._folder_of = folder_of
        self._receipts: list[Receipts] = []
        self._sizes: Mapping[str, int] = {}
        self._counted_at = -COUNT_SECONDS
        super().__init__(settings, past_of, rebuild, snapshot)

    def on_batch(self, values: Sequence[PartialBatch]) -> tuple[Iterable[CellChange], bool]:
        """Take in contributions, and keep when their events came until they are published."""
        for batch in values:
            if isinstance(batch, ObservedPartials):
                self._receipts += batch.receipts
        return super().on_batch(values)

    def snapshot(self) -> MergeSnapshot:
        """Make a snapshot and tell how large the shard is."""
        made = super().snapshot()
        names = [segment.name for segment in made.segments.segments]
        folder = self._folder_of(made.shard)
        # A segment never changes, so its size is asked for once.
        self._sizes = {name: self._sizes.get(name) or _bytes_of(folder / name) for name in names}
        size = CellSize(made.shard, self._windows(), sum(self._sizes.values()))
        self._observer.cells_sealed(size)
        return made

    def _windows(self) -> int | None:
        """Count the windows in memory, now and then."""
        now = time.monotonic()
        if now - self._counted_at < COUNT_SECONDS:
            return None
        self._counted_at = now
        return sum(len(cells.starts()) for cells in self._cells.values())

    def _flush(self) -> list[CellChange]:
        changes = super()._flush()
        if not changes:
            return changes
        (change,) = changes
        receipts, self._receipts = tuple(self._receipts), []
        parts = {field.name: getattr(change, field.name) for field in fields(CellChange)}
        return [ObservedChange(**parts, receipts=receipts)]


def _bytes_of(path: Path) -> int:
    """Return the size of a file; nothing of one that has just been replaced."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
