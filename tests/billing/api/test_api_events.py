"""Events over HTTP: every form goes to the door as it came, and pages come back exactly."""

import gzip
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.errors import StoreError, ValidationFailed
from schemas.event_query import EventSort
from schemas.intake import EventForm
from schemas.meter import Filter

NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events/bulk"])
@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/json", EventForm.JSON),
        ("", EventForm.JSON),
        ("text/plain", EventForm.JSON),
        ("application/x-ndjson", EventForm.NDJSON),
        ("application/ndjson; charset=utf-8", EventForm.NDJSON),
        ("Application/JSONL", EventForm.NDJSON),
        ("application/cloudevents+json", EventForm.CLOUD_EVENT),
        ("application/cloudevents-batch+json", EventForm.CLOUD_EVENTS),
    ],
)
def test_the_content_type_tells_the_form(
    api: Any, path: str, content_type: str, form: EventForm
) -> None:
    response = api.post(path, b"\x00 anything", headers={"content-type": content_type})
    if form is EventForm.CLOUD_EVENTS and path == "/v1/events":
        assert response.status_code == 400
        assert api.door.taken == []
        return
    assert response.status_code == 202
    (taken,) = api.door.taken
    assert (taken.form, taken.body) == (form, b"\x00 anything")
    assert taken.single is (path == "/v1/events")
    assert taken.request_id == response.headers["x-request-id"]


def test_a_packed_body_reaches_the_door_unpacked(api: Any) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/x-ndjson"}
    api.post("/v1/events/bulk", gzip.compress(b"{}\n{}"), headers=headers)
    assert api.door.taken[0].body == b"{}\n{}"


def test_the_receipt_comes_back_as_texts_with_its_counts(api: Any) -> None:
    response = api.post("/v1/events/bulk", b"{}")
    assert response.status_code == 202
    assert response.json() == {"message": "taken", "event_id": "e"}
    assert response.headers["x-tally-appended"] == "2"
    assert response.headers["x-tally-rejected"] == "1"


@pytest.mark.parametrize(
    ("setting", "query", "partial"),
    [
        (False, "", False),
        (True, "", True),
        (False, "?partial=true", True),
        (False, "?partial=TRUE&other=1", True),
        (True, "?partial=false", False),
    ],
)
def test_the_valid_events_alone_are_taken_where_that_is_wanted(
    api: Any, setting: bool, query: str, partial: bool
) -> None:
    api.change(intake_partial=setting)
    assert api.post(f"/v1/events/bulk{query}", b"{}").status_code == 202
    assert api.door.taken[0].partial is partial


def test_a_single_event_is_never_taken_in_part(api: Any) -> None:
    api.change(intake_partial=True)
    api.post("/v1/events?partial=true", b"{}")
    assert api.door.taken[0].partial is False


def test_partial_is_true_or_false(api: Any) -> None:
    assert api.post("/v1/events/bulk?partial=maybe", b"{}").status_code == 400
    assert api.door.taken == []


def test_a_refusal_of_the_door_keeps_its_details(api: Any) -> None:
    details = {"events": [{"index": 1, "reason": "timestamp_invalid"}]}
    api.door.failure = ValidationFailed("1 event is invalid", details=details)
    response = api.post("/v1/events/bulk", b"{}")
    assert response.status_code == 400
    assert response.json()["details"] == details


def test_a_log_that_is_away_is_never_a_202(api: Any) -> None:
    api.door.failure = StoreError("the disk is full")
    response = api.post("/v1/events", b"{}")
    assert response.status_code == 503
    assert response.json()["code"] == "service_unavailable"
    assert int(response.headers["retry-after"]) > 0


def test_without_a_question_the_last_seven_days_are_listed(api: Any) -> None:
    body = api.post("/v1/events/query", {}).json()
    (query,) = api.answers.listed
    assert (query.period.start, query.period.end) == (datetime(2026, 1, 1, 12, tzinfo=UTC), NOW)
    assert (query.page_size, query.offset, query.descending) == (50, 0, True)
    assert body == {
        "events": [
            {
                "id": "e1",
                "event_name": "call",
                "external_customer_id": "acme",
                "customer_id": "",
                "source": "web",
                "timestamp": "2026-01-02T03:04:05.0006Z",
                "ingested_at": "2026-01-08T12:00:00Z",
                "properties": {"n": 1.1, "t": "1.10"},
                "environment_id": "env_1",
            }
        ],
        "has_more": False,
        "total_count": 1,
        "iter_first_key": "a",
        "iter_last_key": "b",
        "offset": 50,
    }


