"""Meters over HTTP: records as clients parse them, and pages that give each once (api.md 1.11)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from schemas.meter import Aggregation, AggregationType, Filter, Meter, WindowSize
from schemas.scope import Scope
from schemas.stored import made

HERE = Scope("tenant_1", "env_1")
NOON = datetime(2026, 1, 8, 12, tzinfo=UTC)
SUM = Aggregation(AggregationType.SUM, "tokens")
PEAK = Aggregation(AggregationType.MAX, "load", bucket_size=WindowSize.HOUR)
CALLS = {"name": "Calls", "event_name": "api.call", "aggregation": {"type": "COUNT"}}


def keep(kept: Any, meter_id: str, *, hours: int = 0, **members: Any) -> None:
    given = {"name": "Tokens", "event_name": "llm", "aggregation": SUM, **members}
    meter = Meter(meter_id, HERE.tenant_id, HERE.environment_id, **given)
    at = NOON + timedelta(hours=hours)
    kept.environment(HERE).objects.meters.add(made(meter, at, "k0"))


@pytest.fixture
def two(kept: Any) -> None:
    """Keep two meters, an hour apart."""
    keep(kept, "meter_1", filters=(Filter("model", ("large",)),))
    keep(kept, "meter_2", name="Peak", event_name="load", aggregation=PEAK, hours=1)


@pytest.mark.usefixtures("two")
def test_a_meter_is_a_record_with_all_its_fields(api: Any) -> None:
    assert api.call("GET", "/v1/meters/meter_1").json() == {
        "id": "meter_1",
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "updated_at": "2026-01-08T12:00:00Z",
        "created_by": "k0",
        "updated_by": "k0",
        "name": "Tokens",
        "event_name": "llm",
        "aggregation": {"type": "SUM", "field": "tokens"},
        "filters": [{"key": "model", "values": ["large"]}],
        "reset_usage": "BILLING_PERIOD",
    }


def test_a_multiplier_is_a_text_in_plain_digits(api: Any, kept: Any) -> None:
    kind = AggregationType.SUM_WITH_MULTIPLIER
    keep(kept, "meter_1", aggregation=Aggregation(kind, "x", multiplier=Decimal("1E+2")))
    shown = api.call("GET", "/v1/meters/meter_1").json()["aggregation"]
    assert shown == {"type": "SUM_WITH_MULTIPLIER", "field": "x", "multiplier": "100"}


def test_a_created_meter_is_read_as_it_was_answered(api: Any, kept: Any) -> None:
    body = {
        **CALLS,
        "event_name": " api.call ",
        "aggregation": {"type": "max", "field": "x", "bucket_size": "15MIN", "group_by": "host"},
        "filters": [{"key": "region", "values": ["eu", ""]}],
        "reset_usage": "billing_period",
    }
    answer = api.post("/v1/meters", body)
    assert answer.status_code == 201
    made_meter = answer.json()
    assert made_meter["id"].startswith("meter_")
    assert made_meter == {
        **made_meter,
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "created_by": "k1",
        "name": "Calls",
        "event_name": "api.call",
        "aggregation": {"type": "MAX", "field": "x", "bucket_size": "15MIN", "group_by": "host"},
        "filters": [{"key": "region", "values": ["eu", ""]}],
        "reset_usage": "BILLING_PERIOD",
    }
    assert api.call("GET", f"/v1/meters/{made_meter['id']}").json() == made_meter


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        ({"name": ""}, {"name": "name_required"}),
        ({"name": "x" * 256}, {"name": "field_too_long"}),
        ({"name": 5}, {"name": "name_required"}),
        ({"event_name": " "}, {"event_name": "event_name_required"}),
        ({"aggregation": None}, {"aggregation": "aggregation_type_unknown"}),
        ({"aggregation": {}}, {"aggregation.type": "aggregation_type_unknown"}),
        ({"aggregation": {"type": "SUM"}}, {"aggregation.field": "field_required"}),
        (
            {"aggregation": {"type": "COUNT", "multiplier": "2"}},
            {"aggregation.multiplier": "multiplier_not_allowed"},
        ),
        ({"filters": [{"key": "a", "values": []}]}, {"filters.values": "filter_values_empty"}),
        ({"reset_usage": "weekly"}, {"reset_usage": "reset_usage_unknown"}),
        (
            {"name": None, "event_name": None, "reset_usage": "x"},
            {
                "name": "name_required",
                "event_name": "event_name_required",
                "reset_usage": "reset_usage_unknown",
            },
        ),
    ],
)
def test_a_refused_meter_names_all_that_is_wrong(
    api: Any, kept: Any, change: dict[str, Any], problems: dict[str, str]
) -> None:
    answer = api.post("/v1/meters", {**CALLS, **change})
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    fields = answer.json()["details"]["fields"]
    assert {each["field"]: each["problem"] for each in fields} == problems
    assert api.call("GET", "/v1/meters").json()["items"] == []


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("path", ["meter_9", "Tokens", "METER_1"])
def test_what_is_no_id_of_a_meter_is_not_found(api: Any, path: str) -> None:
    assert api.call("GET", f"/v1/meters/{path}").status_code == 404


@pytest.mark.usefixtures("two")
def test_meters_of_another_environment_are_not_there(api: Any) -> None:
    assert api.call("GET", "/v1/meters/meter_1", key="elsewhere").status_code == 404
    assert api.call("GET", "/v1/meters", key="elsewhere").json()["items"] == []


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["meter_2", "meter_1"]),
        ("order=asc", ["meter_1", "meter_2"]),
        ("order=ASC&sort=created_at", ["meter_1", "meter_2"]),
        ("sort=name&order=asc", ["meter_2", "meter_1"]),
        ("sort=name&order=desc", ["meter_1", "meter_2"]),
        ("sort=event_name&order=asc", ["meter_1", "meter_2"]),
        ("limit=1", ["meter_2"]),
        ("limit=1&offset=1", ["meter_1"]),
        ("offset=5", []),
        ("status=published", ["meter_2", "meter_1"]),
        ("status=archived", []),
        ("expand=", ["meter_2", "meter_1"]),
        ("status=&order=", ["meter_2", "meter_1"]),
        ("start_time=2026-01-08T13:00:00Z", ["meter_2"]),
        ("end_time=2026-01-08T13:00:00Z", ["meter_1"]),
    ],
)
def test_a_list_is_what_its_query_says(api: Any, query: str, ids: list[str]) -> None:
    body = api.call("GET", f"/v1/meters?{query}").json()
    assert [each["id"] for each in body["items"]] == ids


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_give_each_meter_once_and_total_is_their_number(
    api: Any, kept: Any, limit: int
) -> None:
    names = [f"meter_{each}" for each in range(7)]
    for name in names:
        keep(kept, name, name="same")
    seen, offset = [], 0
    while True:
        body = api.call("GET", f"/v1/meters?limit={limit}&offset={offset}&sort=name").json()
        pagination = body["pagination"]
        assert pagination == {"total": 7, "limit": limit, "offset": offset + limit}
        seen += [each["id"] for each in body["items"]]
        if not body["items"]:
            break
        offset = pagination["offset"]
    assert sorted(seen) == names


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
        ("start_time=2026-01-01", "start_time"),
        ("filters=name", "filters"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_parameter_that_means_nothing_is_refused_by_name(
    api: Any, query: str, field: str
) -> None:
    response = api.call("GET", f"/v1/meters?{query}")
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]["fields"]] == [field]
