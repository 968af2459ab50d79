"""Turns: work that one process at a time does, though several could."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from sqlalchemy import text

from billing.stores.database import Database
from billing.stores.failures import failures
from schemas.scope import Scope

TAKE = text("SELECT pg_try_advisory_xact_lock(:key)")


@contextmanager
def turn(database: Database, scope: Scope, work: str) -> Iterator[bool]:
    """Take the turn for a work in a scope until the end, and tell whether it was free.

    It is let go of even if the process dies. SQLite has one process anyway. Raises StoreError.
    """
    if database.is_sqlite:
        yield True
        return
    facts = "\x00".join((scope.tenant_id, scope.environment_id, work))
    key = int.from_bytes(blake2b(facts.encode(), digest_size=8).digest(), "big", signed=True)
    with failures(), database.engine.connect() as connection:
        yield bool(connection.scalar(TAKE, {"key": key}))
