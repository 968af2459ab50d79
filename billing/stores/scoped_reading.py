"""What all readers of a scope share: a transaction that is open, or one of their own for each read."""

from collections.abc import Iterator
from contextlib import contextmanager

from billing.stores.database import Database
from billing.stores.failures import failures
from billing.stores.transactions import Transaction
from schemas.scope import Scope


class ScopedReader:
    """Reads the rows of one scope."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = scope
        self._transaction: Transaction | None = None

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        """Read in the transaction that is open, else in one that sees one state of all tables."""
        if self._transaction is not None:
            with failures():
                yield self._transaction
            return
        with self._database.reading() as session:
            yield Transaction(session.connection(), self._scope)
