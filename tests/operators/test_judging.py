"""Events of a request are judged alike by every way of reading them."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sent_events import sent_events

from operators.exact import Event, Form, decode_body, decode_form
from operators.judging import Judging, judge_columns, judge_singly
from operators.ordinary import ordinary_event
from schemas.scope import Scope
from schemas.verdict import Rejection

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SCOPE = Scope("t", "v")
GOOD = b'{"event_name": "call", "external_customer_id": "c", "properties": {"n": 0.10}}'


@settings(max_examples=400)
@given(sent_events)
@example(b'{"event_name":"a","external_customer_id":"c","x":"\xff"}')
def test_the_reader_of_ordinary_events_says_what_the_exact_one_says(value: bytes) -> None:
    quick = ordinary_event(value, event_bytes_max=150)
    exact = decode_body(value, event_bytes_max=150)
    assert quick is None or quick == exact


def test_ordinary_events_are_read_by_the_quick_reader() -> None:
    for value in (GOOD, GOOD.replace(b"call", b" call "), GOOD.replace(b"0.10", '"é"'.encode())):
        assert ordinary_event(value) == decode_body(value)


@settings(max_examples=300, deadline=None)
@given(st.lists(sent_events, max_size=5), st.sampled_from([Form.BODY, Form.CLOUD_EVENT]))
def test_columns_and_single_events_are_judged_alike(values: list[bytes], form: Form) -> None:
    judging = Judging(SCOPE, form, NOON, lambda count: ["made"] * count, event_bytes_max=200)
    singly, columns = judge_singly(values, judging), judge_columns(values, judging)
    exact = [decode_form(v, form, received_at=NOON, event_bytes_max=200) for v in values]
    wrong = [(place, each) for place, each in enumerate(exact) if isinstance(each, Rejection)]
    for judged in (singly, columns):
        assert judged.rejected == tuple(wrong)
        good = [place for place, each in enumerate(exact) if isinstance(each, Event)]
        assert judged.indexes.tolist() == good
    assert columns.event_ids.equals(singly.event_ids)
    assert columns.made.tolist() == singly.made.tolist()
    assert columns.keys.equals(singly.keys)
    # Columns leave white space in properties out, and zeros at the end of a fraction.
    pairs = zip(columns.values.to_pylist(), singly.values.to_pylist(), strict=True)
    for one, other in pairs:
        assert by_value(one) == by_value(other)


def by_value(text: bytes) -> object:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)
