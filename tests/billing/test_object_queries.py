"""Lists of stored objects: conditions, order and pages, alike in memory, SQLite and PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product

import pytest

from billing.ports.objects import Objects
from billing.stores.database import Database, migrate
from billing.stores.memory_objects import MemoryObjects
from billing.stores.objects import SqlObjects
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.errors import ValidationFailed
from schemas.ids import EntitlementId, FeatureId, PlanId
from schemas.meter import Aggregation, AggregationType, Filter, Meter
from schemas.object_query import Condition, Either, Operator, Query, Sort
from schemas.price import BillingModel, Price, PriceType
from schemas.scope import Scope
from schemas.stored import Status, made
from schemas.subscription import Entitlement, Plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def objects(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> Objects:
    if request.param == "memory":
        return MemoryObjects()
    database = open_at(empty_database(request.param))
    migrate(database)
    return SqlObjects(database, SCOPE)


def later(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def plan(name: str, *, key: str = "", order: int | None = None, **metadata: str) -> Plan:
    return Plan(
        PlanId(f"plan_{name}"), name.capitalize(), key, display_order=order, metadata=metadata
    )


def price(name: str, *, amount: str = "1", key: str = "", starts: int | None = None) -> Price:
    return Price(
        f"price_{name}",
        PriceType.FIXED,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(amount),
        entity_id="plan_pro",
        lookup_key=key,
        start_date=None if starts is None else later(starts),
        display_name=name,
    )


TOKENS = Meter(
    "meter_tokens",
    "tenant_default",
    "env_development",
    "Tokens",
    "llm",
    Aggregation(AggregationType.SUM_WITH_MULTIPLIER, "tokens", multiplier=Decimal("0.001")),
    (Filter("model", ("large", "small")),),
)


def names(objects: Objects, *conditions: Condition | Either, sort: tuple[Sort, ...] = ()) -> str:
    """Return the prices that conditions hold for, by the ends of their names."""
    page = objects.prices.page(Query(conditions, sort or (Sort("id"),)))
    assert page.total == len(page.rows)
    return " ".join(each.record.id.removeprefix("price_") for each in page.rows)


@pytest.fixture
def priced(objects: Objects) -> Objects:
    rows = (
        ("a", "9", 0),
        ("b", "10", 3600),
        ("c", "0.10", None),
        ("D", "1000000000000000000.1", 1),
    )
    for second, (name, amount, starts) in enumerate(rows):
        stored = price(name, amount=amount, starts=starts, key=f"Key Ä{name}")
        objects.prices.add(made(stored, later(second), "secret_1"))
    return objects


CASES = (
    (Condition("amount", Operator.GT, Decimal(9)), "D b"),
    (Condition("amount", Operator.GTE, 9), "D a b"),
    (Condition("amount", Operator.EQ, Decimal("0.1")), "c"),
    (Condition("amount", Operator.LT, Decimal("9.0")), "c"),
    (Condition("amount", Operator.LTE, Decimal("1E+1")), "a b c"),
    (Condition("amount", Operator.GT, Decimal("1000000000000000000")), "D"),
    (Condition("billing_period_count", Operator.EQ, 1), "D a b c"),
    (Condition("start_date", Operator.BEFORE, later(1)), "a"),
    (Condition("start_date", Operator.AFTER, later(0)), "D b"),
    (Condition("start_date", Operator.GTE, later(1)), "D b"),
    (Condition("start_date", Operator.EQ, later(3600)), "b"),
    (Condition("start_date", Operator.EQ, None), "c"),
    (Condition("created_at", Operator.LT, later(2)), "a b"),
    (Condition("created_at", Operator.GTE, later(2)), "D c"),
    (Condition("id", Operator.IN, ("price_a", "price_c", "price_z")), "a c"),
    (Condition("id", Operator.IN, ()), ""),
    (Condition("id", Operator.NOT_IN, ("price_a",)), "D b c"),
    (Condition("billing_model", Operator.EQ, BillingModel.FLAT_FEE), "D a b c"),
    (Condition("billing_model", Operator.IN, (BillingModel.TIERED,)), ""),
    (Condition("status", Operator.EQ, Status.PUBLISHED), "D a b c"),
    (Condition("lookup_key", Operator.CONTAINS, "key ä"), "D a b c"),
    (Condition(("lookup_key",), Operator.CONTAINS, "EY ÄA"), "a"),
    (Condition("lookup_key", Operator.NOT_CONTAINS, "äa"), "D b c"),
    (Condition("group_id", Operator.NOT_IN, ("g",)), "D a b c"),
    (Condition("group_id", Operator.NOT_CONTAINS, "g"), "D a b c"),
    (Condition("group_id", Operator.EQ, "g"), ""),
    (Condition("version", Operator.EQ, 1), "D a b c"),
    (Condition("lookup_key", Operator.CONTAINS, "%"), ""),
    (
        Either(
            (
                Condition("start_date", Operator.EQ, None),
                Condition("start_date", Operator.GT, later(60)),
            )
        ),
        "b c",
    ),
    (Either(()), ""),
)


def test_a_condition_picks_what_it_says(priced: Objects) -> None:
    found = [(condition, names(priced, condition)) for condition, _ in CASES]
    assert found == list(CASES)


def test_conditions_all_hold_together(priced: Objects) -> None:
    cheap = Condition("amount", Operator.LT, 10)
    begun = Condition("start_date", Operator.LTE, later(10))
    assert names(priced, cheap, begun) == "a"


ORDERS = (
    ((Sort("amount"),), "c a b D"),
    ((Sort("amount", descending=True),), "D b a c"),
    ((Sort("start_date"),), "a D b c"),
    ((Sort("start_date", descending=True),), "b D a c"),
    ((Sort("name"),), "D a b c"),
    ((Sort("created_at", descending=True),), "D c b a"),
    ((Sort("billing_model"),), "D a b c"),
    ((Sort("billing_model", descending=True),), "c b a D"),
    ((Sort("currency"), Sort("amount", descending=True)), "D b a c"),
)


def test_rows_come_in_the_order_that_is_asked_for(priced: Objects) -> None:
    assert [(sort, names(priced, sort=sort)) for sort, _ in ORDERS] == list(ORDERS)


def test_a_map_of_texts_is_asked_by_its_keys(objects: Objects) -> None:
    objects.plans.add(made(replace(plan("a"), metadata={"team.name": "one", "x": "1"}), NOON))
    objects.plans.add(made(replace(plan("b"), metadata={"team.name": "two"}), NOON))
    for path, value, expected in (
        (("metadata", "team.name"), "two", ["plan_b"]),
        (("metadata", "x"), "1", ["plan_a"]),
        (("metadata", 'y"y'), "1", []),
    ):
        page = objects.plans.page(Query((Condition(path, Operator.EQ, value),)))
        assert [each.record.id for each in page.rows] == expected


def test_a_member_inside_a_member_and_a_truth_are_asked_for(objects: Objects) -> None:
    objects.meters.add(made(TOKENS, NOON))
    for condition, total in (
        (Condition(("aggregation", "multiplier"), Operator.LT, Decimal("0.0011")), 1),
        (Condition(("aggregation", "multiplier"), Operator.LT, Decimal("0.001")), 0),
        (Condition(("aggregation", "type"), Operator.EQ, "SUM_WITH_MULTIPLIER"), 1),
    ):
        assert objects.meters.page(Query((condition,))).total == total
    for name, enabled in (("a", True), ("b", False)):
        entitlement = Entitlement(EntitlementId(name), FeatureId(name), is_enabled=enabled)
        objects.entitlements.add(made(entitlement, NOON))
    for enabled, name in ((True, "a"), (False, "b")):
        page = objects.entitlements.page(Query((Condition("is_enabled", Operator.EQ, enabled),)))
        assert [each.record.id for each in page.rows] == [name]


def test_instants_in_a_record_are_ordered_to_the_microsecond(objects: Objects) -> None:
    parts = (0, 500_000, 120_000, 1)
    for part in parts:
        at = NOON.replace(microsecond=part)
        coupon = Coupon(CouponId(f"{part}"), CouponType.PERCENTAGE, Decimal(1), redeem_after=at)
        objects.coupons.add(made(coupon, NOON))
    page = objects.coupons.page(Query(sort=(Sort("redeem_after"),)))
    assert [int(each.record.id) for each in page.rows] == sorted(parts)
    for part in parts:
        condition = Condition("redeem_after", Operator.LTE, NOON.replace(microsecond=part))
        assert objects.coupons.page(Query((condition,))).total == sorted(parts).index(part) + 1


@pytest.mark.parametrize(
    ("condition", "field"),
    [
        (Condition("colour", Operator.EQ, "red"), "field"),
        (Condition(("tiers", "up_to"), Operator.EQ, 1), "field"),
        (Condition("metadata", Operator.EQ, "red"), "field"),
        (Condition("amount", Operator.CONTAINS, "1"), "operator"),
        (Condition("currency", Operator.GT, "usd"), "operator"),
        (Condition("amount", Operator.EQ, "1"), "value"),
        (Condition("amount", Operator.EQ, True), "value"),
        (Condition("start_date", Operator.BEFORE, "2026-01-01"), "value"),
        (Condition("currency", Operator.IN, "usd"), "value"),
        (Condition("currency", Operator.EQ, ("usd",)), "value"),
        (Condition("amount", Operator.GT, None), "value"),
    ],
    ids=lambda each: (
        str(each) if isinstance(each, str) else "-".join((*map(str, each.field), each.operator))
    ),
)
def test_what_does_not_fit_a_field_is_refused(
    objects: Objects, condition: Condition, field: str
) -> None:
    for filters in ((condition,), (Either((condition,)),)):
        with pytest.raises(ValidationFailed) as refused:
            objects.prices.page(Query(filters))
        assert refused.value.field == field
    with pytest.raises(ValidationFailed):
        objects.prices.page(Query(sort=(Sort("colour"),)))


def test_pages_give_each_row_once_and_the_exact_total(objects: Objects) -> None:
    for number in range(7):
        objects.plans.add(made(plan(f"{number}"), later(number // 3)))
    for sort, limit in product(
        (Sort("created_at"), Sort("created_at", descending=True)), (1, 3, 7, 9)
    ):
        seen: list[str] = []
        for offset in range(0, 12, limit):
            page = objects.plans.page(Query((), (sort,), limit, offset))
            assert page.total == 7
            seen += [each.record.id for each in page.rows]
        whole = [f"plan_{number}" for number in range(7)]
        assert seen == (whole[::-1] if sort.descending else whole)
