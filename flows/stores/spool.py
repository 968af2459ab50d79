"""A store for one run whose raw events lie in one Arrow file beside the embedded engine.

Writing raw events into ClickHouse costs as much as half of metering them, and a run over files hardly
ever reads one back: for a copy that says something else, a window that left memory, or an edge
that cuts a minute. Such a read goes through the whole file, which for one run is soon done.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.stores.clickhouse import Store, open_store
from flows.stores.tables import STORED_EVENTS
from operators.partials import base_window_starts
from schemas.scope import Scope


def open_spooled_store(folder: Path) -> "SpooledStore":
    """Open a store of its own in a folder that goes away with the run. Raises StoreError."""
    store = open_store(str(folder / "store"))
    store.serve_one_run()
    return SpooledStore(store, folder / "events.arrows")


class SpooledStore(Store):
    """The embedded store, but for raw events; a read of those sees all that was inserted before it."""

    def __init__(self, store: Store, path: Path):
        super().__init__(store.engine)
        self._path = path
        self._file = path.open("wb")
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer = pa.ipc.new_stream(self._file, STORED_EVENTS, options=options)

    def close(self) -> None:
        """Close the file and let go of the engine."""
        self._writer.close()
        self._file.close()
        super().close()

    def insert_events(self, events: pa.Table) -> None:
        """Append accepted copies (in: STORED_EVENTS)."""
        self._writer.write_table(events.select(STORED_EVENTS.names).cast(STORED_EVENTS))

    def withdraw_events(self, positions: pa.Table) -> None:
        """Files are read in the order of the log, so that no copy is ever displaced by a later read."""
        assert not positions.num_rows

    def copies_of(self, digests: pa.Array) -> pa.Table:
        """Return the raw rows whose ids have the given digests (out: STORED_EVENTS, in no order)."""
        return self._selected(lambda batch: pc.is_in(batch["event_digest"], value_set=digests))

    def read_events(
        self,
        scope: Scope,
        event_names: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the accepted events of some names with a timestamp in [start, end)."""

        def wanted(batch: pa.Table) -> Any:
            chosen = pc.equal(batch["tenant_id"], scope.tenant_id)
            chosen = pc.and_(chosen, pc.equal(batch["environment_id"], scope.environment_id))
            chosen = pc.and_(chosen, _among(batch["event_name"], event_names))
            if start is not None:
                chosen = pc.and_(chosen, pc.greater_equal(batch["timestamp"], start))
            if end is not None:
                chosen = pc.and_(chosen, pc.less(batch["timestamp"], end))
            return (
                chosen
                if customers is None
                else pc.and_(chosen, _among(batch["external_customer_id"], customers))
            )

        return self._selected(wanted)

    def read_events_of_cells(self, cells: pa.Table) -> pa.Table:
        """Return all accepted events of some minutes in one pass (in: CELLS)."""
        found = [STORED_EVENTS.empty_table()]
        keys = cells.column_names
        for batch in self._batches():
            minutes = batch.append_column("window_start", base_window_starts(batch["timestamp"]))
            joined = minutes.join(cells, keys, join_type="left semi")
            found.append(joined.select(STORED_EVENTS.names).cast(STORED_EVENTS))
        return pa.concat_tables(found)

    def _selected(self, wanted: Any) -> pa.Table:
        """Return the rows of all batches that a function from a batch to a mask picks."""
        found = [batch.filter(wanted(batch)) for batch in self._batches()]
        return pa.concat_tables([STORED_EVENTS.empty_table(), *found])

    def _batches(self) -> list[pa.Table]:
        """Return everything inserted so far, batch by batch."""
        self._file.flush()
        # The stream has no end mark yet, so it is read as far as it goes.
        with pa.memory_map(str(self._path)) as file:
            reader = pa.ipc.open_stream(file)
            return [pa.Table.from_batches([batch]) for batch in _complete(reader)]


def _complete(reader: Any) -> Any:
    """Yield the batches of a stream that is still being written."""
    while True:
        try:
            yield reader.read_next_batch()
        except (StopIteration, pa.ArrowInvalid):
            return


def _among(column: Any, texts: Sequence[str]) -> Any:
    """Tell which values of a column are among some texts."""
    return pc.is_in(column, value_set=pa.array(texts, pa.string()))
