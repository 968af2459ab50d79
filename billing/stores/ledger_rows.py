"""The ledger as rows and as records: what a write appends, and what a wallet holds."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from billing.stores.ledger_models import ConsumptionRow, EntryRow, LotRow, WalletRow
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.movements import running_before
from schemas.decimals import EXACT
from schemas.wallet import Consumption, Entry, Lot

Values = dict[str, object]

ENTRY = (
    EntryRow.id,
    EntryRow.wallet_id,
    EntryRow.sequence,
    EntryRow.type,
    EntryRow.credits,
    EntryRow.amount,
    EntryRow.reason,
    EntryRow.reference_type,
    EntryRow.reference_id,
    EntryRow.created_at,
    EntryRow.effective_at,
    EntryRow.idempotency_key,
    EntryRow.content,
    EntryRow.parent_id,
    EntryRow.description,
    EntryRow.details,
    EntryRow.created_by,
)
LOT = (
    LotRow.id,
    LotRow.entry_id,
    LotRow.credits,
    LotRow.remaining,
    LotRow.reason,
    LotRow.created_at,
    LotRow.priority,
    LotRow.expires_at,
)
CONSUMPTION = (ConsumptionRow.entry_id, ConsumptionRow.lot_id, ConsumptionRow.credits)


def entry_from(row: Row[Any]) -> Entry:
    """Return the entry of a row that begins with the columns of ENTRY."""
    return Entry(*row[: len(ENTRY)])


def lot_from(row: Row[Any]) -> Lot:
    """Return the lot of a row that begins with the columns of LOT."""
    return Lot(*row[: len(LOT)])


def consumption_from(row: Row[Any]) -> Consumption:
    """Return the consumption of a row that begins with the columns of CONSUMPTION."""
    return Consumption(*row[: len(CONSUMPTION)])


def wallet_values(holdings: Holdings) -> Values:
    """Return the row of a wallet."""
    wallet = holdings.wallet
    return {
        "id": wallet.id,
        "customer_id": wallet.customer_id,
        "currency": wallet.currency.lower(),
        "wallet_type": wallet.wallet_type,
        "status": wallet.wallet_status,
        "sequence": holdings.sequence,
        "debts": holdings.debts,
        "created_at": wallet.created_at,
        "updated_at": wallet.updated_at or wallet.created_at,
        "record": wallet,
    }


WALLET = (WalletRow.record, WalletRow.sequence, WalletRow.debts)


def entry_values(posted: Posted) -> Iterator[Values]:
    """Yield the rows of a write's entries, the last first, each with the running sum after it."""
    running = posted.holdings.running
    for entry in reversed(posted.entries):
        yield {
            "id": entry.id,
            "wallet_id": entry.wallet_id,
            "sequence": entry.sequence,
            "type": entry.type,
            "credits": entry.credits,
            "amount": entry.amount,
            "running": running,
            "reason": entry.reason,
            "reference_type": entry.reference_type,
            "reference_id": entry.reference_id,
            "created_at": entry.created_at,
            "effective_at": entry.effective_at,
            "idempotency_key": entry.idempotency_key,
            "content": entry.content,
            "parent_id": entry.parent_id,
            "description": entry.description,
            "details": entry.metadata,
            "created_by": entry.created_by,
        }
        running = running_before(entry, running)


def lot_values(posted: Posted) -> Iterator[Values]:
    """Yield the rows of a write's lots as they came; its consumptions take from them."""
    sequences = {entry.id: entry.sequence for entry in posted.entries}
    for lot in posted.lots:
        yield {
            "id": lot.id,
            "wallet_id": posted.holdings.wallet.id,
            "entry_id": lot.entry_id,
            "sequence": sequences[lot.entry_id],
            "credits": lot.credits,
            "remaining": lot.credits,
            "reason": lot.reason,
            "created_at": lot.created_at,
            "priority": lot.priority,
            "expires_at": lot.expires_at,
        }


def consumption_values(posted: Posted) -> Sequence[Values]:
    """Return the rows of a write's consumptions, each with what it left of its lot."""
    left = {lot.id: lot.remaining for lot in posted.holdings.lots}
    rows: list[Values] = []
    for position, part in reversed(tuple(enumerate(posted.consumptions))):
        remaining = left.get(part.lot_id, Decimal(0))
        rows.append(
            {
                "entry_id": part.entry_id,
                "lot_id": part.lot_id,
                "sequence": posted.holdings.sequence,
                "position": position,
                "credits": part.credits,
                "remaining": remaining,
            }
        )
        left[part.lot_id] = EXACT.add(remaining, part.credits)
    return rows[::-1]


def posting_values(posted: Posted) -> Iterator[Values]:
    """Yield the rows of a write's postings."""
    positions: dict[str, int] = {}
    for side in posted.postings:
        position = positions[side.entry_id] = positions.get(side.entry_id, -1) + 1
        yield {
            "entry_id": side.entry_id,
            "position": position,
            "account": side.account,
            "currency": side.currency,
            "value": side.value,
        }
