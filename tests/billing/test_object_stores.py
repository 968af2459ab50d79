"""Stored objects behave alike in memory, in SQLite and in PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from billing.ports.objects import Objects
from billing.stores.database import Database, migrate
from billing.stores.memory_objects import MemoryObjects
from billing.stores.object_kinds import KINDS
from billing.stores.objects import SqlObjects
from billing.stores.scopes import ensure_scope
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.customer import ContactPerson, Customer
from schemas.entitlement_grant import (
    EntitlementGrant,
    GrantAggregation,
    GrantDurationUnit,
    GrantMeasure,
)
from schemas.errors import AlreadyExists, NotFound, Refused, ValidationFailed, VersionConflict
from schemas.group import Group, GroupEntityType, GroupId
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId
from schemas.meter import Aggregation, AggregationType, Filter, Meter
from schemas.object_query import Query, Sort
from schemas.price import BillingModel, Price, PriceType, Tier
from schemas.scope import Scope
from schemas.stored import Status, Stored, changed, made
from schemas.subscription import Entitlement, Feature, FeatureType, Plan, ReportingUnit
from schemas.tax import (
    TaxAssociation,
    TaxAttachmentId,
    TaxEntityType,
    TaxRate,
    TaxRateId,
    TaxRateType,
)

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
GRANT = EntitlementGrant(
    GrantMeasure.AMOUNT,
    Decimal("12.50"),
    GrantDurationUnit.DAY,
    3,
    aggregation=GrantAggregation.PARALLEL,
)

# One object of each kind, with values of every sort in it.
EXAMPLES: tuple[tuple[str, object], ...] = (
    ("meters", TOKENS),
    (
        "features",
        Feature(
            FeatureId("feat_1"),
            "Tokens",
            FeatureType.METERED,
            "tokens",
            "meter_tokens",
            reporting_unit=ReportingUnit("token", "tokens", Decimal("0.001")),
            metadata={"a.b": "c"},
        ),
    ),
    ("plans", plan("pro", key="pro", order=3, team="a")),
    (
        "prices",
        Price(
            "price_1",
            PriceType.USAGE,
            BillingModel.TIERED,
            "usd",
            tiers=(Tier(10, Decimal("0.02")), Tier(None, Decimal("1E-20"))),
            meter_id="meter_tokens",
            start_date=NOON,
        ),
    ),
    (
        "entitlements",
        Entitlement(
            EntitlementId("ent_1"),
            FeatureId("feat_1"),
            usage_limit=500,
            config_value={"a": [1, {"b": None}]},
            entity_id="plan_pro",
            grant=GRANT,
        ),
    ),
    (
        "credit_grants",
        CreditGrant(
            CreditGrantId("cg_1"),
            GrantScope.PLAN,
            Decimal(50),
            GrantCadence.ONETIME,
            ExpirationType.NEVER,
            plan_id="plan_pro",
        ),
    ),
    (
        "coupons",
        Coupon(CouponId("coupon_1"), CouponType.PERCENTAGE, Decimal(10), coupon_code="Ten"),
    ),
    ("tax_rates", TaxRate(TaxRateId("tax_1"), TaxRateType.PERCENTAGE, Decimal(19), "vat")),
    (
        "tax_associations",
        TaxAssociation(TaxAttachmentId("ta_1"), TaxRateId("tax_1"), TaxEntityType.CUSTOMER, "cust"),
    ),
    ("groups", Group(GroupId("group_1"), "Models", GroupEntityType.PRICE, "models")),
    (
        "customers",
        Customer(
            CustomerId("cust_1"),
            "acme",
            "Acme",
            email="a@example.com",
            contact_persons=(ContactPerson("Ada", is_primary=True),),
        ),
    ),
)


@pytest.mark.parametrize(("kind", "record"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_a_record_comes_back_as_it_was_stored(objects: Objects, kind: str, record: object) -> None:
    store = getattr(objects, kind)
    stored = made(record, NOON.replace(microsecond=123456), "secret_1")
    store.add(stored)
    assert store.get(record.id) == stored  # type: ignore[attr-defined]  # all records have ids
    assert store.page(Query()).rows == (stored,)
    after = changed(stored, record, later(1), "secret_2", Status.ARCHIVED)
    store.replace(after)
    assert store.those([record.id, "none"]) == {record.id: after}  # type: ignore[attr-defined]  # as above


def test_all_kinds_have_an_example() -> None:
    assert [name for name, _ in EXAMPLES] == list(KINDS)


def test_a_key_belongs_to_one_live_object(objects: Objects) -> None:
    first = made(plan("first", key="pro"), NOON)
    objects.plans.add(first)
    second = made(plan("second", key="pro"), NOON)
    with pytest.raises(AlreadyExists) as taken:
        objects.plans.add(second)
    assert (taken.value.reason, taken.value.field) == ("unique", "lookup_key")
    assert objects.plans.get("plan_second") is None

    objects.plans.replace(changed(first, first.record, NOON, status=Status.ARCHIVED))
    assert objects.plans.by_lookup("pro") is None
    objects.plans.add(second)
    assert objects.plans.by_lookup("pro") == second
    archived = objects.plans.get("plan_first")
    assert archived is not None
    with pytest.raises(AlreadyExists):
        objects.plans.replace(changed(archived, first.record, NOON, status=Status.PUBLISHED))
    assert objects.plans.get("plan_first") == archived


def test_objects_without_a_key_do_not_stand_in_each_others_way(objects: Objects) -> None:
    objects.plans.add(made(plan("first"), NOON))
    objects.plans.add(made(plan("second"), NOON))
    assert objects.plans.by_lookup("") is None
    assert objects.plans.page(Query()).total == 2


def test_an_id_is_taken_once(objects: Objects) -> None:
    objects.plans.add(made(plan("pro"), NOON))
    with pytest.raises(AlreadyExists):
        objects.plans.add(made(plan("pro"), later(1)))


def test_a_code_of_a_coupon_is_found_in_any_case(objects: Objects) -> None:
    def coupon(name: str, code: str) -> Stored[Coupon]:
        made_of = Coupon(CouponId(name), CouponType.PERCENTAGE, Decimal(10), coupon_code=code)
        return made(made_of, NOON)

    objects.coupons.add(coupon("coupon_1", "Straße10"))
    found = objects.coupons.by_lookup("STRASSE10".replace("SS", "ß"))
    assert found is not None
    assert found.record.coupon_code == "Straße10"
    with pytest.raises(AlreadyExists) as taken:
        objects.coupons.add(coupon("coupon_2", "sTRAßE10"))
    assert taken.value.field == "coupon_code"


def test_a_customer_and_a_plan_have_a_rate_and_a_feature_once(objects: Objects) -> None:
    def grants(name: str, plan_id: str, grant: EntitlementGrant | None = None) -> None:
        entitlement = Entitlement(
            EntitlementId(name), FeatureId("feat_1"), entity_id=plan_id, grant=grant
        )
        objects.entitlements.add(made(entitlement, NOON))

    grants("ent_1", "plan_a")
    grants("ent_2", "plan_b")
    with pytest.raises(AlreadyExists):
        grants("ent_3", "plan_a")
    grants("ent_4", "plan_a", GRANT)
    grants("ent_5", "plan_a", GRANT)

    def attach(name: str, entity: TaxEntityType) -> None:
        association = TaxAssociation(TaxAttachmentId(name), TaxRateId("tax_1"), entity, "same")
        objects.tax_associations.add(made(association, NOON))

    attach("ta_1", TaxEntityType.CUSTOMER)
    attach("ta_2", TaxEntityType.SUBSCRIPTION)
    with pytest.raises(AlreadyExists):
        attach("ta_3", TaxEntityType.CUSTOMER)


def test_the_key_of_a_price_is_that_of_its_last_version(objects: Objects) -> None:
    first = made(price("first", key="seat"), NOON)
    objects.prices.add(first)
    with objects.writing() as held:
        ended = replace(first.record, replaced_by="price_second")
        held.prices.replace(changed(first, ended, NOON))
        held.prices.add(made(price("second", key="seat"), NOON))
    found = objects.prices.by_lookup("seat")
    assert found is not None
    assert found.record.id == "price_second"
    kept = objects.prices.get("price_first")
    assert kept is not None
    assert (kept.record.lookup_key, kept.status) == ("seat", Status.PUBLISHED)


def test_what_was_changed_meanwhile_is_refused(objects: Objects) -> None:
    stored = made(plan("pro"), NOON)
    with pytest.raises(NotFound):
        objects.plans.replace(changed(stored, stored.record, NOON))
    objects.plans.add(stored)
    first = changed(stored, plan("pro", key="a"), later(1))
    objects.plans.replace(first)
    with pytest.raises(VersionConflict):
        objects.plans.replace(changed(stored, plan("pro", key="b"), later(2)))
    assert objects.plans.get("plan_pro") == first


def test_of_writers_at_once_one_is_first(objects: Objects) -> None:
    stored = made(plan("pro"), NOON)
    objects.plans.add(stored)
    together = Barrier(4)

    def write(number: int) -> bool:
        together.wait(30)
        try:
            objects.plans.replace(changed(stored, plan("pro", key=str(number)), NOON))
        except VersionConflict:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(write, range(4))) == [False, False, False, True]


def test_several_objects_are_written_together_or_not_at_all(objects: Objects) -> None:
    def write_both(key: str) -> None:
        with objects.writing() as held:
            held.meters.add(made(TOKENS, NOON))
            held.plans.add(made(plan("other", key=key), NOON))

    objects.plans.add(made(plan("pro", key="pro"), NOON))
    with pytest.raises(AlreadyExists):
        write_both("pro")
    assert objects.meters.page(Query()).total == 0
    write_both("other")
    assert (objects.meters.page(Query()).total, objects.plans.page(Query()).total) == (1, 2)


def test_a_transaction_sees_what_it_wrote(objects: Objects) -> None:
    with objects.writing() as held:
        stored = made(plan("pro", key="pro"), NOON)
        held.plans.add(stored)
        assert held.plans.get("plan_pro") == stored
        after = changed(stored, plan("pro", key="new"), later(1))
        held.plans.replace(after)
        assert held.plans.by_lookup("new") == after
        assert held.plans.page(Query()).total == 1


def test_a_read_sees_one_state_of_all_kinds(objects: Objects) -> None:
    objects.plans.add(made(plan("pro"), NOON))
    with objects.reading() as held:
        assert held.plans.get("plan_pro") is not None
        assert held.prices.page(Query()).rows == ()


def test_scopes_do_not_see_each_other(
    empty_database: Callable[[str], str], open_at: Callable[[str], Database]
) -> None:
    database = open_at(empty_database("sqlite"))
    migrate(database)
    other_scope = Scope("tenant_default", "env_other")
    ensure_scope(database, other_scope, NOON)
    mine, other = SqlObjects(database, SCOPE), SqlObjects(database, other_scope)
    mine.plans.add(made(plan("pro", key="pro"), NOON))
    assert other.plans.get("plan_pro") is None
    assert other.plans.by_lookup("pro") is None
    assert other.plans.page(Query()).total == 0
    assert other.plans.those(["plan_pro"]) == {}
    with pytest.raises(NotFound):
        other.plans.replace(changed(made(plan("pro"), NOON), plan("pro"), NOON))
    other.plans.add(made(plan("pro", key="pro"), later(1)))
    assert mine.plans.page(Query()).total == 1
    with pytest.raises(ValidationFailed):
        SqlObjects(database, Scope("tenant_default", "none")).plans.add(made(plan("a"), NOON))


@contextmanager
def outcome(noted: list[str]) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        noted.append(f"{type(error).__name__} {error.field} {error}")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "replace", "archive", "find"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["", "k", "l"]),
    ),
    max_size=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_any_steps_end_alike_in_memory_and_in_sql(
    steps: list[tuple[str, str, str]],
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> None:
    database = open_at(empty_database("sqlite"))
    migrate(database)
    with database.writing() as session:
        session.execute(text("DELETE FROM plans"))
    told: list[tuple[list[str], tuple[Stored[Plan], ...]]] = []
    stores: tuple[Objects, ...] = (MemoryObjects(), SqlObjects(database, SCOPE))
    for objects in stores:
        noted: list[str] = []
        for number, (step, name, key) in enumerate(steps):
            with outcome(noted):
                apply_step(objects, step, plan(name, key=key), later(number), noted)
        told.append((noted, objects.plans.page(Query(sort=(Sort("updated_at"),))).rows))
    assert told[0] == told[1]


def apply_step(objects: Objects, step: str, record: Plan, at: datetime, noted: list[str]) -> None:
    found = objects.plans.get(record.id)
    if step == "add":
        objects.plans.add(made(record, at))
    elif step == "find":
        looked = objects.plans.by_lookup(record.lookup_key)
        noted.append("nothing" if looked is None else looked.record.id)
    elif found is not None:
        status = Status.ARCHIVED if step == "archive" else None
        objects.plans.replace(changed(found, record, at, status=status))
