"""The tables of invoices, their numbers and their payments.

The record of an invoice is the truth of it, lines included. The columns beside it and the rows of
its lines are written with it, for what a constraint or a question is about.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from billing.stores.columns import Document, Exact, Word
from billing.stores.models import Model, in_scope
from billing.stores.scoped import Id, Scoped, index, refers_to
from schemas.invoice import Invoice, InvoiceKind, InvoiceStatus, InvoiceType, PaymentStatus, Role
from schemas.payment import InvoicePayment, PaymentState


class InvoiceRow(Scoped, Model):
    """An invoice."""

    __tablename__ = "invoices"
    __table_args__ = (
        in_scope(),
        UniqueConstraint(
            "tenant_id", "environment_id", "invoice_number", name="uq_invoices_number"
        ),
        index("ix_invoices_customer", "customer_id", "dated_at", "id"),
        index("ix_invoices_subscription", "subscription_id", "dated_at", "id"),
        index("ix_invoices_dated_at", "dated_at", "id"),
        index("ix_invoices_created_at", "created_at", "id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id]
    subscription_id: Mapped[Id | None]
    kind: Mapped[InvoiceKind] = mapped_column(Word(InvoiceKind))
    invoice_type: Mapped[InvoiceType] = mapped_column(Word(InvoiceType))
    status: Mapped[InvoiceStatus] = mapped_column(Word(InvoiceStatus))
    payment_status: Mapped[PaymentStatus] = mapped_column(Word(PaymentStatus))
    currency: Mapped[str]
    dated_at: Mapped[datetime]
    finalize_at: Mapped[datetime]
    due_date: Mapped[datetime | None]
    invoice_number: Mapped[Id | None]
    total: Mapped[Decimal] = mapped_column(Exact)
    amount_remaining: Mapped[Decimal] = mapped_column(Exact)
    version: Mapped[int]
    created_at: Mapped[datetime]
    record: Mapped[Invoice] = mapped_column(Document(Invoice))


class InvoiceLineRow(Scoped, Model):
    """A line; `live` while no other invoice may bill its service (billing.md 15.6)."""

    __tablename__ = "invoice_lines"
    __table_args__ = (
        refers_to("invoices", "invoice_id"),
        index("ix_invoice_lines_id", "id"),
        index(
            "uq_invoice_lines_service",
            "subscription_id",
            "chain_id",
            "period_start",
            "period_end",
            "role",
            where="live",
            unique=True,
        ),
    )

    invoice_id: Mapped[Id] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[Id]
    subscription_id: Mapped[Id | None]
    chain_id: Mapped[Id]
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    role: Mapped[Role] = mapped_column(Word(Role))
    amount: Mapped[Decimal] = mapped_column(Exact)
    live: Mapped[bool]


class SeriesRow(Scoped, Model):
    """A series of invoice numbers, with the sequence that was taken last."""

    __tablename__ = "invoice_series"
    __table_args__ = (in_scope(),)

    prefix: Mapped[str] = mapped_column(primary_key=True)
    date_part: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class PaymentRow(Scoped, Model):
    """A payment of an invoice."""

    __tablename__ = "payments"
    __table_args__ = (
        refers_to("invoices", "invoice_id"),
        UniqueConstraint("tenant_id", "environment_id", "idempotency_key", name="uq_payments_key"),
        index("ix_payments_invoice", "invoice_id", "created_at", "id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    invoice_id: Mapped[Id]
    state: Mapped[PaymentState] = mapped_column(Word(PaymentState))
    created_at: Mapped[datetime]
    idempotency_key: Mapped[Id | None]
    version: Mapped[int]
    record: Mapped[InvoicePayment] = mapped_column(Document(InvoicePayment))
