"""Who may do what: keys, roles, and environments that never see each other (platform.md 1 to 3)."""

from typing import Any

import pytest

from billing.access import permissions_of
from billing.api.routing import table_of
from schemas.access import Role
from schemas.errors import StoreError
from schemas.scope import Scope

GOOD = "all_writer"
REFUSED = {
    "error": "Unauthorized",
    "code": "unauthorized",
    "message": "no valid API key: send one as x-api-key or Authorization: Bearer",
    "http_status_code": 401,
}


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ([], False),
        ([("x-api-key", GOOD)], True),
        ([("X-API-KEY", GOOD)], True),
        ([("x-api-key", f" {GOOD} ")], True),
        ([("authorization", f"Bearer {GOOD}")], True),
        ([("Authorization", f"bearer {GOOD}")], True),
        ([("x-api-key", GOOD), ("authorization", f"Bearer {GOOD}")], True),
        ([("x-api-key", GOOD), ("authorization", "Bearer all_reader")], False),
        ([("x-api-key", GOOD), ("x-api-key", "all_reader")], False),
        ([("x-api-key", GOOD), ("authorization", "Basic dXNlcg==")], True),
        ([("x-api-key", "")], False),
        ([("authorization", GOOD)], False),
        ([("authorization", "Bearer ")], False),
        ([("x-api-key", "unknown")], False),
        ([("x-api-key", b"\xff\xfe")], False),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_key_opens_or_is_refused_with_one_body(api: Any, headers: Any, opens: bool) -> None:
    response = api.call("GET", "/v1/meters", key=None, headers=headers)
    assert response.status_code == (200 if opens else 401)
    if not opens:
        assert response.json() == REFUSED


def test_every_pair_of_role_and_route_answers_as_the_table_says(api: Any) -> None:
    for route in table_of({}).routes:
        path = route.path.replace("{", "").replace("}", "")
        nobody = api.call(route.method, path, key=None, content=b"{}")
        assert (nobody.status_code == 401) is not route.is_open, path
        for role in Role:
            response = api.call(route.method, path, key=role.value, content=b"{}")
            may = route.is_open or route.permission in permissions_of([role])
            assert (response.status_code == 403) is not may, (role, path)
            if not may:
                body = response.json()
                assert body["code"] == "permission_denied"
                assert "error" in body
                assert route.permission in body["message"]


def test_only_the_operational_routes_need_no_key() -> None:
    open_paths = {route.path for route in table_of({}).routes if route.is_open}
    assert open_paths == {"/health", "/healthz", "/readyz", "/metrics", "/openapi.json"}


def test_a_store_of_keys_that_is_away_is_no_refusal_of_a_key(api: Any) -> None:
    def away(_: str) -> None:
        raise StoreError("no answer")

    api.change(authenticate=away)
    response = api.call("GET", "/v1/meters")
    assert response.status_code == 503
    assert response.headers["retry-after"]


@pytest.mark.usefixtures("kept")
def test_a_remembered_key_is_not_looked_up_again(api: Any) -> None:
    looked_up: list[str] = []
    known = api.known

    def authenticate(key: str) -> Any:
        looked_up.append(key)
        return known(key)

    api.change(
        authenticate=authenticate, remembered=lambda key: known(key) if key == GOOD else None
    )
    assert api.call("GET", "/v1/meters", key=GOOD).status_code == 200
    assert api.call("GET", "/v1/meters", key="all_reader").status_code == 200
    assert looked_up == ["all_reader"]


@pytest.mark.parametrize(("key", "scope"), [
    ("super_admin", Scope("tenant_1", "env_1")),
    ("elsewhere", Scope("tenant_2", "env_2")),
])  # fmt: skip
@pytest.mark.usefixtures("kept")
def test_everything_lies_in_the_environment_of_the_key_whatever_a_request_says(
    api: Any, key: str, scope: Scope
) -> None:
    claims = {"tenant_id": "other", "environment_id": "other", "scope": "other"}
    headers = {"x-environment-id": "other", "x-tenant-id": "other"}
    usage = {"event_name": "a", "aggregation_type": "COUNT", **claims}
    for path, body in (
        ("/v1/events", {"event_name": "a", "external_customer_id": "c", **claims}),
        ("/v1/events/bulk", {"events": [], **claims}),
        ("/v1/events/usage", usage),
        ("/v1/events/usage/meter", {"meter_id": "meter_1", **claims}),
        ("/v1/events/analytics", {"external_customer_id": "acme", **claims}),
        ("/v1/events/query", {}),
    ):
        api.post(path, body, key=key, headers=headers)
    api.call("GET", "/v1/meters", key=key, headers=headers)
    api.call("GET", "/v1/meters/meter_1", key=key, headers=headers)
    asked = [*api.door.taken, *api.answers.asked, *api.answers.listed]
    assert len(asked) >= 4
    assert {each.scope for each in asked} | set(api.catalog.scopes) == {scope}
    assert {query.meter.tenant_id for query in api.answers.asked} == {scope.tenant_id}


@pytest.mark.usefixtures("kept")
def test_what_is_of_another_environment_does_not_exist(api: Any) -> None:
    assert api.call("GET", "/v1/meters", key="elsewhere").json()["items"] == []
    assert api.call("GET", "/v1/meters/meter_1", key="elsewhere").status_code == 404
    by_meter = api.post("/v1/events/usage/meter", {"meter_id": "meter_1"}, key="elsewhere")
    assert by_meter.status_code == 404
    assert api.answers.asked == []
