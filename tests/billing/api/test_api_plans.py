"""Plans over HTTP: added, read with what hangs on them, changed, archived and searched."""

from typing import Any

import pytest


def plan(api: Any, **members: Any) -> Any:
    """Return a plan that was added."""
    answer = api.post("/v1/plans", {"name": "Pro", **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def flat_fee(api: Any, plan_id: str, **members: Any) -> Any:
    """Return a monthly fee of 20 dollars that was added to a plan."""
    body = {
        "entity_type": "PLAN",
        "entity_id": plan_id,
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "currency": "usd",
        "billing_period": "MONTHLY",
        "amount": "20",
        **members,
    }
    answer = api.post("/v1/prices", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_plan_that_was_added_is_shown_with_all_that_it_was_given(api: Any, kept: Any) -> None:
    made = plan(api, lookup_key="pro", display_order=3, metadata={"seats": 5, "open": True})
    assert made == {
        "id": made["id"],
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "updated_at": "2026-01-08T12:00:00Z",
        "created_by": "k1",
        "updated_by": "k1",
        "name": "Pro",
        "lookup_key": "pro",
        "description": "",
        "display_order": 3,
        "metadata": {"seats": "5", "open": "true"},
    }
    assert made["id"].startswith("plan_")
    assert kept.environment is not None


def test_a_plan_is_read_with_its_prices_and_entitlements(api: Any, kept: Any) -> None:
    made = plan(api)
    fee = flat_fee(api, made["id"])
    read = api.call("GET", f"/v1/plans/{made['id']}")
    assert read.status_code == 200
    assert [each["id"] for each in read.json()["prices"]] == [fee["id"]]
    assert read.json()["entitlements"] == []


@pytest.mark.usefixtures("kept")
def test_a_lookup_key_belongs_to_one_live_plan(api: Any) -> None:
    first = plan(api, lookup_key="pro")
    second = api.post("/v1/plans", {"name": "Other", "lookup_key": "pro"})
    assert second.status_code == 409
    assert second.json()["code"] == "already_exists"
    assert second.json()["details"] == {"reason": "unique"}
    assert api.call("DELETE", f"/v1/plans/{first['id']}").status_code == 200
    assert plan(api, lookup_key="pro")["id"] != first["id"]


@pytest.mark.usefixtures("kept")
def test_a_plan_keeps_what_a_change_does_not_name(api: Any) -> None:
    made = plan(api, lookup_key="pro", description="old", metadata={"a": "1"})
    path = f"/v1/plans/{made['id']}"
    changed = api.call("PUT", path, json={"description": "", "metadata": {"b": "2"}})
    assert changed.status_code == 200
    assert changed.json()["description"] == ""
    assert changed.json()["metadata"] == {"b": "2"}
    assert changed.json()["lookup_key"] == "pro"
    assert api.call("PUT", path, json={"name": ""}).status_code == 400
    assert api.call("GET", path).json()["name"] == "Pro"


@pytest.mark.usefixtures("kept")
def test_an_archived_plan_is_found_only_when_it_is_asked_for(api: Any) -> None:
    gone, stays = plan(api), plan(api)
    deleted = api.call("DELETE", f"/v1/plans/{gone['id']}")
    assert deleted.status_code == 200
    assert set(deleted.json()) == {"message"}
    assert api.call("GET", f"/v1/plans/{gone['id']}").status_code == 404
    assert api.call("DELETE", f"/v1/plans/{gone['id']}").status_code == 404
    found = api.post("/v1/plans/search", {}).json()
    assert [each["id"] for each in found["items"]] == [stays["id"]]
    archived = api.post("/v1/plans/search", {"status": "ARCHIVED"}).json()
    assert [each["id"] for each in archived["items"]] == [gone["id"]]


@pytest.mark.usefixtures("kept")
def test_the_prices_of_an_archived_plan_go_with_it(api: Any) -> None:
    made = plan(api)
    flat_fee(api, made["id"], lookup_key="fee")
    api.call("DELETE", f"/v1/plans/{made['id']}")
    assert api.post("/v1/prices/search", {}).json()["items"] == []
    assert api.call("GET", "/v1/prices/lookup/fee").status_code == 404


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["c", "b", "a"]),
        ({"sort": [{"field": "name", "direction": "asc"}]}, ["a", "b", "c"]),
        ({"limit": 1, "offset": 1}, ["b"]),
        ({"lookup_key": "key_b"}, ["b"]),
        ({"metadata": {"team": "red"}}, ["c", "a"]),
        ({"plan_ids": []}, ["c", "b", "a"]),
        (
            {"filters": [{"field": "name", "operator": "in", "value": {"array": ["a", "c"]}}]},
            ["c", "a"],
        ),
    ],
    ids=["all", "by_name", "second_page", "by_key", "by_metadata", "empty_list", "filters"],
)
@pytest.mark.usefixtures("kept")
def test_a_search_finds_the_plans_it_is_after(
    api: Any, asked: dict[str, Any], names: list[str]
) -> None:
    for name, team in (("a", "red"), ("b", "blue"), ("c", "red")):
        plan(api, name=name, lookup_key=f"key_{name}", metadata={"team": team})
    found = api.post("/v1/plans/search", asked)
    assert found.status_code == 200
    assert [each["name"] for each in found.json()["items"]] == names
    assert "prices" not in found.json()["items"][0]


@pytest.mark.usefixtures("kept")
def test_a_page_says_where_the_next_one_begins(api: Any) -> None:
    for name in ("a", "b", "c"):
        plan(api, name=name)
    found = api.post("/v1/plans/search", {"limit": 2}).json()
    assert found["pagination"] == {"total": 3, "limit": 2, "offset": 2}


@pytest.mark.usefixtures("kept")
def test_a_search_shows_prices_and_entitlements_where_it_expands_them(api: Any) -> None:
    made = plan(api)
    flat_fee(api, made["id"])
    found = api.post("/v1/plans/search", {"expand": "prices,entitlements"}).json()
    assert len(found["items"][0]["prices"]) == 1
    assert found["items"][0]["entitlements"] == []


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"nothing": 1}, "nothing"),
        ({"expand": "coupons"}, "expand"),
        ({"sort": "weight"}, "sort"),
        ({"limit": 0}, "limit"),
    ],
    ids=["member", "expand", "sort", "limit"],
)
@pytest.mark.usefixtures("kept")
def test_a_search_refuses_what_it_does_not_know(
    api: Any, asked: dict[str, Any], field: str
) -> None:
    refused = api.post("/v1/plans/search", asked)
    assert refused.status_code == 400
    assert field in [each["field"] for each in refused.json()["details"]["fields"]]


@pytest.mark.usefixtures("kept")
def test_a_plan_of_another_environment_does_not_exist(api: Any) -> None:
    path = f"/v1/plans/{plan(api)['id']}"
    assert api.call("GET", path, key="elsewhere").status_code == 404
    assert api.call("PUT", path, key="elsewhere", json={"name": "x"}).status_code == 404
    assert api.call("DELETE", path, key="elsewhere").status_code == 404
    assert api.post("/v1/plans/search", {}, key="elsewhere").json()["items"] == []


@pytest.mark.usefixtures("kept")
def test_a_plan_needs_a_name(api: Any) -> None:
    refused = api.post("/v1/plans", {"name": ""})
    assert refused.status_code == 400
    assert refused.json()["details"]["fields"] == [{"field": "name", "problem": "is required"}]
