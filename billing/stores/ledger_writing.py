"""Writing to the ledger: entries are appended to wallets that stand where the write was decided."""

from collections.abc import Iterable, Sequence

from sqlalchemy import bindparam, insert, update

from billing.stores import ledger_rows as rows
from billing.stores.ledger_models import (
    ConsumptionRow,
    EntryRow,
    LotRow,
    PostingRow,
    WalletRow,
)
from billing.stores.scoped import here, table_of
from billing.stores.transactions import Transaction, Upsert
from billing.wallets.holdings import Posted
from schemas.errors import AlreadyExists, VersionConflict
from schemas.ids import WalletId
from schemas.wallet import WalletStatus

OPEN_WALLET = Upsert(WalletRow, where="wallets.sequence = 0")
MOVE_WALLET = (
    update(table_of(WalletRow))
    .where(here(WalletRow))
    .where(WalletRow.id == bindparam("wallet_id"), WalletRow.sequence == bindparam("base"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "customer_id",
                "currency",
                "wallet_type",
                "status",
                "sequence",
                "debts",
                "created_at",
                "updated_at",
                "record",
            )
        }
    )
)
APPEND_ENTRIES = insert(table_of(EntryRow))
OPEN_LOTS = insert(table_of(LotRow))
CONSUME = insert(table_of(ConsumptionRow))
POST = insert(table_of(PostingRow))


def write_ledger(transaction: Transaction, writes: Sequence[Posted]) -> None:
    """Append writes, and move their wallets on.

    Raises VersionConflict for a wallet that does not stand where its write was decided, or for a
    key that was used, AlreadyExists for a second active wallet of its kind.
    """
    if not writes:
        return
    _move(transaction, writes)
    used = VersionConflict("an idempotency key was used meanwhile: read again and repeat")
    entries = [values for each in writes for values in rows.entry_values(each)]
    transaction.write(APPEND_ENTRIES, entries, taken=used)
    transaction.write(OPEN_LOTS, [row for each in writes for row in rows.lot_values(each)])
    consumed = [row for each in writes for row in rows.consumption_values(each)]
    transaction.write(CONSUME, consumed)
    transaction.write(POST, [row for each in writes for row in rows.posting_values(each)])


def _move(transaction: Transaction, writes: Sequence[Posted]) -> None:
    """Set what became of each wallet, those first that free the place of another."""
    changed = sorted(
        joined(writes).values(),
        key=lambda each: each.holdings.wallet.wallet_status is WalletStatus.ACTIVE,
    )
    taken = AlreadyExists("the customer has an active wallet of this kind", reason="unique")
    for each in changed:
        values = rows.wallet_values(each.holdings)
        name = each.holdings.wallet.id
        if each.base == 0:
            transaction.advance(OPEN_WALLET, [values], f"wallet {name}", taken=taken)
        else:
            moved = {f"new_{column}": value for column, value in values.items() if column != "id"}
            moved |= {"wallet_id": name, "base": each.base}
            transaction.advance(MOVE_WALLET, [moved], f"wallet {name}", taken=taken)


def joined(writes: Iterable[Posted]) -> dict[WalletId, Posted]:
    """Return for each wallet where its writes of one commit begin, and what it holds after them.

    Raises VersionConflict where one does not go on from the one before.
    """
    found: dict[WalletId, Posted] = {}
    for each in writes:
        name = each.holdings.wallet.id
        before = found.get(name)
        if before is None:
            found[name] = each
        elif each.base != before.holdings.sequence:
            raise VersionConflict(f"wallet {name} has moved on")
        else:
            found[name] = Posted(base=before.base, holdings=each.holdings)
    return found
