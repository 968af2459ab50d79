"""Pages of invoices: the same conditions and orders in both databases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.invoices.one_off import OneOffLine, OneOffRequest, one_off
from billing.ports import Changes
from billing.stores.database import Database, migrate
from billing.stores.money import SqlStores
from billing.stores.money_reading import MoneyReader
from billing.stores.scopes import ensure_scope
from schemas.customer import Customer
from schemas.ids import CustomerId, InvoiceId, SubscriptionId
from schemas.invoice import InvoiceStatus
from schemas.object_query import Condition, Operator, Query, Sort
from schemas.period import Interval
from schemas.scope import Scope
from schemas.subscription import Subscription

DAY = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Scope("t", "e")
ACME = CustomerId("acme")
AMOUNTS = ("9", "10", "0.5", "100")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))])
def pages(request: Any, empty_database: Any, open_at: Callable[[str], Database]) -> MoneyReader:
    """Return a reader of invoices of a day each, the last of which is void."""
    database = open_at(empty_database(request.param))
    migrate(database)
    ensure_scope(database, HERE, DAY)
    made = []
    for place, amount in enumerate(AMOUNTS):
        at = DAY + timedelta(days=place, milliseconds=500 * (place % 2))
        asked = OneOffRequest(
            ACME, "usd", (OneOffLine(Decimal(amount)),), period=Interval(at, at + timedelta(1))
        )
        invoice = one_off(asked, InvoiceId(f"i{place}"), at)
        made.append(replace(invoice, subscription_id=SubscriptionId("sold") if place else None))
    made[-1] = replace(made[-1], status=InvoiceStatus.VOIDED, voided_at=DAY + timedelta(9))
    sold = Subscription(SubscriptionId("sold"), ACME, "acme", "usd", DAY)
    stores = SqlStores(database, HERE)
    stores.commit(
        Changes(customers=(Customer(ACME, "acme"),), subscriptions=(sold,), invoices=tuple(made))
    )
    return MoneyReader(database, HERE)


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (Condition("customer_id", Operator.EQ, "acme"), "i3 i2 i1 i0"),
        (Condition("subscription_id", Operator.IN, ("sold",)), "i3 i2 i1"),
        (Condition("id", Operator.IN, ("i0", "i3")), "i3 i0"),
        (Condition("id", Operator.IN, ()), ""),
        (Condition(("status",), Operator.IN, ("DRAFT",)), "i2 i1 i0"),
        (Condition(("total",), Operator.GT, Decimal(9)), "i3 i1"),
        (Condition(("period", "start"), Operator.GTE, DAY + timedelta(1)), "i3 i2 i1"),
        (Condition(("period", "end"), Operator.LTE, DAY + timedelta(2)), "i0"),
        (Condition(("voided_at",), Operator.GTE, DAY), "i3"),
        (Condition("created_at", Operator.LT, DAY + timedelta(1)), "i0"),
    ],
    ids=["customer", "one of", "ids", "none", "status", "total", "from", "until", "void", "made"],
)
def test_a_condition_holds_for_the_same_invoices_in_both(
    pages: MoneyReader, condition: Condition, names: str
) -> None:
    found, number = pages.invoices_where(Query((condition,)))
    assert [each.id for each in found] == names.split()
    assert number == len(found)


def test_an_order_is_by_value_and_a_page_tells_how_many_there_are(pages: MoneyReader) -> None:
    found, number = pages.invoices_where(Query(sort=(Sort(("total",)),), limit=2, offset=1))
    assert ([each.id for each in found], number) == (["i0", "i1"], 4)


def test_what_stands_beside_invoices_is_read_at_once(pages: MoneyReader) -> None:
    names = [InvoiceId(f"i{place}") for place in range(4)]
    assert pages.sequences_of(names) == {"i1": 1, "i2": 2, "i3": 3}
    assert set(pages.subscriptions_by_id([SubscriptionId("sold"), SubscriptionId("x")])) == {"sold"}
    assert pages.subscription_ids_of(["acme", "nobody"]) == ("sold",)
