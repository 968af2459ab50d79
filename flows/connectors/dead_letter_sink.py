"""Where malformed records go: the store, and the topic `events.dlq` for those who mend them."""

from collections.abc import Callable, Sequence

import pyarrow as pa
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from flows.stores.clickhouse import Store
from flows.stores.tables import DEAD_LETTERS


class DeadLetterSink(DynamicSink[pa.Table]):
    """Writes REJECTED rows of one door. `publish` gets them before they are stored."""

    def __init__(self, store: Store, door: str, publish: Callable[[pa.Table], None] | None = None):
        self._store = store
        self._door = door
        self._publish = publish

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "DeadLetterPartition":
        """Return the writer of one worker."""
        return DeadLetterPartition(self._store, self._door, self._publish)


class DeadLetterPartition(StatelessSinkPartition[pa.Table]):
    """The writer of one worker."""

    def __init__(self, store: Store, door: str, publish: Callable[[pa.Table], None] | None):
        self._store = store
        self._door = door
        self._publish = publish

    def write_batch(self, items: Sequence[pa.Table]) -> None:
        """Write malformed records with their bytes as they came."""
        rejected = pa.concat_tables(items)
        if self._publish is not None:
            self._publish(rejected)
        doors = pa.repeat(pa.scalar(self._door), rejected.num_rows)
        rows = rejected.append_column("door", doors)
        self._store.insert_dead_letters(rows.select(DEAD_LETTERS.names))
