"""The wiring of the metering dataflow; who runs it picks what it reads, where it stores and what listens."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.identity.index import IdentityIndex, Manifest
from flows.metering.aggregating import cells_of, counts_of, partials_of, rebuilt
from flows.metering.batches import (
    CellChange,
    CellKey,
    Frontier,
    IdentifiedBatch,
    PartialBatch,
    ReadBatch,
    ShardedCopies,
)
from flows.metering.identifying import IdentifyLogic, IdentifySnapshot
from flows.metering.merging import MergeLogic, MergeSettings, MergeSnapshot, ShardPast
from flows.metering.observed import ObservedMerge, observed_source
from flows.metering.observing import FlowObserver, ObservedPartials, receipts_by_shard
from flows.metering.sharding import by_customer, by_identity, customer_shards, shard_key
from flows.stores.clickhouse import Store
from flows.stores.corrections import read_corrections
from flows.stores.tables import SKIPS, FlushKind
from operators.matching import Matched, match
from operators.partials import Partials
from schemas.meter import Meter
from schemas.verdict import Verdict

FLOW = "metering"


@dataclass(frozen=True, slots=True)
class MeteringSettings:
    """How the flow runs. `shards` is fixed for the life of its folder; `folder` holds what recovery names."""

    folder: Path
    shards: int
    flush_every: timedelta | None
    cells_in_memory_max: int = 2_000_000


class Counts:
    """What became of records, events and pairs in this process, by word; safe to add to from threads."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.first_event_at: datetime | None = None
        self.last_event_at: datetime | None = None

    def saw(self, timestamps: pa.ChunkedArray) -> None:
        """Take note of how early and how late accepted events are."""
        bounds = pc.min_max(timestamps).as_py()
        with self._lock:
            for at in (at for at in bounds.values() if at is not None):
                self.first_event_at = min(self.first_event_at or at, at)
                self.last_event_at = max(self.last_event_at or at, at)

    def add(self, more: Mapping[str, int]) -> None:
        """Add counts to those that there are."""
        with self._lock:
            self._counts.update(more)

    def totals(self) -> dict[str, int]:
        """Return all counts so far."""
        with self._lock:
            return dict(self._counts)


def metering_flow(
    source: Source[ReadBatch],
    store: Store,
    meters: Sequence[Meter],
    settings: MeteringSettings,
    *,
    usage: Sink[CellChange],
    dead_letters: Sink[pa.Table],
    counts: Counts,
    observer: FlowObserver | None = None,
) -> Dataflow:
    """Wire the flow: records to raw events and cumulative usage; the observer is told what it does.

    Step ids are what recovery knows state by: they are never renamed.
    """
    steps = _Steps(store, meters, settings, counts, observer)
    flow = Dataflow(FLOW)
    if observer is not None:
        source = observed_source(source, observer)
    batches = op.input("read", flow, source)
    rejected = op.filter_map("keep_rejected", batches, steps.rejected)
    op.output("store_dead_letters", rejected, dead_letters)
    copies = op.flat_map("shard_by_identity", batches, steps.sharded)
    identified = op.stateful_batch("identify", copies, steps.identify)
    partials = op.flat_map("match_and_aggregate", identified, steps.aggregated)
    changes = op.stateful_batch("merge", partials, steps.merge)
    op.output("store_usage", op.map("drop_key", changes, lambda keyed: keyed[1]), usage)
    return flow


