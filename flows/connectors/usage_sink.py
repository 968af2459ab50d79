"""Where changed cells go: the store, and the topic `usage` for those who listen.

A flush is written in an order that a reader and a restart can rely on (ENGINE traps 2 and 8): what
is about to be published, the rows, that they are published.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.metering.batches import CellChange, CellKey
from flows.metering.observing import FlowObserver, ObservedChange
from flows.metering.usage_rows import usage_rows
from flows.stores.clickhouse import Store
from flows.stores.corrections import record_corrections
from flows.stores.tables import Flush, FlushKind
from schemas.errors import StoreError
from schemas.meter import Meter

FLOW = "metering"
LOG = logging.getLogger("tally.metering")


class UsageSink(DynamicSink[CellChange]):
    """Writes each flush of a shard. `publish` gets the USAGE rows after they are stored.

    The observer is told of a flush once its rows can be read.
    """

    def __init__(
        self,
        store: Store,
        meters: Mapping[str, Meter],
        publish: Callable[[pa.Table], None] | None = None,
        *,
        observer: FlowObserver | None = None,
    ):
        self._store = store
        self._meters = meters
        self._publish = publish
        self._observer = observer

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "UsagePartition":
        """Return the writer of one worker."""
        return UsagePartition(self._store, self._meters, self._publish, self._observer)


class UsagePartition(StatelessSinkPartition[CellChange]):
    """The writer of one worker."""

    def __init__(
        self,
        store: Store,
        meters: Mapping[str, Meter],
        publish: Callable[[pa.Table], None] | None,
        observer: FlowObserver | None = None,
    ):
        self._store = store
        self._meters = meters
        self._publish = publish
        self._observer = observer
        self._sequences: dict[int, int] = {}

    def write_batch(self, items: Sequence[CellChange]) -> None:
        """Write flushes one after the other."""
        for change in items:
            begun = time.monotonic()
            rows = self._store_change(change)
            if self._observer is not None:
                receipts = change.receipts if isinstance(change, ObservedChange) else ()
                self._observer.usage_stored(rows, receipts, time.monotonic() - begun)
            if self._publish is not None:
                self._publish(rows)

    def _store_change(self, change: CellChange) -> pa.Table:
        """Write one flush and return its rows (out: USAGE)."""
        try:
            sequence = self._next(change.shard)
            intent = Flush(FLOW, change.shard, FlushKind.INTENT, sequence, change.frontier)
            self._store.record_flush(intent)
            if change.corrected:
                self._correct(change.corrected, change.corrections)
            rows, members = usage_rows(change.cells, self._meters, change.corrections)
            self._store.insert_usage(rows, members)
            done = Flush(FLOW, change.shard, FlushKind.DONE, sequence, change.frontier)
            self._store.record_flush(done)
            facts = {"shard": change.shard, "sequence": sequence, "rows": rows.num_rows}
            LOG.debug("batch published", extra=facts)
        except StoreError:
            if self._observer is not None:
                self._observer.store_failed()
            raise
        return rows

    def _next(self, shard: int) -> int:
        """Return the next sequence number of a shard's flushes, after those of earlier runs."""
        if shard not in self._sequences:
            last = self._store.last_flush(FLOW, shard, FlushKind.INTENT)
            self._sequences[shard] = 0 if last is None else last.sequence
        self._sequences[shard] += 1
        return self._sequences[shard]

    def _correct(self, corrected: frozenset[CellKey], numbers: Mapping[CellKey, int]) -> None:
        """Write correction numbers before any row that carries them."""
        record_corrections(self._store, {cell: numbers[cell] for cell in corrected}, self._meters)
