"""CSV rows: the record that each becomes, and that no cell can say more than its own."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.exact import Event, decode_record
from operators.rows import csv_records
from schemas.errors import ValidationFailed
from schemas.verdict import Rejection

HEADER = ["event_id", "event_name", "external_customer_id", "timestamp", "source"]
ROW = ["e", "call", "c", "2026-01-01T00:00:00Z", ""]


def decoded(header: list[str], row: list[str]) -> Event | Rejection:
    (record,) = csv_records(header, [row])
    return decode_record(record, received_at=None)


def test_a_row_says_what_the_same_event_in_json_says() -> None:
    header = [*HEADER, "properties.tokens", "properties.a.b", "customer_id", "note"]
    event = decoded(header, [*ROW, " 12", "", "k", "ignored"])
    said: dict[str, object] = {
        "event_id": "e",
        "event_name": "call",
        "external_customer_id": "c",
        "customer_id": "k",
    }
    said |= {"timestamp": "2026-01-01T00:00:00Z", "properties": {"tokens": " 12"}}
    expected = decode_record(json.dumps(said, separators=(",", ":")).encode(), received_at=None)
    assert event == expected
    assert isinstance(event, Event)


def test_a_column_of_json_keeps_its_types_and_digits() -> None:
    event = decoded([*HEADER, "properties"], [*ROW, '{"n": 0.10, "a": [1]}'])
    assert isinstance(event, Event)
    assert event.properties == '{"n": 0.10, "a": [1]}'


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_cell_is_absent(blank: str) -> None:
    event = decoded([*HEADER, "properties"], [blank, "call", "c", ROW[3], blank, blank])
    assert isinstance(event, Event)
    assert (event.event_id, event.source, event.properties) == (None, "", "{}")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([*ROW, "5"], Rejection.FIELD_WRONG_TYPE),
        ([*ROW, "{"], Rejection.INVALID_JSON),
        ([*ROW, '{}, "source": "api"'], Rejection.INVALID_JSON),  # No cell adds members of its own.
        ([*ROW, '{"a": "\udcff"}'], Rejection.INVALID_TEXT),
        ([*ROW[:4], "\udcff", ""], Rejection.INVALID_TEXT),
        ([*ROW[:4], "a\0", ""], Rejection.INVALID_TEXT),
        (ROW, Rejection.INVALID_JSON),  # A cell is missing,
        ([*ROW, "{}", ""], Rejection.INVALID_JSON),  # or one too many.
        ([], Rejection.INVALID_JSON),
        (['{"event_name": "x", "external_customer_id": "c"}'], Rejection.INVALID_JSON),
        (["e", "", "c", ROW[3], "", ""], Rejection.EVENT_NAME_REQUIRED),
        (["e", "call", "c", "", "", ""], Rejection.TIMESTAMP_REQUIRED),
    ],
)
def test_a_bad_row_is_rejected_like_any_record(row: list[str], reason: Rejection) -> None:
    assert decoded([*HEADER, "properties"], row) is reason


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    header = ["\ufeff event_name", "external_customer_id", "timestamp"]
    assert isinstance(decoded(header, ["call", "c", ROW[3]]), Event)


def test_of_two_columns_of_one_name_the_last_counts() -> None:
    event = decoded([*HEADER, "source"], [*ROW[:4], "first", "last"])
    assert isinstance(event, Event)
    assert event.source == "last"


@pytest.mark.parametrize(
    ("header", "field"),
    [
        (["external_customer_id"], "event_name"),
        (["event_name", "properties", "properties.n"], "properties"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(header: list[str], field: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        list(csv_records(header, []))
    assert refusal.value.field == field


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
tricky = st.lists(st.sampled_from(['"', "\\", ",", "{", "}", ":", "a", "1"]), max_size=8).map(
    "".join
)


@given(st.lists(cells | tricky, min_size=2, max_size=2))
def test_any_cell_arrives_as_it_was_written(texts: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow([*ROW, *texts])
    (row,) = csv.reader(io.StringIO(line.getvalue(), newline=""))
    event = decoded([*HEADER, "properties.a", 'properties.b"'], row)
    assert isinstance(event, Event)
    present = {k: v for k, v in zip("a", texts[:1], strict=True) if v.strip("\t\n\v\f\r ")}
    present |= {k: v for k, v in zip(['b"'], texts[1:], strict=True) if v.strip("\t\n\v\f\r ")}
    assert json.loads(event.properties) == present


@given(st.lists(cells | tricky, max_size=8))
def test_a_row_of_the_wrong_width_is_never_an_event(row: list[str]) -> None:
    header = [*HEADER, *(f"properties.{number}" for number in range(9))]
    assert decoded(header, row) is Rejection.INVALID_JSON
