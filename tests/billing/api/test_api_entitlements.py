"""Entitlements over HTTP: granted to plans and subscriptions, and carried by who subscribed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from billing.ports import Changes
from schemas.customer import Customer
from schemas.ids import CustomerId, FeatureId, SubscriptionId
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Feature, FeatureType, Subscription, SubscriptionStatus

HERE = Scope("tenant_1", "env_1")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
DAY = {"grant_measure": "quantity", "grant_duration_value": 1, "grant_duration_unit": "day"}


@pytest.fixture
def environment(kept: Any) -> Any:
    """Return what is kept: features of all types, two of them metered."""
    found = kept.environment(HERE)
    counts = Aggregation(AggregationType.COUNT)
    peaks = Aggregation(AggregationType.MAX, "load", bucket_size=WindowSize.HOUR)
    for name, aggregation in (("calls", counts), ("peak", peaks)):
        meter = Meter(f"meter_{name}", "tenant_1", "env_1", name, name, aggregation)
        found.objects.meters.add(made(meter, NOW))
        feature = Feature(FeatureId(name), name, FeatureType.METERED, meter_id=meter.id)
        found.objects.features.add(made(feature, NOW))
    for kind in (FeatureType.BOOLEAN, FeatureType.STATIC, FeatureType.CONFIG):
        feature = Feature(FeatureId(kind.value), kind.value, kind)
        found.objects.features.add(made(feature, NOW))
    return found


@pytest.fixture
def plan_id(api: Any, environment: Any) -> str:
    """Return the id of a plan with two subscriptions, of which one is cancelled."""
    name: str = api.post("/v1/plans", {"name": "Pro"}).json()["id"]
    acme = Customer(CustomerId("cust_1"), "acme")
    environment.objects.customers.add(made(acme, NOW))
    facts = {"plan_id": name, "created_at": NOW}
    one = Subscription(SubscriptionId("subs_1"), acme.id, "acme", "usd", NOW, **facts)
    gone = Subscription(
        SubscriptionId("subs_2"),
        *(acme.id, "acme", "usd", NOW),
        status=SubscriptionStatus.CANCELLED,
        cancelled_at=NOW,
        **facts,
    )
    environment.stores.commit(Changes(subscriptions=(one, gone)))
    return name


def entitled(api: Any, plan_id: str, **members: Any) -> Any:
    """Return 100 calls that were granted to a plan, or what the members say instead."""
    body = {"plan_id": plan_id, "feature_id": "calls", "feature_type": "metered", **members}
    answer = api.post("/v1/entitlements", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def carried(environment: Any, name: str = "subs_1") -> list[tuple[str, int | None]]:
    """Return the features that a subscription carries, with their limits."""
    found = environment.stores.subscription(SubscriptionId(name)).entitlements
    return [(each.feature_id, each.usage_limit) for each in found]


def told(kept: Any) -> list[str]:
    """Return the names of the webhooks that wait, in their order."""
    with kept.database.reading() as session:
        rows = session.execute(text("SELECT event FROM outbox ORDER BY sequence"))
        return [row.event for row in rows]


def test_an_entitlement_is_answered_with_all_that_it_was_given(api: Any, plan_id: str) -> None:
    found = entitled(api, plan_id, usage_limit=100, usage_reset_period="daily", is_soft_limit=True)
    expected = {
        "feature_id": "calls",
        "feature_type": "metered",
        "entity_type": "PLAN",
        "entity_id": plan_id,
        "plan_id": plan_id,
        "is_enabled": True,
        "is_soft_limit": True,
        "usage_limit": 100,
        "usage_reset_period": "DAILY",
        "static_value": "",
        "display_order": 0,
        "status": "published",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["id"].startswith("ent_")
    assert found["feature"]["meter"]["id"] == "meter_calls"
    assert not {"grant_measure", "grant_quota", "plan"} & set(found)
    assert api.call("GET", f"/v1/entitlements/{found['id']}").json() == found


def test_an_entitlement_without_a_limit_is_unlimited(api: Any, plan_id: str) -> None:
    found = entitled(api, plan_id)
    assert found["usage_limit"] is None
    assert found["usage_reset_period"] == ""


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"feature_type": "boolean", "is_enabled": False}, {"is_enabled": False}),
        ({"feature_type": "static", "static_value": "gold"}, {"static_value": "gold"}),
        ({"feature_type": "config", "config_value": {"a": [1]}}, {"config_value": {"a": [1]}}),
        ({"feature_type": "config", "is_enabled": False}, {"is_enabled": True}),
        ({"feature_type": "boolean", "usage_reset_period": "DAILY"}, {"usage_reset_period": ""}),
    ],
)
def test_other_features_are_granted_by_their_values(
    api: Any, plan_id: str, members: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = entitled(api, plan_id, feature_id=members["feature_type"], **members)
    assert {name: found[name] for name in expected} == expected


def test_a_grant_is_answered_exactly_as_it_was_given(api: Any, plan_id: str) -> None:
    found = entitled(api, plan_id, **DAY, grant_quota=100.50, aggregation_mode="parallel")
    expected = {
        "grant_measure": "quantity",
        "grant_quota": "100.5",
        "grant_duration_value": 1,
        "grant_duration_unit": "day",
        "grant_allocation_behavior": "first_usage",
        "aggregation_mode": "parallel",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert api.call("GET", f"/v1/entitlements/{found['id']}").json() == found


def test_an_unlimited_grant_has_no_quota(api: Any, plan_id: str) -> None:
    body = {"grant_measure": "amount", "grant_duration_unit": "subscription_period"}
    found = entitled(api, plan_id, **body, grant_unlimited=True)
    assert found["grant_measure"] == "amount"
    assert not {"grant_quota", "grant_duration_value"} & set(found)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"feature_id": "none"}, "feature_id"),
        ({"feature_id": ""}, "feature_id"),
        ({"feature_type": "static"}, "feature_type"),
        ({"feature_type": "planet"}, "feature_type"),
        ({"feature_id": "peak"}, "feature_id"),
        ({"feature_id": "static", "feature_type": "static"}, "static_value"),
        ({"feature_id": "boolean", "feature_type": "boolean", "usage_limit": 1}, "usage_limit"),
        ({"usage_limit": -1}, "usage_limit"),
        ({"usage_reset_period": "YEARLY"}, "usage_reset_period"),
        ({"plan_id": "plan_9"}, "entity_id"),
        ({"plan_id": None}, "entity_type"),
        ({"plan_id": None, "entity_type": "PLAN"}, "entity_id"),
        ({"plan_id": None, "entity_type": "SUBSCRIPTION", "entity_id": "subs_9"}, "entity_id"),
        ({"entity_id": "plan_9"}, "plan_id"),
        ({"parent_entitlement_id": "ent_9"}, "parent_entitlement_id"),
        ({"grant_quota": 1}, "grant_measure"),
        ({**DAY}, "grant_quota"),
        ({**DAY, "grant_quota": 0}, "grant_quota"),
        ({**DAY, "grant_quota": 1, "grant_unlimited": True}, "grant_quota"),
        ({**DAY, "grant_quota": 1, "grant_duration_value": 0}, "grant_duration_value"),
        (
            {**DAY, "grant_quota": 1, "grant_duration_unit": "subscription_period"},
            "grant_duration_value",
        ),
        (
            {**DAY, "grant_quota": 1, "feature_id": "boolean", "feature_type": "boolean"},
            "grant_measure",
        ),
    ],
)
def test_an_entitlement_that_cannot_be_is_refused_by_name(
    api: Any, environment: Any, plan_id: str, members: dict[str, Any], field: str
) -> None:
    body = {"plan_id": plan_id, "feature_id": "calls", "feature_type": "metered", **members}
    refused = api.post("/v1/entitlements", body)
    assert refused.status_code == 400, refused.text
    assert [each["field"] for each in refused.json()["details"]["fields"]] == [field]
    assert api.post("/v1/entitlements/search", {}).json()["items"] == []
    assert carried(environment) == []


def test_what_comes_later_is_said_to_be_not_built(api: Any, plan_id: str) -> None:
    body = {"feature_id": "calls", "feature_type": "metered"}
    dated = {**body, "plan_id": plan_id, "start_date": "2026-01-01T00:00:00Z"}
    assert api.post("/v1/entitlements", dated).status_code == 501
    addon = {**body, "entity_type": "ADDON", "entity_id": "addon_1"}
    assert api.post("/v1/entitlements", addon).status_code == 501


def test_a_plan_grants_a_feature_once(api: Any, environment: Any, plan_id: str) -> None:
    entitled(api, plan_id, usage_limit=100)
    body = {"plan_id": plan_id, "feature_id": "calls", "feature_type": "metered"}
    second = api.post("/v1/entitlements", body)
    assert (second.status_code, second.json()["code"]) == (409, "already_exists")
    assert carried(environment) == [("calls", 100)]


def test_grants_in_parallel_may_be_several(api: Any, plan_id: str) -> None:
    for quota in (1, 2):
        entitled(api, plan_id, **DAY, grant_quota=quota, aggregation_mode="parallel")
    found = api.post("/v1/entitlements/search", {"has_grant_config": True}).json()
    assert found["pagination"]["total"] == 2


def test_what_a_plan_grants_holds_for_its_subscriptions_at_once(
    api: Any, environment: Any, plan_id: str
) -> None:
    found = entitled(api, plan_id, usage_limit=100)
    assert carried(environment) == [("calls", 100)]
    assert carried(environment, "subs_2") == []
    path = f"/v1/entitlements/{found['id']}"
    assert api.call("PUT", path, json={"usage_limit": 250}).json()["usage_limit"] == 250
    assert carried(environment) == [("calls", 250)]
    deleted = api.call("DELETE", path)
    assert deleted.status_code == 200
    assert set(deleted.json()) == {"message"}
    assert carried(environment) == []
    assert api.call("GET", path).status_code == 404
    assert api.call("DELETE", path).status_code == 404
    assert entitled(api, plan_id)["id"] != found["id"]


def test_what_happens_to_an_entitlement_is_told_once(api: Any, kept: Any, plan_id: str) -> None:
    path = f"/v1/entitlements/{entitled(api, plan_id, usage_limit=1)['id']}"
    for _ in range(2):
        api.call("PUT", path, json={"usage_limit": 2})
    api.call("DELETE", path)
    events = [f"entitlement.{each}" for each in ("created", "updated", "deleted")]
    assert told(kept) == events


def test_a_subscription_has_limits_of_its_own_in_place_of_its_plans(
    api: Any, environment: Any, plan_id: str
) -> None:
    of_plan = entitled(api, plan_id, usage_limit=100)
    body = {
        "entity_type": "subscription",
        "entity_id": "subs_1",
        "feature_id": "calls",
        "feature_type": "metered",
        "usage_limit": 7,
        "parent_entitlement_id": of_plan["id"],
    }
    own = api.post("/v1/entitlements", body)
    assert own.status_code == 201
    assert (own.json()["entity_type"], "plan_id" in own.json()) == ("SUBSCRIPTION", False)
    assert carried(environment) == [("calls", 7)]
    assert api.post("/v1/entitlements", body).status_code == 409
    api.call("PUT", f"/v1/entitlements/{of_plan['id']}", json={"usage_limit": 200})
    assert carried(environment) == [("calls", 7)]
    api.call("DELETE", f"/v1/entitlements/{own.json()['id']}")
    assert carried(environment) == [("calls", 200)]


def test_a_cancelled_subscription_is_granted_nothing_more(api: Any, plan_id: str) -> None:
    assert plan_id
    body = {"entity_id": "subs_2", "feature_id": "calls", "feature_type": "metered"}
    refused = api.post("/v1/entitlements", {**body, "entity_type": "SUBSCRIPTION"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")


def test_a_change_leaves_what_it_does_not_name(api: Any, plan_id: str) -> None:
    found = entitled(api, plan_id, usage_limit=100, is_soft_limit=True)
    path = f"/v1/entitlements/{found['id']}"
    assert api.call("PUT", path, json={"usage_reset_period": "NEVER"}).json()["usage_limit"] == 100
    unlimited = api.call("PUT", path, json={"usage_limit": None}).json()
    assert unlimited["usage_limit"] is None
    assert unlimited["usage_reset_period"] == "NEVER"
    assert unlimited["is_soft_limit"] is True
    assert api.call("PUT", path, json={"usage_limit": -1}).status_code == 400


def test_a_limit_becomes_a_grant_and_a_limit_again(api: Any, plan_id: str) -> None:
    path = f"/v1/entitlements/{entitled(api, plan_id, usage_limit=100)['id']}"
    assert api.call("PUT", path, json={"grant_quota": 5}).status_code == 400
    grant = api.call("PUT", path, json={**DAY, "grant_quota": 5}).json()
    assert (grant["grant_quota"], grant["grant_duration_unit"]) == ("5", "day")
    more = api.call("PUT", path, json={"grant_quota": "7.5"}).json()
    assert (more["grant_quota"], more["grant_duration_value"]) == ("7.5", 1)
    plain = api.call("PUT", path, json={"clear_grant_config": True}).json()
    assert "grant_measure" not in plain
    assert plain["usage_limit"] == 100


def test_entitlements_are_added_all_or_not_at_all(api: Any, environment: Any, plan_id: str) -> None:
    calls = {"plan_id": plan_id, "feature_id": "calls", "feature_type": "metered"}
    flag = {"plan_id": plan_id, "feature_id": "boolean", "feature_type": "boolean"}
    refused = api.post("/v1/entitlements/bulk", {"items": [calls, {**flag, "feature_id": "x"}]})
    assert refused.status_code == 400
    fields = [each["field"] for each in refused.json()["details"]["fields"]]
    assert fields == ["items.1.feature_id"]
    assert api.post("/v1/entitlements/bulk", {"items": [calls, calls]}).status_code == 409
    assert api.post("/v1/entitlements/bulk", {"items": []}).status_code == 400
    assert carried(environment) == []
    made_both = api.post("/v1/entitlements/bulk", {"items": [calls, flag]})
    assert made_both.status_code == 201
    assert [each["feature_id"] for each in made_both.json()["items"]] == ["calls", "boolean"]
    assert carried(environment) == [("calls", None), ("boolean", None)]


@pytest.mark.parametrize(
    ("asked", "features"),
    [
        ({}, ["static", "calls"]),
        ({"feature_ids": ["calls"]}, ["calls"]),
        ({"feature_type": "STATIC"}, ["static"]),
        ({"entity_type": "SUBSCRIPTION"}, []),
        ({"plan_ids": ["plan_9"]}, []),
        ({"is_enabled": False}, []),
        ({"has_grant_config": True}, ["calls"]),
        ({"has_grant_config": False}, ["static"]),
        ({"sort": "feature_id", "order": "asc"}, ["calls", "static"]),
    ],
)
def test_a_search_finds_the_entitlements_it_is_after(
    api: Any, plan_id: str, asked: dict[str, Any], features: list[str]
) -> None:
    entitled(api, plan_id, **DAY, grant_quota=1)
    entitled(api, plan_id, feature_id="static", feature_type="static", static_value="x")
    found = api.post("/v1/entitlements/search", asked)
    assert found.status_code == 200, found.text
    assert [each["feature_id"] for each in found.json()["items"]] == features


def test_a_search_shows_what_it_expands(api: Any, plan_id: str) -> None:
    entitled(api, plan_id)
    bare = api.post("/v1/entitlements/search", {}).json()["items"][0]
    assert not {"feature", "plan"} & set(bare)
    whole = api.post("/v1/entitlements/search", {"expand": "features,plans"}).json()["items"][0]
    assert (whole["feature"]["id"], whole["plan"]["id"]) == ("calls", plan_id)
    assert api.post("/v1/entitlements/search", {"expand": "prices"}).status_code == 400


def test_a_plan_lists_what_it_grants_with_the_features(api: Any, plan_id: str) -> None:
    entitled(api, plan_id)
    found = api.call("GET", f"/v1/plans/{plan_id}/entitlements")
    assert found.status_code == 200
    assert found.json()["pagination"] == {"total": 1, "limit": 50, "offset": 50}
    assert found.json()["items"][0]["feature"]["id"] == "calls"
    assert api.call("GET", "/v1/plans/plan_9/entitlements").status_code == 404
    plan = api.call("GET", f"/v1/plans/{plan_id}").json()
    assert plan["entitlements"][0]["feature"]["id"] == "calls"


def test_a_plan_that_is_subscribed_to_is_not_archived(api: Any, plan_id: str) -> None:
    refused = api.call("DELETE", f"/v1/plans/{plan_id}")
    assert (refused.status_code, refused.json()["details"]) == (400, {"reason": "in_use"})
    assert api.call("GET", f"/v1/plans/{plan_id}").status_code == 200


def test_entitlements_of_another_environment_do_not_exist(api: Any, plan_id: str) -> None:
    path = f"/v1/entitlements/{entitled(api, plan_id)['id']}"
    for method in ("GET", "PUT", "DELETE"):
        assert api.call(method, path, key="elsewhere", json={}).status_code == 404
    assert api.post("/v1/entitlements/search", {}, key="elsewhere").json()["items"] == []
