"""The door for events: what is answered is in the log, and what is refused left nothing."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sent_events import sent_events

from flows.connectors.event_door import LogDoor, appended, made_ids
from flows.log.event_log import APPENDED
from operators.decoding import Door, decode
from operators.intake import events_of
from schemas.errors import StoreError, ValidationFailed
from schemas.event import INSTANT, RECORDS, REJECTED
from schemas.intake import EventForm, IntakeRequest
from schemas.scope import Scope

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SCOPE = Scope("t", "v")
GOOD = b'{"event_name": "call", "external_customer_id": "c", "event_id": "e", "properties": {"n": 0.25}}'
NAMELESS = b'{"event_name": " call ", "external_customer_id": "d"}'
BAD = b'{"event_name": "call"}'
CLOUD = b'{"specversion": "1.0", "id": "7", "source": "/gw", "type": "call", "subject": "c"}'
FIRST_ID = "event_01KJMMA2KV0000000000000000"


class ListedLog:
    """A log that remembers what it was given, in one list with what the dead letters got."""

    def __init__(self) -> None:
        self.told: list[tuple[str, pa.Table]] = []

    def append(self, records: pa.Table) -> None:
        assert records.schema == APPENDED
        self.told.append(("log", records))

    def keep(self, rejected: pa.Table) -> None:
        assert rejected.schema == REJECTED
        self.told.append(("dead letters", rejected))

    def check(self) -> None:
        """Find nothing wrong."""

    def close(self) -> None:
        """Have nothing to let go of."""

    def records(self) -> list[dict[str, object]]:
        """Return what the log holds, its values read."""
        tables = [table for where, table in self.told if where == "log"]
        rows = [row for table in tables for row in table.to_pylist()]
        return [row | {"value": json.loads(row["value"], parse_float=str)} for row in rows]

    def dead_letters(self) -> list[dict[str, object]]:
        """Return what the dead letters hold."""
        tables = [table for where, table in self.told if where == "dead letters"]
        return [row for table in tables for row in table.to_pylist()]


class ClosedLog(ListedLog):
    """A log that is away."""

    def append(self, records: pa.Table) -> None:
        raise StoreError("the log is away")


def door_to(log: ListedLog, *, events_max: int = 1000, event_bytes_max: int = 1_000_000) -> LogDoor:
    return LogDoor(
        log,
        log.keep,
        clock=lambda: NOON,
        chance=bytes,
        events_max=events_max,
        event_bytes_max=event_bytes_max,
    )


def request(
    body: bytes,
    form: EventForm = EventForm.JSON,
    *,
    single: bool = False,
    partial: bool = False,
) -> IntakeRequest:
    return IntakeRequest(SCOPE, body, form, single, partial, "request")


def bulk(*events: bytes) -> bytes:
    return b'{"events": [' + b",".join(events) + b"]}"


def stored(**members: object) -> dict[str, object]:
    usual = {"event_id": "e", "event_name": "call", "external_customer_id": "c"}
    scope = {"tenant_id": "t", "environment_id": "v"}
    return {**usual, **scope, "properties": {}, **members}


OF_GOOD = stored(properties={"n": "0.25"})
OF_CLOUD = stored(event_id="/gw/7", source="/gw")


@pytest.mark.parametrize(
    ("sent", "values", "answer"),
    [
        (request(GOOD, single=True), [OF_GOOD], {"event_id": "e"}),
        (
            request(NAMELESS, single=True),
            [stored(event_id=FIRST_ID, external_customer_id="d")],
            {"event_id": FIRST_ID},
        ),
        (request(GOOD, single=True, partial=True), [OF_GOOD], {"event_id": "e"}),
        (
            request(b"\n" + GOOD + b"\n\n", EventForm.NDJSON, single=True),
            [OF_GOOD],
            {"event_id": "e"},
        ),
        (request(CLOUD, EventForm.CLOUD_EVENT, single=True), [OF_CLOUD], {"event_id": "/gw/7"}),
        (request(bulk(GOOD)), [OF_GOOD], {}),
        (
            request(bulk(GOOD, NAMELESS)),
            [OF_GOOD, stored(event_id=FIRST_ID, external_customer_id="d")],
            {"1": FIRST_ID},
        ),
        (request(GOOD + b"\n\n" + GOOD, EventForm.NDJSON), [OF_GOOD, OF_GOOD], {}),
        (request(CLOUD, EventForm.CLOUD_EVENT), [OF_CLOUD], {}),
        (request(b"[" + CLOUD + b"]", EventForm.CLOUD_EVENTS), [OF_CLOUD], {}),
        (request(bulk(GOOD), partial=True), [OF_GOOD], {"0": "accepted:e"}),
        (
            request(bulk(BAD, GOOD, b"5"), partial=True),
            [OF_GOOD],
            {
                "0": "rejected:external_customer_id_required",
                "1": "accepted:e",
                "2": "rejected:not_an_object",
            },
        ),
        (
            request(BAD + b"\n[1\n" + GOOD, EventForm.NDJSON, partial=True),
            [OF_GOOD],
            {
                "0": "rejected:external_customer_id_required",
                "1": "rejected:invalid_json",
                "2": "accepted:e",
            },
        ),
        (
            request(b"[" + GOOD + b"]", EventForm.CLOUD_EVENTS, partial=True),
            [],
            {"0": "rejected:cloudevent_invalid"},
        ),
    ],
)
def test_what_is_answered_is_in_the_log(
    sent: IntakeRequest, values: list[dict[str, object]], answer: Mapping[str, str]
) -> None:
    log = ListedLog()
    receipt = door_to(log).take(sent)
    assert [record["value"] for record in log.records()] == values
    assert receipt.appended == len(values)
    assert receipt.rejected == len(log.dead_letters())
    assert {key: text for key, text in receipt.answer.items() if key != "message"} == answer
    assert next(iter(receipt.answer)) == "message"


def problems(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"field": field, "problem": problem} for field, problem in pairs]


@pytest.mark.parametrize(
    ("sent", "details"),
    [
        (
            request(BAD, single=True),
            {"fields": problems(("external_customer_id", "external_customer_id_required"))},
        ),
        (
            request(b"[]", single=True, partial=True),
            {"fields": problems(("body", "not_an_object"))},
        ),
        (
            request(b"{]", single=True),
            {
                "reason": "invalid_json",
                "fields": problems(("body", "is not JSON near byte 1")),
            },
        ),
        (
            request(BAD, EventForm.CLOUD_EVENT, single=True),
            {"fields": problems(("body", "cloudevent_invalid"))},
        ),
        (
            request(CLOUD.replace(b'"c"', b"5"), EventForm.CLOUD_EVENT, single=True),
            {"fields": problems(("subject", "field_wrong_type"))},
        ),
        (
            request(bulk(GOOD, BAD, GOOD.replace(b'"e"', b"5"), b"null")),
            {
                "events": [
                    {
                        "index": 1,
                        "reason": "external_customer_id_required",
                        "field": "external_customer_id",
                    },
                    {"index": 2, "reason": "field_wrong_type", "field": "event_id"},
                    {"index": 3, "reason": "not_an_object"},
                ],
                "fields": problems(
                    ("events[1].external_customer_id", "external_customer_id_required"),
                    ("events[2].event_id", "field_wrong_type"),
                    ("events[3]", "not_an_object"),
                ),
            },
        ),
        (
            request(GOOD + b"\n{", EventForm.NDJSON),
            {
                "events": [{"index": 1, "reason": "invalid_json"}],
                "fields": problems(("events[1]", "invalid_json")),
            },
        ),
    ],
)
def test_a_refusal_names_everything_that_is_wrong_and_leaves_nothing(
    sent: IntakeRequest, details: dict[str, object]
) -> None:
    log = ListedLog()
    with pytest.raises(ValidationFailed) as refusal:
        door_to(log).take(sent)
    assert refusal.value.details == details
    assert log.told == []


@pytest.mark.parametrize(
    ("body", "form", "reason"),
    [
        (b"{", EventForm.JSON, "invalid_json"),
        (b"{}", EventForm.JSON, "events_required"),
        (bulk(), EventForm.JSON, "events_required"),
        (bulk(GOOD, GOOD, GOOD), EventForm.JSON, "too_many_events"),
        (b"\n", EventForm.NDJSON, "events_required"),
        (b"1\n2\n3", EventForm.NDJSON, "too_many_events"),
        (b"[]", EventForm.CLOUD_EVENTS, "events_required"),
        (b"[1,2,3]", EventForm.CLOUD_EVENTS, "too_many_events"),
        (b"{", EventForm.CLOUD_EVENT, "invalid_json"),
    ],
)
def test_no_events_and_too_many_are_refused_also_in_part(
    body: bytes, form: EventForm, reason: str
) -> None:
    for partial in (False, True):
        log = ListedLog()
        with pytest.raises(ValidationFailed) as refusal:
            door_to(log, events_max=2).take(request(body, form, partial=partial))
        assert refusal.value.reason == reason
        assert log.told == []


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b"", EventForm.NDJSON),
        (GOOD + b"\n" + GOOD, EventForm.NDJSON),
        (b"[" + CLOUD + b"]", EventForm.CLOUD_EVENTS),
        (b"", EventForm.JSON),
    ],
)
def test_a_single_request_is_one_event(body: bytes, form: EventForm) -> None:
    with pytest.raises(ValidationFailed):
        door_to(ListedLog()).take(request(body, form, single=True))


def test_no_caller_names_a_tenant_or_a_receipt_time() -> None:
    named = stored(id="i", tenant_id="x", environment_id="y", ingested_at="noon", specversion="0.3")
    log = ListedLog()
    door_to(log).take(request(json.dumps(named).encode(), single=True))
    assert log.records() == [{"value": stored(), "key": b"t:v:c", "received_at": NOON}]


def test_dead_letters_are_kept_before_anything_is_appended() -> None:
    log = ListedLog()
    door_to(log).take(request(bulk(BAD, GOOD), partial=True))
    assert [where for where, _ in log.told] == ["dead letters", "log"]


def test_a_request_sent_again_leaves_the_same_dead_letters() -> None:
    log = ListedLog()
    for _ in range(2):
        door_to(log).take(request(bulk(BAD, b'"\xff"'), partial=True))
    one, other, *again = log.dead_letters()
    assert [one, other] == again
    assert one["offset"] != other["offset"]
    assert {name: one[name] for name in ("partition", "reason", "value", "key", "received_at")} == {
        "partition": -1,
        "reason": "external_customer_id_required",
        "value": BAD,
        "key": b"t:v:",
        "received_at": NOON,
    }
    elsewhere = ListedLog()
    sent = IntakeRequest(Scope("t2", "v"), bulk(BAD), EventForm.JSON, False, True)
    door_to(elsewhere).take(sent)
    assert elsewhere.dead_letters()[0]["offset"] != one["offset"]


def test_nothing_is_answered_for_a_log_that_is_away() -> None:
    for sent in (request(GOOD, single=True), request(bulk(GOOD, BAD), partial=True)):
        with pytest.raises(StoreError):
            door_to(ClosedLog()).take(sent)


def test_an_event_whose_record_would_be_too_large_is_refused_at_the_door() -> None:
    # The record names tenant and environment as well, so it has more bytes than the event.
    log = ListedLog()
    receipt = door_to(log, event_bytes_max=len(GOOD) + 1).take(
        request(bulk(GOOD, b'{"event_name":"a","external_customer_id":"c"}'), partial=True)
    )
    assert receipt.answer["0"] == "rejected:event_too_large"
    log = ListedLog()
    with pytest.raises(ValidationFailed) as refusal:
        door_to(log, event_bytes_max=len(GOOD)).take(request(GOOD, single=True))
    assert refusal.value.reason == "event_too_large"


def test_those_who_count_are_told_of_every_judged_request() -> None:
    told: list[tuple[Scope, int, int, dict[str, int]]] = []
    log = ListedLog()
    door = LogDoor(
        log,
        log.keep,
        clock=lambda: NOON,
        observe=lambda scope, count, size, reasons: told.append(
            (scope, count, size, dict(reasons))
        ),
    )
    body = bulk(GOOD, BAD, BAD)
    door.take(request(body, partial=True))
    with pytest.raises(ValidationFailed):
        door.take(request(body))
    reasons = {"external_customer_id_required": 2}
    assert told == [(SCOPE, 1, len(body), reasons), (SCOPE, 0, len(body), reasons)]


def test_many_threads_may_use_one_door() -> None:
    log = ListedLog()
    door = door_to(log)
    threads = [threading.Thread(target=door.take, args=[request(bulk(GOOD))]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [record["value"] for record in log.records()] == [OF_GOOD] * 8


@given(st.integers(0, 50), st.timedeltas(timedelta(0), timedelta(days=83_900)))
def test_made_ids_are_distinct_and_in_the_order_of_time(count: int, since: timedelta) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + since
    ids = [*made_ids(at, count), *made_ids(at + timedelta(milliseconds=1), count)]
    assert len(set(ids)) == 2 * count
    assert all(one < following for one, following in pairwise(ids))
    assert {len(made) for made in ids} <= {len("event_") + 26}


def test_events_that_were_decoded_can_be_appended() -> None:
    records = pa.table(
        [
            pa.array([0], pa.int32()),
            pa.array([0], pa.int64()),
            pa.array([GOOD], pa.large_binary()),
            pa.nulls(1, pa.binary()),
            pa.array([NOON], INSTANT),
        ],
        schema=RECORDS,
    )
    events = decode(records, Door("t", "v", lambda _: pa.array([], pa.string()))).events
    table = appended(events, NOON)
    assert table.schema == APPENDED
    assert table["key"].to_pylist() == [b"t:v:c"]
    assert json.loads(table["value"][0].as_py(), parse_float=str) == OF_GOOD


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.lists(sent_events, max_size=4).map(lambda values: bulk(*values)),
        st.lists(sent_events, max_size=4).map(b"\n".join),
        st.lists(sent_events, max_size=4).map(lambda values: b"[" + b",".join(values) + b"]"),
        sent_events,
    ),
    st.sampled_from(EventForm),
    st.booleans(),
    st.booleans(),
)
@example(b"[" * 100_000, EventForm.CLOUD_EVENTS, False, True)
@example(b'{"events": "\xff"} \xff', EventForm.JSON, False, True)
def test_any_bytes_get_a_receipt_or_a_refusal(
    body: bytes, form: EventForm, single: bool, partial: bool
) -> None:
    log = ListedLog()
    sent = request(body, form, single=single, partial=partial)
    refusal, receipt = None, None
    try:
        receipt = door_to(log, events_max=3, event_bytes_max=200).take(sent)
    except ValidationFailed as refused:
        refusal = refused
    if receipt is None:
        assert refusal is not None
        assert json.dumps(refusal.details) != "null"
        assert log.told == []
        return
    assert (receipt.appended, receipt.rejected) == (len(log.records()), len(log.dead_letters()))
    values = events_of(body, form, single=single, events_max=3)
    assert isinstance(values, list)
    assert receipt.appended + receipt.rejected == len(values)


def test_large_requests_are_answered_like_small_ones() -> None:
    few, many = ListedLog(), ListedLog()
    events = [NAMELESS, GOOD, BAD, b'"\\ud800"'] * 600
    receipt = door_to(many, events_max=10_000).take(request(bulk(*events), partial=True))
    one = door_to(few).take(request(bulk(*events[:4]), partial=True))
    assert (receipt.appended, receipt.rejected) == (1200, 1200)
    for index in range(4):
        assert receipt.answer[str(index)] == one.answer[str(index)]
    assert many.records()[:2] == few.records()
    assert many.dead_letters()[:2] == few.dead_letters()
