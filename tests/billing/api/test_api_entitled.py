"""What a customer may use follows from its subscriptions, and what it used from its reset windows."""

from typing import Any

import pytest
from conftest import HERE, Api
from kept import Kept
from plan_on_sale import CUSTOMER, PLAN, START, USAGE, asked, grant, sell

from billing.ports.objects import Objects
from schemas.customer import Customer
from schemas.ids import CustomerId, FeatureId
from schemas.stored import made
from schemas.subscription import Feature, FeatureType, ResetPeriod

PATH = "/v1/subscriptions"


def create(api: Api, **more: Any) -> dict[str, Any]:
    answer = api.post(PATH, asked(**more))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def get(api: Api, path: str, status: int = 200) -> Any:
    answer = api.call("GET", path)
    assert answer.status_code == status, answer.text
    return answer.json()


def summary(api: Api, query: str = f"customer_id={CUSTOMER}") -> dict[str, Any]:
    found = get(api, f"/v1/customers/usage?{query}")
    assert found["customer_id"] == CUSTOMER
    (feature,) = found["features"]
    result: dict[str, Any] = feature
    return result


def add_static(objects: Objects) -> None:
    feature = Feature(FeatureId("feat_tier"), "Tier", FeatureType.STATIC, "tier")
    objects.features.add(made(feature, START))
    grant(
        objects,
        "ent_tier",
        None,
        feature_id=FeatureId("feat_tier"),
        feature_type=FeatureType.STATIC,
        meter_id=None,
        static_value="gold",
    )


def test_a_subscription_has_what_its_plan_grants(api: Api, kept: Kept) -> None:
    add_static(sell(kept, USAGE, limit=100))
    name = create(api)["id"]
    found = get(api, f"{PATH}/{name}/entitlements")
    assert (found["subscription_id"], found["plan_id"]) == (name, PLAN)
    calls, tier = found["features"]
    assert calls["feature"]["id"] == "feat_calls"
    assert calls["entitlement"]["usage_limit"] == 100
    assert calls["entitlement"]["is_enabled"] is True
    assert calls["entitlement"]["usage_reset_period"] == "MONTHLY"
    (source,) = calls["sources"]
    assert (source["entity_type"], source["entity_id"]) == ("plan", PLAN)
    assert (source["entity_name"], source["entitlement_id"]) == ("Pro", "ent_calls")
    assert tier["entitlement"]["static_values"] == ["gold"]
    assert "usage_limit" not in tier["entitlement"]
    narrowed = get(api, f"{PATH}/{name}/entitlements?feature_ids=feat_tier")
    assert [each["feature"]["id"] for each in narrowed["features"]] == ["feat_tier"]
    get(api, f"{PATH}/subs_none/entitlements", 404)
    get(api, f"{PATH}/{name}/entitlements?colour=red", 400)


def test_an_override_replaces_what_the_plan_grants(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, limit=100)
    override = {"entitlement_id": "ent_calls", "usage_limit": 7}
    name = create(api, override_entitlements=[override])["id"]
    (calls,) = get(api, f"{PATH}/{name}/entitlements")["features"]
    assert calls["entitlement"]["usage_limit"] == 7
    assert [each["entity_type"] for each in calls["sources"]] == ["subscription"]


def test_an_override_that_says_nothing_has_no_limit(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, limit=100)
    name = create(api, override_entitlements=[{"entitlement_id": "ent_calls"}])["id"]
    (calls,) = get(api, f"{PATH}/{name}/entitlements")["features"]
    assert "usage_limit" not in calls["entitlement"]


def test_an_entitlement_made_later_holds_for_subscriptions_that_are_there(
    api: Api, kept: Kept
) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    assert get(api, f"{PATH}/{name}/entitlements")["features"] == []
    body = {
        "entity_type": "PLAN",
        "entity_id": PLAN,
        "feature_id": "feat_calls",
        "feature_type": "metered",
        "usage_limit": 50,
        "is_enabled": True,
    }
    answer = api.post("/v1/entitlements", body)
    assert answer.status_code == 201, answer.text
    (calls,) = get(api, f"{PATH}/{name}/entitlements")["features"]
    assert calls["entitlement"]["usage_limit"] == 50


@pytest.mark.parametrize(
    "path", [f"/v1/customers/{CUSTOMER}/entitlements", "/v1/customers/external/acme/entitlements"]
)
def test_a_customer_has_what_its_live_subscriptions_grant_together(
    api: Api, kept: Kept, path: str
) -> None:
    sell(kept, USAGE, limit=100)
    first, second = create(api)["id"], create(api)["id"]
    third = create(api)["id"]
    api.post(f"{PATH}/{third}/cancel", {"cancellation_type": "immediate"})
    create(api, subscription_status="draft")
    found = get(api, path)
    assert found["customer_id"] == CUSTOMER
    assert [each["id"] for each in found["subscriptions"]] == [first, second]
    (calls,) = found["features"]
    assert calls["entitlement"]["usage_limit"] == 200
    assert [each["subscription_id"] for each in calls["sources"]] == [first, second]


