"""Groups over HTTP: made, found, and removed from under their members (api.md 4.21)."""

from typing import Any

import pytest

NAMES = {"name": "Models", "entity_type": "feature", "lookup_key": "models"}


def group(api: Any, **members: Any) -> Any:
    answer = api.post("/v1/groups", {**NAMES, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def feature(api: Any, **members: Any) -> Any:
    body = {"name": "Seats", "type": "boolean", **members}
    answer = api.post("/v1/features", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_group_is_a_record_without_members(api: Any, kept: Any) -> None:
    made = group(api, entity_type="FEATURE")
    assert made == {
        "id": made["id"],
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "updated_at": "2026-01-08T12:00:00Z",
        "created_by": "k1",
        "updated_by": "k1",
        "name": "Models",
        "lookup_key": "models",
        "entity_type": "feature",
        "entity_ids": [],
        "metadata": {},
    }
    assert made["id"].startswith("group_")
    assert api.call("GET", f"/v1/groups/{made['id']}").json() == made


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"entity_type": None}, "entity_type"),
        ({"entity_type": "plan"}, "entity_type"),
        ({"lookup_key": ""}, "lookup_key"),
    ],
)
def test_a_group_that_says_too_little_is_refused(
    api: Any, kept: Any, change: dict[str, Any], field: str
) -> None:
    answer = api.post("/v1/groups", {**NAMES, **change})
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["details"]["fields"]] == [field]
    assert api.post("/v1/groups/search", {}).json()["items"] == []


def test_a_lookup_key_is_taken_until_its_group_is_removed(api: Any, kept: Any) -> None:
    made = group(api)
    assert api.post("/v1/groups", NAMES).status_code == 409
    assert api.call("DELETE", f"/v1/groups/{made['id']}").status_code == 204
    assert group(api)["id"] != made["id"]


def test_a_removed_group_leaves_its_members_ungrouped(api: Any, kept: Any) -> None:
    made = group(api)
    member = feature(api, group_id=made["id"])
    assert member["group"]["entity_ids"] == [member["id"]]
    answer = api.call("DELETE", f"/v1/groups/{made['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert api.call("GET", f"/v1/groups/{made['id']}").status_code == 404
    assert api.call("DELETE", f"/v1/groups/{made['id']}").status_code == 404
    alone = api.call("GET", f"/v1/features/{member['id']}").json()
    assert "group_id" not in alone
    assert "group" not in alone


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ["b", "a"]),
        ({"lookup_key": "a"}, ["a"]),
        ({"lookup_key": "A"}, []),
        ({"entity_type": "price"}, ["b"]),
        ({"name": "Models"}, ["b", "a"]),
        ({"name": "Model"}, []),
        ({"group_ids": []}, ["b", "a"]),
        ({"group_ids": ["group_none"]}, []),
        ({"sort": "lookup_key", "order": "asc"}, ["a", "b"]),
        ({"limit": 1, "offset": 1}, ["a"]),
        ({"status": "deleted"}, []),
    ],
)
def test_a_search_finds_what_it_names(
    api: Any, kept: Any, body: dict[str, Any], found: list[str]
) -> None:
    group(api, lookup_key="a")
    group(api, lookup_key="b", entity_type="price")
    answer = api.post("/v1/groups/search", body).json()
    assert [each["lookup_key"] for each in answer["items"]] == found


@pytest.mark.parametrize("body", [{"names": "a"}, {"expand": "features"}, {"sort": "price"}])
def test_a_search_for_what_groups_do_not_have_is_refused(
    api: Any, kept: Any, body: dict[str, Any]
) -> None:
    assert api.post("/v1/groups/search", body).status_code == 400


def test_groups_of_another_environment_are_not_there(api: Any, kept: Any) -> None:
    made = group(api)
    path = f"/v1/groups/{made['id']}"
    assert api.call("GET", path, key="elsewhere").status_code == 404
    assert api.call("DELETE", path, key="elsewhere").status_code == 404
    assert api.post("/v1/groups/search", {}, key="elsewhere").json()["items"] == []
    assert api.call("GET", path).status_code == 200
