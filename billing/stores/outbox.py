"""The rows of the outbox that leave by topics, in SQL; who publishes them holds a lease."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, select, update

from billing.ports.outbox import Backlog
from billing.stores.database import Database
from billing.stores.money_models import OutboxMessageRow
from billing.stores.scoped import here, table_of
from billing.stores.transactions import Transaction, Upsert
from billing.stores.webhook_models import OutboxLeaseRow
from schemas.ids import CustomerId, OutboxId
from schemas.scope import Scope
from schemas.webhook import OutboxMessage

TOPICS = "topics"

OF_SCOPE = and_(
    OutboxMessageRow.tenant_id == bindparam("in_tenant"),
    OutboxMessageRow.environment_id == bindparam("in_environment"),
)
MESSAGE = (
    OutboxMessageRow.sequence,
    OutboxMessageRow.id,
    OutboxMessageRow.key,
    OutboxMessageRow.at,
    OutboxMessageRow.topic,
    OutboxMessageRow.payload,
    OutboxMessageRow.event,
    OutboxMessageRow.body,
    OutboxMessageRow.customer_id,
)
UNPUBLISHED = (
    OF_SCOPE & OutboxMessageRow.published_at.is_(None) & OutboxMessageRow.topic.is_not(None)
)
WAITING = (
    select(*MESSAGE).where(UNPUBLISHED).order_by(OutboxMessageRow.sequence).limit(bindparam("rows"))
)
LEASE = Upsert(OutboxLeaseRow, where="outbox_leases.lease_until <= excluded.leased_at")
GIVE_BACK = (
    delete(table_of(OutboxLeaseRow))
    .where(here(OutboxLeaseRow))
    .where(OutboxLeaseRow.name == bindparam("lease"))
)
PUBLISHED = (
    update(table_of(OutboxMessageRow))
    .where(OF_SCOPE)
    .where(OutboxMessageRow.sequence == bindparam("place"))
    .values(published_at=bindparam("then"))
)
COUNTED = func.count().label("pending")
BACKLOG = select(COUNTED, func.min(OutboxMessageRow.at).label("oldest_at")).where(UNPUBLISHED)


class SqlOutbox:
    """An OutboxQueue of one scope; threads share it. Every method may raise StoreError."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    def take(self, at: datetime, until: datetime, limit: int) -> Sequence[OutboxMessage]:
        """Lease the topics and return rows that wait; nothing while another has the lease."""
        # Mostly nothing waits, and a store with one writer is not asked to write for that.
        with self._database.reading() as session:
            if not Transaction(session.connection(), self._scope).rows(WAITING, rows=1):
                return ()
        lease = {"name": TOPICS, "leased_at": at, "lease_until": until}
        with self._database.writing() as session:
            transaction = Transaction(session.connection(), self._scope)
            if not transaction.write(LEASE, [lease]):
                return ()
            found = transaction.rows(WAITING, rows=limit)
            return tuple(message_of(row) for row in found)

    def published(self, messages: Sequence[OutboxMessage], at: datetime) -> None:
        """Take note that rows are on their topics, and give the lease back."""
        with self._database.writing() as session:
            transaction = Transaction(session.connection(), self._scope)
            transaction.write(
                PUBLISHED, [{"place": each.sequence, "then": at} for each in messages]
            )
            transaction.write(GIVE_BACK, [{"lease": TOPICS}])

    def unpublished(self) -> Backlog:
        """Return what waits for a topic."""
        with self._database.reading() as session:
            [found] = Transaction(session.connection(), self._scope).rows(BACKLOG)
        return Backlog(found.pending, found.oldest_at)


def message_of(row: Row[Any]) -> OutboxMessage:
    """Return the record of a row that has the columns of MESSAGE."""
    return OutboxMessage(
        sequence=row.sequence,
        id=OutboxId(row.id),
        key=row.key,
        at=row.at,
        topic=row.topic,
        payload=row.payload,
        event=row.event,
        body=row.body,
        customer_id=None if row.customer_id is None else CustomerId(row.customer_id),
    )
