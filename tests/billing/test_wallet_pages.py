"""Pages of wallets, of what moved in them and of alerts: alike in SQLite and PostgreSQL."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from money_records import ACME, DAY

from billing.ports import Changes
from billing.stores.database import Database
from billing.stores.money import SqlStores
from billing.stores.money_reading import MoneyReader
from billing.stores.scopes import ensure_scope
from billing.use_cases.wallets import create_wallet, debit, top_up
from billing.wallets.ledger import Debit, TopUp
from billing.wallets.movements import LedgerLine
from schemas.alert import AlertState, log_id
from schemas.customer import Customer
from schemas.ids import WalletId
from schemas.object_query import Condition, Operator, Query, Sort, Value
from schemas.purchase import Purchase
from schemas.scope import Scope
from schemas.wallet import Reason, WalletRequest

KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]
LOW = {"alert_enabled": True, "critical": {"threshold": "5", "condition": "below"}}


def at(hour: int) -> datetime:
    return DAY + timedelta(hours=hour)


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, migrated: Callable[[str], Database]) -> Database:
    return migrated(request.param)


@pytest.fixture
def scope(database: Database, request: pytest.FixtureRequest) -> Scope:
    found = Scope(f"tenant {request.node.name}", "env")
    ensure_scope(database, found, DAY)
    return found


@pytest.fixture
def wallets(database: Database, scope: Scope) -> tuple[WalletId, WalletId]:
    """Return two wallets in which things have moved, one each hour."""
    stores = SqlStores(database, scope)
    stores.commit(Changes(customers=(Customer(ACME, "acme"),)))

    def opened(hour: int, **members: object) -> WalletId:
        request = WalletRequest.model_validate(members)
        return create_wallet(stores, request, ACME, at(hour)).holdings.wallet.id

    usd = opened(0, currency="usd", alert_settings=LOW)
    eur = opened(1, currency="eur")
    granted, bought = Reason.FREE_CREDIT_GRANT, Reason.PURCHASED_CREDIT_INVOICED
    top_up(stores, usd, TopUp(granted, Decimal(10), idempotency_key="a", priority=2), at(2))
    expiring = TopUp(granted, Decimal("9.5"), idempotency_key="b", expires_at=at(48))
    top_up(stores, eur, expiring, at(3))
    debit(stores, usd, Debit(Decimal(8), Reason.MANUAL_BALANCE_DEBIT, "c"), at(4))
    later = TopUp(
        bought,
        Decimal(100),
        idempotency_key="d",
        priority=7,
        expires_at=at(72),
        description="Für später",
    )
    top_up(stores, eur, later, at(5))
    return usd, eur


@pytest.fixture
def reader(database: Database, scope: Scope) -> MoneyReader:
    return MoneyReader(database, scope)


def keys(
    reader: MoneyReader, *conditions: Condition, wallet_id: WalletId | None = None, hour: int = 6
) -> list[str | None]:
    rows, total = reader.transactions_where(Query(conditions), at(hour), wallet_id)
    assert len(rows) == total
    return [(row if isinstance(row, Purchase) else row.entry).idempotency_key for row in rows]


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("status", Operator.EQ, "published", "dcba"),
        ("status", Operator.EQ, "archived", ""),
        ("type", Operator.EQ, "debit", "c"),
        ("transaction_status", Operator.EQ, "pending", "d"),
        ("transaction_status", Operator.IN, ("completed", "failed"), "cba"),
        ("transaction_reason", Operator.EQ, "FREE_CREDIT_GRANT", "ba"),
        ("transaction_reason", Operator.NOT_IN, ("FREE_CREDIT_GRANT",), "dc"),
        ("reference_type", Operator.EQ, "EXTERNAL", "dcba"),
        ("reference_id", Operator.EQ, "d", "d"),
        ("description", Operator.CONTAINS, "FÜR", "d"),
        ("description", Operator.NOT_CONTAINS, "für", "cba"),
        ("customer_id", Operator.EQ, str(ACME), "dcba"),
        ("created_by", Operator.EQ, "", "dcba"),
        ("updated_by", Operator.EQ, "somebody", ""),
        ("created_at", Operator.GTE, at(3), "dcb"),
        ("created_at", Operator.BEFORE, at(3), "a"),
        ("updated_at", Operator.AFTER, at(4), "d"),
        ("credit_amount", Operator.GT, Decimal("9.5"), "da"),
        ("credit_amount", Operator.EQ, Decimal("9.50"), "b"),
        ("credit_amount", Operator.LT, 10, "cb"),
        ("credits_available", Operator.GT, Decimal(0), "ba"),
        ("credits_available", Operator.EQ, Decimal(0), "dc"),
        ("priority", Operator.EQ, 2, "a"),
        ("priority", Operator.GTE, 3, "d"),
        ("expiry_date", Operator.AFTER, at(47), "db"),
        ("expiry_date", Operator.BEFORE, at(72), "b"),
        ("expiry_date", Operator.EQ, at(72), "d"),
    ],
)
def test_transactions_are_found_by_what_they_are(
    reader: MoneyReader,
    wallets: tuple[WalletId, WalletId],
    field: str,
    operator: Operator,
    value: Value,
    expected: str,
) -> None:
    assert wallets
    assert keys(reader, Condition(field, operator, value)) == list(expected)


def test_nothing_is_available_of_what_has_expired(
    reader: MoneyReader, wallets: tuple[WalletId, WalletId]
) -> None:
    usd, eur = wallets
    some = Condition("credits_available", Operator.GT, Decimal(0))
    assert keys(reader, some, hour=47) == ["b", "a"]
    assert keys(reader, some, hour=48) == ["a"]
    assert keys(reader, wallet_id=usd) == ["c", "a"]
    assert keys(reader, wallet_id=eur) == ["d", "b"]


def test_pages_of_entries_and_purchases_are_cut_from_one_order(
    reader: MoneyReader, wallets: tuple[WalletId, WalletId]
) -> None:
    assert wallets
    for name, descending in (("created_at", True), ("created_at", False), ("id", True)):
        order = (Sort(name, descending=descending),)
        whole, total = reader.transactions_where(Query((), order), at(6))
        pages = [
            reader.transactions_where(Query((), order, 1, offset), at(6)) for offset in range(5)
        ]
        assert total == 4
        assert [row for page, _ in pages for row in page] == list(whole)
        assert {count for _, count in pages} == {4}


def test_an_entry_is_read_with_the_sums_around_it(
    reader: MoneyReader, wallets: tuple[WalletId, WalletId]
) -> None:
    usd, _ = wallets
    rows, _ = reader.transactions_where(Query(), at(6), usd)
    lines = [row for row in rows if isinstance(row, LedgerLine)]
    assert [(line.before, line.after) for line in lines] == [(10, 2), (0, 10)]
    taken, credit = lines
    assert [(part.lot.entry_id, part.credits) for part in taken.taken] == [(credit.entry.id, 8)]
    assert credit.lot is not None
    assert credit.lot.remaining == 2


def test_wallets_are_found_with_what_they_hold(
    reader: MoneyReader, wallets: tuple[WalletId, WalletId]
) -> None:
    usd, eur = wallets
    found, total = reader.wallets_where(Query())
    assert [(held.wallet.id, held.running) for held in found] == [(eur, Decimal("9.5")), (usd, 2)]
    assert total == 2

    def named(condition: Condition) -> list[WalletId]:
        rows, _ = reader.wallets_where(Query((condition,), (Sort("currency"),)))
        return [held.wallet.id for held in rows]

    assert named(Condition("alert_enabled", Operator.EQ, value=True)) == [usd]
    assert named(Condition("alert_enabled", Operator.EQ, value=False)) == [eur]
    assert named(Condition("wallet_status", Operator.EQ, "active")) == [eur, usd]
    assert named(Condition("wallet_type", Operator.IN, ("POST_PAID",))) == []
    assert named(Condition("id", Operator.IN, (usd, "wallet_none"))) == [usd]
    assert reader.wallets_where(Query((), (Sort("currency"),), 1, 1))[0][0].wallet.id == usd
    assert set(reader.wallets_by_id([usd, "wallet_none"])) == {usd}


def test_alerts_are_found_by_what_changed(
    reader: MoneyReader, wallets: tuple[WalletId, WalletId]
) -> None:
    usd, _ = wallets
    newest_first, total = reader.alerts_where(Query())
    # It was opened with nothing in it, filled, and emptied again.
    states = [AlertState.IN_ALARM, AlertState.OK, AlertState.IN_ALARM]
    assert ([alert.status for alert in newest_first], total) == (states, 3)

    def found(name: str, value: str) -> int:
        return reader.alerts_where(Query((Condition(name, Operator.EQ, value),)))[1]

    assert found("id", log_id(newest_first[1])) == 1
    assert found("entity_id", usd) == 3
    assert found("alert_type", "low_credit_balance") == 3
    assert found("alert_status", "ok") == 1
    assert found("customer_id", "nobody") == 0
    paged = [reader.alerts_where(Query((), (Sort("id"),), 1, offset))[0] for offset in range(3)]
    assert [alert for (alert,) in paged] == sorted(newest_first, key=log_id)
