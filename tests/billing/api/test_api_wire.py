"""The rules of the wire that hold for every route: paths, bodies, errors, ids (api.md 1)."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.api.bodies import Encoding, parsed_object, unpacked
from billing.api.routing import RouteTable, table_of
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    NotFound,
    StoreError,
    ValidationFailed,
    VersionConflict,
)

CODES = {
    "http_client_error", "system_error", "internal_error", "not_found", "already_exists",
    "version_conflict", "validation_error", "invalid_operation", "permission_denied",
    "database_error", "service_unavailable", "too_many_requests", "not_implemented", "unauthorized",
}  # fmt: skip

BOMB = gzip.compress(b" " * (33 * 1024 * 1024))
TABLE = table_of({})


def assert_standard(response: Any) -> None:
    """Check that an answer that is no success has the one body."""
    body = response.json()
    assert response.headers["content-type"] == "application/json"
    assert body["code"] in CODES
    assert body["http_status_code"] == response.status_code
    assert body["message"]


def filled(path: str) -> str:
    return path.replace("{", "").replace("}", "")


def packed(body: bytes) -> bytes:
    """Return a body in gzip, the same bytes at any time."""
    return gzip.compress(body, mtime=0)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "//v1/events", 404, "not_found"),
        ("GET", "/v1/customers//", 404, "not_found"),
        ("PATCH", "/v1/events", 405, "invalid_operation"),
        ("HEAD", "/health", 405, None),
        ("OPTIONS", "/v1/events", 405, "invalid_operation"),
        ("BREW", "/v1/events", 405, "invalid_operation"),
        ("GET", "/v1/events/usage", 405, "invalid_operation"),
        ("DELETE", "/v1/customers/usage", 405, "invalid_operation"),
        ("GET", "/v1/customers/external", 404, "not_found"),
        ("GET", "/v1/webhooks/dashboard", 501, "not_implemented"),
        ("GET", "/v1/v1/subscription-schedules", 501, "not_implemented"),
    ],
)
def test_a_path_or_method_that_leads_nowhere_says_so(
    api: Any, method: str, path: str, status: int, code: str | None
) -> None:
    response = api.call(method, path)
    assert response.status_code == status
    if code is not None:
        assert_standard(response)
        assert response.json()["code"] == code


def test_a_wrong_method_is_told_the_right_ones(api: Any) -> None:
    assert api.call("PATCH", "/v1/meters").headers["allow"] == "GET, POST"


def test_every_failure_of_every_route_has_the_one_body(api: Any) -> None:
    for route in TABLE.routes:
        path = filled(route.path)
        for key, content in ((None, b""), ("event_ingestor", b""), ("super_admin", b"[broken")):
            response = api.call(route.method, path, key=key, content=content)
            assert response.status_code not in range(300, 400), path
            if response.status_code not in range(200, 300):
                assert_standard(response)


def test_no_path_is_ever_redirected_and_a_slash_at_its_end_is_ignored(api: Any) -> None:
    for route in TABLE.routes:
        path = filled(route.path)
        with_slash = api.call(route.method, path + "/", content=b"{}")
        without = api.call(route.method, path, content=b"{}")
        assert with_slash.status_code == without.status_code, path
        assert "location" not in with_slash.headers


def test_a_fixed_segment_is_never_read_as_an_id() -> None:
    for route in TABLE.routes:
        if "{" not in route.path:
            assert TABLE.find(route.method, route.path)[0] is route


def test_every_route_is_found_with_its_parameters() -> None:
    for route in TABLE.routes:
        found, parameters = TABLE.find(route.method, filled(route.path))
        assert found is route
        assert all(name == value for name, value in parameters.items())


def test_a_route_without_a_permission_does_not_start() -> None:
    undeclared = replace(TABLE.routes[5], permission="")
    with pytest.raises(AssertionError, match="declares no permission"):
        RouteTable([undeclared])
    with pytest.raises(AssertionError, match="declares no permission"):
        RouteTable([replace(undeclared, permission="evnt:read")])


def test_the_table_has_the_routes_that_were_given(root: Any) -> None:
    given_table = root.parent / "shared" / "spec" / "api-routes.json"
    if not given_table.is_file():
        pytest.skip("the given routes are not beside this project")
    given_routes = {
        (each["method"], each["path"], each["success_status"], each["milestone"])
        for each in json.loads(given_table.read_text())
    }
    ours = {
        (route.method, route.path, route.success_status, route.milestone) for route in TABLE.routes
    }
    assert given_routes <= ours
    assert {path for _, path, _, _ in ours - given_routes} == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/v1/webhooks/endpoints",
        "/v1/webhooks/endpoints/{id}",
    }


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ValidationFailed("no"), 400, "validation_error"),
        (InvalidOperation("no"), 400, "invalid_operation"),
        (NotFound("no"), 404, "not_found"),
        (AlreadyExists("no"), 409, "already_exists"),
        (VersionConflict("no"), 409, "version_conflict"),
        (StoreError("SECRET"), 503, "service_unavailable"),
        (KeyError("SECRET"), 500, "internal_error"),
        (AssertionError("SECRET"), 500, "internal_error"),
    ],
)
def test_the_type_of_a_failure_decides_how_it_is_answered(
    api: Any, error: Exception, status: int, code: str
) -> None:
    api.answers.failure = error
    body = {"event_name": "a", "aggregation_type": "COUNT"}
    response = api.post("/v1/events/usage", body, headers={"x-request-id": "r-1"})
    assert_standard(response)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "SECRET" not in response.text
    assert ("retry-after" in response.headers) is (status == 503)
    if status == 500:
        assert response.json()["details"] == {"request_id": "r-1"}
    assert any(event == "request_failed" for event, _ in api.log.lines) is (status >= 500)


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [
        ("a-b_C.1:2/3+4=5@6", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("two words", False),
        ("", False),
    ],
)
@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/nowhere", 404)])
def test_a_request_id_is_taken_over_or_made(
    api: Any, sent: str, is_kept: bool, path: str, status: int
) -> None:
    response = api.call("GET", path, headers={"x-request-id": sent})
    assert response.status_code == status
    returned = response.headers["x-request-id"]
    assert (returned == sent) is is_kept
    assert returned
    assert api.log.lines[-1][1]["request_id"] == returned


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "1",
        '"text"',
        '{"event_name": NaN}',
        '{"event_name": "a",}',
        b'{"event_name": "\xff"}',
        b"[" * 100_000,
        '{"a": "\\ud800"}',
        '{"event_name": "a"} trailing',
    ],
)
def test_what_is_no_json_object_is_refused_at_its_place(api: Any, body: str | bytes) -> None:
    response = api.post("/v1/events/query", body)
    assert response.status_code == 400
    assert_standard(response)
    assert response.json()["details"]["fields"][0]["field"]
    assert api.answers.listed == []


@pytest.mark.parametrize("body", ["", " ", "{}", "null", " null\n"])
def test_a_body_that_may_be_empty_may_be(api: Any, body: str) -> None:
    assert api.post("/v1/events/query", body).status_code == 200


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", "?"]
)
def test_the_content_type_of_a_json_route_is_not_looked_at(api: Any, content_type: str) -> None:
    response = api.post("/v1/events/query", "{}", headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("encoding", "content", "status"),
    [
        ("gzip", packed(b"{}"), 200),
        ("GZIP", packed(b"{") + packed(b"}"), 200),
        ("identity", b"{}", 200),
        ("gzip", b"", 200),
        ("gzip", b"{}", 400),
        ("gzip", packed(b"{}")[:-4], 400),
        ("gzip", packed(b"{}") + b"more", 400),
        ("br", b"{}", 400),
        ("gzip, gzip", packed(packed(b"{}")), 400),
    ],
)
def test_gzip_is_unpacked_and_no_other_packing(
    api: Any, encoding: str, content: bytes, status: int
) -> None:
    headers = {"content-encoding": encoding}
    assert api.post("/v1/events/query", content, headers=headers).status_code == status


def test_a_bomb_is_not_unpacked_beyond_the_bound(api: Any) -> None:
    assert len(BOMB) < 100_000
    response = api.post("/v1/events/bulk", BOMB, headers={"content-encoding": "gzip"})
    assert response.status_code == 400
    assert_standard(response)
    assert api.door.taken == []


@pytest.mark.parametrize(("length", "status"), [(1000, 202), (1001, 400)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_body_may_be_exactly_as_long_as_the_bound(
    api: Any, length: int, status: int, pack: Callable[[bytes], bytes]
) -> None:
    api.change(body_bytes_max=1000)
    headers = {"content-encoding": "gzip" if pack is gzip.compress else "identity"}
    response = api.post("/v1/events", pack(b"x" * length), headers=headers)
    assert response.status_code == status


def raw_call(
    api: Any, headers: list[tuple[bytes, bytes]], chunks: Iterator[bytes]
) -> tuple[int | None, int]:
    """Send a body chunk by chunk; return the status and how many chunks were read."""
    read, status = 0, None

    async def receive() -> dict[str, object]:
        nonlocal read
        read += 1
        chunk = next(chunks, None)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    connection = {
        "type": "http", "method": "POST", "path": "/v1/events/bulk", "query_string": b"",
        "headers": headers, "root_path": "",
    }  # fmt: skip
    api.runner.run(api.app(connection, receive, send))
    return status, read


def endless() -> Iterator[bytes]:
    while True:
        yield b" " * 100_000


@pytest.mark.parametrize("key", [None, b"unknown", b"event_reader"])
def test_a_key_that_opens_nothing_is_refused_before_the_body_is_looked_at(
    api: Any, key: bytes | None
) -> None:
    headers = [(b"content-encoding", b"br"), (b"content-length", b"99999999999")]
    status, read = raw_call(api, [*headers, *([(b"x-api-key", key)] if key else [])], endless())
    assert (status, read) == (403 if key == b"event_reader" else 401, 0)


def test_an_endless_body_is_read_to_the_bound_and_no_further(api: Any) -> None:
    status, read = raw_call(api, [(b"x-api-key", b"super_admin")], endless())
    assert status == 400
    assert read <= 32 * 1024 * 1024 // 100_000 + 1


def test_a_body_that_says_it_is_too_long_is_not_read(api: Any) -> None:
    headers = [(b"x-api-key", b"super_admin"), (b"content-length", b"9" * 30)]
    assert raw_call(api, headers, endless()) == (400, 0)


def test_a_caller_that_leaves_is_not_answered_and_takes_nothing_in(api: Any) -> None:
    status, _ = raw_call(api, [(b"x-api-key", b"super_admin")], iter([b'{"events": ']))
    assert status is None
    assert api.door.taken == []
    assert api.log.lines[-1][1]["status"] == 499


@given(st.binary(max_size=2000), st.integers(0, 2500))
def test_unpacking_gives_what_was_packed_or_refuses(body: bytes, bound: int) -> None:
    packed = gzip.compress(body)
    if len(body) <= bound:
        assert unpacked(packed, Encoding.GZIP, bytes_max=bound) == body
    else:
        with pytest.raises(ValidationFailed):
            unpacked(packed, Encoding.GZIP, bytes_max=bound)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_are_refused(body: bytes) -> None:
    try:
        value = parsed_object(body)
    except ValidationFailed:
        return
    assert isinstance(value, dict)


@pytest.mark.usefixtures("kept")
def test_each_request_has_one_line_and_one_count_without_its_secrets(api: Any) -> None:
    api.post("/v1/events", '{"properties": {"token": "PRIVATE"}}')
    api.call("GET", "/v1/meters/PRIVATE")
    api.call("GET", "/PRIVATE?key=PRIVATE")
    api.call("BREW", "/v1/events")
    seen = [(method, route, status) for method, route, status, _ in api.counted]
    assert seen == [
        ("POST", "/v1/events", 202),
        ("GET", "/v1/meters/{id}", 404),
        ("GET", "unmatched", 404),
        ("OTHER", "/v1/events", 405),
    ]
    assert [event for event, _ in api.log.lines] == ["request"] * 4
    text = repr(api.log.lines)
    assert "PRIVATE" not in text
    assert "super_admin" not in text
    assert api.log.lines[0][1]["environment_id"] == "env_1"
