"""The catalog as requests read it from SQL: of its scope, live, and never older than a second."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.ports import Changes
from billing.stores.catalog import FRESH_SECONDS, SqlCatalog
from billing.stores.database import Database, migrate
from billing.stores.money import SqlStores
from billing.stores.objects import SqlObjects
from schemas.customer import Customer
from schemas.ids import CustomerId, FeatureId, SubscriptionId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.scope import Scope
from schemas.stored import Status, changed, made
from schemas.subscription import Feature, FeatureType, Subscription

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
OTHER = Scope("tenant_default", "env_other")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))


@pytest.fixture(params=["sqlite", POSTGRES])
def database(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> Database:
    database = open_at(empty_database(request.param))
    migrate(database)
    return database


def meter(name: str) -> Meter:
    count = Aggregation(AggregationType.COUNT)
    return Meter(name, "tenant_default", "env_development", name, name, count)


def feature(name: str) -> Feature:
    return Feature(FeatureId(name), name, FeatureType.BOOLEAN, name)


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_definitions_are_live_ones_in_the_order_of_their_ids(database: Database) -> None:
    objects = SqlObjects(database, SCOPE)
    for name in ("c", "a", "b"):
        objects.meters.add(made(meter(name), NOON))
        objects.features.add(made(feature(name), NOON))
    gone = objects.meters.get("b")
    assert gone is not None
    objects.meters.replace(changed(gone, gone.record, NOON, status=Status.ARCHIVED))
    catalog = SqlCatalog(database)
    assert catalog.meters(SCOPE) == (meter("a"), meter("c"))
    assert [each.id for each in catalog.features(SCOPE)] == ["a", "b", "c"]
    assert catalog.meters(OTHER) == ()
    assert catalog.features(OTHER) == ()


def test_no_definition_is_older_than_a_second(database: Database) -> None:
    clock, objects = Clock(), SqlObjects(database, SCOPE)
    catalog = SqlCatalog(database, clock=clock)
    assert catalog.meters(SCOPE) == ()
    objects.meters.add(made(meter("a"), NOON))
    clock.now = FRESH_SECONDS - 0.01
    assert catalog.meters(SCOPE) == ()
    clock.now = FRESH_SECONDS
    assert catalog.meters(SCOPE) == (meter("a"),)
    objects.meters.add(made(meter("b"), NOON))
    assert len(catalog.meters(SCOPE)) == 1
    catalog.forget()
    assert len(catalog.meters(SCOPE)) == 2


def test_meters_have_the_generation_that_is_metered(database: Database) -> None:
    def third(meters: Sequence[Meter]) -> list[Meter]:
        return [replace(each, generation=3) for each in meters]

    SqlObjects(database, SCOPE).meters.add(made(meter("a"), NOON))
    [found] = SqlCatalog(database, third).meters(SCOPE)
    assert found.generation == 3


def test_a_customer_is_known_by_its_external_id_while_it_lives(database: Database) -> None:
    objects, catalog = SqlObjects(database, SCOPE), SqlCatalog(database)
    assert not catalog.has_customer(SCOPE, "acme")
    customer = Customer(CustomerId("cust_1"), "acme")
    objects.customers.add(made(customer, NOON))
    subscriptions = tuple(
        Subscription(SubscriptionId(name), customer.id, "acme", "usd", NOON) for name in ("b", "a")
    )
    SqlStores(database, SCOPE).commit(Changes(subscriptions=subscriptions))
    assert catalog.has_customer(SCOPE, "acme")
    assert not catalog.has_customer(SCOPE, "cust_1")
    assert not catalog.has_customer(OTHER, "acme")
    assert catalog.subscriptions_of(SCOPE, "acme") == subscriptions[::-1]
    assert catalog.subscriptions_of(OTHER, "acme") == ()

    found = objects.customers.by_lookup("acme")
    assert found is not None
    objects.customers.replace(changed(found, customer, NOON, status=Status.DELETED))
    assert not catalog.has_customer(SCOPE, "acme")
    assert catalog.subscriptions_of(SCOPE, "acme") == ()
