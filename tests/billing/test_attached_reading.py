"""Which subscriptions carry a plan, a coupon or a tax rate: the same in both databases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.configuration import BillingConfig
from billing.invoices.coupons import attach
from billing.ports import Changes, Redemption
from billing.stores.attached_reading import SqlAttachedReader
from billing.stores.database import Database, migrate
from billing.stores.money import SqlStores
from billing.stores.scopes import ensure_scope
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.customer import Customer
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.scope import Scope
from schemas.subscription import Subscription
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxRate, TaxRateId, TaxRateType

HERE, ELSEWHERE = Scope("tenant_1", "env_1"), Scope("tenant_2", "env_2")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
TEN = Coupon(CouponId("coupon_1"), CouponType.PERCENTAGE, Decimal(10))
VAT = TaxRate(TaxRateId("taxrate_1"), TaxRateType.PERCENTAGE, Decimal(19), "vat")


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))])
def database(
    request: Any, empty_database: Callable[[str], str], open_at: Callable[[str], Database]
) -> Database:
    """Return a database with a subscription that carries things, and one that only names them."""
    found = open_at(empty_database(request.param))
    migrate(found)
    for scope in (HERE, ELSEWHERE):
        ensure_scope(found, scope, NOW)
    acme = Customer(CustomerId("cust_1"), "acme")
    bare = Subscription(
        SubscriptionId("subs_1"), acme.id, "acme", "usd", NOW, plan_id=PlanId("plan_1")
    )
    tax = TaxAttachment(TaxAttachmentId("ta_1"), VAT)
    one = replace(bare, coupons=(attach(TEN, bare),), taxes=(tax,))
    names = {"a": "plan_1", "b": "taxrate_1", "c": "coupon_1"}
    two = replace(bare, id=SubscriptionId("subs_2"), plan_id=PlanId("plan_2"), metadata=names)
    SqlStores(found, HERE, BillingConfig).commit(
        Changes(
            customers=(acme,),
            subscriptions=(one, two),
            redemptions=(Redemption(TEN.id, "subs_1", NOW), Redemption(TEN.id, "inv_1", NOW)),
        )
    )
    return found


def names(found: Any) -> list[str]:
    """Return the ids of subscriptions."""
    return [each.id for each in found]


def test_subscriptions_are_found_by_what_hangs_on_them(database: Database) -> None:
    reader = SqlAttachedReader(database, HERE)
    assert names(reader.subscriptions_to(PlanId("plan_1"))) == ["subs_1"]
    assert names(reader.taxed(VAT.id)) == ["subs_1"]
    assert names(reader.taxed()) == ["subs_1"]
    assert names(reader.taxed(TaxRateId("taxrate_"))) == []
    assert names(reader.naming("ta_1")) == ["subs_1"]
    assert names(reader.naming("plan_1")) == ["subs_1", "subs_2"]


@pytest.mark.parametrize(
    ("coupons", "subscriptions", "expected"),
    [
        ([], [], ["subs_1"]),
        (["coupon_1"], [], ["subs_1"]),
        (["coupon_9"], [], []),
        ([], ["subs_1", "subs_2"], ["subs_1"]),
        (["coupon_1"], ["subs_2"], []),
    ],
)
def test_subscriptions_are_found_by_the_coupons_they_redeemed(
    database: Database, coupons: Any, subscriptions: Any, expected: list[str]
) -> None:
    reader = SqlAttachedReader(database, HERE)
    assert names(reader.with_coupons(coupons, subscriptions)) == expected


def test_redemptions_are_counted_by_coupon(database: Database) -> None:
    reader = SqlAttachedReader(database, HERE)
    assert reader.redemptions([TEN.id, CouponId("coupon_9")]) == {TEN.id: 2}
    assert reader.redemptions([]) == {}


def test_nothing_is_found_of_another_environment(database: Database) -> None:
    reader = SqlAttachedReader(database, ELSEWHERE)
    assert names(reader.subscriptions_to(PlanId("plan_1"))) == []
    assert names(reader.taxed()) == []
    assert names(reader.with_coupons([], [])) == []
    assert reader.redemptions([TEN.id]) == {}
