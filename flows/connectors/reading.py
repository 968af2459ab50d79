"""Reading ahead: a partition of the log is read and decoded by a thread of its own.

The kernels of decode let other threads run, so that a batch is decoded while the one before it is
merged. A source never blocks the flow: it yields what is ready.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from bytewax.inputs import StatefulSourcePartition

from flows.metering.batches import ReadBatch
from operators.decoding import Decoded, Door, Lines, decode
from operators.digests import fingerprints, identity_digests
from operators.lateness import mark_late
from schemas.event import COPIES

State = TypeVar("State")

LOG = logging.getLogger("tally.metering")

# While one batch waits another is being decoded: more would only take memory.
BATCHES_AHEAD = 2
POLL_EVERY = timedelta(milliseconds=2)


@dataclass(frozen=True, slots=True)
class Reading(Generic[State]):
    """A batch, and the state from which reading goes on; no batch if only the state moved."""

    batch: ReadBatch | None
    state: State


@dataclass(frozen=True, slots=True)
class _Failed:
    """What went wrong in the thread."""

    cause: BaseException


class ReadAheadPartition(StatefulSourcePartition[ReadBatch, State]):
    """A source partition fed by a generator that runs in a thread.

    `readings` is called in that thread with the state to resume from and an event that asks it to
    stop. When it ends, so does the partition.
    """

    def __init__(
        self,
        name: str,
        state: State,
        readings: Callable[[State, threading.Event], Iterator[Reading[State]]],
        on_snapshot: Callable[[State], None] | None = None,
    ):
        self._name = name
        self._state = state
        self._on_snapshot = on_snapshot
        self._ready: queue.Queue[Reading[State] | _Failed | None] = queue.Queue(BATCHES_AHEAD)
        self._stop = threading.Event()
        self._awake: datetime | None = None
        self._thread = threading.Thread(
            target=self._run, args=(readings, state), name=f"read {name}", daemon=True
        )
        self._thread.start()

    def next_batch(self) -> list[ReadBatch]:
        """Return the next batch if one is ready."""
        try:
            reading = self._ready.get_nowait()
        except queue.Empty:
            self._awake = datetime.now(UTC) + POLL_EVERY
            return []
        self._awake = None
        if reading is None:
            raise StopIteration
        if isinstance(reading, _Failed):
            raise reading.cause
        self._state = reading.state
        if reading.batch is None:
            return []
        LOG.debug(
            "batch read",
            extra={
                "source": self._name,
                "records": reading.batch.copies.num_rows + reading.batch.rejected.num_rows,
                "next": str(reading.state),
            },
        )
        return [reading.batch]

    def next_awake(self) -> datetime | None:
        """Ask again soon if nothing was ready."""
        return self._awake

    def snapshot(self) -> State:
        """Return where to go on: behind the last batch that was handed out."""
        if self._on_snapshot is not None:
            self._on_snapshot(self._state)
        return self._state

    def close(self) -> None:
        """Let the thread end."""
        self._stop.set()
        while not self._ready.empty():
            self._ready.get_nowait()
        self._thread.join(timeout=10)

    def _run(
        self, readings: Callable[[State, threading.Event], Iterator[Reading[State]]], state: State
    ) -> None:
        """Hand over readings until there are no more, or until the flow closes the partition."""
        last: Reading[State] | _Failed | None = None
        try:
            for reading in readings(state, self._stop):
                if not self._hand_over(reading):
                    return
        except BaseException as cause:  # noqa: BLE001 - whatever it is, the flow must raise it.
            last = _Failed(cause)
        self._hand_over(last)

    def _hand_over(self, reading: Reading[State] | _Failed | None) -> bool:
        """Wait for room and put a reading there; False if the partition was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._ready.put(reading, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False


def read_batch(
    records: pa.Table,
    door: Door,
    watermark: int,
    lateness_microseconds: int,
    lines: Lines | None = None,
) -> tuple[ReadBatch, int]:
    """Decode records of one partition and name each copy; return the batch and the new watermark.

    `lines` is what `read_lines` made of the records, if that was done ahead.

    in:  RECORDS
    out: COPIES and REJECTED
    """
    decoded = decode(records, door, lines)
    received = _received(records, decoded)
    events = decoded.events.append_column("received_at", received)
    late, watermark = mark_late(events, watermark, lateness_microseconds)
    columns = {
        **{name: decoded.events[name] for name in decoded.events.column_names},
        "event_digest": identity_digests(decoded.events),
        "fingerprint": fingerprints(_lines(records, decoded)),
        "late": late,
        "plain": pa.array(decoded.plain),
        "received_at": received,
    }
    copies = pa.table([columns[name] for name in COPIES.names], schema=COPIES)
    return ReadBatch(copies, decoded.rejected), watermark


def _lines(records: pa.Table, decoded: Decoded) -> pa.Array:
    """Return the bytes of the records that became events."""
    return _of_events(records, decoded, "value")


def _received(records: pa.Table, decoded: Decoded) -> pa.Array:
    """Return the receipt times of the records that became events."""
    return _of_events(records, decoded, "received_at")


def _of_events(records: pa.Table, decoded: Decoded, name: str) -> pa.Array:
    """Return a column of the records that became events."""
    column = records[name].combine_chunks()
    if len(decoded.event_rows) == len(column):
        return column
    return pc.take(column, pa.array(decoded.event_rows, pa.int64()))
