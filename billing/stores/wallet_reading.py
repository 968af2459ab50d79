"""Reading wallets with what they hold, and the keys that writes are known again by."""

from collections.abc import Sequence
from decimal import Decimal
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, and_, bindparam, select, text

from billing.ports import TakenRows
from billing.stores.invoice_models import PaymentRow
from billing.stores.ledger_models import OPEN_LOT, ConsumptionRow, EntryRow, LotRow, WalletRow
from billing.stores.ledger_rows import (
    CONSUMPTION,
    ENTRY,
    LOT,
    consumption_from,
    entry_from,
    lot_from,
)
from billing.stores.money_models import FirstAnswerRow, PurchaseRow
from billing.stores.scoped import here
from billing.stores.scoped_reading import ScopedReader
from billing.stores.transactions import Transaction
from billing.wallets.holdings import Holdings
from schemas.ids import CustomerId, InvoiceId, WalletId
from schemas.purchase import Purchase, PurchaseStatus
from schemas.wallet import Entry, EntryType, Lot, ReferenceType

# The running sum stands at the last entry: a wallet has no balance.
WALLETS = (
    select(WalletRow.id, WalletRow.record, WalletRow.sequence, WalletRow.debts, EntryRow.running)
    .outerjoin(
        EntryRow,
        and_(
            EntryRow.tenant_id == WalletRow.tenant_id,
            EntryRow.environment_id == WalletRow.environment_id,
            EntryRow.wallet_id == WalletRow.id,
            EntryRow.sequence == WalletRow.sequence,
        ),
    )
    .where(here(WalletRow))
)
WALLET = WALLETS.where(WalletRow.id == bindparam("id"))
OF_CUSTOMER = WALLETS.where(WalletRow.customer_id == bindparam("customer_id"))
OPEN_LOTS = (
    select(*LOT, LotRow.wallet_id)
    .where(here(LotRow))
    .where(LotRow.wallet_id.in_(bindparam("wallets", expanding=True)), text(OPEN_LOT))
    .order_by(LotRow.wallet_id, LotRow.sequence)
)
ENTRY_OF = select(*ENTRY).where(here(EntryRow)).where(EntryRow.idempotency_key == bindparam("key"))
PURCHASES = select(PurchaseRow.record).where(here(PurchaseRow))
PURCHASE_OF = PURCHASES.where(PurchaseRow.idempotency_key == bindparam("key"))
PURCHASES_FOR = PURCHASES.where(PurchaseRow.invoice_id == bindparam("invoice_id"))
PENDING = PURCHASES.where(
    PurchaseRow.wallet_id == bindparam("wallet_id"),
    # Not a parameter, so that the index of pending ones serves.
    text(f"status = '{PurchaseStatus.PENDING.value}'"),
)
ANSWER_OF = (
    select(FirstAnswerRow.body)
    .where(here(FirstAnswerRow))
    .where(FirstAnswerRow.kind == bindparam("kind"), FirstAnswerRow.key == bindparam("key"))
)
DEBITS = select(*ENTRY).where(here(EntryRow)).where(EntryRow.type == EntryType.DEBIT)
# Two questions and no order, or SQLite would walk through the ledger of the whole scope.
TAKEN = DEBITS.where(
    EntryRow.reference_type == ReferenceType.INVOICE,
    EntryRow.reference_id == bindparam("invoice_id"),
).union_all(
    DEBITS.join(
        PaymentRow,
        and_(
            PaymentRow.tenant_id == EntryRow.tenant_id,
            PaymentRow.environment_id == EntryRow.environment_id,
            PaymentRow.id == EntryRow.reference_id,
        ),
    ).where(
        EntryRow.reference_type == ReferenceType.PAYMENT,
        PaymentRow.invoice_id == bindparam("invoice_id"),
    )
)
CONSUMED = (
    select(*CONSUMPTION)
    .where(here(ConsumptionRow))
    .where(ConsumptionRow.entry_id.in_(bindparam("entries", expanding=True)))
    .order_by(ConsumptionRow.sequence, ConsumptionRow.position)
)
LOTS = select(*LOT).where(here(LotRow)).where(LotRow.id.in_(bindparam("lots", expanding=True)))


