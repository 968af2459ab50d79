"""Pages of what money left behind: ledger entries, invoices and alerts, the newest first.

They are for those who look at it. What is decided rests on the reads of `billing/stores/money.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute

from billing.stores.alert_pages import AlertPages
from billing.stores.attached_reading import SqlAttachedReader
from billing.stores.invoice_models import InvoiceLineRow, InvoiceRow
from billing.stores.invoice_pages import InvoicePages
from billing.stores.ledger_models import EntryRow
from billing.stores.ledger_pages import ENTRIES, LedgerPages, ledger_lines
from billing.stores.money_models import AlertRow
from billing.stores.scoped import here
from billing.stores.subscription_pages import SubscriptionPages
from billing.stores.transactions import Transaction
from billing.stores.wallet_pages import WalletPages
from billing.wallets.movements import LedgerLine
from schemas.alert import Alert, AlertState, AlertType
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    EntryId,
    InvoiceId,
    InvoiceLineId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice, InvoiceKind, InvoiceStatus, InvoiceType, PaymentStatus


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Which invoices are asked for; what is None or empty asks for all, and dates are half-open."""

    customer_id: CustomerId | None = None
    subscription_id: SubscriptionId | None = None
    ids: Collection[InvoiceId] = ()
    statuses: Collection[InvoiceStatus] = ()
    payment_statuses: Collection[PaymentStatus] = ()
    types: Collection[InvoiceType] = ()
    kinds: Collection[InvoiceKind] = ()
    dated_from: datetime | None = None
    dated_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts are asked for, likewise."""

    customer_id: CustomerId | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    stream_id: AlertStreamId | None = None
    types: Collection[AlertType] = ()
    statuses: Collection[AlertState] = ()
    from_at: datetime | None = None
    before_at: datetime | None = None


PAGE_OF_WALLET = (
    ENTRIES.where(EntryRow.wallet_id == bindparam("wallet_id"))
    .order_by(EntryRow.sequence.desc())
    .limit(bindparam("rows"))
    .offset(bindparam("skipped"))
)
ENTRY_BY_ID = ENTRIES.where(EntryRow.id == bindparam("id"))
ENTRIES_COUNTED = (
    select(func.count())
    .select_from(EntryRow)
    .where(here(EntryRow))
    .where(EntryRow.wallet_id == bindparam("wallet_id"))
)
INVOICE_OF_LINE = (
    select(InvoiceRow.record)
    .join(
        InvoiceLineRow,
        (InvoiceLineRow.tenant_id == InvoiceRow.tenant_id)
        & (InvoiceLineRow.environment_id == InvoiceRow.environment_id)
        & (InvoiceLineRow.invoice_id == InvoiceRow.id),
    )
    .where(here(InvoiceLineRow))
    .where(InvoiceLineRow.id == bindparam("line_id"))
)


class MoneyReader(
    InvoicePages, SqlAttachedReader, SubscriptionPages, WalletPages, LedgerPages, AlertPages
):
    """Reads pages of one scope: the rows of a page, and how many there are in all."""

    def entries_of(
        self, wallet_id: WalletId, *, limit: int, offset: int = 0
    ) -> tuple[tuple[LedgerLine, ...], int]:
        """Return entries of a wallet, the last first, and the number of all. Raises StoreError."""
        with self._reading() as transaction:
            found = transaction.rows(
                PAGE_OF_WALLET, wallet_id=wallet_id, rows=limit, skipped=offset
            )
            total = transaction.one(ENTRIES_COUNTED, wallet_id=wallet_id)
            return ledger_lines(transaction, found), total or 0

    def entry(self, entry_id: EntryId) -> LedgerLine | None:
        """Return an entry by its id, None if there is none. Raises StoreError."""
        with self._reading() as transaction:
            lines = ledger_lines(transaction, transaction.rows(ENTRY_BY_ID, id=entry_id))
        return lines[0] if lines else None

    def invoices(
        self, wanted: InvoiceFilter, *, limit: int, offset: int = 0
    ) -> tuple[tuple[Invoice, ...], int]:
        """Return invoices, the last date first, and the number of all. Raises StoreError."""
        conditions = [
            *_equal(InvoiceRow.customer_id, wanted.customer_id),
            *_equal(InvoiceRow.subscription_id, wanted.subscription_id),
            *_among(InvoiceRow.id, wanted.ids),
            *_among(InvoiceRow.status, wanted.statuses),
            *_among(InvoiceRow.payment_status, wanted.payment_statuses),
            *_among(InvoiceRow.invoice_type, wanted.types),
            *_among(InvoiceRow.kind, wanted.kinds),
            *_within(InvoiceRow.dated_at, wanted.dated_from, wanted.dated_before),
        ]
        chosen = select(InvoiceRow.record).where(here(InvoiceRow), *conditions)
        ordered = chosen.order_by(InvoiceRow.dated_at.desc(), InvoiceRow.id.desc())
        counted = select(func.count()).select_from(InvoiceRow).where(here(InvoiceRow), *conditions)
        with self._reading() as transaction:
            return _page(transaction, ordered, counted, limit, offset)

    def alerts(
        self, wanted: AlertFilter, *, limit: int, offset: int = 0
    ) -> tuple[tuple[Alert, ...], int]:
        """Return alerts, the last first, and the number of all. Raises StoreError."""
        conditions = [
            *_equal(AlertRow.customer_id, wanted.customer_id),
            *_equal(AlertRow.entity_type, wanted.entity_type),
            *_equal(AlertRow.entity_id, wanted.entity_id),
            *_equal(AlertRow.stream_id, wanted.stream_id),
            *_among(AlertRow.alert_type, wanted.types),
            *_among(AlertRow.status, wanted.statuses),
            *_within(AlertRow.at, wanted.from_at, wanted.before_at),
        ]
        chosen = select(AlertRow.record).where(here(AlertRow), *conditions)
        ordered = chosen.order_by(
            AlertRow.at.desc(), AlertRow.stream_id.desc(), AlertRow.version.desc()
        )
        counted = select(func.count()).select_from(AlertRow).where(here(AlertRow), *conditions)
        with self._reading() as transaction:
            return _page(transaction, ordered, counted, limit, offset)

    def invoice_of_line(self, line_id: InvoiceLineId) -> Invoice | None:
        """Return the invoice that a line is on, None if it is on none. Raises StoreError."""
        with self._reading() as transaction:
            return transaction.one(INVOICE_OF_LINE, line_id=line_id)


def _page(
    transaction: Transaction, ordered: Select[Any], counted: Select[int], limit: int, offset: int
) -> tuple[tuple[Any, ...], int]:
    """Return the records of a page, and the number of all."""
    found = transaction.all(ordered.limit(limit).offset(offset))
    return found, transaction.one(counted) or 0


def _equal(column: InstrumentedAttribute[Any], value: object | None) -> list[ColumnElement[bool]]:
    """Return the condition of one value, none for None."""
    return [] if value is None else [column == value]


def _among(
    column: InstrumentedAttribute[Any], values: Collection[object]
) -> list[ColumnElement[bool]]:
    """Return the condition of some values, none for no values."""
    return [column.in_(tuple(values))] if values else []


def _within(
    column: InstrumentedAttribute[datetime], start: datetime | None, end: datetime | None
) -> list[ColumnElement[bool]]:
    """Return the conditions of a half-open range, none for what is open."""
    conditions: list[ColumnElement[bool]] = []
    if start is not None:
        conditions.append(column >= start)
    if end is not None:
        conditions.append(column < end)
    return conditions