def test_properties_come_back_with_every_digit(api: Any) -> None:
    text = api.post("/v1/events/query", {}).text
    assert '{"n":1.1000000000000000000000000000000000000001,"t":"1.10"}' in text


def test_every_filter_reaches_the_reader(api: Any) -> None:
    asked = {
        "external_customer_id": "acme",
        "event_name": "call",
        "event_id": "",
        "source": "web",
        "property_filters": {"model": ["large", ""], "n": ["10"]},
        "start_time": "2026-01-01T01:00:00.1234567+01:00",
        "end_time": "2026-01-02T00:00:00Z",
        "page_size": 200,
        "offset": 400,
        "sort": "EVENT_NAME",
        "order": "ASC",
    }
    response = api.post("/v1/events/query", asked)
    (query,) = api.answers.listed
    assert response.json()["offset"] == 600
    assert (query.external_customer_id, query.event_name) == ("acme", "call")
    assert (query.event_id, query.source) == (None, "web")
    assert query.property_filters == (Filter("model", ("large", "")), Filter("n", ("10",)))
    assert query.period.start == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert (query.page_size, query.offset) == (200, 400)
    assert (query.sort, query.descending) == (EventSort.EVENT_NAME, False)


@pytest.mark.parametrize(
    ("sent", "newer", "older"),
    [({"iter_first_key": "k"}, "k", None), ({"iter_last_key": "k", "offset": 0}, None, "k")],
)
def test_a_cursor_reaches_the_reader_and_takes_the_place_of_the_offset(
    api: Any, sent: dict[str, object], newer: str | None, older: str | None
) -> None:
    response = api.post("/v1/events/query", sent)
    (query,) = api.answers.listed
    assert (query.newer_than, query.older_than, query.offset) == (newer, older, 0)
    assert "offset" not in response.json()


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"start_time": "2026-01-01T00:00:00"}, "start_time"),
        ({"start_time": "2026-01-01"}, "start_time"),
        ({"start_time": 1767225600}, "start_time"),
        ({"start_time": "1767225600"}, "start_time"),
        ({"start_time": ""}, "start_time"),
        ({"start_time": "2026-01-01 00:00:00Z"}, "start_time"),
        ({"start_time": "2026-02-30T00:00:00Z"}, "start_time"),
        ({"start_time": "2026-01-01T24:00:00Z"}, "start_time"),
        ({"start_time": "2026-01-01T00:00:60Z"}, "start_time"),
        ({"start_time": "2026-01-01T00:00:00.1234567891Z"}, "start_time"),
        ({"start_time": "0001-01-01T00:00:00+01:00"}, "start_time"),
        ({"end_time": "0001-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "end_time"),
        ({"start_time": "2026-02-01T00:00:00Z"}, "end_time"),
        ({"page_size": 0}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_size": "50"}, "page_size"),
        ({"page_size": 1.5}, "page_size"),
        ({"page_size": True}, "page_size"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**60}, "offset"),
        ({"sort": "id"}, "sort"),
        ({"order": "up"}, "order"),
        ({"order": 1}, "order"),
        ({"source": 1}, "source"),
        ({"property_filters": {"n": [10]}}, "property_filters"),
        ({"property_filters": {"n": "10"}}, "property_filters"),
        ({"property_filters": {"n": []}}, "property_filters"),
        ({"property_filters": {"": ["a"]}}, "property_filters"),
        ({"property_filters": []}, "property_filters"),
        ({"iter_first_key": "a", "iter_last_key": "b"}, "iter_first_key"),
        ({"iter_first_key": "a", "offset": 1}, "offset"),
        ({"limit": 5}, "limit"),
        ({"customer": "acme"}, "customer"),
    ],
)
def test_a_filter_narrows_as_it_says_or_is_refused_by_name(
    api: Any, sent: dict[str, object], field: str
) -> None:
    response = api.post("/v1/events/query", sent)
    assert response.status_code == 400
    assert response.json()["code"] == "validation_error"
    assert [each["field"] for each in response.json()["details"]["fields"]] == [field]
    assert api.answers.listed == []


def test_equal_ends_are_an_empty_range_and_no_fault(api: Any) -> None:
    at = "2026-01-01T00:00:00Z"
    assert api.post("/v1/events/query", {"start_time": at, "end_time": at}).status_code == 200


def test_all_problems_are_told_at_once(api: Any) -> None:
    response = api.post("/v1/events/query", {"page_size": 0, "sort": "x", "limit": 1})
    fields = {each["field"]: each for each in response.json()["details"]["fields"]}
    assert set(fields) == {"page_size", "sort", "limit"}
    assert fields["sort"]["accepted"] == ["timestamp", "event_name"]
