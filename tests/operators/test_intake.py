"""Bulk requests: all or nothing, or the valid part on demand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.exact import decode_body
from operators.intake import BulkError, validate_bulk
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
