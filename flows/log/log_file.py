"""The file of the embedded log: one SQLite database, its tables, and what is wrong with it when it is opened.

WAL and synchronous=FULL: a commit is on the disk when it returns. The next offset, the oldest one and the
bytes held are rows of their own, changed in the same transaction as the batches: offsets go on rising when
retention has removed everything.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.log.payload import Damaged, Row, unpack
from schemas.errors import StoreError

APPLICATION_ID = 0x7461_6C6C
VERSION = 1
# The file of the write-ahead log is cut back to this after it has been written into the database.
WAL_BYTES_MAX = 64 * 1024 * 1024

ROW = "first_offset, record_count, appended_at_us, checksum, payload"
_COLUMNS = """
    first_offset INTEGER PRIMARY KEY,
    record_count INTEGER NOT NULL,
    appended_at_us INTEGER NOT NULL,
    byte_count INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    payload BLOB NOT NULL
"""
_TABLES = (
    f"CREATE TABLE batches ({_COLUMNS}) STRICT",
    # What could not be read at the end of the file, with its bytes; its offsets stay used up.
    f"CREATE TABLE damaged ({_COLUMNS.replace('NOT NULL', '')}, end_offset INTEGER NOT NULL) STRICT",
    """CREATE TABLE progress (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        start_offset INTEGER NOT NULL,
        end_offset INTEGER NOT NULL,
        byte_count INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO progress VALUES (1, 0, 0, 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def connect(path: Path, lock_seconds: float) -> sqlite3.Connection:
    """Return a connection that any one thread at a time may use; transactions are begun by hand."""
    connection = sqlite3.connect(
        path, timeout=lock_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
        # Pages of removed batches are used again; to write zeros over them would double the work.
        connection.execute("PRAGMA secure_delete = OFF")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the only right to write for a block, and commit after it; any error leaves nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """See one state of the log for a block, whatever is appended and removed meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        # Nothing was written; and some errors have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def prepare(path: Path, lock_seconds: float) -> tuple[str, ...]:
    """Make the file if it is new, and set aside what is damaged at its end; return what was, in words.

    Raises StoreError if the file is no log, or cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(path, lock_seconds)
    except (OSError, sqlite3.Error) as cause:
        raise unusable(path, cause) from cause
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            _make_tables(connection, path)
            return tuple(_set_damage_aside(connection, path))
    except sqlite3.Error as cause:
        raise unusable(path, cause) from cause
    finally:
        connection.close()


def unusable(path: Path, cause: Exception) -> StoreError:
    """Return the error of a file that does not serve as a log."""
    return StoreError(f"the event log {path} cannot be used: {cause}")


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file, and refuse a file that is something else."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not application:
        for statement in _TABLES:
            connection.execute(statement)
    elif application != APPLICATION_ID:
        raise StoreError(f"{path} is a database, but no event log")
    elif version != VERSION:
        raise StoreError(f"the event log {path} has format {version}; this program knows {VERSION}")


def _set_damage_aside(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    """Move damaged rows from the end of the log to their own table, until a whole one is the last."""
    while last := connection.execute(
        f"SELECT {ROW} FROM batches ORDER BY first_offset DESC LIMIT 1"
    ).fetchone():
        row = Row(*last)
        try:
            unpack(row)
        except Damaged as damage:
            place = {"first": row.first_offset, "end": _end_of_last(connection)}
            connection.execute(
                "INSERT OR REPLACE INTO damaged"
                " SELECT *, :end FROM batches WHERE first_offset = :first",
                place,
            )
            connection.execute(
                "UPDATE progress SET byte_count = max(0, byte_count -"
                " (SELECT byte_count FROM batches WHERE first_offset = :first))",
                place,
            )
            connection.execute("DELETE FROM batches WHERE first_offset = :first", place)
            yield (
                f"the event log {path} ends in a damaged batch, records {row.first_offset} to"
                f" {place['end'] - 1}: {damage}; its bytes were set aside in the table damaged"
            )
        else:
            return


def _end_of_last(connection: sqlite3.Connection) -> int:
    """Return where the last row ends: at what was set aside before it, or at the end of the log.

    The row's own number of records is not asked: it may be what is damaged.
    """
    (end,) = connection.execute(
        "SELECT coalesce((SELECT min(first_offset) FROM damaged WHERE first_offset >"
        " (SELECT max(first_offset) FROM batches)), (SELECT end_offset FROM progress))"
    ).fetchone()
    return int(end)
