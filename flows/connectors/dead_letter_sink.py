"""Where malformed records go: the store, and the topic `events.dlq` for those who mend them."""

import time
from collections.abc import Callable, Sequence

import pyarrow as pa
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.metering.observing import FlowObserver
from flows.stores.clickhouse import Store
from flows.stores.tables import DEAD_LETTERS
from schemas.errors import StoreError


class DeadLetterSink(DynamicSink[pa.Table]):
    """Writes REJECTED rows of one door. `publish` gets them before they are stored."""

    def __init__(
        self,
        store: Store,
        door: str,
        publish: Callable[[pa.Table], None] | None = None,
        *,
        observer: FlowObserver | None = None,
    ):
        self._store = store
        self._door = door
        self._publish = publish
        self._observer = observer

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "DeadLetterPartition":
        """Return the writer of one worker."""
        return DeadLetterPartition(self._store, self._door, self._publish, self._observer)


class DeadLetterPartition(StatelessSinkPartition[pa.Table]):
    """The writer of one worker."""

    def __init__(
        self,
        store: Store,
        door: str,
        publish: Callable[[pa.Table], None] | None,
        observer: FlowObserver | None = None,
    ):
        self._store = store
        self._door = door
        self._publish = publish
        self._observer = observer

    def write_batch(self, items: Sequence[pa.Table]) -> None:
        """Write malformed records with their bytes as they came."""
        rejected = pa.concat_tables(items)
        if self._publish is not None:
            self._publish(rejected)
        doors = pa.repeat(pa.scalar(self._door), rejected.num_rows)
        rows = rejected.append_column("door", doors)
        begun = time.monotonic()
        try:
            self._store.insert_dead_letters(rows.select(DEAD_LETTERS.names))
        except StoreError:
            if self._observer is not None:
                self._observer.store_failed()
            raise
        if self._observer is not None:
            self._observer.dead_letters_stored(rows.num_rows, time.monotonic() - begun)
