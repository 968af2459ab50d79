"""The tables of the ledger (wallets-alerts.md 3): appended to, never changed.

What changes is the wallet itself, and what remains of a lot, which the statement that writes a
consumption keeps in step by a trigger. There is no balance anywhere.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from billing.stores.columns import Document, Exact, Word
from billing.stores.models import Model, in_scope
from billing.stores.scoped import Id, Scoped, index, refers_to
from billing.wallets.holdings import Debt
from schemas.wallet import EntryType, Reason, ReferenceType, Wallet, WalletStatus, WalletType

# One text that both databases understand: texts in SQLite, where 0 is written "0", and numbers.
OPEN_LOT = "remaining <> '0'"


class WalletRow(Scoped, Model):
    """A wallet: `record` is what it is, the columns beside it what is asked for or compared.

    `sequence` is that of its last entry, `debts` the uncovered debits. `currency` is in lower case.
    """

    __tablename__ = "wallets"
    __table_args__ = (
        in_scope(),
        index("ix_wallets_customer", "customer_id"),
        index("ix_wallets_created_at", "created_at", "id"),
        index(
            "uq_wallets_active",
            "customer_id",
            "currency",
            "wallet_type",
            where="status = 'active'",
            unique=True,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    customer_id: Mapped[Id]
    currency: Mapped[str]
    wallet_type: Mapped[WalletType] = mapped_column(Word(WalletType))
    status: Mapped[WalletStatus] = mapped_column(Word(WalletStatus))
    sequence: Mapped[int]
    debts: Mapped[tuple[Debt, ...]] = mapped_column(Document(tuple[Debt, ...]))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    record: Mapped[Wallet] = mapped_column(Document(Wallet))


class EntryRow(Scoped, Model):
    """An entry; `running` is the sum of the wallet's credits less its debits up to here."""

    __tablename__ = "wallet_entries"
    __table_args__ = (
        refers_to("wallets", "wallet_id"),
        UniqueConstraint(
            "tenant_id",
            "environment_id",
            "wallet_id",
            "sequence",
            name="uq_wallet_entries_sequence",
        ),
        UniqueConstraint(
            "tenant_id", "environment_id", "idempotency_key", name="uq_wallet_entries_key"
        ),
        index("ix_wallet_entries_reference", "reference_type", "reference_id"),
        index("ix_wallet_entries_created_at", "created_at", "sequence", "id"),
        index("ix_wallet_entries_wallet", "wallet_id", "created_at", "sequence", "id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    wallet_id: Mapped[Id]
    sequence: Mapped[int]
    type: Mapped[EntryType] = mapped_column(Word(EntryType))
    credits: Mapped[Decimal] = mapped_column(Exact)
    amount: Mapped[Decimal] = mapped_column(Exact)
    running: Mapped[Decimal] = mapped_column(Exact)
    reason: Mapped[Reason] = mapped_column(Word(Reason))
    reference_type: Mapped[ReferenceType] = mapped_column(Word(ReferenceType))
    reference_id: Mapped[Id]
    created_at: Mapped[datetime]
    effective_at: Mapped[datetime]
    idempotency_key: Mapped[Id | None]
    content: Mapped[str | None]
    parent_id: Mapped[Id | None]
    description: Mapped[str]
    # What is called metadata elsewhere: a model has something else of that name.
    details: Mapped[Mapping[str, str]] = mapped_column(Document(dict[str, str]))
    created_by: Mapped[str]


class LotRow(Scoped, Model):
    """What a credit entry brought; `sequence` is the entry's."""

    __tablename__ = "wallet_lots"
    __table_args__ = (
        refers_to("wallet_entries", "entry_id"),
        index("ix_wallet_lots_entry", "entry_id"),
        index("ix_wallet_lots_open", "wallet_id", "sequence", where=OPEN_LOT),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    wallet_id: Mapped[Id]
    entry_id: Mapped[Id]
    sequence: Mapped[int]
    credits: Mapped[Decimal] = mapped_column(Exact)
    remaining: Mapped[Decimal] = mapped_column(Exact)
    reason: Mapped[Reason] = mapped_column(Word(Reason))
    created_at: Mapped[datetime]
    priority: Mapped[int | None] = mapped_column(BigInteger)
    expires_at: Mapped[datetime | None]


class ConsumptionRow(Scoped, Model):
    """What a debit took from a lot, and what it left there.

    `sequence` is that of the wallet after the write, `position` the place in the write: a debit
    that was overdrawn has consumptions of later writes.
    """

    __tablename__ = "wallet_consumptions"
    __table_args__ = (
        refers_to("wallet_entries", "entry_id"),
        refers_to("wallet_lots", "lot_id"),
        index("ix_wallet_consumptions_lot", "lot_id"),
    )

    entry_id: Mapped[Id] = mapped_column(primary_key=True)
    lot_id: Mapped[Id] = mapped_column(primary_key=True)
    sequence: Mapped[int]
    position: Mapped[int]
    credits: Mapped[Decimal] = mapped_column(Exact)
    remaining: Mapped[Decimal] = mapped_column(Exact)


class PostingRow(Scoped, Model):
    """One side of an entry in currency."""

    __tablename__ = "wallet_postings"
    __table_args__ = (refers_to("wallet_entries", "entry_id"),)

    entry_id: Mapped[Id] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str]
    currency: Mapped[str]
    value: Mapped[Decimal] = mapped_column(Exact)
