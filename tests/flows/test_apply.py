"""Applying a catalog: what is shown is done, again it does nothing, and refusals write nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from applied_file import FEE, NEW, NOW, SCOPE, WAITING, Instance, told

from billing.catalog import whole_plan
from billing.stores.database import migrate, open_database
from billing.stores.money import SqlStores
from billing.stores.objects import SqlObjects
from billing.stores.scopes import ensure_scope
from flows.applying import apply_catalog
from flows.catalog import Catalog
from flows.catalog_differences import Action
from schemas.errors import InvalidOperation
from schemas.ids import FeatureId, PlanId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.object_query import Query
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Feature, FeatureType, Plan


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    database = open_database(f"sqlite:///{tmp_path / 'tally.db'}")
    migrate(database)
    yield Instance(database, tmp_path)
    database.close()


def test_a_file_is_applied_once_however_often(instance: Instance) -> None:
    assert told(instance.apply()) == NEW
    before = instance.rows()
    assert told(instance.apply()) == WAITING
    assert told(instance.apply(NOW + timedelta(days=1))) == WAITING
    assert instance.rows() == before


def test_a_dry_run_says_the_same_and_writes_nothing(instance: Instance) -> None:
    before = instance.rows()
    assert told(instance.apply(dry_run=True)) == NEW
    assert instance.rows() == before
    instance.apply()
    before = instance.rows()
    report = instance.apply(dry_run=True, amount="25", limit="600")
    assert [each.action for each in report.differences].count(Action.NEW_VERSION) == 1
    assert instance.rows() == before


def test_what_is_stored_is_what_the_file_says(instance: Instance) -> None:
    instance.apply()
    loaded = instance.load()
    [plan] = loaded.plans
    stored = whole_plan(instance.objects, plan.id)
    assert stored is not None
    assert stored == replace(
        plan,
        prices=tuple(
            replace(each, entity_id=plan.id, sequence=number)
            for number, each in enumerate(plan.prices, 1)
        ),
        entitlements=tuple(replace(each, entity_id=plan.id) for each in plan.entitlements),
        credit_grants=tuple(replace(each, plan_id=plan.id) for each in plan.credit_grants),
    )
    [customer] = loaded.customers
    found = instance.objects.customers.by_lookup("acme")
    assert found is not None
    assert found.record == customer
    assert (found.record.email, found.created_by) == ("a@example.com", "tally apply")
    [feature] = [each for each in loaded.features if each.lookup_key == "tokens"]
    kept = instance.objects.features.by_lookup("tokens")
    assert kept is not None
    assert kept.record == feature
    assert kept.record.metadata == {"team": "a"}


def test_other_money_makes_a_version_from_now_on_once(instance: Instance) -> None:
    instance.apply()
    later = NOW + timedelta(days=3)
    changed = ("price", "pro/fee", "new version", "amount: 20 → 25; from 2026-02-18 12:00:00Z")
    assert told(instance.apply(later, amount="25")) == [changed, *WAITING]
    first, second = instance.chain()
    assert (first.amount, first.end_date, first.replaced_by) == (Decimal(20), later, second.id)
    assert (second.amount, second.start_date, second.end_date) == (Decimal(25), later, None)
    assert second.parent_price_id == first.id
    for at in (later, later + timedelta(days=1)):
        assert told(instance.apply(at, amount="25")) == WAITING
    # Back to what it was is a change like any other.
    back = instance.apply(later + timedelta(days=2), amount="20")
    assert told(back)[0][2] == "new version"
    assert [each.amount for each in instance.chain()] == [20, 25, 20]


def test_a_price_without_a_key_is_found_by_its_place(instance: Instance) -> None:
    instance.apply()
    report = instance.apply(NOW + timedelta(days=1), unit="0.03")
    [(kind, name, action, sentence), _] = told(report)
    assert (kind, name, action) == ("price", "pro/1", "new version")
    assert '"0.02"' in sentence
    assert '"0.03"' in sentence


def test_what_may_change_is_changed_in_place(instance: Instance) -> None:
    instance.apply()
    report = instance.apply(
        limit="600", feature="Units", more=", display_name: Seat, metadata: {team: b}"
    )
    assert told(report) == [
        ("feature", "tokens", "update", "name: Tokens → Units"),
        (
            "price",
            "pro/fee",
            "update",
            'display_name: nothing → Seat; metadata: nothing → {"team":"b"}',
        ),
        ("entitlement", "pro/tokens", "update", "usage_limit: 500 → 600"),
        *WAITING,
    ]
    [fee] = instance.chain()
    assert (fee.display_name, fee.metadata) == ("Seat", {"team": "b"})
    assert (
        told(
            instance.apply(
                limit="600", feature="Units", more=", display_name: Seat, metadata: {team: b}"
            )
        )
        == WAITING
    )


def test_what_cannot_change_is_refused_before_anything_is_written(instance: Instance) -> None:
    instance.apply()
    before = instance.rows()
    with pytest.raises(InvalidOperation) as refused:
        instance.apply(period="ANNUAL", support="static", limit="600")
    assert str(refused.value).splitlines() == [
        "feature support: type of a feature cannot change: give the file another feature instead",
        "price pro/fee: billing_period of a price cannot change: give the new price another lookup_key",
    ]
    assert instance.rows() == before
    report = instance.apply(period="ANNUAL", support="static", limit="600", dry_run=True)
    assert len(report.refused) == 2
    assert instance.rows() == before


def test_what_the_file_does_not_have_is_left_alone_and_told(instance: Instance) -> None:
    instance.apply()
    objects = instance.objects
    objects.plans.add(made(Plan(PlanId("plan_x"), "Other", "other"), NOW))
    objects.meters.add(
        made(Meter("meter_x", *_scope(), "Calls", "call", Aggregation(AggregationType.COUNT)), NOW)
    )
    before = instance.rows()
    report = instance.apply(dry_run=True)
    assert ("plan", "other", "left alone", "not in the file") in told(report)
    assert ("meter", "Calls", "left alone", "not in the file") in told(report)
    assert instance.apply().refused == ()
    assert instance.rows() == before


def test_a_price_that_the_file_has_no_more_is_left_alone(instance: Instance) -> None:
    instance.apply()
    report = instance.apply(
        fee=FEE.replace("lookup_key: fee", "lookup_key: other") % ("9", "MONTHLY", "")
    )
    assert [each[:3] for each in told(report)][:2] == [
        ("price", "pro/other", "create"),
        ("price", "pro/fee", "left alone"),
    ]
    assert [each.end_date for each in instance.chain()] == [None]


def _scope() -> tuple[str, str]:
    return SCOPE.tenant_id, SCOPE.environment_id


def test_an_object_that_somebody_else_made_is_found_by_its_key(instance: Instance) -> None:
    objects = instance.objects
    objects.meters.add(
        made(
            Meter(
                "meter_01X",
                *_scope(),
                "Tokens",
                "llm",
                Aggregation(AggregationType.SUM, "n"),
                lookup_key="tokens",
            ),
            NOW,
        )
    )
    objects.features.add(
        made(
            Feature(FeatureId("feat_01X"), "Tokens", FeatureType.METERED, "tokens", "meter_01X"),
            NOW,
        )
    )
    objects.plans.add(made(Plan(PlanId("plan_01X"), "Pro", "pro"), NOW))
    report = instance.apply()
    assert [each[:3] for each in told(report)][:2] == [
        ("feature", "tokens", "update"),
        ("feature", "support", "create"),
    ]
    plan = whole_plan(objects, "plan_01X")
    assert plan is not None
    assert [price.meter_id for price in plan.prices] == [None, "meter_01X"]
    assert [each.feature_id for each in plan.entitlements] == ["feat_01X"]
    [wanted] = instance.load().subscriptions
    stored = instance.stores.subscription(wanted.id)
    assert stored is not None
    assert stored.plan_id == "plan_01X"
    assert [line.meter.id for line in stored.lines if line.meter] == ["meter_01X"]
    assert told(instance.apply()) == WAITING


def test_another_environment_gets_meters_of_its_own(instance: Instance) -> None:
    other = Scope("tenant_default", "env_other")
    ensure_scope(instance.database, other, NOW)
    objects = SqlObjects(instance.database, other)
    stores = SqlStores(instance.database, other)
    apply_catalog(stores, objects, instance.load(), NOW, scope=other)
    [meter] = objects.meters.page(Query()).rows
    assert meter.record.environment_id == "env_other"
    assert instance.objects.meters.page(Query()).total == 0


CUT: list[Callable[[Catalog], Catalog]] = [
    lambda catalog: replace(catalog, agreed=(), wallets=()),
    lambda catalog: replace(catalog, agreed=(), wallets=(), customers=(), customer_taxes={}),
    lambda catalog: replace(
        catalog, wallets=tuple(replace(each, top_ups=()) for each in catalog.wallets)
    ),
]


@pytest.mark.parametrize("cut", CUT, ids=["accounts", "customers", "top-ups"])
def test_what_was_cut_off_is_gone_on_with(
    instance: Instance, cut: Callable[[Catalog], Catalog]
) -> None:
    loaded = instance.load()
    apply_catalog(instance.stores, instance.objects, cut(loaded), NOW)
    instance.apply()
    before = instance.rows()
    assert told(instance.apply()) == WAITING
    assert instance.rows() == before
