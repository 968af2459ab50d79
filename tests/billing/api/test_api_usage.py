"""Usage over HTTP: what reaches the reader, and figures with all their digits (api.md 4.3)."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from schemas.answer import Group, Point
from schemas.meter import Aggregation, AggregationType, Filter, ResetUsage, WindowSize

NAMED = {"event_name": " llm ", "aggregation_type": "sum", "property_name": "tokens"}
DIGITS = "1234567890.1234567890123456789012345678901234567891"


def test_figures_are_json_numbers_with_all_their_digits(api: Any) -> None:
    response = api.post("/v1/events/usage", {**NAMED, "window_size": "DAY"})
    assert response.status_code == 200
    assert response.text == (
        f'{{"value":{DIGITS},"quantity_signed":-0.1,"event_name":"llm","type":"SUM",'
        '"results":[{"window_size":"2026-01-02T00:00:00Z","value":2.5}]}'
    )


def test_without_a_window_there_are_no_results(api: Any) -> None:
    assert set(api.post("/v1/events/usage", NAMED).json()) == {
        "value",
        "quantity_signed",
        "event_name",
        "type",
    }


def test_everything_that_is_asked_reaches_the_reader(api: Any) -> None:
    api.post(
        "/v1/events/usage",
        {
            **NAMED,
            "external_customer_id": "acme",
            "customer_id": "cust_1",
            "start_time": "2026-01-01T00:00:00Z",
            "end_time": "2026-01-31T00:00:00.5Z",
            "window_size": "MONTH",
            "bucket_size": "HOUR",
            "filters": {"model": ["large"], "source": ["web"]},
            "billing_anchor": "2025-12-15T00:00:00Z",
            "timezone": "Asia/Kolkata",
            "unknown": 1,
        },
    )
    (query,) = api.answers.asked
    assert query.external_customer_ids == ("acme",)
    assert query.customer_id == "cust_1"
    assert query.period.end == datetime(2026, 1, 31, 0, 0, 0, 500_000, tzinfo=UTC)
    assert query.window is WindowSize.MONTH
    assert query.filters == (Filter("model", ("large",)), Filter("source", ("web",)))
    assert query.anchor == datetime(2025, 12, 15, tzinfo=UTC)
    assert query.timezone == "Asia/Kolkata"
    assert query.meter.aggregation == Aggregation(
        AggregationType.SUM, "tokens", bucket_size=WindowSize.HOUR
    )


@pytest.mark.parametrize(
    ("sent", "aggregation"),
    [
        ({"aggregation_type": "COUNT"}, Aggregation(AggregationType.COUNT)),
        (
            {"aggregation_type": "count", "property_name": "x"},
            Aggregation(AggregationType.COUNT),
        ),
        ({"aggregation_type": "SUM"}, Aggregation(AggregationType.COUNT)),
        ({"aggregation_type": "MAX", "property_name": ""}, Aggregation(AggregationType.COUNT)),
        (
            {"aggregation_type": "sum_with_multiplier", "property_name": "x"},
            Aggregation(AggregationType.SUM_WITH_MULTIPLIER, "x", multiplier=Decimal(1)),
        ),
        (
            {"aggregation_type": "SUM_WITH_MULTIPLIER", "property_name": "x", "multiplier": 0.1},
            Aggregation(AggregationType.SUM_WITH_MULTIPLIER, "x", multiplier=Decimal("0.1")),
        ),
        (
            {"aggregation_type": "SUM_WITH_MULTIPLIER", "property_name": "x", "multiplier": "1e2"},
            Aggregation(AggregationType.SUM_WITH_MULTIPLIER, "x", multiplier=Decimal(100)),
        ),
    ],
)
def test_a_meter_is_made_up_from_the_request(
    api: Any, sent: dict[str, object], aggregation: Aggregation
) -> None:
    response = api.post("/v1/events/usage", {"event_name": "a", **sent})
    assert response.json()["type"] == aggregation.type
    assert api.answers.asked[0].meter.aggregation == aggregation


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"event_name": ""}, "event_name"),
        ({"event_name": None}, "event_name"),
        ({"event_name": " "}, "event_name"),
        ({"event_name": 5}, "event_name"),
        ({"event_name": "x" * 256}, "event_name"),
        ({"aggregation_type": "MEDIAN"}, "aggregation_type"),
        ({"aggregation_type": ""}, "aggregation_type"),
        ({"multiplier": "2"}, "multiplier"),
        ({"aggregation_type": "SUM_WITH_MULTIPLIER", "multiplier": "0"}, "multiplier"),
        ({"aggregation_type": "SUM_WITH_MULTIPLIER", "multiplier": ""}, "multiplier"),
        ({"aggregation_type": "SUM_WITH_MULTIPLIER", "multiplier": "NaN"}, "multiplier"),
        ({"aggregation_type": "SUM_WITH_MULTIPLIER", "multiplier": True}, "multiplier"),
        ({"aggregation_type": "SUM_WITH_MULTIPLIER", "multiplier": [1]}, "multiplier"),
        ({"aggregation_type": "AVG", "bucket_size": "DAY"}, "bucket_size"),
        ({"aggregation_type": "AVG", "bucket_size": "DAY", "property_name": ""}, "bucket_size"),
        ({"bucket_size": "day"}, "bucket_size"),
        ({"window_size": "hour"}, "window_size"),
        ({"window_size": "YEAR"}, "window_size"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"timezone": 1}, "timezone"),
        ({"billing_anchor": "2026-01-01"}, "billing_anchor"),
        ({"filters": {"model": []}}, "filters"),
        ({"filters": {"model": None}}, "filters"),
        ({"group_by": ["model"]}, "group_by"),
        ({"group_by": ["properties."]}, "group_by"),
        ({"group_by": ["properties.<name>x", 1]}, "group_by"),
        ({"group_by": "source"}, "group_by"),
        ({"group_by": ["source"], "group_by_property": "model"}, "group_by_property"),
        ({"group_by_property": "properties."}, "group_by_property"),
    ],
)
def test_what_means_nothing_is_refused_by_name(
    api: Any, sent: dict[str, object], field: str
) -> None:
    response = api.post("/v1/events/usage", {**NAMED, **sent})
    assert response.status_code == 400
    assert response.json()["code"] == "validation_error"
    assert [each["field"] for each in response.json()["details"]["fields"]] == [field]
    assert api.answers.asked == []


def test_what_is_required_is_told_together(api: Any) -> None:
    response = api.post("/v1/events/usage", {})
    assert [each["field"] for each in response.json()["details"]["fields"]] == [
        "event_name",
        "aggregation_type",
    ]
    assert api.post("/v1/events/usage/meter", {"meter_id": ""}).status_code == 400


@pytest.mark.parametrize(
    ("sent", "group_by"),
    [
        ({"group_by": ["source", "properties.a.b", "source"]}, ("source", "properties.a.b")),
        ({"group_by_property": "model"}, ("properties.model",)),
        ({"group_by_property": "properties.model"}, ("properties.model",)),
        ({"group_by_property": "source"}, ("source",)),
        ({"group_by": ["source"], "group_by_property": "source"}, ("source",)),
        ({"group_by": [], "group_by_property": ""}, ()),
    ],
)
def test_groups_are_asked_for_in_either_spelling(
    api: Any, sent: dict[str, object], group_by: tuple[str, ...]
) -> None:
    body = api.post("/v1/events/usage", {**NAMED, **sent}).json()
    assert api.answers.asked[0].group_by == group_by
    assert ("groups" in body) is bool(group_by)


def test_groups_come_back_with_the_keys_that_they_have(api: Any) -> None:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    point = Point(start, start, Decimal(7), Decimal(7), 1)
    api.answers.groups = (
        Group(("web", "large"), Decimal("1.50"), Decimal("1.50"), 2, (point,)),
        Group(("", "small"), Decimal(0), Decimal(-1), 1),
    )
    asked = {**NAMED, "group_by": ["source", "properties.model"], "window_size": "DAY"}
    assert api.post("/v1/events/usage", asked).json()["groups"] == [
        {
            "group": {"source": "web", "properties.model": "large"},
            "value": 1.5,
            "quantity_signed": 1.5,
            "event_count": 2,
            "results": [{"window_size": "2026-01-02T00:00:00Z", "value": 7}],
        },
        {
            "group": {"properties.model": "small"},
            "value": 0,
            "quantity_signed": -1,
            "event_count": 1,
            "results": [],
        },
    ]


def test_a_stored_meter_is_asked_for_as_it_is(api: Any) -> None:
    sent = {"meter_id": "meter_1", "filters": {"model": ["small"]}, "aggregation_type": "MAX"}
    response = api.post("/v1/events/usage/meter", sent)
    (query,) = api.answers.asked
    assert response.json()["event_name"] == "llm"
    assert query.meter == api.catalog.known_meters[0]
    assert query.filters == (Filter("model", ("small",)),)
    assert query.external_customer_ids is None


def test_an_unknown_meter_is_not_found(api: Any) -> None:
    response = api.post("/v1/events/usage/meter", {"meter_id": "Tokens"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_bucket_of_a_request_never_takes_the_place_of_the_meters_own(api: Any) -> None:
    api.post("/v1/events/usage/meter", {"meter_id": "meter_2", "bucket_size": "DAY"})
    api.post("/v1/events/usage/meter", {"meter_id": "meter_1", "bucket_size": "DAY"})
    own, given = (query.meter.aggregation.bucket_size for query in api.answers.asked)
    assert (own, given) == (WindowSize.HOUR, WindowSize.DAY)


@pytest.mark.parametrize(
    ("kind", "reset"),
    [
        (AggregationType.AVG, ResetUsage.BILLING_PERIOD),
        (AggregationType.SUM, ResetUsage.NEVER),
    ],
)
def test_a_bucket_that_the_meter_cannot_have_is_refused(
    api: Any, kind: AggregationType, reset: ResetUsage
) -> None:
    meter = api.catalog.known_meters[0]
    api.catalog.known_meters = [
        replace(meter, aggregation=Aggregation(kind, "x"), reset_usage=reset)
    ]
    sent = {"meter_id": meter.id, "bucket_size": "DAY"}
    response = api.post("/v1/events/usage/meter", sent)
    assert response.status_code == 400
    assert response.json()["details"]["fields"][0]["field"] == "bucket_size"
