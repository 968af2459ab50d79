"""Searches of subscriptions and of their lines find the same in both databases."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.configuration import BillingConfig
from billing.ports import Changes
from billing.stores.database import Database, migrate
from billing.stores.money import SqlStores
from billing.stores.scopes import ensure_scope
from billing.stores.subscription_pages import SubscriptionPages
from schemas.customer import Customer
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId, PlanId, SubscriptionId, SubscriptionLineId
from schemas.object_query import Condition, Either, Field, Operator, Query, Sort, Value
from schemas.price import BillingModel, BillingPeriod, Price, PriceType
from schemas.scope import Scope
from schemas.stored import Stored, made
from schemas.subscription import Subscription, SubscriptionLine, SubscriptionStatus

HERE, ELSEWHERE = Scope("tenant_1", "env_1"), Scope("tenant_2", "env_2")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
SEAT = Price("price_seat", PriceType.FIXED, BillingModel.FLAT_FEE, "usd")


def line(name: str, display_name: str) -> SubscriptionLine:
    """Return a line of a seat."""
    id_ = SubscriptionLineId(name)
    return SubscriptionLine(id_, id_, SEAT, display_name, NOW, NOW)


BARE = Subscription(
    SubscriptionId("subs_1"),
    CustomerId("cust_1"),
    "acme",
    "usd",
    NOW,
    plan_id=PlanId("plan_1"),
    created_at=NOW,
    lines=(line("subs_line_1", "Seat"),),
)
ROWS = (
    BARE,
    replace(
        BARE,
        id=SubscriptionId("subs_2"),
        created_at=NOW + timedelta(microseconds=1),
        status=SubscriptionStatus.DRAFT,
        end_date=NOW + timedelta(days=9),
        lines=(line("subs_line_2", "Desk"), line("subs_line_3", "Chair")),
    ),
    replace(
        BARE,
        id=SubscriptionId("subs_3"),
        customer_id=CustomerId("cust_2"),
        external_customer_id="other",
        created_at=NOW + timedelta(hours=1),
        billing_period=BillingPeriod.ANNUAL,
        lookup_key="mine",
        lines=(),
    ),
)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))])
def pages(
    request: Any, empty_database: Callable[[str], str], open_at: Callable[[str], Database]
) -> SubscriptionPages:
    """Return the pages of a scope that has three subscriptions."""
    found = open_at(empty_database(request.param))
    migrate(found)
    for scope in (HERE, ELSEWHERE):
        ensure_scope(found, scope, NOW)
    customers = (Customer(CustomerId("cust_1"), "acme"), Customer(CustomerId("cust_2"), "other"))
    SqlStores(found, HERE, BillingConfig).commit(Changes(customers=customers, subscriptions=ROWS))
    SqlStores(found, ELSEWHERE, BillingConfig).commit(
        Changes(customers=customers[:1], subscriptions=ROWS[:1])
    )
    return SubscriptionPages(found, HERE)


def equal(field: Field, value: Value) -> Condition:
    """Return the condition of one value."""
    return Condition(field, Operator.EQ, value)


CONDITIONS: dict[str, tuple[Condition | Either, list[str]]] = {
    "state": (equal("status", "active"), ["subs_3", "subs_1"]),
    "one of states": (Condition("status", Operator.IN, ("draft",)), ["subs_2"]),
    "customer": (equal("customer_id", "cust_1"), ["subs_2", "subs_1"]),
    "id": (Condition("id", Operator.IN, ("subs_1", "subs_3", "x")), ["subs_3", "subs_1"]),
    "key": (equal("lookup_key", "mine"), ["subs_3"]),
    "member": (equal(("billing_period",), "ANNUAL"), ["subs_3"]),
    "made from": (Condition("created_at", Operator.GTE, ROWS[1].created_at), ["subs_3", "subs_2"]),
    "made before": (Condition("created_at", Operator.LT, ROWS[1].created_at), ["subs_1"]),
    "absent": (equal(("end_date",), None), ["subs_3", "subs_1"]),
    "absent or later": (
        Either(
            (
                equal(("end_date",), None),
                Condition(("end_date",), Operator.GT, NOW + timedelta(days=9)),
            )
        ),
        ["subs_3", "subs_1"],
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_subscriptions_are_found_by_their_columns_and_members(
    pages: SubscriptionPages, name: str
) -> None:
    condition, expected = CONDITIONS[name]
    rows, total = pages.subscriptions_where(Query((condition,)))
    assert ([row.id for row in rows], total) == (expected, len(expected))


def test_pages_are_cut_from_one_order(pages: SubscriptionPages) -> None:
    order = (Sort(("lookup_key",)), Sort("created_at"))
    rows, total = pages.subscriptions_where(Query((), order, limit=2, offset=1))
    assert ([row.id for row in rows], total) == (["subs_2", "subs_3"], 3)


def test_what_subscriptions_do_not_have_is_refused(pages: SubscriptionPages) -> None:
    with pytest.raises(ValidationFailed):
        pages.subscriptions_where(Query((equal("colour", "red"),)))


def rows_of(subscription: Subscription) -> Iterator[Stored[SubscriptionLine]]:
    """Yield all lines of a subscription."""
    for each in subscription.lines:
        yield made(each, subscription.created_at or NOW)


@pytest.mark.parametrize(
    ("narrowed", "query", "expected"),
    [
        ({}, Query(), ["subs_line_3", "subs_line_2", "subs_line_1"]),
        ({"subscription_ids": ["subs_1"]}, Query(), ["subs_line_1"]),
        ({"customer_ids": ["cust_2"]}, Query(), []),
        ({}, Query((Condition("name", Operator.CONTAINS, "e"),), limit=1), ["subs_line_2"]),
    ],
    ids=["all", "subscription", "customer", "name"],
)
def test_lines_are_found_inside_their_subscriptions(
    pages: SubscriptionPages, narrowed: dict[str, Any], query: Query, expected: list[str]
) -> None:
    found = pages.lines_where(query, rows_of, **narrowed)
    assert [row.record.id for row in found.rows] == expected
    assert found.total == (2 if query.limit else len(expected))
