"""Records of files appended to the log of a folder that no process holds, as its own door would."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.client.deliveries import Delivery, KeptBack, Outcome, in_file_order, line_order
from flows.client.lines import FileBatch
from flows.client.sending import cuts, with_line_feeds
from flows.connectors.event_door import appended
from flows.data_folder import LOG_FILE
from flows.log.embedded import open_log
from flows.log.event_log import APPENDED
from flows.serving.folder_lock import FolderLock
from schemas.event import INSTANT
from schemas.scope import Scope
from schemas.verdict import Rejection

# A row of the log holds one batch, and a reader takes it into memory whole.
APPEND_RECORDS_MAX = 10_000
APPEND_BYTES_MAX = 8 * 1024 * 1024


class LogTarget:
    """The embedded log of a folder, which this process holds meanwhile.

    All records go to one scope, whatever tenant they name. `clock` stamps each append. Raises
    InvalidOperation where another process holds the folder, StoreError where it cannot be written.
    """

    def __init__(
        self, data: Path, scope: Scope, event_bytes_max: int, clock: Callable[[], datetime]
    ):
        self.name = str((data / LOG_FILE).resolve())
        self.scope: Scope | None = scope
        self.in_flight = 1
        self._scope = scope
        self._event_bytes_max = event_bytes_max
        self._clock = clock
        self._lock = FolderLock(data)
        try:
            self._log = open_log(data / LOG_FILE)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._log.close()
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Do nothing: an append is over before anybody could wait for it."""

    def deliveries(self, batch: FileBatch) -> tuple[Sequence[Delivery], Sequence[KeptBack]]:
        """Return the appends of a batch, malformed records among them: the flow judges them there."""
        lines, order = line_order(batch, batch.rejected)
        rows = self._appended(batch, order)
        numbers = lines.to_numpy()
        offsets, _ = with_line_feeds(rows["value"].combine_chunks())
        # Which row of a delivery came from a malformed record tells the reasons of the delivery.
        reasons = np.array(
            [*([""] * batch.events.num_rows), *batch.rejected["reason"].to_pylist()], object
        )[order.to_numpy()]
        found: list[Delivery] = []
        begin = batch.first_line
        for start, end in cuts(offsets, APPEND_RECORDS_MAX, APPEND_BYTES_MAX):
            end_line = batch.end_line if end == len(numbers) else int(numbers[end - 1]) + 1
            part = rows.slice(start, end - start)
            known = Counter(str(reason) for reason in reasons[start:end] if reason)
            size = batch.bytes_between(begin, end_line)
            found.append(Delivery(end_line, end - start, size, partial(self._append, part, known)))
            begin = end_line
        return found, ()

    def _appended(self, batch: FileBatch, order: pa.Array) -> pa.Table:
        """Return all records of a batch as the log takes them, without their receipt time.

        out: APPENDED
        """
        scope, events, rejected = self._scope, batch.events, batch.rejected
        for name, text in (
            ("tenant_id", scope.tenant_id),
            ("environment_id", scope.environment_id),
        ):
            own = pa.repeat(pa.scalar(text), events.num_rows)
            events = events.set_column(events.schema.get_field_index(name), name, own)
        good = appended(events, self._clock())
        nobody = f"{scope.tenant_id}:{scope.environment_id}:".encode()
        keys = pa.repeat(pa.scalar(nobody, pa.binary()), rejected.num_rows)
        values = in_file_order(
            good["value"].combine_chunks(), rejected["value"].combine_chunks(), order
        )
        columns = [
            values,
            in_file_order(good["key"].combine_chunks(), keys, order),
            pa.nulls(len(values), INSTANT),
        ]
        return pa.table(columns, names=APPENDED.names)

    def _append(self, rows: pa.Table, known: Counter[str]) -> Outcome:
        """Append records, all stamped with the instant before that."""
        received = pa.repeat(pa.scalar(self._clock(), INSTANT), rows.num_rows)
        place = rows.schema.get_field_index("received_at")
        rows = rows.set_column(place, "received_at", received).cast(APPENDED)
        self._log.append(rows)
        rejected = Counter(known)
        large = pc.greater(pc.binary_length(rows["value"]), self._event_bytes_max)
        if count := pc.sum(large).as_py():
            rejected[Rejection.EVENT_TOO_LARGE.value] += count
        return Outcome(rows.num_rows - rejected.total(), rejected)
