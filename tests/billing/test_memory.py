"""The memory store: a commit is whole or nothing, and the second of two writers is refused."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.alerts.levels import observe
from billing.alerts.watching import stream_of
from billing.ports import Changes, OutboxRow
from billing.stores.memory import MemoryStore
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import Debit, TopUp, debit, top_up
from schemas.alert import AlertCondition, AlertSettings, AlertType, Threshold
from schemas.errors import VersionConflict
from schemas.ids import CustomerId, OutboxId, WalletId
from schemas.wallet import Reason, Wallet, WalletType

DAY = datetime(2026, 1, 1, tzinfo=UTC)
WALLET = Wallet(WalletId("w"), CustomerId("c"), "usd", WalletType.PRE_PAID, DAY)
SETTINGS = AlertSettings(True, Threshold(Decimal(5), AlertCondition.BELOW))


def keyed(amount: int, key: str) -> TopUp:
    return TopUp(Reason.CREDIT_NOTE, Decimal(amount), idempotency_key=key)


def test_the_second_of_two_writers_is_refused_and_changes_nothing() -> None:
    store = MemoryStore()
    first = top_up(Holdings(WALLET), keyed(5, "a"), DAY)
    second = top_up(Holdings(WALLET), keyed(7, "b"), DAY)
    store.commit(Changes(posted=(first,)))
    row = OutboxRow(OutboxId("msg"), "alerts", "c", DAY, {})
    with pytest.raises(VersionConflict):
        store.commit(Changes(posted=(second,), outbox=(row,)))
    assert store.entry_of("b") is None
    assert [entry.credits for entry in store.tables.entries] == [Decimal(5)]
    assert not store.tables.outbox


def test_a_key_is_used_once_over_all_wallets() -> None:
    store = MemoryStore()
    other = replace(WALLET, id=WalletId("other"))
    store.commit(Changes(posted=(top_up(Holdings(WALLET), keyed(5, "k"), DAY),)))
    with pytest.raises(VersionConflict):
        store.commit(Changes(posted=(top_up(Holdings(other), keyed(5, "k"), DAY),)))
    assert store.holdings(WalletId("other")) is None


def test_an_alert_is_told_by_one_of_two_writers_that_saw_it() -> None:
    store = MemoryStore()
    fresh = stream_of(WALLET, AlertType.LOW_CREDIT_BALANCE)
    changed, alert = observe(fresh, SETTINGS, Decimal(1), DAY)
    assert alert is not None
    store.commit(Changes(streams=(changed,), alerts=(alert,)))
    with pytest.raises(VersionConflict):
        store.commit(Changes(streams=(changed,), alerts=(alert,)))
    assert store.tables.alerts == [alert]


def test_lots_remember_what_was_taken_from_them() -> None:
    store = MemoryStore()
    added = top_up(Holdings(WALLET), keyed(5, "a"), DAY)
    store.commit(Changes(posted=(added,)))
    taken = debit(added.holdings, Debit(Decimal(5), Reason.MANUAL_BALANCE_DEBIT, "b"), DAY)
    store.commit(Changes(posted=(taken,)))
    assert [lot.remaining for lot in store.tables.lots.values()] == [Decimal(0)]
    assert [part.credits for part in store.tables.consumptions] == [Decimal(5)]
