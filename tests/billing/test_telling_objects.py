"""What is told of objects is one transaction with them, in every store (wallets-alerts.md 13)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from billing.ports import Changes, OutboxRow, Stores
from billing.ports.objects import Objects
from billing.stores.database import Database, migrate
from billing.stores.memory_objects import MemoryObjects
from billing.stores.objects import SqlObjects
from billing.stores.scopes import ensure_scope
from billing.use_cases.telling_objects import CUSTOMER_CREATED, CUSTOMER_UPDATED, customer_row
from schemas.customer import Customer
from schemas.errors import VersionConflict
from schemas.ids import CustomerId, SubscriptionId
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Subscription, SubscriptionStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
ACME = made(Customer(CustomerId("cust_1"), "acme"), NOON)
KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]

Told = Callable[[], Sequence[str]]


@pytest.fixture(params=KINDS)
def kept(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> tuple[Objects, Told]:
    """Return stores of objects, and who reads the events that were told."""
    if request.param == "memory":
        memory = MemoryObjects()
        return memory, lambda: [row.event or "" for row in memory.outbox]
    database = open_at(empty_database(request.param))
    migrate(database)
    ensure_scope(database, SCOPE, NOON)

    def told() -> list[str]:
        with database.reading() as session:
            return list(session.scalars(text("SELECT event FROM outbox ORDER BY sequence")))

    return SqlObjects(database, SCOPE), told


def row(event: str) -> OutboxRow:
    return customer_row(event, ACME, SCOPE, NOON)


def add_and_tell(objects: Objects, failure: Exception | None = None) -> None:
    """Add a customer and tell of it, and then fail where that is asked for."""
    with objects.writing() as inside:
        inside.customers.add(ACME)
        inside.tell([row(CUSTOMER_CREATED)])
        if failure is not None:
            raise failure


def test_what_was_told_is_there_in_its_order(kept: tuple[Objects, Told]) -> None:
    objects, told = kept
    with objects.writing() as inside:
        inside.tell([row(CUSTOMER_CREATED)])
        inside.customers.add(ACME)
        inside.tell([row(CUSTOMER_UPDATED)])
    assert told() == [CUSTOMER_CREATED, CUSTOMER_UPDATED]
    assert objects.customers.get("cust_1") == ACME


def test_nothing_is_told_of_what_did_not_happen(kept: tuple[Objects, Told]) -> None:
    objects, told = kept
    with pytest.raises(LookupError):
        add_and_tell(objects, LookupError())
    assert told() == []
    assert objects.customers.get("cust_1") is None


def test_a_fact_is_told_once(kept: tuple[Objects, Told]) -> None:
    objects, told = kept
    objects.tell([row(CUSTOMER_CREATED)])
    with pytest.raises(VersionConflict):
        add_and_tell(objects)
    assert told() == [CUSTOMER_CREATED]
    assert objects.customers.get("cust_1") is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_customer_is_named_by_what_is_its_own_and_by_what_it_pays(
    kind: str, fresh_stores: Callable[[str], Stores]
) -> None:
    def agreed(name: str, owner: str, payer: str | None = None) -> Subscription:
        return Subscription(
            SubscriptionId(name),
            CustomerId(owner),
            owner,
            "usd",
            NOON,
            status=SubscriptionStatus.DRAFT if name == "a" else SubscriptionStatus.ACTIVE,
            invoicing_customer_id=None if payer is None else CustomerId(payer),
            version=1,
        )

    stores = fresh_stores(kind)
    every = (agreed("c", "other", "acme"), agreed("a", "acme"), agreed("b", "other"))
    stores.commit(Changes(subscriptions=every))
    found = stores.subscriptions_naming(CustomerId("acme"))
    assert [each.id for each in found] == ["a", "c"]