class _Steps:
    """The functions of the steps, with what they share: store, meters, settings and counts."""

    def __init__(
        self,
        store: Store,
        meters: Sequence[Meter],
        settings: MeteringSettings,
        counts: Counts,
        observer: FlowObserver | None,
    ):
        self._store = store
        self._meters = meters
        self._by_id: Mapping[str, Meter] = {meter.id: meter for meter in meters}
        self._settings = settings
        self._counts = counts
        self._observer = observer

    def rejected(self, batch: ReadBatch) -> pa.Table | None:
        """Return the malformed records of a batch if it has any."""
        if self._observer is not None:
            self._observer.batch_read(batch)
        if not batch.rejected.num_rows:
            return None
        self._counts.add({Verdict.REJECTED.value: batch.rejected.num_rows})
        return batch.rejected

    def sharded(self, batch: ReadBatch) -> Iterator[tuple[str, ShardedCopies]]:
        """Return the copies of a batch by the shard of their identity."""
        for shard, copies in by_identity(batch.copies, self._settings.shards):
            if copies.num_rows:
                yield shard_key(shard), ShardedCopies(shard, copies)

    def identify(self, snapshot: IdentifySnapshot | None) -> IdentifyLogic:
        """Build a shard of identities anew or from a snapshot."""
        return IdentifyLogic(self._index, self._store, snapshot, self._observer)

    def _index(self, shard: int, manifest: Manifest | None) -> IdentityIndex:
        """Open the index of a shard."""
        return IdentityIndex.open(self._settings.folder / "identities" / shard_key(shard), manifest)

    def aggregated(self, keyed: tuple[str, IdentifiedBatch]) -> Iterator[tuple[str, PartialBatch]]:
        """Return what accepted events contribute to each shard of cells; every shard hears of progress."""
        _, batch = keyed
        matched = match(self._meters, batch.accepted)
        self._store_skips(matched.skipped)
        self._count(batch, counts_of(matched))
        parts = by_customer(partials_of(matched.counted, self._by_id), self._settings.shards)
        corrected = self._corrected(batch)
        contributions = [
            PartialBatch(shard, part, batch.frontier, corrected[shard])
            for shard, part in enumerate(parts)
        ]
        if self._observer is not None:
            self._observer.judged(batch, matched.unmatched)
            contributions = self._with_receipts(contributions, batch, matched)
        for contribution in contributions:
            yield shard_key(contribution.shard), contribution

    def _with_receipts(
        self, contributions: Sequence[PartialBatch], batch: IdentifiedBatch, matched: Matched
    ) -> list[PartialBatch]:
        """Return contributions that know when the events that count were received."""
        counting = pc.invert(matched.unmatched)
        if matched.skipped.num_rows:
            counting = pc.is_in(batch.accepted["event_id"], matched.counted["event_id"])
        parts = [each.partials for each in contributions]
        receipts = receipts_by_shard(batch.accepted, counting, parts)
        return [
            ObservedPartials(each.shard, each.partials, each.frontier, each.corrected, received)
            for each, received in zip(contributions, receipts, strict=True)
        ]

    def merge(self, snapshot: MergeSnapshot | None) -> MergeLogic:
        """Build a shard of cells anew or from a snapshot."""
        settings = MergeSettings(
            self._settings.flush_every,
            self._settings.cells_in_memory_max // self._settings.shards,
            {meter.id: meter.generation for meter in self._meters},
        )
        if self._observer is None:
            return MergeLogic(settings, self._past, self._rebuilt, snapshot)
        return ObservedMerge(
            settings,
            self._past,
            self._rebuilt,
            snapshot,
            observer=self._observer,
            folder_of=self._folder,
        )

    def _folder(self, shard: int) -> Path:
        """Return where a shard of cells has its segments."""
        return self._settings.folder / "cells" / shard_key(shard)

    def _past(self, shard: int) -> ShardPast:
        """Return what the store knows of a shard of cells."""
        intent = self._store.last_flush(FLOW, shard, FlushKind.INTENT)
        folder = self._folder(shard)
        published = {} if intent is None else intent.frontier
        return ShardPast(
            folder, published, read_corrections(self._store), self._store.raw_until_microseconds
        )

    def _rebuilt(self, cells: Mapping[str, pa.Table], frontier: Frontier) -> dict[str, Partials]:
        """Return cells as raw events at or below a frontier make them."""
        if self._observer is not None:
            windows: Counter[str] = Counter()
            for table in cells.values():
                for each in pc.value_counts(table["meter_id"].combine_chunks()).to_pylist():
                    windows[self._by_id[each["values"]].environment_id] += each["counts"]
            self._observer.rebuilt(windows)
        return rebuilt(self._store, self._meters, cells, frontier, self._settings.shards)

    def _corrected(self, batch: IdentifiedBatch) -> list[frozenset[CellKey]]:
        """Return the cells that displaced copies had counted in, by shard."""
        found: list[set[CellKey]] = [set() for _ in range(self._settings.shards)]
        if batch.displaced.num_rows:
            counted = match(self._meters, batch.displaced).counted
            shards = customer_shards(counted, self._settings.shards)
            for shard, cell in zip(shards.tolist(), cells_of(counted, self._by_id), strict=True):
                found[shard].add(CellKey(*cell))
        return [frozenset(cells) for cells in found]

    def _store_skips(self, skipped: pa.Table) -> None:
        """Store which events did not count for which meter, and why."""
        if not skipped.num_rows:
            return
        encoded = skipped["meter_id"].combine_chunks().dictionary_encode()
        found = [self._by_id[meter_id] for meter_id in encoded.dictionary.to_pylist()]
        columns = {
            **{name: skipped[name] for name in ("meter_id", "event_id", "reason")},
            "tenant_id": pa.array([m.tenant_id for m in found]).take(encoded.indices),
            "environment_id": pa.array([m.environment_id for m in found]).take(encoded.indices),
            "generation": pa.array([m.generation for m in found], pa.int32()).take(encoded.indices),
        }
        self._store.insert_skips(pa.table([columns[name] for name in SKIPS.names], schema=SKIPS))

    def _count(self, batch: IdentifiedBatch, counts: Counter[str]) -> None:
        """Count verdicts and states; a late event is accepted as well."""
        self._counts.saw(batch.accepted["timestamp"])
        words = Counter(batch.verdicts["verdict"].to_pylist())
        accepted = batch.accepted.num_rows - batch.taken_over
        # A copy that was accepted and lost its place is now counted as refused.
        self._counts.add({**counts, **words, Verdict.ACCEPTED.value: accepted})
