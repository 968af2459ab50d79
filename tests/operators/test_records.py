"""Records of the log say all that their events say, and are read back by the fast path."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.decoding import Door, decode
from operators.exact import Event
from operators.records import record_key, record_keys, record_value, record_values
from schemas.event import EVENTS, INSTANT, RECORDS
from schemas.scope import Scope

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPACES = "\t\n\v\f\r "

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(['"', "\\", "\x01", "\x7f", "\u2028", "🙂", "a\nb", "x" * 1024, "\\u0041"]),
)
names = texts.filter(lambda text: bool(text) and text == text.strip(SPACES))
numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?\Z").filter(
    str.isascii
)
properties = st.dictionaries(texts, st.one_of(numbers, texts.map(json.dumps)), max_size=4).map(
    lambda members: "{" + ",".join(f"{json.dumps(key)}:{v}" for key, v in members.items()) + "}"
)
instants = st.timedeltas(timedelta(0), timedelta(days=83_900)).map(
    lambda since: datetime(1970, 1, 1, tzinfo=UTC) + since
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    given_at = draw(st.none() | instants)
    return {
        "tenant_id": draw(names),
        "environment_id": draw(names),
        "event_id": draw(texts.filter(bool)),
        "event_name": draw(names),
        "external_customer_id": draw(texts.filter(bool)),
        "customer_id": draw(texts),
        "source": draw(texts),
        "timestamp": given_at or NOON,
        "timestamp_given": given_at is not None,
        "ingested_at": NOON,
        "properties": draw(properties),
    }


def events(drawn: list[dict[str, object]]) -> pa.Table:
    placed = [{"partition": 0, "offset": place} | row for place, row in enumerate(drawn)]
    return pa.Table.from_pylist(placed, schema=EVENTS)


def read_back(values: pa.Array) -> tuple[pa.Table, list[bool]]:
    """Read records as the metering dataflow does, and tell which took the fast path."""
    rows = len(values)
    records = pa.table(
        [
            pa.array([0] * rows, pa.int32()),
            pa.array(range(rows), pa.int64()),
            values,
            pa.nulls(rows, pa.binary()),
            pa.array([NOON] * rows, INSTANT),
        ],
        schema=RECORDS,
    )
    decoded = decode(records, Door("another", "place", lambda _: pa.array([], pa.string())))
    assert not decoded.rejected.num_rows
    return decoded.events, decoded.plain.tolist()


def event_of(row: dict[str, object]) -> Event:
    return Event(
        event_id=str(row["event_id"]),
        event_name=str(row["event_name"]),
        external_customer_id=str(row["external_customer_id"]),
        customer_id=str(row["customer_id"]),
        source=str(row["source"]),
        timestamp=row["timestamp"] if row["timestamp_given"] else None,  # type: ignore[arg-type] # drawn above
        properties=str(row["properties"]),
    )


@given(st.lists(rows(), max_size=6))
def test_a_record_gives_its_event_back(drawn: list[dict[str, object]]) -> None:
    written = events(drawn)
    read, _ = read_back(record_values(written))
    assert read.drop_columns("properties").equals(written.drop_columns("properties"))
    # An escape may be written otherwise, and zeros at the end of a fraction left out.
    for back, sent in zip(read["properties"], written["properties"], strict=True):
        assert by_value(back.as_py()) == by_value(sent.as_py())


def by_value(text: str) -> object:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


@given(rows())
def test_one_event_is_written_as_a_column_of_them(row: dict[str, object]) -> None:
    scope = Scope(str(row["tenant_id"]), str(row["environment_id"]))
    event, table = event_of(row), events([row])
    assert record_values(table).to_pylist() == [record_value(event, str(event.event_id), scope)]
    assert record_keys(table).to_pylist() == [record_key(scope, event.external_customer_id)]


def row(**fields: object) -> dict[str, object]:
    usual = {
        "tenant_id": "t",
        "environment_id": "v",
        "event_id": "e",
        "event_name": "call",
        "external_customer_id": "acme",
        "customer_id": "",
        "source": "",
        "timestamp": NOON,
        "timestamp_given": False,
        "ingested_at": NOON,
        "properties": "{}",
    }
    return usual | fields


HEAD = '{"event_id":"e","event_name":"call","external_customer_id":"acme"'
TAIL = ',"tenant_id":"t","environment_id":"v","properties":'


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, HEAD + TAIL + "{}}"),
        (
            {"customer_id": "c", "source": "s"},
            HEAD + ',"customer_id":"c","source":"s"' + TAIL + "{}}",
        ),
        ({"timestamp_given": True}, HEAD + ',"timestamp":"2026-03-01T12:00:00Z"' + TAIL + "{}}"),
        (
            {"timestamp_given": True, "timestamp": NOON.replace(microsecond=120_000)},
            HEAD + ',"timestamp":"2026-03-01T12:00:00.12Z"' + TAIL + "{}}",
        ),
        (
            {"timestamp_given": True, "timestamp": NOON.replace(microsecond=1)},
            HEAD + ',"timestamp":"2026-03-01T12:00:00.000001Z"' + TAIL + "{}}",
        ),
        ({"properties": '{ "n": 1.50}'}, HEAD + TAIL + '{ "n": 1.50}}'),
        ({"source": '"\\\n'}, HEAD + r',"source":"\"\\\n"' + TAIL + "{}}"),
    ],
)
def test_a_record_says_what_its_event_says_and_no_more(
    fields: dict[str, object], value: str
) -> None:
    assert record_values(events([row(**fields)])).to_pylist() == [value.encode()]


def test_rows_that_say_less_stand_beside_rows_that_say_more() -> None:
    both = [row(source="s"), row(), row(timestamp_given=True)]
    apart = [record_values(events([each]))[0] for each in both]
    assert record_values(events(both)).to_pylist() == [value.as_py() for value in apart]


def test_ordinary_records_are_read_by_the_fast_path() -> None:
    drawn = [row(properties='{"n":1.5,"s":"\\"q\\" é"}', source='"', timestamp_given=True)]
    assert read_back(record_values(events(drawn)))[1] == [True]


def test_no_events_are_no_records() -> None:
    assert record_values(EVENTS.empty_table()).to_pylist() == []
    assert record_keys(EVENTS.empty_table()).to_pylist() == []
