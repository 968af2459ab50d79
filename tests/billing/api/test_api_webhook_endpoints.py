"""Webhook endpoints over HTTP: made with a secret that shows once, listed, changed, deleted."""

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("kept")

PATH = "/v1/webhooks/endpoints"
MINE = {"url": "https://hooks.example.com/tally", "event_types": ["invoice.update.finalized"]}


def test_the_secret_shows_once(api: Any) -> None:
    made = api.post(PATH, {**MINE, "headers": {"x-team": "billing"}})
    assert made.status_code == 201
    body = made.json()
    assert body["secret"].startswith("whsec_")
    assert body["header_names"] == ["x-team"]
    shown = api.call("GET", f"{PATH}/{body['id']}").json()
    assert shown == {name: value for name, value in body.items() if name != "secret"}


def test_endpoints_are_listed_the_newest_first(api: Any) -> None:
    names = [api.post(PATH, MINE).json()["id"] for _ in range(3)]
    page = api.call("GET", f"{PATH}?limit=2").json()
    assert [each["id"] for each in page["items"]] == names[:0:-1]
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 2}


def test_an_endpoint_is_changed_and_deleted(api: Any) -> None:
    name = api.post(PATH, MINE).json()["id"]
    changed = api.call("PUT", f"{PATH}/{name}", json={"enabled": False}).json()
    assert (changed["enabled"], changed["url"], changed["version"]) == (False, MINE["url"], 2)
    gone = api.call("DELETE", f"{PATH}/{name}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert api.call("GET", f"{PATH}/{name}").status_code == 404
    assert api.call("DELETE", f"{PATH}/{name}").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://hooks.example.com"}, "url"),
        ({"url": "https://127.0.0.1/x"}, "url"),
        ({**MINE, "event_types": ["nothing.happened"]}, "event_types"),
    ],
    ids=["no url", "not https", "private", "unknown event"],
)
def test_what_cannot_be_an_endpoint_is_refused(api: Any, body: object, field: str) -> None:
    refused = api.post(PATH, body)
    assert (refused.status_code, refused.json()["code"]) == (400, "validation_error")
    assert field in {each["field"] for each in refused.json()["details"]["fields"]}
    assert api.call("GET", PATH).json()["items"] == []


def test_nobody_sees_the_endpoints_of_another_environment(api: Any) -> None:
    name = api.post(PATH, MINE).json()["id"]
    assert api.call("GET", f"{PATH}/{name}", key="elsewhere").status_code == 404
    assert api.call("GET", PATH, key="elsewhere").json()["items"] == []
