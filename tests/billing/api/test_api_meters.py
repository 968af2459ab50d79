"""Meters over HTTP: records as clients parse them, and pages that give each once (api.md 1.11)."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from schemas.meter import Aggregation, AggregationType


def test_a_meter_is_a_record_with_all_its_fields(api: Any) -> None:
    assert api.call("GET", "/v1/meters/meter_1").json() == {
        "id": "meter_1",
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": None,
        "updated_at": None,
        "created_by": "",
        "updated_by": "",
        "name": "Tokens",
        "event_name": "llm",
        "aggregation": {"type": "SUM", "field": "tokens"},
        "filters": [{"key": "model", "values": ["large"]}],
        "reset_usage": "BILLING_PERIOD",
    }


def test_a_multiplier_is_a_text_in_plain_digits(api: Any) -> None:
    kind = AggregationType.SUM_WITH_MULTIPLIER
    aggregation = Aggregation(kind, "x", multiplier=Decimal("1E+2"))
    api.catalog.known_meters = [replace(api.catalog.known_meters[0], aggregation=aggregation)]
    shown = api.call("GET", "/v1/meters/meter_1").json()["aggregation"]
    assert shown == {"type": "SUM_WITH_MULTIPLIER", "field": "x", "multiplier": "100"}


@pytest.mark.parametrize("path", ["meter_9", "Tokens", "METER_1"])
def test_what_is_no_id_of_a_meter_is_not_found(api: Any, path: str) -> None:
    assert api.call("GET", f"/v1/meters/{path}").status_code == 404


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["meter_2", "meter_1"]),
        ("order=asc", ["meter_1", "meter_2"]),
        ("order=ASC&sort=created_at", ["meter_1", "meter_2"]),
        ("sort=name&order=asc", ["meter_2", "meter_1"]),
        ("sort=name&order=desc", ["meter_1", "meter_2"]),
        ("limit=1", ["meter_2"]),
        ("limit=1&offset=1", ["meter_1"]),
        ("offset=5", []),
        ("status=published", ["meter_2", "meter_1"]),
        ("status=archived", []),
        ("expand=", ["meter_2", "meter_1"]),
        ("status=&order=", ["meter_2", "meter_1"]),
    ],
)
def test_a_list_is_what_its_query_says(api: Any, query: str, ids: list[str]) -> None:
    body = api.call("GET", f"/v1/meters?{query}").json()
    assert [each["id"] for each in body["items"]] == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_give_each_meter_once_and_total_is_their_number(api: Any, limit: int) -> None:
    meter = api.catalog.known_meters[0]
    api.catalog.known_meters = [
        replace(meter, id=f"meter_{each}", name="same") for each in range(7)
    ]
    seen, offset = [], 0
    while True:
        body = api.call("GET", f"/v1/meters?limit={limit}&offset={offset}&sort=name").json()
        pagination = body["pagination"]
        assert pagination == {"total": 7, "limit": limit, "offset": offset + limit}
        seen += [each["id"] for each in body["items"]]
        if not body["items"]:
            break
        offset = pagination["offset"]
    assert sorted(seen) == sorted(each.id for each in api.catalog.known_meters)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("offset=-1", "offset"),
        ("offset=1e3", "offset"),
        ("offset=" + "9" * 40, "offset"),
        ("sort=price", "sort"),
        ("order=up", "order"),
        ("status=live", "status"),
        ("expand=plan", "expand"),
        ("expand=&expand=plan", "expand"),
        ("name=Tokens", "name"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused_by_name(
    api: Any, query: str, field: str
) -> None:
    response = api.call("GET", f"/v1/meters?{query}")
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]["fields"]] == [field]


@pytest.mark.parametrize("name", ["start_time", "end_time", "filters"])
def test_a_filter_that_is_not_built_is_refused_and_never_dropped(api: Any, name: str) -> None:
    assert api.call("GET", f"/v1/meters?{name}=2026-01-01T00:00:00Z").status_code == 501
