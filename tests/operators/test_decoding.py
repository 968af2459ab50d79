"""Decode: the fast path agrees with the exact path on every byte string, and is really taken."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from operators.content import content_of
from operators.decoding import Decoded, Door, decode
from operators.exact import Event, decode_record
from operators.guard import passes_guard
from schemas.event import EVENTS, INSTANT, RECORDS, REJECTED

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", " ", "a\tb", "é", "\ud800", "\0", "x" * 1025, "tokens"]),
)
numbers = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.sampled_from(
        [
            "0.1",
            "1.0",
            "-0",
            "-0.0",
            "1e3",
            "1E-7",
            "0.1000000000000000055",
            "01",
            ".5",
            "1.",
            "NaN",
            "123456789012345",
            "1234567890123456",
            "0.12345678",
            "0.123456789",
            "9999999.99999999",
        ]
    ),
)
scalars = st.one_of(
    numbers,
    texts.map(json.dumps),
    texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        ["true", "false", "null", "[]", "{}", "[1,2]", '{"a":1,"a":2}', "[[1]]", '"\\x"']
    ),
)
times = st.sampled_from(
    [
        "2026-02-03T04:05:06Z",
        "2026-02-03T04:05:06.5Z",
        "2026-02-03T04:05:06.123456789Z",
        "2026-02-28T23:59:59+05:30",
        "2024-02-29T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "1970-01-01T00:00:00+01:00",
        "2199-12-31T23:59:59.999999Z",
        "2200-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "2026-02-03 04:05:06Z",
        "2026-02-03T24:00:00Z",
        "2026-02-03T04:05:60Z",
        "noon",
        "",
    ]
)
properties = st.lists(st.tuples(st.sampled_from(["a", "b", "c d", "é", '"']), scalars), max_size=4)
members = st.one_of(
    st.tuples(
        st.sampled_from(
            ["event_id", "event_name", "external_customer_id", "customer_id", "source", "id"]
        ),
        st.one_of(texts.map(json.dumps), st.just("null"), numbers),
    ),
    st.tuples(st.sampled_from(["timestamp", "ingested_at"]), times.map(json.dumps)),
    st.tuples(st.just("properties"), properties.map(lambda pairs: written(pairs, ","))),
    st.tuples(
        st.sampled_from(["tenant_id", "unknown", "specversion", "type"]), texts.map(json.dumps)
    ),
)
usual = st.just([("event_name", '"call"'), ("external_customer_id", '"c"'), ("event_id", '"e"')])
lines = st.builds(
    lambda first, rest, comma: written([*first, *rest], comma),
    usual,
    st.lists(members, max_size=5),
    st.sampled_from([",", ", ", " ,\n"]),
)


def written(pairs: list[tuple[str, str]], comma: str) -> str:
    return "{" + comma.join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"


def encoded(line: str) -> bytes:
    return line.encode("utf-8", "surrogatepass")


def records(values: list[bytes], *, received_at: datetime | None = NOON) -> pa.Table:
    rows = len(values)
    columns = [
        pa.array([3] * rows, pa.int32()),
        pa.array(range(rows), pa.int64()),
        pa.array(values, pa.large_binary()),
        pa.array([b"tenant:world:c"] * rows, pa.binary()),
        pa.array([received_at] * rows, INSTANT),
    ]
    return pa.table(columns, schema=RECORDS)


def door(*, time_required: bool = False) -> Door:
    return Door(
        "t",
        "e",
        lambda missing: pa.array([f"made-{offset}" for offset in missing["offset"].to_pylist()]),
        time_required=time_required,
    )


def assert_as_exact(values: list[bytes], received_at: datetime | None) -> Decoded:
    """Compare a batch with the exact reader, record by record; return what decode said."""
    batch = decode(
        records(values, received_at=received_at), door(time_required=received_at is None)
    )
    assert batch.events.schema == EVENTS
    assert batch.rejected.schema == REJECTED
    events = {row["offset"]: row for row in batch.events.to_pylist()}
    reasons = {row["offset"]: row["reason"] for row in batch.rejected.to_pylist()}
    assert events.keys() | reasons.keys() == set(range(len(values)))
    assert not events.keys() & reasons.keys()
    for offset, value in enumerate(values):
        exact = decode_record(value, received_at=received_at)
        if isinstance(exact, Event):
            assert fields(events[offset]) == expected(exact, offset, received_at)
        else:
            assert reasons[offset] == exact
    return batch


def fields(row: dict[str, object]) -> dict[str, object]:
    """Return a decoded row with its content in canonical form."""
    kept = {name: row[name] for name in row if name not in ("partition", "offset", "properties")}
    return kept | {"content": content(str(row["properties"]))}


def expected(event: Event, offset: int, received_at: datetime | None) -> dict[str, object]:
    """Return the row that the exact reader's event stands for."""
    timestamp = event.timestamp or received_at
    return {
        "tenant_id": event.tenant_id or "tenant",
        "environment_id": event.environment_id or "world",
        "event_id": event.event_id or f"made-{offset}",
        "event_name": event.event_name,
        "external_customer_id": event.external_customer_id,
        "customer_id": event.customer_id,
        "source": event.source,
        "timestamp": timestamp,
        "timestamp_given": event.timestamp is not None,
        "ingested_at": event.ingested_at or received_at or timestamp,
        "content": content(event.properties),
    }


