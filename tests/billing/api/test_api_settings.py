"""Settings over HTTP: defaults, changes member by member, refusals that change nothing."""

from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("kept")


def test_a_setting_answers_its_defaults_before_anybody_wrote_it(api: Any) -> None:
    answer = api.call("GET", "/v1/settings/invoice_config")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["key"], body["created_at"]) == ("invoice_config", None)
    assert (body["value"]["prefix"], body["value"]["due_date_days"]) == ("INV", 1)


def test_a_change_replaces_members_and_leaves_the_others(api: Any) -> None:
    put = api.call("PUT", "/v1/settings/invoice_config", json={"value": {"prefix": "ACME"}})
    assert put.status_code == 200
    again = api.call("GET", "/v1/settings/invoice_config").json()
    assert again == put.json()
    assert (again["value"]["prefix"], again["value"]["suffix_length"]) == ("ACME", 5)
    assert again["updated_by"]


def test_what_the_whole_may_not_be_is_refused_and_nothing_changes(api: Any) -> None:
    body = {"value": {"prefix": "X", "timezone": "Moon/Base"}}
    refused = api.call("PUT", "/v1/settings/invoice_config", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "validation_error")
    value = api.call("GET", "/v1/settings/invoice_config").json()["value"]
    assert value["prefix"] == "INV"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_an_unknown_key_is_not_found(api: Any, method: str) -> None:
    answer = api.call(method, "/v1/settings/nothing", json={"value": {}})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_settings_of_one_environment_are_not_those_of_another(api: Any) -> None:
    api.call("PUT", "/v1/settings/invoice_config", json={"value": {"prefix": "MINE"}})
    elsewhere = api.call("GET", "/v1/settings/invoice_config", key="elsewhere").json()
    assert elsewhere["value"]["prefix"] == "INV"
