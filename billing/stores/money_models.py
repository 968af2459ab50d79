"""The tables of customers and subscriptions, and of what billing remembers and tells about them."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import BigInteger, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from billing.stores.columns import Document, Word
from billing.stores.models import Model, in_scope
from billing.stores.scoped import Id, Scoped, index, refers_to
from schemas.alert import Alert, AlertState, AlertStream, AlertType
from schemas.credit_grant import ApplicationStatus, GrantApplication
from schemas.customer import Customer
from schemas.purchase import Purchase, PurchaseStatus
from schemas.subscription import Subscription, SubscriptionStatus

# SQLite numbers rows by itself in a column of exactly this type.
SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


class CustomerRow(Scoped, Model):
    """A customer, a stored object as those of the catalog; `lookup_key` is its external id.

    That is free again once the customer is deleted.
    """

    __tablename__ = "customers"
    __table_args__ = (
        in_scope(),
        index("uq_customers_lookup_key", "lookup_key", where="status = 'published'", unique=True),
        index("ix_customers_created_at", "created_at", "id"),
        index("ix_customers_parent", "parent_id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    lookup_key: Mapped[Id | None]
    name: Mapped[Id]
    parent_id: Mapped[Id | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by: Mapped[str]
    updated_by: Mapped[str]
    version: Mapped[int]
    record: Mapped[Customer] = mapped_column(Document(Customer))


class SubscriptionRow(Scoped, Model):
    """A subscription; its lines, with their prices and meters as they were agreed, are its record's."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        in_scope(),
        index("ix_subscriptions_customer", "customer_id", "id"),
        index("ix_subscriptions_payer", "payer_id", "id"),
        index("ix_subscriptions_lookup_key", "lookup_key"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id]
    payer_id: Mapped[Id]
    status: Mapped[SubscriptionStatus] = mapped_column(Word(SubscriptionStatus))
    lookup_key: Mapped[Id]
    version: Mapped[int]
    record: Mapped[Subscription] = mapped_column(Document(Subscription))


class PurchaseRow(Scoped, Model):
    """Credits that an invoice buys."""

    __tablename__ = "purchases"
    __table_args__ = (
        in_scope(),
        UniqueConstraint("tenant_id", "environment_id", "idempotency_key", name="uq_purchases_key"),
        index("ix_purchases_invoice", "invoice_id", "id"),
        index("ix_purchases_pending", "wallet_id", "id", where="status = 'pending'"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    wallet_id: Mapped[Id]
    customer_id: Mapped[Id]
    invoice_id: Mapped[Id]
    status: Mapped[PurchaseStatus] = mapped_column(Word(PurchaseStatus))
    created_at: Mapped[datetime]
    idempotency_key: Mapped[Id | None]
    version: Mapped[int]
    record: Mapped[Purchase] = mapped_column(Document(Purchase))


class RedemptionRow(Scoped, Model):
    """Who has redeemed a coupon, once each."""

    __tablename__ = "coupon_redemptions"
    __table_args__ = (in_scope(),)

    coupon_id: Mapped[Id] = mapped_column(primary_key=True)
    redeemed_by: Mapped[Id] = mapped_column(primary_key=True)
    redeemed_at: Mapped[datetime]


class GrantApplicationRow(Scoped, Model):
    """A period of a credit grant, and what became of it."""

    __tablename__ = "credit_grant_applications"
    __table_args__ = (
        in_scope(),
        UniqueConstraint(
            "tenant_id",
            "environment_id",
            "grant_id",
            "period_start",
            name="uq_credit_grant_applications_period",
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    grant_id: Mapped[Id]
    subscription_id: Mapped[Id]
    period_start: Mapped[datetime]
    status: Mapped[ApplicationStatus] = mapped_column(Word(ApplicationStatus))
    record: Mapped[GrantApplication] = mapped_column(Document(GrantApplication))


class AlertStreamRow(Scoped, Model):
    """A watched number with its state."""

    __tablename__ = "alert_streams"
    __table_args__ = (in_scope(), index("ix_alert_streams_entity", "entity_type", "entity_id"))

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id]
    entity_type: Mapped[str]
    entity_id: Mapped[Id]
    version: Mapped[int]
    record: Mapped[AlertStream] = mapped_column(Document(AlertStream))


class AlertRow(Scoped, Model):
    """A change of a stream that was told."""

    __tablename__ = "alerts"
    __table_args__ = (
        refers_to("alert_streams", "stream_id"),
        index("ix_alerts_at", "at", "stream_id", "version"),
        index("ix_alerts_customer", "customer_id", "at", "stream_id", "version"),
        index("ix_alerts_entity", "entity_type", "entity_id", "at", "stream_id", "version"),
    )

    stream_id: Mapped[Id] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[Id]
    entity_type: Mapped[str]
    entity_id: Mapped[Id]
    alert_type: Mapped[AlertType] = mapped_column(Word(AlertType))
    status: Mapped[AlertState] = mapped_column(Word(AlertState))
    at: Mapped[datetime]
    record: Mapped[Alert] = mapped_column(Document(Alert))


class FirstAnswerRow(Scoped, Model):
    """What the first request with an idempotency key was answered, as its JSON."""

    __tablename__ = "first_answers"
    __table_args__ = (in_scope(),)

    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[Id] = mapped_column(primary_key=True)
    body: Mapped[str]
    answered_at: Mapped[datetime]


class ScheduleRow(Scoped, Model):
    """A customer who waits for the next pass, and since when."""

    __tablename__ = "account_schedule"
    __table_args__ = (in_scope(), index("ix_account_schedule_due_at", "due_at", "customer_id"))

    customer_id: Mapped[Id] = mapped_column(primary_key=True)
    due_at: Mapped[datetime]


class OutboxMessageRow(Model):
    """What others are told; `sequence` grows in the order in which a customer's facts committed."""

    __tablename__ = "outbox"
    __table_args__ = (
        in_scope(),
        UniqueConstraint("tenant_id", "environment_id", "id", name="uq_outbox_id"),
        index("ix_outbox_waiting", "sequence", where="published_at IS NULL"),
        {"sqlite_autoincrement": True},
    )

    sequence: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    tenant_id: Mapped[str]
    environment_id: Mapped[str]
    id: Mapped[Id]
    topic: Mapped[str | None]
    event: Mapped[str | None]
    key: Mapped[Id]
    customer_id: Mapped[Id | None]
    at: Mapped[datetime]
    payload: Mapped[Mapping[str, object]] = mapped_column(Document(dict[str, object]))
    body: Mapped[Mapping[str, object]] = mapped_column(Document(dict[str, object]))
    published_at: Mapped[datetime | None]
    # When deliveries to webhook endpoints were made of it; its migration is that of webhooks.
    fanned_out_at: Mapped[datetime | None]