def test_nobody_is_entitled_who_is_not_there(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    for path in (
        "/v1/customers/cust_none/entitlements",
        "/v1/customers/acme/entitlements",
        "/v1/customers/external/nobody/entitlements",
        "/v1/customers/usage?customer_id=cust_none",
        "/v1/customers/usage?customer_lookup_key=nobody",
    ):
        get(api, path, 404)
    get(api, "/v1/customers/usage", 400)
    found = get(api, f"/v1/customers/usage?customer_id={CUSTOMER}")
    assert (found["features"], found["period"]["period"]) == ([], "MONTHLY")


def test_usage_stands_beside_its_limit(api: Api, kept: Kept) -> None:
    add_static(sell(kept, USAGE, limit=100))
    create(api)
    before = summary(api)
    assert (before["current_usage"], before["usage_percent"]) == ("0", "0")
    kept.spend("call", "acme", "30", START)
    kept.spend("call", "acme", "99", START.replace(year=2025))
    after = summary(api)
    assert after["feature"]["id"] == "feat_calls"
    assert (after["current_usage"], after["total_limit"]) == ("30", 100)
    assert (after["usage_percent"], after["is_unlimited"]) == ("30", False)
    assert (after["is_enabled"], after["is_soft_limit"]) == (True, False)
    assert after["next_usage_reset_at"] == "2026-02-01T00:00:00Z"
    period = get(api, "/v1/customers/usage?customer_lookup_key=acme")["period"]
    assert period == {
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "2026-02-01T00:00:00Z",
        "period": "MONTHLY",
    }


@pytest.mark.parametrize(
    ("reset", "used", "resets_at"),
    [
        (ResetPeriod.DAILY, "4", "2026-02-11T00:00:00Z"),
        (ResetPeriod.MONTHLY, "6", "2026-03-01T00:00:00Z"),
        (ResetPeriod.QUARTERLY, "7", "2026-04-01T00:00:00Z"),
        (ResetPeriod.NEVER, "7", None),
    ],
    ids=str,
)
def test_usage_is_that_of_the_reset_window(
    api: Api, kept: Kept, reset: ResetPeriod, used: str, resets_at: str | None
) -> None:
    objects = sell(kept, USAGE)
    grant(objects, "ent_calls", 10, usage_reset_period=reset)
    create(api)
    for day in (START, START.replace(month=2, day=3), START.replace(month=2, day=10)):
        kept.spend("call", "acme", {1: "1", 3: "2", 10: "4"}[day.day], day)
    kept.now = kept.now.replace(month=2, day=10)
    found = summary(api)
    assert (found["current_usage"], found["next_usage_reset_at"]) == (used, resets_at)


def test_no_limit_is_shown_as_none(api: Api, kept: Kept) -> None:
    grant(sell(kept, USAGE), "ent_calls", None, is_soft_limit=True)
    create(api)
    kept.spend("call", "acme", "30", START)
    found = summary(api)
    assert (found["total_limit"], found["is_unlimited"]) == (None, True)
    assert (found["usage_percent"], found["is_soft_limit"]) == ("0", True)


def test_a_summary_is_narrowed_by_feature_and_subscription(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, limit=100)
    name = create(api)["id"]
    create(api)
    base = f"customer_id={CUSTOMER}"
    assert summary(api, base)["total_limit"] == 200
    assert summary(api, f"{base}&subscription_ids={name}")["total_limit"] == 100
    assert summary(api, f"{base}&feature_ids=feat_calls,feat_none")["total_limit"] == 200
    assert summary(api, f"{base}&feature_lookup_keys=calls")["total_limit"] == 200
    for query in ("feature_ids=feat_none", "feature_lookup_keys=none"):
        assert get(api, f"/v1/customers/usage?{base}&{query}")["features"] == []


def test_the_entitlements_of_others_are_their_own(api: Api, kept: Kept) -> None:
    objects = sell(kept, USAGE, limit=100)
    objects.customers.add(made(Customer(CustomerId("cust_other"), "other"), START))
    create(api)
    assert get(api, "/v1/customers/cust_other/entitlements")["features"] == []
    path = f"/v1/customers/{CUSTOMER}/entitlements"
    assert api.call("GET", path, key="elsewhere").status_code == 404
    assert kept.environment(HERE).stores.customer(CUSTOMER) is not None
