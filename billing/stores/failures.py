"""What a database raises, as errors of this system: one table for both databases.

A constraint that refuses a row is a refusal with the code of platform.md 4; everything else means
that the store is away or broken.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    Refused,
    StoreError,
    ValidationFailed,
    VersionConflict,
)


def _taken() -> Refused:
    return AlreadyExists("there is one with this unique value already", reason="unique")


def _names_nothing() -> Refused:
    return ValidationFailed("this names something that does not exist")


def _in_use() -> Refused:
    return InvalidOperation("something else still refers to this", reason="in_use")


def _out_of_range() -> Refused:
    return ValidationFailed("a value is missing or out of its range")


def _outrun() -> Refused:
    return VersionConflict("another writer was first: read again and repeat")


# PostgreSQL's SQLSTATE, SQLite's extended error name. A foreign key refuses two opposite things,
# which only the statement tells apart.
REFUSALS: dict[str, Callable[[], Refused]] = {
    "23505": _taken,
    "23P01": _taken,
    "SQLITE_CONSTRAINT_UNIQUE": _taken,
    "SQLITE_CONSTRAINT_PRIMARYKEY": _taken,
    "23503": _names_nothing,
    "SQLITE_CONSTRAINT_FOREIGNKEY": _names_nothing,
    "23514": _out_of_range,
    "23502": _out_of_range,
    "22001": _out_of_range,
    "22003": _out_of_range,
    "SQLITE_CONSTRAINT_CHECK": _out_of_range,
    "SQLITE_CONSTRAINT_NOTNULL": _out_of_range,
    "40001": _outrun,
    "40P01": _outrun,
}
LOCK_TIMEOUT = "55P03"
FOREIGN_KEYS = ("23503", "23001", "SQLITE_CONSTRAINT_FOREIGNKEY", "SQLITE_CONSTRAINT_TRIGGER")


@contextmanager
def failures() -> Iterator[None]:
    """Raise what the database raises as an error of this system; a bug in a statement stays one."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreError("the SQL store has no free connection: try again") from error
    except DBAPIError as error:
        raise translated(error) from error


def translated(error: DBAPIError) -> Refused | StoreError:
    """Return what a failure of the database means to a caller; no value of a row is in it."""
    code = code_of(error.orig)
    if code in FOREIGN_KEYS and (error.statement or "").lstrip().upper().startswith("DELETE"):
        return _in_use()
    if code in REFUSALS:
        return REFUSALS[code]()
    if isinstance(error, IntegrityError):
        return _out_of_range()
    if code == LOCK_TIMEOUT:
        return StoreError("the SQL store is busy with other writers: try again")
    return StoreError(f"the SQL store failed: {_first_line(error.orig)}")


def code_of(error: BaseException | None) -> str:
    """Return the code that a driver gives a failure, empty if it gives none."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", "")
    return getattr(error, "sqlstate", None) or ""


def _first_line(error: BaseException | None) -> str:
    """Return what a driver says, without the lines that may quote a row."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
