"""The exact reader: every reason with its rank, every form, and an answer for any bytes."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.exact import Event, content_equal, decode_body, decode_record
from operators.timestamps import read_timestamp
from schemas.verdict import Rejection

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = {"event_name": "call", "external_customer_id": "c", "event_id": "e"}
CLOUD = {"specversion": "1.0", "id": "7", "source": "/gw", "type": "call", "subject": "c"}
LONG = "x" * 1025


def decoded(members: object) -> Event | Rejection:
    return decode_record(json.dumps(members).encode(), received_at=NOON)


def accepted(members: object) -> Event:
    event = decoded(members)
    assert isinstance(event, Event)
    return event


# Faults in the order of metering.md 3: each is added to all that come after it, and wins.
FAULTS: list[tuple[Rejection, dict[str, object]]] = [
    (Rejection.FIELD_WRONG_TYPE, {"source": 5}),
    (Rejection.EVENT_NAME_REQUIRED, {"event_name": " "}),
    (Rejection.EXTERNAL_CUSTOMER_ID_REQUIRED, {"external_customer_id": None}),
    (Rejection.TIMESTAMP_INVALID, {"timestamp": "noon"}),
    (Rejection.TIMESTAMP_OUT_OF_RANGE, {"timestamp": "2200-01-01T00:00:00Z"}),
    (Rejection.FIELD_TOO_LONG, {"customer_id": LONG}),
    (Rejection.EVENT_TOO_LARGE, {"padding": "x" * 1_000_000}),
]


@pytest.mark.parametrize("rank", range(len(FAULTS)))
def test_of_several_faults_the_first_in_the_list_is_named(rank: int) -> None:
    members: dict[str, object] = dict(GOOD)
    for _, fault in reversed(FAULTS[rank:]):
        members |= fault
    assert decoded(members) is FAULTS[rank][0]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([GOOD], Rejection.NOT_AN_OBJECT),
        (5, Rejection.NOT_AN_OBJECT),
        (GOOD | {"event_id": 5}, Rejection.FIELD_WRONG_TYPE),
        (GOOD | {"event_id": None, "id": 5}, Rejection.FIELD_WRONG_TYPE),
        (GOOD | {"tenant_id": []}, Rejection.FIELD_WRONG_TYPE),
        (GOOD | {"properties": []}, Rejection.FIELD_WRONG_TYPE),
        (GOOD | {"properties": ""}, Rejection.FIELD_WRONG_TYPE),
        (GOOD | {"ingested_at": "noon"}, Rejection.TIMESTAMP_INVALID),
        (GOOD | {"event_id": "é" * 513}, Rejection.FIELD_TOO_LONG),
        (CLOUD | {"specversion": "0.3"}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"specversion": None}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"id": ""}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"source": 5}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"data_base64": "AA=="}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"datacontenttype": "text/plain"}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"datacontenttype": 5}, Rejection.CLOUDEVENT_INVALID),
        (CLOUD | {"type": 5}, Rejection.FIELD_WRONG_TYPE),
        (CLOUD | {"source": "x" * 1023}, Rejection.FIELD_TOO_LONG),  # Together with the id.
    ],
)
def test_a_malformed_record_is_rejected_with_its_reason(members: object, reason: Rejection) -> None:
    assert decoded(members) is reason


def test_absent_null_and_empty_optionals_are_one() -> None:
    nothing = accepted(GOOD)
    for empty in (None, ""):
        optional = dict.fromkeys(("customer_id", "source", "tenant_id", "ingested_at", "id"), empty)
        assert accepted(GOOD | optional) == nothing
    assert accepted(GOOD | {"timestamp": None, "properties": None}) == nothing


def test_a_name_is_trimmed_and_everything_else_stays_as_sent() -> None:
    event = accepted(
        GOOD | {"event_name": "\t call\r", "external_customer_id": " c ", "source": " s"}
    )
    assert (event.event_name, event.external_customer_id, event.source) == ("call", " c ", " s")


def test_a_stored_event_brings_its_id_tenant_and_receipt() -> None:
    members = GOOD | {"event_id": "", "id": "i", "tenant_id": "t", "environment_id": "v"}
    event = accepted(members | {"ingested_at": "2026-01-01T00:00:00Z"})
    assert (event.event_id, event.tenant_id, event.environment_id) == ("i", "t", "v")
    assert event.ingested_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_no_caller_names_a_tenant() -> None:
    members = GOOD | {"event_id": "", "id": 5, "tenant_id": 5, "ingested_at": 5, "specversion": 5}
    event = decode_body(json.dumps(members).encode())
    assert isinstance(event, Event)
    assert (event.event_id, event.tenant_id, event.ingested_at) == (None, None, None)


def test_two_pairs_of_source_and_id_never_meet_in_one_event_id() -> None:
    pairs = [("/gw/7", "1"), ("/gw", "7/1"), ("/gw", "7%2F1"), ("/gw/7%2F1", "1")]
    ids = [accepted(CLOUD | {"source": source, "id": own}).event_id for source, own in pairs]
    assert ids == ["/gw/7/1", "/gw/7%2F1", "/gw/7%252F1", "/gw/7%2F1/1"]


@given(st.text("/%2F5", min_size=1), st.text("/%2F5", min_size=1), st.data())
def test_an_event_id_tells_source_and_id_apart(source: str, own: str, data: st.DataObject) -> None:
    other = data.draw(st.tuples(st.text("/%2F5", min_size=1), st.text("/%2F5", min_size=1)))
    ids = [accepted(CLOUD | {"source": s, "id": i}).event_id for s, i in ((source, own), other)]
    assert (ids[0] == ids[1]) == ((source, own) == other)


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "a/b+json"]
)
def test_a_cloud_event_of_json_is_read(kind: str) -> None:
    event = accepted(CLOUD | {"datacontenttype": kind, "data": {"n": 1}, "customer_id": "x"})
    assert (event.properties, event.customer_id, event.source) == ('{"n": 1}', "", "/gw")


def test_an_empty_customer_extension_gives_way_to_the_subject() -> None:
    assert accepted(CLOUD | {"externalcustomerid": ""}).external_customer_id == "c"
    assert accepted(CLOUD | {"externalcustomerid": "x"}).external_customer_id == "x"


def test_a_record_without_receipt_needs_a_timestamp() -> None:
    text = json.dumps(GOOD).encode()
    assert decode_record(text, received_at=None) is Rejection.TIMESTAMP_REQUIRED
    zero = json.dumps(GOOD | {"timestamp": "0001-01-01T00:00:00Z"}).encode()
    assert decode_record(zero, received_at=None) is Rejection.TIMESTAMP_REQUIRED


def test_the_size_limit_is_a_setting() -> None:
    text = json.dumps(GOOD).encode()
    limits = {len(text): Event, len(text) - 1: Rejection}
    for limit, kind in limits.items():
        assert isinstance(decode_record(text, received_at=NOON, event_bytes_max=limit), kind)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-02-03T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-02-03t04:05:06.1234569z", datetime(2026, 2, 3, 4, 5, 6, 123456, tzinfo=UTC)),
        ("2026-02-03T04:05:06-00:00", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-02-03T00:00:00+23:59", datetime(2026, 2, 2, 0, 1, tzinfo=UTC)),
        ("1969-12-31T23:00:00-01:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2199-12-31T23:59:59.999999999Z", datetime(2199, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T05:00:00.000000000+05:00", None),
        ("0000-12-31T23:00:00-01:00", None),
        ("0000-02-29T00:00:00Z", Rejection.TIMESTAMP_OUT_OF_RANGE),
        ("9999-12-31T23:59:59-23:59", Rejection.TIMESTAMP_OUT_OF_RANGE),
        ("1970-01-01T00:00:00+00:01", Rejection.TIMESTAMP_OUT_OF_RANGE),
        ("2200-01-01T00:00:00Z", Rejection.TIMESTAMP_OUT_OF_RANGE),
        ("0001-02-29T00:00:00Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T24:00:00Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:60Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03 04:05:06Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06.Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06.1234567890Z", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06+24:00", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06+0530", Rejection.TIMESTAMP_INVALID),
        ("2026-02-03T04:05:06Z\n", Rejection.TIMESTAMP_INVALID),
        ("\u0662026-02-03T04:05:06Z", Rejection.TIMESTAMP_INVALID),
    ],
)
def test_a_timestamp_is_an_instant_or_a_reason(
    text: str, instant: datetime | Rejection | None
) -> None:
    assert read_timestamp(text) == instant


@given(
    st.timedeltas(timedelta(days=1), timedelta(days=83_900)),
    st.integers(-1439, 1439),
)
def test_the_offset_does_not_matter(since: timedelta, minutes: int) -> None:
    instant = datetime(1970, 1, 1, tzinfo=UTC) + since
    assert read_timestamp(instant.isoformat()) == instant
    shown = instant.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert read_timestamp(shown) == instant


@given(st.text())
def test_any_text_is_a_timestamp_or_has_a_reason(text: str) -> None:
    assert read_timestamp(text) is None or isinstance(read_timestamp(text), datetime | Rejection)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("2026-01-01T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [*GOOD, *CLOUD, "timestamp", "properties", "tenant_id", "ingested_at", "data", "time", "other"]
)


@given(st.dictionaries(names, json_values), st.integers(0, 300), st.binary(max_size=3))
def test_any_bytes_get_an_event_or_a_reason(
    members: dict[str, object], place: int, noise: bytes
) -> None:
    text = json.dumps(GOOD | members).encode()
    for record in (text, text[:place] + noise + text[place:], text[:place], noise):
        for received_at in (NOON, None):
            event = decode_record(record, received_at=received_at)
            assert isinstance(event, Event | Rejection)
            assert event == decode_record(record, received_at=received_at)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"properties": {"a": 5, "b": [1]}}, {"properties": {"b": [1.0], "a": 5.00}}, True),
        ({"properties": {"a": 1}}, {"properties": {"a": "1"}}, False),
        ({"properties": {"a": 1}}, {"properties": {"a": True}}, False),
        ({"properties": {"a": 0}}, {"properties": {"a": -0.0}}, True),
        ({"properties": {"a": None}}, {"properties": {}}, False),
        ({"properties": {"a": [1, 2]}}, {"properties": {"a": [2, 1]}}, False),
        ({"properties": {"a": "é"}}, {"properties": {"a": "e\u0301"}}, False),
        ({"properties": None}, {"properties": {}}, True),
        ({"timestamp": "2026-01-01T01:00:00+01:00"}, {"timestamp": "2026-01-01T00:00:00Z"}, True),
        ({"timestamp": "2026-01-01T00:00:00Z"}, {}, False),
        ({"timestamp": "0001-01-01T00:00:00Z"}, {}, True),
        ({"event_name": " call "}, {}, True),
        ({"source": "a"}, {}, False),
        ({"customer_id": "a"}, {"customer_id": "b"}, False),
        ({"event_id": "one"}, {"event_id": "other"}, True),  # The id is what is compared by.
        ({"ingested_at": "2026-01-01T00:00:00Z", "tenant_id": "t"}, {}, True),
    ],
)
def test_copies_are_compared_by_what_the_sender_said(
    one: dict[str, object], other: dict[str, object], equal: bool
) -> None:
    assert content_equal(accepted(GOOD | one), accepted(GOOD | other)) is equal
    assert content_equal(accepted(GOOD | other), accepted(GOOD | one)) is equal


def with_number(literal: str) -> Event:
    return Event("e", "call", "c", properties=f'{{"n": {literal}}}')


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1e999999999", "10e999999998", True),
        ("1e999999999", "1e999999998", False),
        ("0.1", "0.1000000000000000055", False),
        ("9007199254740993", "9007199254740992", False),
        ("1e" + "9" * 6000, "10e" + "9" * 5999 + "8", True),
        ("1e-" + "9" * 6000, "1e" + "9" * 6000, False),
        ("0e5", "-0", True),
    ],
)
def test_numbers_compare_by_value_to_the_last_digit(one: str, other: str, equal: bool) -> None:
    assert content_equal(with_number(one), with_number(other)) is equal
