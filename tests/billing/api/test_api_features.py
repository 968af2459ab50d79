"""Features over HTTP: made with their meters, changed, archived when nothing uses them (api.md 4.5)."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from schemas.ids import EntitlementId, FeatureId
from schemas.price import BillingModel, Price, PriceType
from schemas.scope import Scope
from schemas.stored import Status, changed, made
from schemas.subscription import Entitlement

HERE = Scope("tenant_1", "env_1")
METER = {
    "name": "Tokens",
    "event_name": "llm",
    "aggregation": {"type": "sum", "field": "tokens"},
    "filters": [{"key": "model", "values": ["large"]}],
}
TOKENS = {"name": "Model tokens", "type": "metered", "meter": METER}
SEATS = {"name": "Seats", "type": "boolean", "lookup_key": "seats"}
BALANCE = {
    "alert_enabled": True,
    "critical": {"threshold": 1, "condition": "below"},
    "warning": {"threshold": "2.50", "condition": "below"},
}


def feature(api: Any, body: dict[str, Any]) -> Any:
    answer = api.post("/v1/features", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def told(kept: Any) -> list[str]:
    with kept.database.reading() as session:
        return [row.event for row in session.execute(text("SELECT event FROM outbox"))]


def count(kept: Any, kind: str) -> int:
    with kept.database.reading() as session:
        return int(session.scalar(text(f"SELECT count(*) FROM {kind}")) or 0)


def price(meter_id: str) -> Price:
    return Price(
        "price_1", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", Decimal(1), meter_id=meter_id
    )


def test_a_feature_comes_with_the_meter_that_it_brings_along(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    life = {
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "updated_at": "2026-01-08T12:00:00Z",
        "created_by": "k1",
        "updated_by": "k1",
    }
    meter = {
        **METER,
        **life,
        "id": found["meter_id"],
        "aggregation": {"type": "SUM", "field": "tokens"},
        "reset_usage": "BILLING_PERIOD",
    }
    assert found == {
        **life,
        "id": found["id"],
        "name": "Model tokens",
        "type": "metered",
        "lookup_key": "model_tokens",
        "description": "",
        "meter_id": found["meter_id"],
        "meter": meter,
        "unit_singular": "",
        "unit_plural": "",
        "metadata": {},
    }
    assert found["id"].startswith("feat_")
    assert found["meter_id"].startswith("meter_")
    assert api.call("GET", f"/v1/features/{found['id']}").json() == found
    assert api.call("GET", f"/v1/meters/{found['meter_id']}").json() == meter


def test_what_a_meter_was_given_is_shown_as_given(api: Any, kept: Any) -> None:
    aggregation = {"type": "SUM_WITH_MULTIPLIER", "field": "x", "multiplier": "0.50"}
    found = feature(api, {**TOKENS, "meter": {**METER, "aggregation": aggregation}})
    assert found["meter"]["aggregation"] == {**aggregation, "multiplier": "0.5"}
    peak = {"type": "MAX", "field": "x", "bucket_size": "HOUR", "group_by": "host"}
    found = feature(api, {**TOKENS, "lookup_key": "peak", "meter": {**METER, "aggregation": peak}})
    assert found["meter"]["aggregation"] == peak


def test_a_feature_may_share_the_meter_of_another(api: Any, kept: Any) -> None:
    first = feature(api, TOKENS)
    second = feature(api, {"name": "B", "type": "METERED", "meter_id": first["meter_id"]})
    assert second["meter"] == first["meter"]
    assert count(kept, "meters") == 1


def test_all_that_a_feature_says_is_shown(api: Any, kept: Any) -> None:
    group = api.post(
        "/v1/groups", {"name": "G", "entity_type": "feature", "lookup_key": "g"}
    ).json()
    found = feature(
        api,
        {
            **SEATS,
            "description": "people",
            "unit_singular": "seat",
            "unit_plural": "seats",
            "reporting_unit": {
                "unit_singular": "dozen",
                "unit_plural": "dozens",
                "conversion_rate": "0.08333333333333333333",
            },
            "group_id": group["id"],
            "alert_settings": BALANCE,
            "metadata": {"team": "a", "n": 3},
        },
    )
    answer = api.call("GET", f"/v1/features/{found['id']}")
    assert answer.json() == found
    assert b'"conversion_rate":0.08333333333333333333' in answer.content
    assert found["group_id"] == group["id"]
    assert found["group"] == {**group, "entity_ids": [found["id"]]}
    assert found["alert_settings"] == {
        "alert_enabled": True,
        "critical": {"threshold": "1", "condition": "below"},
        "warning": {"threshold": "2.5", "condition": "below"},
        "hysteresis_percent": "0",
        "unit": "currency",
    }
    assert found["metadata"] == {"team": "a", "n": "3"}
    assert found["meter_id"] == ""
    assert "meter" not in found


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({**TOKENS, "name": ""}, ["name"]),
        ({**TOKENS, "type": "counted"}, ["type"]),
        ({**TOKENS, "meter": None}, ["meter"]),
        ({**TOKENS, "meter_id": "meter_1"}, ["meter_id"]),
        ({"name": "B", "type": "metered", "meter_id": "meter_none"}, ["meter_id"]),
        ({**SEATS, "meter": METER}, ["meter"]),
        (
            {**TOKENS, "meter": {**METER, "name": "", "event_name": " "}},
            ["meter.name", "meter.event_name"],
        ),
        (
            {**TOKENS, "meter": {**METER, "aggregation": {"type": "SUM"}}},
            ["meter.aggregation.field"],
        ),
        ({**SEATS, "unit_singular": "seat"}, ["unit_plural"]),
        ({**SEATS, "group_id": "group_none"}, ["group_id"]),
        ({**SEATS, "metadata": {"a": {}}}, ["metadata.a"]),
        ({**SEATS, "alert_settings": {"alert_enabled": True}}, ["alert_settings"]),
        (
            {
                **SEATS,
                "reporting_unit": {
                    "unit_singular": "a",
                    "unit_plural": "b",
                    "conversion_rate": 0,
                },
            },
            ["reporting_unit.conversion_rate"],
        ),
    ],
)
def test_a_refused_feature_leaves_neither_itself_nor_its_meter(
    api: Any, kept: Any, body: dict[str, Any], fields: list[str]
) -> None:
    answer = api.post("/v1/features", body)
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"]["fields"]] == fields
    assert (count(kept, "features"), count(kept, "meters"), told(kept)) == (0, 0, [])


def test_a_taken_lookup_key_leaves_no_meter_behind(api: Any, kept: Any) -> None:
    feature(api, {**SEATS, "lookup_key": "model_tokens"})
    answer = api.post("/v1/features", TOKENS)
    assert answer.status_code == 409
    assert answer.json()["code"] == "already_exists"
    assert count(kept, "meters") == 0


def test_a_group_of_prices_takes_no_feature(api: Any, kept: Any) -> None:
    group = api.post("/v1/groups", {"name": "G", "entity_type": "price", "lookup_key": "g"}).json()
    assert api.post("/v1/features", {**SEATS, "group_id": group["id"]}).status_code == 400


def test_an_update_changes_what_it_names_and_nothing_else(api: Any, kept: Any) -> None:
    group = api.post(
        "/v1/groups", {"name": "G", "entity_type": "feature", "lookup_key": "g"}
    ).json()
    before = feature(
        api, {**SEATS, "description": "people", "group_id": group["id"], "metadata": {"a": "1"}}
    )
    kept.now += timedelta(hours=1)
    path = f"/v1/features/{before['id']}"
    change = {"name": "Places", "metadata": {"b": "2"}, "unit_singular": None, "type": "static"}
    after = api.call("PUT", path, json=change)
    assert after.status_code == 200
    assert after.json() == {
        **before,
        "name": "Places",
        "metadata": {"b": "2"},
        "updated_at": "2026-01-08T13:00:00Z",
    }
    cleared = api.call("PUT", path, json={"description": "", "group_id": ""}).json()
    assert cleared["description"] == ""
    assert "group_id" not in cleared
    assert api.call("GET", path).json() == cleared


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"unit_singular": "seat"}, "unit_plural"),
        ({"group_id": "group_none"}, "group_id"),
        ({"filters": [{"key": "a", "values": ["b"]}]}, "filters"),
        ({"filters": [{"key": "a", "values": []}]}, "filters"),
        ({"alert_settings": {"alert_enabled": True}}, "alert_settings"),
    ],
)
def test_a_refused_update_changes_nothing(
    api: Any, kept: Any, change: dict[str, Any], field: str
) -> None:
    before = feature(api, SEATS)
    path = f"/v1/features/{before['id']}"
    answer = api.call("PUT", path, json={"description": "other", **change})
    assert answer.status_code == 400, answer.text
    assert [each["field"] for each in answer.json()["details"]["fields"]] == [field]
    assert api.call("GET", path).json() == before


def test_filters_of_an_update_are_added_to_those_of_the_meter(api: Any, kept: Any) -> None:
    before = feature(api, TOKENS)
    filters = [{"key": "model", "values": ["small", "large"]}, {"key": "tier", "values": [""]}]
    after = api.call("PUT", f"/v1/features/{before['id']}", json={"filters": filters}).json()
    assert after["meter"]["filters"] == [
        {"key": "model", "values": ["large", "small"]},
        {"key": "tier", "values": [""]},
    ]
    assert api.call("GET", f"/v1/meters/{before['meter_id']}").json() == after["meter"]


def test_an_archived_feature_takes_its_meter_along(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    answer = api.call("DELETE", f"/v1/features/{found['id']}")
    assert answer.status_code == 200
    assert list(answer.json()) == ["message"]
    assert api.call("GET", f"/v1/features/{found['id']}").status_code == 404
    assert api.call("DELETE", f"/v1/features/{found['id']}").status_code == 404
    assert api.call("PUT", f"/v1/features/{found['id']}", json={}).status_code == 404
    assert api.call("GET", f"/v1/meters/{found['meter_id']}").status_code == 404
    assert api.call("GET", "/v1/meters?status=archived").json()["pagination"]["total"] == 1
    archived = api.post("/v1/features/search", {"status": "archived"}).json()["items"]
    assert [each["id"] for each in archived] == [found["id"]]
    assert feature(api, TOKENS)["lookup_key"] == found["lookup_key"]


def test_a_meter_that_another_feature_has_stays(api: Any, kept: Any) -> None:
    first = feature(api, TOKENS)
    second = feature(api, {"name": "B", "type": "metered", "meter_id": first["meter_id"]})
    assert api.call("DELETE", f"/v1/features/{first['id']}").status_code == 200
    assert api.call("GET", f"/v1/meters/{first['meter_id']}").status_code == 200
    assert api.call("DELETE", f"/v1/features/{second['id']}").status_code == 200
    assert api.call("GET", f"/v1/meters/{first['meter_id']}").status_code == 404


def test_a_feature_that_an_entitlement_grants_stays(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    entitlements = kept.environment(HERE).objects.entitlements
    grant = made(Entitlement(EntitlementId("ent_1"), FeatureId(found["id"])), kept.now)
    entitlements.add(grant)
    answer = api.call("DELETE", f"/v1/features/{found['id']}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_operation"
    assert answer.json()["details"] == {"reason": "in_use"}
    assert api.call("GET", f"/v1/features/{found['id']}").json() == found
    entitlements.replace(changed(grant, grant.record, kept.now, status=Status.DELETED))
    assert api.call("DELETE", f"/v1/features/{found['id']}").status_code == 200


def test_only_a_price_that_goes_on_stands_in_the_way(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    prices = kept.environment(HERE).objects.prices
    stored = made(price(found["meter_id"]), kept.now)
    prices.add(stored)
    answer = api.call("DELETE", f"/v1/features/{found['id']}")
    assert (answer.status_code, answer.json()["details"]) == (400, {"reason": "in_use"})
    prices.replace(changed(stored, replace(stored.record, end_date=kept.now), kept.now))
    assert api.call("DELETE", f"/v1/features/{found['id']}").status_code == 200


def test_each_fact_is_told_once_and_a_change_of_nothing_is_none(api: Any, kept: Any) -> None:
    found = feature(api, {**TOKENS, "alert_settings": BALANCE})
    path = f"/v1/features/{found['id']}"
    assert api.call("PUT", path, json={"name": "Other"}).status_code == 200
    same = api.call("PUT", path, json={"name": "Other", "filters": METER["filters"]})
    assert same.json()["updated_at"] == "2026-01-08T12:00:00Z"
    assert api.call("DELETE", path).status_code == 200
    assert told(kept) == ["feature.created", "feature.updated", "feature.deleted"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ["seats", "model_tokens"]),
        ({"lookup_key": "seats"}, ["seats"]),
        ({"lookup_key": "SEATS"}, []),
        ({"lookup_keys": ["seats", "none"]}, ["seats"]),
        ({"lookup_keys": ["seats"], "name_contains": "token"}, []),
        ({"name_contains": "TOKEN"}, ["model_tokens"]),
        ({"feature_ids": ["feat_none"]}, []),
        ({"meter_ids": ["meter_none"]}, []),
        ({"sort": [{"field": "name", "direction": "asc"}]}, ["model_tokens", "seats"]),
        ({"limit": 1}, ["seats"]),
        ({"limit": 1, "offset": 1}, ["model_tokens"]),
        (
            {"filters": [{"field": "type", "operator": "eq", "value": {"string": "metered"}}]},
            ["model_tokens"],
        ),
        ({"start_time": "2026-01-08T12:00:01Z"}, ["seats"]),
        ({"end_time": "2026-01-08T13:00:00Z"}, ["model_tokens"]),
    ],
)
def test_a_search_finds_what_it_names(
    api: Any, kept: Any, body: dict[str, Any], found: list[str]
) -> None:
    feature(api, TOKENS)
    kept.now += timedelta(hours=1)
    feature(api, SEATS)
    answer = api.post("/v1/features/search", body)
    assert answer.status_code == 200, answer.text
    assert [each["lookup_key"] for each in answer.json()["items"]] == found


def test_a_search_shows_meters_where_they_are_asked_for(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    [plain] = api.post("/v1/features/search", {}).json()["items"]
    assert "meter" not in plain
    body = {"expand": "meters", "meter_ids": [found["meter_id"]]}
    [whole] = api.post("/v1/features/search", body).json()["items"]
    assert whole == found


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Seats"},
        {"expand": "prices"},
        {"sort": "amount"},
        {"filters": [{"field": "meter", "operator": "eq", "value": {"string": "a"}}]},
        {"filters": [{"field": "name", "operator": "gt", "value": {"string": "a"}}]},
    ],
)
def test_a_search_for_what_features_do_not_have_is_refused(
    api: Any, kept: Any, body: dict[str, Any]
) -> None:
    assert api.post("/v1/features/search", body).status_code == 400


def test_features_of_another_environment_are_not_there(api: Any, kept: Any) -> None:
    found = feature(api, TOKENS)
    path = f"/v1/features/{found['id']}"
    for method in ("GET", "DELETE"):
        assert api.call(method, path, key="elsewhere").status_code == 404
    assert api.call("PUT", path, json={"name": "x"}, key="elsewhere").status_code == 404
    body = {"name": "B", "type": "metered", "meter_id": found["meter_id"]}
    assert api.post("/v1/features", body, key="elsewhere").status_code == 400
    assert api.post("/v1/features/search", {}, key="elsewhere").json()["items"] == []
    assert api.call("GET", path).json() == found