class WalletReader(ScopedReader):
    """Reads wallets; what it costs does not grow with their history."""

    def holdings(self, wallet_id: WalletId) -> Holdings | None:
        """Return a wallet with what it holds, None if there is none."""
        with self._reading() as transaction:
            found = holdings_from(transaction, transaction.rows(WALLET, id=wallet_id))
        return found[0] if found else None

    def wallets_of(self, customer_id: CustomerId) -> Sequence[Holdings]:
        """Return a customer's wallets, closed ones too, in the order of their ids."""
        with self._reading() as transaction:
            rows = transaction.rows(OF_CUSTOMER, customer_id=customer_id)
            return holdings_from(transaction, rows)

    def entry_of(self, idempotency_key: str) -> Entry | None:
        """Return the entry that a key stands for."""
        with self._reading() as transaction:
            found = transaction.rows(ENTRY_OF, key=idempotency_key)
        return entry_from(found[0]) if found else None

    def purchase_of(self, idempotency_key: str) -> Purchase | None:
        """Return the purchase that a key stands for."""
        with self._reading() as transaction:
            return transaction.one(PURCHASE_OF, key=idempotency_key)

    def answer_of(self, kind: str, idempotency_key: str) -> str | None:
        """Return what the first request with a key was answered."""
        with self._reading() as transaction:
            return transaction.one(ANSWER_OF, kind=kind, key=idempotency_key)

    def purchases_for(self, invoice_id: InvoiceId) -> Sequence[Purchase]:
        """Return the purchases that an invoice pays, in the order of their ids."""
        with self._reading() as transaction:
            found = transaction.all(PURCHASES_FOR, invoice_id=invoice_id)
        return tuple(sorted(found, key=attrgetter("id")))

    def pending_purchases(self, wallet_id: WalletId) -> Sequence[Purchase]:
        """Return the purchases of a wallet that wait for their invoices, in the order of their ids."""
        with self._reading() as transaction:
            found = transaction.all(PENDING, wallet_id=wallet_id)
        return tuple(sorted(found, key=attrgetter("id")))

    def taken_for(self, invoice_id: InvoiceId) -> TakenRows:
        """Return what an invoice took from wallets, on its lines and by CREDITS payments.

        In the order of the wallets, and of what each of them wrote.
        """
        with self._reading() as transaction:
            taken = transaction.rows(TAKEN, invoice_id=invoice_id)
            if not taken:
                return TakenRows()
            entries = sorted(map(entry_from, taken), key=attrgetter("wallet_id", "sequence"))
            order = {entry.id: place for place, entry in enumerate(entries)}
            consumed = transaction.rows(CONSUMED, entries=list(order))
            parts = sorted(map(consumption_from, consumed), key=lambda each: order[each.entry_id])
            names = list(dict.fromkeys(part.lot_id for part in parts))
            lots = {row.id: lot_from(row) for row in transaction.rows(LOTS, lots=names)}
        return TakenRows(tuple(entries), tuple(parts), tuple(lots[name] for name in names))


def holdings_from(transaction: Transaction, rows: Sequence[Row[Any]]) -> tuple[Holdings, ...]:
    """Return the wallets of rows with their open lots, in the order of their ids."""
    if not rows:
        return ()
    lots: dict[str, list[Lot]] = {row.id: [] for row in rows}
    for lot in transaction.rows(OPEN_LOTS, wallets=list(lots)):
        lots[lot.wallet_id].append(lot_from(lot))
    return tuple(
        Holdings(
            row.record,
            row.sequence,
            Decimal(0) if row.running is None else row.running,
            tuple(lots[row.id]),
            row.debts,
        )
        for row in sorted(rows, key=attrgetter("id"))
    )
