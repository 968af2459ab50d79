"""The door to SQL: one database by its URL, with transactions that fail in this system's words.

SQLite (WAL, synced on commit) and PostgreSQL (psycopg 3) behave alike here: a read sees one state
of all tables, a write is committed whole or not at all, and whoever waits longer than 2 s for a
connection or for another writer gets a StoreError (platform.md 12).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from billing.stores.failures import failures
from schemas.errors import StoreError, ValidationFailed

# The newest step of `migrations/versions`, so that a store that is up to date starts without
# loading Alembic; a test compares it with what Alembic finds.
HEAD = "0005"

WAIT_SECONDS_MAX = 2
CONNECTIONS_MAX = 10
# Any number: it only has to be the same in every process that migrates.
MIGRATION_LOCK = 7_205_101

WRITES = "tally_writes"
# What SQLite is taught: the order of decimals in texts, and the letters of all alphabets.
EXACT_ORDER = "tally_exact"
LOWER = "tally_lower"
SQLITE_PRAGMAS = (
    f"PRAGMA busy_timeout = {WAIT_SECONDS_MAX * 1000}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


class Database:
    """An open database; threads share it, and each transaction has its own connection."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer. Waiting here is woken at once and costs no connection; waiting
        # inside SQLite is polling, and is left for other processes.
        self._turn = Lock() if self.is_sqlite else None
        self._reader = engine.execution_options(
            **({} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}),
            postgresql_readonly=True,
        )
        self._writer = engine.execution_options(**{WRITES: True})

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Read one state of all tables, whatever is committed meanwhile. Raises StoreError."""
        with failures(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Write in one transaction: committed at the end, undone if anything is raised.

        SQLite takes the turn to write at the start, so what is read inside stays true; PostgreSQL
        needs `with_for_update()` for that. One inside another of the same thread waits for itself
        in SQLite and is refused. Raises StoreError and the refusals of `failures`.
        """
        opened = Session(self._writer, expire_on_commit=False)
        with failures(), self._my_turn(), opened as session, session.begin():
            # A session begins with its first statement otherwise; the turn is taken here.
            session.connection()
            yield session

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        """Wait for the turn to write, where there is only one."""
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=WAIT_SECONDS_MAX):
            raise StoreError("the SQL store is busy with other writers: try again")
        try:
            yield
        finally:
            self._turn.release()

    def revision(self) -> str | None:
        """Return the step that the tables are at, None before the first. Raises StoreError."""
        with failures(), self._reader.connect() as connection:
            return stored_revision(connection)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open the database at a URL, sqlite:///FILE or postgresql://…; its tables stay as they are.

    A folder that is missing on the way to a file of SQLite is made. Nothing is connected yet.
    Raises ValidationFailed for a URL of anything else.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {"check_same_thread": False, "timeout": WAIT_SECONDS_MAX}
    else:
        arguments = {"connect_timeout": WAIT_SECONDS_MAX}
    engine = create_engine(
        parsed,
        connect_args=arguments,
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=WAIT_SECONDS_MAX,
        pool_pre_ping=parsed.get_backend_name() != "sqlite",
        # What is in a row is never in a message.
        hide_parameters=True,
        # Documents are written and read by their columns, as texts.
        json_serializer=str,
        json_deserializer=as_text,
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return Database(engine)


def as_text(document: str | bytes) -> str:
    """Return a JSON document as the text that it is."""
    return document.decode() if isinstance(document, bytes) else document


def _parsed(url: str) -> URL:
    """Return a URL with the driver that we use; the message of a refusal never quotes it."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        backend = ""
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValidationFailed("database_url names no file", field="database_url")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise ValidationFailed(
        "database_url must be sqlite:///FILE or postgresql://USER@HOST/DATABASE",
        field="database_url",
    )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Set up a new connection; transactions are begun by us, not by the driver."""
    connection.isolation_level = None
    for pragma in SQLITE_PRAGMAS:
        connection.execute(pragma)
    connection.create_collation(EXACT_ORDER, in_exact_order)
    connection.create_function(LOWER, 1, lowered, deterministic=True)


def in_exact_order(one: str, other: str) -> int:
    """Return whether a decimal comes before another, below 0, or after it, above 0.

    >>> in_exact_order("9", "10"), in_exact_order("0.10", "0.1")
    (-1, 0)
    """
    first, second = Decimal(one), Decimal(other)
    return (first > second) - (first < second)


def lowered(text: str | None) -> str | None:
    """Return a text in lower case, as Python has it; SQLite knows only the letters of ASCII."""
    return None if text is None else text.lower()


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction; a write takes its turn now, and not after it has read what changes."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def stored_revision(connection: Connection) -> str | None:
    """Return the step that the tables of a connection are at, None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def at_head(database: Database) -> bool:
    """Tell whether the tables are those of this program. Raises StoreError."""
    return database.revision() == HEAD


def migrate(database: Database) -> list[str]:
    """Bring the tables to the newest step, and return the steps that were applied, in order.

    Done in one transaction, by one process at a time: a second one waits and finds nothing to do.
    Raises StoreError, also for a database that a newer program has migrated.
    """
    if at_head(database):
        return []
    # Half a second that is only spent when there is something to do.
    from billing.stores.migrating import upgrade  # noqa: PLC0415 - see above.

    with database.writing() as session:
        connection = session.connection()
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        return upgrade(connection)
