"""The log in one SQLite file: what is acknowledged is on the disk, in one order, until retention removes it.

Offsets count records and go on rising for ever. One row holds one accepted batch. Readers and the writer
do not wait for each other.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as TooLate
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from flows.log.group_commit import GroupCommit
from flows.log.log_file import ROW, connect, prepare, snapshot, transaction, unusable
from flows.log.payload import Damaged, Row, pack, unpack
from schemas.errors import StoreError
from schemas.event import RECORDS

# How long a writer waits for another process that writes to the same file.
LOCK_SECONDS = 5.0
CHECK_SECONDS = 2.0
# Appends of this process wake readers at once; those of another one are looked for so often.
LOOK_SECONDS = 0.05
# One read takes no more than this into memory, but at least one batch.
READ_BYTES_MAX = 64 * 1024 * 1024
PARTITION = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A batch that the log holds: its records are those from `first_offset` to before `end_offset`."""

    first_offset: int
    end_offset: int
    appended_at_us: int
    byte_count: int


class EmbeddedLog:
    """An EventLog on one file; safe to use from many threads at once.

    `damage` says what was found wrong at the end of the file when it was opened, one text for each batch
    that was set aside. `commits` counts commits, for those who want to know how many appends shared one.
    """

    def __init__(self, path: Path, *, lock_seconds: float = LOCK_SECONDS):
        self._path = path
        self._lock_seconds = lock_seconds
        self.damage = prepare(path, lock_seconds)
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self._grown = threading.Condition()
        self._end = self.end_offset()
        self._writer = GroupCommit(path, lock_seconds, self._reached)

    @property
    def commits(self) -> int:
        """Return how many commits this log has made."""
        return self._writer.commits

    def append(self, records: pa.Table) -> None:
        """Make records durable, all of them in their order, before the call returns.

        in: APPENDED

        Raises StoreError if the file fails; the records may be there all the same.
        """
        if records.num_rows:
            self._writer.put(pack(records)).result()

    def check(self) -> None:
        """Do nothing if a commit succeeds; else raise StoreError that says what is wrong."""
        try:
            self._writer.put(None).result(CHECK_SECONDS)
        except TooLate as cause:
            raise StoreError(
                f"the event log {self._path} has not answered for {CHECK_SECONDS} seconds"
            ) from cause

    def close(self) -> None:
        """Commit what waits, and let go of the file."""
        self._writer.close()
        with self._idle_lock:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        with self._grown:
            self._grown.notify_all()

    def start_offset(self) -> int:
        """Return the offset before which retention has removed everything."""
        return self._progress()[0]

    def end_offset(self) -> int:
        """Return the offset that the next record will have."""
        return self._progress()[1]

    def byte_count(self) -> int:
        """Return how many bytes the batches take that the log holds."""
        return self._progress()[2]

    def read_from(self, offset: int, records_max: int) -> pa.Table | None:
        """Return records from an offset on, at most so many, and None if there are none yet.

        What was set aside as damaged is passed over. All other offsets come without a gap.

        out: RECORDS

        Raises StoreError if records at the offset were removed by retention, are damaged, or missing.
        """
        with self._lent() as connection, snapshot(connection):
            start, end = connection.execute(
                "SELECT start_offset, end_offset FROM progress"
            ).fetchone()
            if offset < start:
                raise StoreError(
                    f"records {offset} to {start - 1} of the event log {self._path} were removed"
                    " before they were read"
                )
            return self._gathered(connection, offset, end, records_max)

    def _gathered(
        self, connection: sqlite3.Connection, offset: int, end: int, records_max: int
    ) -> pa.Table | None:
        """Return records from an offset on, of a log that ends at `end`."""
        parts: list[pa.RecordBatch] = []
        offsets: list[np.ndarray] = []
        place, count, held = offset, 0, 0
        for row in _rows(connection, offset):
            row_end = row.first_offset + row.record_count
            if row_end <= place:
                continue
            self._expect_set_aside(connection, place, row.first_offset)
            first = max(place, row.first_offset)
            part = self._unpacked(row)
            if first > row.first_offset or part.num_rows > records_max - count:
                part = part.slice(first - row.first_offset, records_max - count)
            place = first + part.num_rows
            parts.append(part)
            offsets.append(np.arange(first, place))
            count, held = count + part.num_rows, held + part.get_total_buffer_size()
            if count >= records_max or held >= READ_BYTES_MAX:
                break
        if not parts:
            self._expect_set_aside(connection, offset, end)
            return None
        return _placed(pa.Table.from_batches(parts).combine_chunks(), np.concatenate(offsets))

    def wait_beyond(self, offset: int, timeout_seconds: float) -> bool:
        """Wait until the log holds a record at an offset or behind it; False if it does not in time."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            left = deadline - time.monotonic()
            with self._grown:
                self._grown.wait_for(
                    lambda: self._end > offset or self._closed, min(max(left, 0), LOOK_SECONDS)
                )
                if self._end > offset:
                    return True
                if self._closed:
                    return False
            self._reached(self.end_offset())
            if self._end <= offset and left <= LOOK_SECONDS:
                return False

    def oldest(self, count: int) -> list[Held]:
        """Return the oldest batches that the log holds, at most so many."""
        with self._lent() as connection:
            found = connection.execute(
                "SELECT first_offset, first_offset + record_count, appended_at_us, byte_count"
                " FROM batches ORDER BY first_offset LIMIT ?",
                (count,),
            ).fetchall()
        return [Held(*row) for row in found]

    def remove_before(self, offset: int) -> None:
        """Remove all batches that lie wholly before an offset, for ever.

        Raises StoreError if the file fails; then nothing was removed.
        """
        # The first batch that stays is the last one to be looked at.
        whole = (
            "FROM batches WHERE first_offset < :offset AND first_offset + record_count <= :offset"
        )
        with self._writer.writing, self._lent() as connection, transaction(connection):
            cut, byte_count = connection.execute(
                f"SELECT max(first_offset + record_count), sum(byte_count) {whole}",
                {"offset": offset},
            ).fetchone()
            if cut is None:
                return
            connection.execute("DELETE FROM batches WHERE first_offset < ?", (cut,))
            connection.execute(
                "UPDATE progress SET start_offset = ?, byte_count = byte_count - ?",
                (cut, byte_count),
            )

    def _progress(self) -> tuple[int, int, int]:
        """Return start, end and bytes of the log as the file says."""
        with self._lent() as connection:
            start, end, byte_count = connection.execute(
                "SELECT start_offset, end_offset, byte_count FROM progress"
            ).fetchone()
        return start, end, byte_count

    def _reached(self, end: int) -> None:
        """Take note that the log reaches to an offset, and wake those who wait for it."""
        with self._grown:
            if end > self._end:
                self._end = end
                self._grown.notify_all()

    def _unpacked(self, row: Row) -> pa.RecordBatch:
        """Return the records of a row. Raises StoreError if it is damaged."""
        try:
            return unpack(row)
        except Damaged as damage:
            raise StoreError(
                f"the event log {self._path} is damaged at record {row.first_offset}: {damage}"
            ) from damage

    def _expect_set_aside(self, connection: sqlite3.Connection, start: int, end: int) -> None:
        """Raise StoreError unless all records of a gap were set aside as damaged."""
        if start >= end:
            return
        (count,) = connection.execute(
            "SELECT coalesce(sum(min(end_offset, :end) - max(first_offset, :start)), 0)"
            " FROM damaged WHERE first_offset < :end AND end_offset > :start",
            {"start": start, "end": end},
        ).fetchone()
        if count != end - start:
            raise StoreError(
                f"records {start} to {end - 1} of the event log {self._path} are missing"
            )

    @contextmanager
    def _lent(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that nobody else uses meanwhile. Raises StoreError if the file fails."""
        with self._idle_lock:
            if self._closed:
                raise StoreError(f"the event log {self._path} is closed")
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = connect(self._path, self._lock_seconds)
            yield connection
        except sqlite3.Error as cause:
            # It may be what failed: the next reader gets a new one.
            if connection is not None:
                connection.close()
                connection = None
            raise unusable(self._path, cause) from cause
        finally:
            if connection is not None:
                self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """Keep a connection for the next reader, unless the log was closed meanwhile."""
        with self._idle_lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()


def open_log(path: Path) -> EmbeddedLog:
    """Open the log in a file, or make it. Raises StoreError if that is no log or cannot be used."""
    return EmbeddedLog(path)


def _placed(appended: pa.Table, offsets: np.ndarray) -> pa.Table:
    """Return records with their positions.

    in:  APPENDED
    out: RECORDS
    """
    columns = {
        **{name: appended[name] for name in appended.column_names},
        "partition": pa.repeat(pa.scalar(PARTITION, pa.int32()), appended.num_rows),
        "offset": pa.array(offsets, pa.int64()),
    }
    return pa.table([columns[name] for name in RECORDS.names], schema=RECORDS)


def _rows(connection: sqlite3.Connection, offset: int) -> Iterator[Row]:
    """Yield rows from the one that holds an offset on, or the first behind it."""
    found = connection.execute(
        f"SELECT {ROW} FROM batches WHERE first_offset >= coalesce("
        "(SELECT max(first_offset) FROM batches WHERE first_offset <= ?), 0) ORDER BY first_offset",
        (offset,),
    )
    try:
        for row in found:
            yield Row(*row)
    finally:
        # An unfinished read would hold back the write-ahead log from being emptied.
        found.close()
