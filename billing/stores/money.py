"""The money of one scope in SQL: all stores of `billing.ports` on SQLite or PostgreSQL.

It behaves as `billing/stores/memory.py`, which one suite of promises runs on all three. What a
commit refuses, the database refuses too: each step compares and sets, and constraints hold what
no one row can tell.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import datetime
from typing import Self

from sqlalchemy import bindparam, delete, select, update

from billing.configuration import BillingConfig
from billing.ports import Changes
from billing.stores.committing import write_changes
from billing.stores.database import Database
from billing.stores.failures import failures
from billing.stores.invoice_reading import InvoiceReader
from billing.stores.money_models import ScheduleRow
from billing.stores.scoped import here, table_of
from billing.stores.subscription_reading import SubscriptionReader
from billing.stores.transactions import Transaction
from billing.stores.wallet_reading import WalletReader
from schemas.ids import CustomerId
from schemas.scope import Scope

DUE = (
    select(ScheduleRow.customer_id, ScheduleRow.due_at)
    .where(here(ScheduleRow))
    .where(ScheduleRow.due_at <= bindparam("at"))
    .order_by(ScheduleRow.due_at, ScheduleRow.customer_id)
    .limit(bindparam("rows"))
)
PUT_OFF = (
    update(table_of(ScheduleRow))
    .where(here(ScheduleRow))
    .where(ScheduleRow.customer_id == bindparam("name"), ScheduleRow.due_at == bindparam("since"))
    .values(due_at=bindparam("due"))
)
LET_GO = (
    delete(table_of(ScheduleRow))
    .where(here(ScheduleRow))
    .where(ScheduleRow.customer_id == bindparam("name"), ScheduleRow.due_at == bindparam("since"))
)


class SqlStores(SubscriptionReader, WalletReader, InvoiceReader):
    """All stores of `billing.ports` in one; threads share it.

    Every method raises StoreError where the database is away, or busy for more than 2 s: callers
    repeat as they do after a VersionConflict, with a bound.
    """

    def __init__(
        self,
        database: Database,
        scope: Scope,
        config: Callable[[], BillingConfig] = BillingConfig,
    ) -> None:
        super().__init__(database, scope)
        self._read_config = config
        self._thread = threading.local()
        self._decides = False

    def config(self) -> BillingConfig:
        """Return the settings that billing obeys."""
        return self._read_config()

    @contextmanager
    def deciding(self, customer_id: CustomerId) -> Iterator[Self]:
        """Read and commit in one transaction, in which nobody else changes what a customer has.

        Only what it yields may be written to inside; one inside another is a bug. In PostgreSQL
        decisions about other customers go on beside it, in SQLite one goes on at a time.
        """
        assert not self._decides, "a decision inside a decision"
        if self._transaction is not None:
            with failures(), self._transaction.step():
                self._transaction.lock_accounts([customer_id])
                yield self._inside(self._transaction, decides=True)
            return
        with self._writing() as transaction:
            transaction.lock_accounts([customer_id])
            yield self._inside(transaction, decides=True)

    @contextmanager
    def together(self) -> Iterator[Self]:
        """Make many decisions in one transaction, which is synced to disk once, at the end.

        Each `deciding` and each `commit` of what it yields is whole or nothing on its own: a refused
        one leaves the others. All of them stand once the block has ended, and none if it raises, so
        what is decided must be decidable again. Nothing slow belongs inside, as SQLite has one
        writer; customers come in the order of their ids, as PostgreSQL holds their accounts.
        """
        assert self._transaction is None, "a transaction inside a transaction"
        with self._writing() as transaction:
            yield self._inside(transaction, decides=False)

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing; raises as `billing.ports.Stores` has it."""
        if self._transaction is not None:
            with failures(), self._transaction.step():
                write_changes(self._transaction, changes)
            return
        with self._writing() as transaction:
            write_changes(transaction, changes)

    def due_customers(self, at: datetime, limit: int) -> Sequence[tuple[CustomerId, datetime]]:
        """Return customers who are due by an instant, those who wait longest first."""
        with self._reading() as transaction:
            found = transaction.rows(DUE, at=at, rows=limit)
        return tuple((CustomerId(row.customer_id), row.due_at) for row in found)

    def plan(self, customer_id: CustomerId, since: datetime, due: datetime | None) -> bool:
        """Put off a customer who was due since an instant, unless somebody planned otherwise."""
        values = {"name": customer_id, "since": since}
        if self._transaction is not None:
            with failures():
                return _put_off(self._transaction, values, due)
        with self._writing() as transaction:
            return _put_off(transaction, values, due)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Begin the one transaction in which this thread writes."""
        assert not getattr(self._thread, "writes", False), "a transaction inside a transaction"
        self._thread.writes = True
        try:
            with self._database.writing() as session:
                yield Transaction(session.connection(), self._scope)
        finally:
            self._thread.writes = False

    def _inside(self, transaction: Transaction, *, decides: bool) -> Self:
        """Return these stores as they are inside a transaction."""
        bound = copy(self)
        bound._transaction = transaction  # noqa: SLF001 - a copy of this very object
        bound._decides = decides  # noqa: SLF001 - as above
        return bound


def _put_off(transaction: Transaction, values: dict[str, object], due: datetime | None) -> bool:
    """Set or delete when a customer is due, and tell whether it was as expected."""
    if due is None:
        return transaction.write(LET_GO, [values]) == 1
    return transaction.write(PUT_OFF, [{**values, "due": due}]) == 1
