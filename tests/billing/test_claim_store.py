"""Running claims as a store keeps them: the promises of memory, SQLite and PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.ports import Changes, Stores
from billing.ports.claims import ClaimStore, CustomerClaims
from billing.stores.claims import SqlClaims
from billing.stores.database import Database, migrate
from billing.stores.memory import MemoryStore
from billing.stores.memory_claims import MemoryClaims
from billing.stores.money import SqlStores
from billing.stores.scopes import ensure_scope
from billing.use_cases.balances import balance_of
from billing.wallets.balances import Claim, ClaimState
from billing.wallets.ledger import TopUp, top_up
from billing.wallets.opening import open_wallet
from billing.wallets.settlement import NetLine
from schemas.customer import Customer
from schemas.ids import CustomerId, WalletId
from schemas.price import PriceType
from schemas.scope import Scope
from schemas.wallet import Reason, WalletRequest

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ACME = CustomerId("cust_acme")
SCOPE = Scope("tenant_default", "env_development")
KINDS = [
    pytest.param("memory"),
    pytest.param("sqlite"),
    pytest.param("postgres", marks=pytest.mark.requires("postgres")),
]
OPEN = Claim(
    ClaimState.OPEN,
    "usd",
    NOON + timedelta(days=20),
    (NetLine(PriceType.USAGE, Decimal("22.5")), NetLine(PriceType.USAGE, Decimal("-0.10"))),
    subscription_id="sub",
)
OWED = Claim(
    ClaimState.FINALIZED,
    "usd",
    None,
    (NetLine(PriceType.FIXED, Decimal(20)),),
    credits_applied=(Decimal(5),),
    tax=Decimal("0.000000000000000001"),
    amount_paid=Decimal(3),
    invoice_id="inv",
)

Kept = tuple[Stores, ClaimStore]


@pytest.fixture
def kept(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> Kept:
    """Money and claims in a store of each kind, with a customer who has a wallet of 30."""
    stores: Stores
    claims: ClaimStore
    if request.param == "memory":
        memory = MemoryStore()
        stores, claims = memory, MemoryClaims(memory)
    else:
        database = open_at(empty_database(request.param))
        migrate(database)
        ensure_scope(database, SCOPE, NOON)
        stores, claims = SqlStores(database, SCOPE), SqlClaims(database, SCOPE)
    stores.commit(Changes(customers=(Customer(ACME, "acme"),)))
    opened = open_wallet(
        WalletRequest.model_validate({"currency": "usd"}),
        wallet_id=WalletId("w"),
        customer_id=ACME,
        existing=(),
        at=NOON,
    )
    stores.commit(Changes(posted=(opened,)))
    topped_up(stores, 30)
    return stores, claims


def topped_up(stores: Stores, amount: int) -> None:
    held = stores.holdings(WalletId("w"))
    assert held is not None
    request = TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(amount))
    stores.commit(Changes(posted=(top_up(held, request, NOON),)))


def row(at: datetime, *claims: Claim) -> CustomerClaims:
    return CustomerClaims(ACME, claims, at - SECOND, at)


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_claims_come_back_as_they_were_put(kept: Kept) -> None:
    _, claims = kept
    assert claims.claims_of(ACME) is None
    claims.put([row(NOON, OPEN, OWED)])
    assert claims.claims_of(ACME) == row(NOON, OPEN, OWED)


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_older_claims_do_not_take_the_place_of_newer_ones(kept: Kept) -> None:
    _, claims = kept
    claims.put([row(NOON, OPEN)])
    claims.put([row(NOON - SECOND, OWED)])
    assert claims.claims_of(ACME) == row(NOON, OPEN)
    claims.put([row(NOON + SECOND)])
    assert claims.claims_of(ACME) == row(NOON + SECOND)


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_a_change_waits_until_it_is_struck_and_a_later_one_is_not_struck_with_it(
    kept: Kept,
) -> None:
    stores, claims = kept
    (first,) = claims.changed()
    assert (first.customer_id, first.name) == (ACME, "acme")
    topped_up(stores, 1)
    claims.put([row(NOON)], [first])
    (second,) = claims.changed()
    assert second.mark != first.mark
    claims.put([], [second])
    assert list(claims.changed()) == []
    topped_up(stores, 1)
    assert len(claims.changed()) == 1


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_what_was_refused_is_no_change(kept: Kept) -> None:
    stores, claims = kept
    claims.put([], claims.changed())

    def refused() -> None:
        with stores.deciding(ACME) as held:
            topped_up(held, 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        refused()
    assert list(claims.changed()) == []


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_usage_is_in_up_to_where_the_slowest_shard_is(kept: Kept) -> None:
    _, claims = kept
    assert claims.usage_until() is None
    claims.progressed(0, 2, NOON)
    assert claims.usage_until() is None
    claims.progressed(1, 2, NOON - SECOND)
    assert claims.usage_until() == NOON - SECOND
    claims.progressed(1, 2, NOON + SECOND)
    assert claims.usage_until() == NOON
    claims.progressed(0, 1, NOON - SECOND)
    assert claims.usage_until() == NOON - SECOND


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_a_balance_is_settled_credits_less_claims_and_says_how_new_it_is(kept: Kept) -> None:
    stores, claims = kept
    before = balance_of(stores, claims, ACME, NOON)
    assert [each.real_time_balance for each in before.balances] == [Decimal(30)]
    assert (before.updated_at, before.is_fallback) == (None, True)
    claims.put([row(NOON, OPEN)])
    found = balance_of(stores, claims, ACME, NOON)
    assert [each.real_time_balance for each in found.balances] == [Decimal("7.6")]
    assert (found.updated_at, found.is_fallback) == (NOON - SECOND, False)
    claims.progressed(0, 1, NOON + 5 * SECOND)
    later = balance_of(stores, claims, ACME, NOON + 5 * SECOND)
    assert later == replace(found, updated_at=NOON + 5 * SECOND)


@pytest.mark.parametrize("kept", KINDS, indirect=True)
def test_who_has_money_is_found_by_name(kept: Kept) -> None:
    _, claims = kept
    assert claims.customers() == {ACME: "acme"}