def content(properties: str) -> bytes:
    return content_of(
        event_name="",
        external_customer_id="",
        customer_id="",
        source="",
        timestamp=None,
        properties=properties,
    )


@settings(max_examples=400)
@given(st.lists(lines.map(encoded), max_size=6), st.sampled_from([NOON, None]))
def test_any_event_decodes_as_the_exact_reader_reads_it(
    values: list[bytes], received_at: datetime | None
) -> None:
    assert_as_exact(values, received_at)


@given(lines.map(encoded), st.data())
def test_a_damaged_event_is_refused_or_read_as_the_exact_reader_does(
    line: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(line)))
    damage = data.draw(st.binary(max_size=3))
    cut = data.draw(st.integers(0, 3))
    assert_as_exact([line[:place] + damage + line[place + cut :], line], NOON)


@given(st.lists(st.binary(max_size=30), max_size=5))
@example([b"\xff", b"", b"null", b"[]", b"{}", b"{}{}", b'{"event_name":"a",}'])
def test_any_bytes_get_an_answer(values: list[bytes]) -> None:
    assert_as_exact(values, NOON)


@pytest.mark.parametrize(
    "line",
    [
        '{"event_name":"a","external_customer_id":"c","timestamp":"2026-02-03T04:05:06Z"}',
        '{"event_name": "a", "external_customer_id": "c", "properties": {"n": 1.5, "b": true}}',
        '{"properties":{"tags":["a",1],"o":{"k":null}},"event_name":"a","external_customer_id":"c"}',
        '{"event_name":"a","external_customer_id":"c","properties":{"s":"\\u00e9 \\n \\"q\\""}}',
        '{"id":"7","tenant_id":"t","event_name":"a","external_customer_id":"c","customer_id":null}',
    ],
)
def test_ordinary_events_take_the_fast_path(line: str) -> None:
    kept, rows = passes_guard(pa.array([line.encode()], pa.large_binary()), 1_000_000)
    assert rows.tolist() == [0]
    assert kept.to_pylist() == [line]


@pytest.mark.parametrize(
    "value",
    [
        *["1e3", "NaN", "Infinity", "01", "1.", ".5", "1234567890123456", "0.1234567890123456"],
        *["[[1]]", '"\\u0000"', '"\\ud800"', '"\\x"', '{"a":{"b":1}}'],
    ],
)
def test_what_a_lax_reader_gets_wrong_never_passes_the_guard(value: str) -> None:
    line = f'{{"event_name":"a","external_customer_id":"c","properties":{{"n":{value}}}}}'
    _, rows = passes_guard(pa.array([line.encode()], pa.large_binary()), 1_000_000)
    assert rows.tolist() == []


@given(st.lists(lines.map(encoded), min_size=1, max_size=8), st.data())
def test_splitting_a_batch_changes_nothing(values: list[bytes], data: st.DataObject) -> None:
    whole = decode(records(values), door())
    place = data.draw(st.integers(0, len(values)))
    parts = [decode(records(values).slice(*bounds), door()) for bounds in ((0, place), (place,))]
    assert pa.concat_tables([part.events for part in parts]).equals(whole.events)
    assert pa.concat_tables([part.rejected for part in parts]).equals(whole.rejected)
