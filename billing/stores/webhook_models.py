"""The tables of webhooks: endpoints, lanes that keep the order, deliveries, and their attempts."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from billing.stores.columns import Document, Word
from billing.stores.models import Model, in_scope
from billing.stores.money_models import OutboxMessageRow
from billing.stores.scoped import Id, Scoped, index, refers_to
from schemas.webhook import DeliveryStatus, WebhookEndpoint

UNSEEN = "fanned_out_at IS NULL AND event IS NOT NULL"

# Belongs to the table of the outbox, for what this area asks of it.
Index(
    "ix_outbox_unseen",
    OutboxMessageRow.tenant_id,
    OutboxMessageRow.environment_id,
    OutboxMessageRow.sequence,
    sqlite_where=text(UNSEEN),
    postgresql_where=text(UNSEEN),
)


class OutboxLeaseRow(Scoped, Model):
    """Who works on the topics: a lease from an instant until another."""

    __tablename__ = "outbox_leases"
    __table_args__ = (in_scope(),)

    name: Mapped[str] = mapped_column(primary_key=True)
    leased_at: Mapped[datetime]
    lease_until: Mapped[datetime]


class EndpointRow(Scoped, Model):
    """An endpoint; its secrets are in the record, because signing needs them."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        in_scope(),
        index("ix_webhook_endpoints_created_at", "created_at", "id", where="NOT deleted"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    enabled: Mapped[bool]
    deleted: Mapped[bool]
    version: Mapped[int]
    record: Mapped[WebhookEndpoint] = mapped_column(Document(WebhookEndpoint))


class LaneRow(Scoped, Model):
    """One key of one endpoint: its first pending delivery and when that is due, both absent if none.

    All that changes what is first in a lane holds its row, so nothing is passed by.
    """

    __tablename__ = "webhook_lanes"
    __table_args__ = (
        refers_to("webhook_endpoints", "endpoint_id"),
        index("ix_webhook_lanes_due", "endpoint_id", "due_at", "key", where="due_at IS NOT NULL"),
    )

    endpoint_id: Mapped[Id] = mapped_column(primary_key=True)
    key: Mapped[Id] = mapped_column(primary_key=True)
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    due_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]


class DeliveryRow(Scoped, Model):
    """A message for one endpoint, and what became of it."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        refers_to("webhook_endpoints", "endpoint_id"),
        index(
            "ix_webhook_deliveries_pending",
            "endpoint_id",
            "key",
            "sequence",
            where="status = 'pending'",
        ),
    )

    endpoint_id: Mapped[Id] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[Id]
    created_at: Mapped[datetime]
    status: Mapped[DeliveryStatus] = mapped_column(Word(DeliveryStatus))
    attempts: Mapped[int]


class AttemptRow(Scoped, Model):
    """One try of a delivery, with the beginning of the answer."""

    __tablename__ = "webhook_attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "environment_id", "endpoint_id", "sequence"],
            [
                f"webhook_deliveries.{column}"
                for column in ("tenant_id", "environment_id", "endpoint_id", "sequence")
            ],
        ),
    )

    endpoint_id: Mapped[Id] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    status: Mapped[int | None]
    failure: Mapped[str | None]
    latency_ms: Mapped[int]
    answer: Mapped[str]
