"""Pages of what moved in wallets: ledger entries, and purchases that wait for their invoices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Numeric,
    Row,
    Select,
    String,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    type_coerce,
    union_all,
)

from billing.stores.column_statements import ColumnStatements
from billing.stores.columns import Exact
from billing.stores.database import EXACT_ORDER
from billing.stores.ledger_models import ConsumptionRow, EntryRow, LotRow, WalletRow
from billing.stores.ledger_rows import ENTRY, LOT, entry_from, lot_from
from billing.stores.money_models import PurchaseRow
from billing.stores.object_statements import Statements
from billing.stores.scoped import here, table_of
from billing.stores.scoped_reading import ScopedReader
from billing.stores.transactions import Transaction
from billing.wallets.movements import (
    COMPLETED,
    PURCHASE_STATUSES,
    LedgerLine,
    Taken,
    running_before,
)
from schemas.decimals import plain
from schemas.ids import WalletId
from schemas.object_query import Field, Query, Value
from schemas.purchase import Purchase, PurchaseId, PurchaseStatus
from schemas.stored import Status
from schemas.wallet import EntryType, Reason, ReferenceType

ZERO = Decimal(0)
# After all entries of the same instant: what is pending is what comes last.
LAST = 2**53
ENTRIES = select(*ENTRY, EntryRow.running).where(here(EntryRow))
THOSE_ENTRIES = ENTRIES.where(EntryRow.id.in_(bindparam("names", expanding=True)))
THOSE_PURCHASES = (
    select(PurchaseRow.record)
    .where(here(PurchaseRow))
    .where(PurchaseRow.id.in_(bindparam("names", expanding=True)))
)
BROUGHT = (
    select(*LOT)
    .where(here(LotRow))
    .where(LotRow.entry_id.in_(bindparam("entries", expanding=True)))
)
TAKEN = (
    select(*LOT, ConsumptionRow.entry_id.label("taker"), ConsumptionRow.credits.label("taken"))
    .join_from(
        ConsumptionRow,
        LotRow,
        (LotRow.tenant_id == ConsumptionRow.tenant_id)
        & (LotRow.environment_id == ConsumptionRow.environment_id)
        & (LotRow.id == ConsumptionRow.lot_id),
    )
    .where(here(ConsumptionRow))
    .where(ConsumptionRow.entry_id.in_(bindparam("entries", expanding=True)))
    .order_by(ConsumptionRow.sequence, ConsumptionRow.position)
)
PUBLISHED = literal(Status.PUBLISHED.value, String)
_P = table_of(PurchaseRow).c


class LedgerPages(ScopedReader):
    """Reads pages of wallet transactions."""

    def transactions_where(
        self, query: Query, at: datetime, wallet_id: WalletId | None = None
    ) -> tuple[tuple[LedgerLine | Purchase, ...], int]:
        """Return entries, and purchases without one, of a wallet or of all; and their number.

        What is available of a lot is so at an instant. They may be ordered by `created_at`,
        `updated_at` and `id`. Raises StoreError.
        """
        entries, bought = self._entries(query, at, wallet_id), self._purchases(query, wallet_id)
        needed = None if query.limit is None else query.offset + query.limit
        # Each half is cut before they are put together, or a page would cost the whole ledger.
        parts = [
            select(part.order_by(*_order(query, part)).limit(needed).subquery())
            for part in (entries, bought)
        ]
        rows = union_all(*parts).subquery()
        page = select(rows).order_by(*_order(query, rows)).limit(query.limit).offset(query.offset)
        with self._reading() as transaction:
            keys = transaction.rows(page)
            total = sum(
                transaction.one(select(func.count()).select_from(part.subquery())) or 0
                for part in (entries, bought)
            )
            return _those(transaction, [row.id for row in keys]), total

    def _entries(
        self, query: Query, at: datetime, wallet_id: WalletId | None
    ) -> Select[str, datetime, int]:
        """Return the statement of the entries that are asked for."""
        columns = _entry_columns(at, is_sqlite=self._database.is_sqlite)
        asked = _EntryStatements(columns, is_sqlite=self._database.is_sqlite)
        chosen = (
            select(EntryRow.id, EntryRow.created_at, EntryRow.sequence)
            .join(
                WalletRow,
                and_(
                    WalletRow.tenant_id == EntryRow.tenant_id,
                    WalletRow.environment_id == EntryRow.environment_id,
                    WalletRow.id == EntryRow.wallet_id,
                ),
            )
            .outerjoin(
                LotRow,
                and_(
                    LotRow.tenant_id == EntryRow.tenant_id,
                    LotRow.environment_id == EntryRow.environment_id,
                    LotRow.entry_id == EntryRow.id,
                ),
            )
            .where(here(EntryRow), asked.where(query))
        )
        return chosen if wallet_id is None else chosen.where(EntryRow.wallet_id == wallet_id)

    def _purchases(self, query: Query, wallet_id: WalletId | None) -> Select[str, datetime, int]:
        """Return the statement of the purchases that are asked for and have no entry."""
        asked = _PurchaseStatements(
            table_of(PurchaseRow), Purchase, is_sqlite=self._database.is_sqlite
        )
        chosen = select(
            PurchaseRow.id, PurchaseRow.created_at, literal(LAST).label("sequence")
        ).where(
            here(PurchaseRow), PurchaseRow.status != PurchaseStatus.COMPLETED, asked.where(query)
        )
        return chosen if wallet_id is None else chosen.where(PurchaseRow.wallet_id == wallet_id)


def _order(query: Query, rows: Any) -> list[ColumnElement[Any]]:
    """Return the order of a query; of one instant, entries come as they were written."""
    columns = rows.selected_columns if isinstance(rows, Select) else rows.c
    found = []
    for sort in query.sort:
        names = ["id"] if sort.field == "id" else ["created_at", "sequence", "id"]
        found += [
            columns[name].desc() if sort.descending else columns[name].asc() for name in names
        ]
    return found


def _entry_columns(at: datetime, *, is_sqlite: bool) -> Mapping[str, ColumnElement[Any]]:
    """Return the columns that entries are asked by; a lot is available until it expires."""
    entries, lots, wallets = (table_of(row).c for row in (EntryRow, LotRow, WalletRow))
    is_live = lots.expires_at.is_(None) | (lots.expires_at > at)
    nothing = literal(ZERO, Exact())
    # Debits have no lot, and so nothing of one.
    available = func.coalesce(case((is_live, lots.remaining), else_=nothing), nothing)
    return {
        "id": entries.id,
        "status": PUBLISHED,
        "created_at": entries.created_at,
        "updated_at": entries.created_at,
        "created_by": entries.created_by,
        "updated_by": entries.created_by,
        "wallet_id": entries.wallet_id,
        "customer_id": wallets.customer_id,
        "type": cast(entries.type, String),
        "transaction_status": literal(COMPLETED, String),
        "transaction_reason": cast(entries.reason, String),
        "reference_type": cast(entries.reference_type, String),
        "reference_id": entries.reference_id,
        "idempotency_key": entries.idempotency_key,
        "description": entries.description,
        "credit_amount": _comparable(entries.credits, is_sqlite=is_sqlite),
        "credits_available": _comparable(available, is_sqlite=is_sqlite),
        "priority": lots.priority,
        "expiry_date": lots.expires_at,
    }


def _comparable(number: ColumnElement[Any], *, is_sqlite: bool) -> ColumnElement[Any]:
    """Return a decimal in a form that is compared by value."""
    return type_coerce(number, Text).collate(EXACT_ORDER) if is_sqlite else number


DECIMALS = frozenset({"credit_amount", "credits_available"})


class _EntryStatements(ColumnStatements):
    """What a query asks of entries, as SQL."""

    def _operand(self, field: Field, value: Value) -> Any:
        """Return a value; SQLite has decimals as texts."""
        if self._is_sqlite and field in DECIMALS and isinstance(value, int | Decimal):
            return plain(Decimal(value))
        return super()._operand(field, value)


class _PurchaseStatements(Statements):
    """What a query asks of purchases that are no entries, as SQL."""

    # What is the same for all of them.
    SAME: Mapping[str, ColumnElement[Any]] = {
        "status": PUBLISHED,
        "type": literal(EntryType.CREDIT.value, String),
        "transaction_reason": literal(Reason.PURCHASED_CREDIT_INVOICED.value, String),
        "reference_type": literal(ReferenceType.EXTERNAL.value, String),
        "transaction_status": case(
            *(
                (_P.status == status, literal(shown, String))
                for status, shown in PURCHASE_STATUSES.items()
            ),
            else_=literal("", String),
        ),
        "reference_id": func.coalesce(_P.idempotency_key, _P.id),
        "idempotency_key": _P.idempotency_key,
        "wallet_id": _P.wallet_id,
        "customer_id": _P.customer_id,
        "updated_at": _P.created_at,
    }
    MEMBERS: Mapping[str, Field] = {
        "id": "id",
        "created_at": "created_at",
        "created_by": ("created_by",),
        "updated_by": ("created_by",),
        "description": ("description",),
        "credit_amount": ("credits",),
        "priority": ("priority",),
        "expiry_date": ("expires_at",),
    }

    def _expression(self, field: Field) -> ColumnElement[Any]:
        """Return a column, or a member of the record; nothing is available of a purchase."""
        assert isinstance(field, str), "transactions have plain fields"
        if field in self.SAME:
            return self.SAME[field]
        if field == "credits_available":
            nothing = literal("0", Text)
            return nothing.collate(EXACT_ORDER) if self._is_sqlite else cast(nothing, Numeric)
        return super()._expression(self.MEMBERS[field])

    def _operand(self, field: Field, value: Value) -> Any:
        """Return a value in the form of its field."""
        assert isinstance(field, str), "transactions have plain fields"
        if field == "updated_at":
            return value
        return super()._operand(self.MEMBERS.get(field, (field,)), value)


def _those(transaction: Transaction, names: Sequence[str]) -> tuple[LedgerLine | Purchase, ...]:
    """Return the transactions of some ids, in their order."""
    bought = {each.id: each for each in transaction.all(THOSE_PURCHASES, names=list(names))}
    found: dict[str, LedgerLine | Purchase] = {each.id: each for each in bought.values()}
    for line in ledger_lines(transaction, transaction.rows(THOSE_ENTRIES, names=list(names))):
        # A purchase that was completed is the entry of the same id.
        purchase = bought.get(PurchaseId(line.entry.id))
        paid_by = None if purchase is None else purchase.invoice_id
        found[line.entry.id] = replace(line, invoice_id=paid_by)
    return tuple(found[name] for name in names)


def ledger_lines(transaction: Transaction, rows: Sequence[Row[Any]]) -> tuple[LedgerLine, ...]:
    """Return the entries of rows with their lots and what they took."""
    names = [row.id for row in rows]
    if not names:
        return ()
    lots = {row.entry_id: lot_from(row) for row in transaction.rows(BROUGHT, entries=names)}
    taken: defaultdict[str, list[Taken]] = defaultdict(list)
    for row in transaction.rows(TAKEN, entries=names):
        taken[row.taker].append(Taken(lot_from(row), row.taken))
    lines = []
    for row in rows:
        entry, after = entry_from(row), row.running
        before = running_before(entry, after)
        lines.append(LedgerLine(entry, before, after, lots.get(row.id), tuple(taken[row.id])))
    return tuple(lines)
