"""Group commit: many callers append at once, one thread writes all that waits and commits once.

A commit costs the same wait for the disk whether it holds one batch or a hundred, so callers that come
while a commit runs share the next one.
"""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from flows.log.log_file import connect, transaction, unusable
from flows.log.payload import Batch, checksum_of
from schemas.errors import StoreError


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call that waits for its commit; without a batch it only asks whether a commit succeeds."""

    batch: Batch | None
    done: Future[None] = field(default_factory=Future)


class GroupCommit:
    """The one writer of a log file in this process. `on_commit` is told how far the log reaches now.

    `commits` counts the commits that succeeded.
    """

    def __init__(self, path: Path, lock_seconds: float, on_commit: Callable[[int], None]):
        self._path = path
        self._lock_seconds = lock_seconds
        self._on_commit = on_commit
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self.commits = 0
        # Held while a transaction runs, so that others in this process wait here and not by polling the file.
        self.writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="event log writer", daemon=True)
        self._thread.start()

    def put(self, batch: Batch | None) -> Future[None]:
        """Queue a batch, or a look whether a commit succeeds; the answer comes after the commit.

        Raises StoreError if the log is closed.
        """
        waiting = _Waiting(batch)
        with self._changed:
            if self._closed:
                raise StoreError(f"the event log {self._path} is closed")
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.done

    def close(self) -> None:
        """Take no more, commit what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        """Write all that waits, again and again, until the log is closed and nothing waits."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                group, self._waiting = self._waiting, []
            if not group:
                break
            self._write(group)
        self._disconnect()

    def _write(self, group: list[_Waiting]) -> None:
        """Write a group in one transaction and answer each of its callers."""
        try:
            with self.writing:
                connection = self._connected()
                with transaction(connection):
                    end, failures = _insert(connection, group)
        except Exception as cause:  # noqa: BLE001 - whatever it is, each caller must hear of it and none may wait for ever.
            self._disconnect()
            for waiting in group:
                waiting.done.set_exception(self._told(cause))
            return
        self.commits += 1
        self._on_commit(end)
        for waiting, failure in zip(group, failures, strict=True):
            if failure is None:
                waiting.done.set_result(None)
            else:
                waiting.done.set_exception(self._told(failure))

    def _told(self, cause: Exception) -> Exception:
        """Return what a caller is told: a failure of the file as StoreError, a bug as it is."""
        if not isinstance(cause, sqlite3.Error):
            return cause
        told = unusable(self._path, cause)
        told.__cause__ = cause
        return told

    def _connected(self) -> sqlite3.Connection:
        """Return the writer's connection; after a failure a new one is made."""
        if self._connection is None:
            self._connection = connect(self._path, self._lock_seconds)
        return self._connection

    def _disconnect(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _insert(
    connection: sqlite3.Connection, group: list[_Waiting]
) -> tuple[int, list[sqlite3.Error | None]]:
    """Insert a row for each batch of a group; return the new end, and what failed for each.

    The end is read from the file inside the transaction: another process may have appended. A row that is
    refused by itself fails its own caller alone; an error that ends the transaction is raised.
    """
    end, byte_count = connection.execute("SELECT end_offset, byte_count FROM progress").fetchone()
    failures: list[sqlite3.Error | None] = []
    for batch in (waiting.batch for waiting in group):
        failure = None
        if batch is not None:
            try:
                connection.execute(
                    "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        end,
                        batch.record_count,
                        batch.appended_at_us,
                        len(batch.payload),
                        checksum_of(batch, end),
                        batch.payload,
                    ),
                )
            except sqlite3.Error as cause:
                if not connection.in_transaction:
                    raise
                failure = cause
            else:
                end += batch.record_count
                byte_count += len(batch.payload)
        failures.append(failure)
    # Also when nothing was inserted: the look whether a commit succeeds must touch the disk.
    connection.execute("UPDATE progress SET end_offset = ?, byte_count = ?", (end, byte_count))
    return end, failures
