"""The embedded log as a source of the metering flow: one partition, read from where a snapshot was."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from bytewax.inputs import FixedPartitionedSource

from flows.connectors.reading import ReadAheadPartition, Reading, read_batch
from flows.log.embedded import EmbeddedLog
from flows.metering.batches import ReadBatch
from operators.decoding import Door
from operators.lateness import BEGINNING
from schemas.errors import StoreError

PARTITION_NAME = "0"
# So soon a partition that waits for records notices that it shall stop.
STOP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LogSourceSettings:
    """Whose events are by default, and how they are gathered into batches.

    Records are handed over so long after the first of them came, or at once when a batch is full. With
    `idle_seconds` the partition ends when nothing has come for so long; otherwise it never does.
    """

    tenant_id: str
    environment_id: str
    batch_records_max: int
    event_bytes_max: int
    lateness_microseconds: int
    gather_seconds: float
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The next offset to read, and how far the log has come in event time."""

    offset: int = 0
    watermark: int = BEGINNING


# Records and bytes of a read, records that wait behind it, and how many seconds ago its last record was
# received.
OnRead = Callable[[int, int, int, float], None]


class EmbeddedLogSource(FixedPartitionedSource[ReadBatch, LogPosition]):
    """The records of an embedded log. `stop` ends the partition after the batch that it is at.

    `on_heartbeat` is called whenever the flow asks for a batch; `on_read`, in a thread of its own, for each
    batch that was read.
    """

    def __init__(
        self,
        log: EmbeddedLog,
        settings: LogSourceSettings,
        stop: threading.Event,
        *,
        on_heartbeat: Callable[[], None] | None = None,
        on_read: OnRead | None = None,
    ):
        self._log = log
        self._settings = settings
        self._stop = stop
        self._on_heartbeat = on_heartbeat
        self._on_read = on_read

    def list_parts(self) -> list[str]:
        """Return the one partition of the log."""
        return [PARTITION_NAME]

    def build_part(
        self, step_id: str, for_part: str, resume_state: LogPosition | None
    ) -> ReadAheadPartition[LogPosition]:
        """Read the log from its beginning, or from where a snapshot was.

        Raises StoreError if the log does not reach from there on.
        """
        start = resume_state or LogPosition()
        expect_at_hand(self._log, start.offset)
        reader = _LogReader(self._log, self._settings, self._stop, self._on_read)
        return _WatchedPartition(start, reader.readings, self._on_heartbeat)


def expect_at_hand(log: EmbeddedLog, offset: int) -> None:
    """Do nothing if the log can be read from an offset on; an instance asks before it starts its flow.

    Raises StoreError if records from there on were removed, or the log ends before it.
    """
    oldest, end = log.start_offset(), log.end_offset()
    if oldest > offset:
        raise StoreError(
            f"records {offset} to {oldest - 1} were removed from the event log before they were metered"
        )
    if end < offset:
        raise StoreError(
            f"the event log ends at record {end}, but metering had come to {offset}: the log is older"
            " than the state of metering"
        )


class _WatchedPartition(ReadAheadPartition[LogPosition]):
    """A partition that tells whenever the flow asks for a batch: as long as it does, the flow lives."""

    def __init__(
        self,
        start: LogPosition,
        readings: Callable[[LogPosition, threading.Event], Iterator[Reading[LogPosition]]],
        on_heartbeat: Callable[[], None] | None,
    ):
        self._on_heartbeat = on_heartbeat
        super().__init__("event log", start, readings)

    def next_batch(self) -> list[ReadBatch]:
        """Return the next batch if one is ready."""
        if self._on_heartbeat is not None:
            self._on_heartbeat()
        return super().next_batch()


class _LogReader:
    """Reads the log in batches, waiting for what is yet to come."""

    def __init__(
        self,
        log: EmbeddedLog,
        settings: LogSourceSettings,
        stop: threading.Event,
        on_read: OnRead | None,
    ):
        self._log = log
        self._settings = settings
        self._stop = stop
        self._on_read = on_read
        self._door = Door(
            settings.tenant_id,
            settings.environment_id,
            _fill_ids,
            event_bytes_max=settings.event_bytes_max,
        )

    def readings(self, start: LogPosition, stop: threading.Event) -> Iterator[Reading[LogPosition]]:
        """Yield batches from a position on, until the flow stops or nothing has come for long."""
        position, most = start, self._settings.batch_records_max
        while self._wait(position.offset, stop):
            # A batch that is full is handed over at once.
            self._log.wait_beyond(position.offset + most - 1, self._settings.gather_seconds)
            end = self._log.end_offset()
            records = self._log.read_from(position.offset, most)
            if records is None:
                # All up to the end was set aside as damaged.
                position = LogPosition(end, position.watermark)
                yield Reading(None, position)
                continue
            batch, watermark = read_batch(
                records, self._door, position.watermark, self._settings.lateness_microseconds
            )
            position = LogPosition(records["offset"][-1].as_py() + 1, watermark)
            self._tell(records, position.offset)
            yield Reading(batch, position)

    def _wait(self, offset: int, stop: threading.Event) -> bool:
        """Wait for a record at an offset; False if reading shall end."""
        idle_from = time.monotonic()
        idle = self._settings.idle_seconds
        while not (stop.is_set() or self._stop.is_set()):
            if self._log.wait_beyond(offset, STOP_SECONDS):
                return True
            if idle is not None and time.monotonic() - idle_from >= idle:
                return False
        return False

    def _tell(self, records: pa.Table, next_offset: int) -> None:
        """Tell what was read, and what waits."""
        if self._on_read is None:
            return
        size = pc.sum(pc.binary_length(records["value"])).as_py()
        last = records["received_at"][-1].as_py()
        lag_seconds = max(0.0, (datetime.now(UTC) - last).total_seconds())
        waiting = self._log.end_offset() - next_offset
        self._on_read(records.num_rows, size, waiting, lag_seconds)


def _fill_ids(records: pa.Table) -> pa.Array:
    """Return ids made of offsets: the doors always give ids, so only records of other writers need them."""
    return pa.array([f"event_log_{offset:020d}" for offset in records["offset"].to_pylist()])
