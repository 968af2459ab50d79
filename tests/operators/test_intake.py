"""Requests of every form are taken apart; bulk requests are all or nothing, or the valid part."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.exact import decode_body
from operators.intake import BulkError, events_of, place_of_fault, validate_bulk
from schemas.intake import EventForm
from schemas.verdict import Rejection

GOOD = b'{"event_name": "a", "external_customer_id": "c", "properties": {"n": 0.10}}'


def body(*events: bytes) -> bytes:
    return b'{"events": [' + b",".join(events) + b"]}"


@pytest.mark.parametrize(
    ("request_body", "error"),
    [
        (b"", BulkError.INVALID_JSON),
        (body(GOOD)[:-1], BulkError.INVALID_JSON),
        (body(GOOD, b"NaN"), BulkError.INVALID_JSON),
        (b"[]", BulkError.EVENTS_REQUIRED),
        (b"{}", BulkError.EVENTS_REQUIRED),
        (b'{"events": null}', BulkError.EVENTS_REQUIRED),
        (b'{"events": {}}', BulkError.EVENTS_REQUIRED),
        (body(), BulkError.EVENTS_REQUIRED),
        (body(GOOD, GOOD, GOOD), BulkError.TOO_MANY_EVENTS),
    ],
)
def test_a_request_that_is_no_list_of_events_is_refused_either_way(
    request_body: bytes, error: BulkError
) -> None:
    for partial in (False, True):
        verdict = validate_bulk(request_body, partial=partial, max_events=2)
        assert (verdict.error, verdict.status) == (error, 400)
        assert not verdict.appended
        assert not verdict.rejected


def test_a_flaw_belongs_to_the_event_that_has_it() -> None:
    bad = {
        b'"7"': Rejection.NOT_AN_OBJECT,
        GOOD.replace(b'"c"', rb'"\ud800"'): Rejection.INVALID_TEXT,
        GOOD.replace(b'"c"', b'"\xff"'): Rejection.INVALID_TEXT,
        GOOD.replace(b"0.10", b"[" * 31 + b"]" * 31): Rejection.TOO_DEEP,
        GOOD.replace(b"0.10", b"[" * 50_000 + b"]" * 50_000): Rejection.TOO_DEEP,
    }
    verdict = validate_bulk(body(GOOD, *bad, GOOD), partial=True)
    assert [index for index, _ in verdict.appended] == [0, len(bad) + 1]
    assert [reason for _, reason in verdict.rejected] == list(bad.values())


def test_the_last_of_two_lists_counts() -> None:
    verdict = validate_bulk(b'{"events": [{}], "events": [' + GOOD + b"]}", partial=False)
    assert (verdict.error, len(verdict.appended)) == (None, 1)


def test_digits_survive_the_request() -> None:
    ((_, event),) = validate_bulk(body(GOOD), partial=False).appended
    assert event.properties == '{"n": 0.10}'


events = st.sampled_from(
    [
        GOOD,
        b"{}",
        b"null",
        b"[]",
        b'{"event_name": 5}',
        b'{"event_name": "a"}',
        rb'"\ud800"',
        b"1e9",
    ]
)


@given(st.lists(events, min_size=1, max_size=8))
def test_every_event_is_appended_or_named_as_it_would_be_alone(sent: list[bytes]) -> None:
    partly = validate_bulk(body(*sent), partial=True)
    judged = dict(partly.appended) | dict(partly.rejected)
    assert judged == {index: decode_body(event) for index, event in enumerate(sent)}
    assert [index for index, _ in partly.appended] == sorted(dict(partly.appended))
    whole = validate_bulk(body(*sent), partial=False)
    assert whole.rejected == partly.rejected
    assert whole.appended == (() if partly.rejected else partly.appended)


@given(st.binary(max_size=40), st.integers(0, 100))
def test_any_bytes_get_a_verdict(noise: bytes, place: int) -> None:
    text = body(GOOD, GOOD)
    for request_body in (
        noise,
        text[:place] + noise + text[place:],
        json.dumps(str(noise)).encode(),
    ):
        verdict = validate_bulk(request_body, partial=True)
        assert (verdict.error is None) == bool(verdict.appended or verdict.rejected)


def opened(request_body: bytes, form: EventForm, *, single: bool = False) -> object:
    return events_of(request_body, form, single=single, events_max=3)


@pytest.mark.parametrize(
    ("form", "request_body", "single", "bulk"),
    [
        (EventForm.JSON, GOOD, [GOOD], BulkError.EVENTS_REQUIRED),
        (EventForm.JSON, body(b"1", b"2"), [body(b"1", b"2")], [b"1", b"2"]),
        (EventForm.JSON, b"[1]", [b"[1]"], BulkError.EVENTS_REQUIRED),
        (EventForm.JSON, b"nonsense", BulkError.INVALID_JSON, BulkError.INVALID_JSON),
        (EventForm.JSON, body(*[b"1"] * 4), [body(*[b"1"] * 4)], BulkError.TOO_MANY_EVENTS),
        (EventForm.NDJSON, b"", BulkError.ONE_EVENT_REQUIRED, BulkError.EVENTS_REQUIRED),
        (EventForm.NDJSON, b" \n\r\n\t", BulkError.ONE_EVENT_REQUIRED, BulkError.EVENTS_REQUIRED),
        (EventForm.NDJSON, b"\n\n{}\r\n\n", [b"{}"], [b"{}"]),
        (EventForm.NDJSON, b"{}\n \n[1\n", BulkError.ONE_EVENT_REQUIRED, [b"{}", b"[1"]),
        (
            EventForm.NDJSON,
            b"1\n2\n3\n4",
            BulkError.ONE_EVENT_REQUIRED,
            BulkError.TOO_MANY_EVENTS,
        ),
        (EventForm.CLOUD_EVENT, b"{}", [b"{}"], [b"{}"]),
        (EventForm.CLOUD_EVENT, b"{", BulkError.INVALID_JSON, BulkError.INVALID_JSON),
        (EventForm.CLOUD_EVENTS, b"[{}, 5]", BulkError.BATCH_NOT_TAKEN, [b"{}", b"5"]),
        (EventForm.CLOUD_EVENTS, b"[]", BulkError.BATCH_NOT_TAKEN, BulkError.EVENTS_REQUIRED),
        (EventForm.CLOUD_EVENTS, b"{}", BulkError.BATCH_NOT_TAKEN, BulkError.EVENTS_REQUIRED),
        (EventForm.CLOUD_EVENTS, b"[", BulkError.BATCH_NOT_TAKEN, BulkError.INVALID_JSON),
    ],
)
def test_each_form_is_taken_apart_by_its_own_rule(
    form: EventForm, request_body: bytes, single: object, bulk: object
) -> None:
    assert opened(request_body, form, single=True) == single
    assert opened(request_body, form) == bulk


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_list_with_many_commas_is_measured_by_its_elements(count: int) -> None:
    commas = b'{"a": "],[,", "b": [' + b",".join([b"1"] * 400) + b'], "c": {"d": 1, "e": "\\","}}'
    found = opened(body(*[commas] * count), EventForm.JSON)
    assert found == ([commas] * count if count <= 3 else BulkError.TOO_MANY_EVENTS)


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        (b'{"events": [}', "near byte 12"),
        (b"{} {}", "near byte 4"),
        (b'{"events": [', "at its end"),
        (b"[" * 100_000, "below its first levels"),
    ],
)
def test_a_broken_body_is_told_where_it_breaks(broken: bytes, place: str) -> None:
    assert place_of_fault(broken) == place
