"""Match: filters and skips as tables, then laws over batches."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.digests import text_digests
from operators.matching import SKIPPED, match, matches, pair, properties_of
from operators.properties import property_columns
from schemas.event import EVENTS
from schemas.meter import Aggregation, AggregationType, Filter, Meter, WindowSize
from schemas.usage import PAIRS

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
SUM_V = Aggregation(AggregationType.SUM, field="v")
COUNT = Aggregation(AggregationType.COUNT)
UNIQUE_U = Aggregation(AggregationType.COUNT_UNIQUE, field="u")
GROUPED = Aggregation(AggregationType.MAX, field="v", bucket_size=WindowSize.HOUR, group_by="r")

Row = dict[str, object]


def meter(
    aggregation: Aggregation,
    *filters: Filter,
    name: str = "call",
    tenant_id: str = "t",
    environment_id: str = "e",
    id: str = "m",  # noqa: A002 - the field's own name
) -> Meter:
    return Meter(id, tenant_id, environment_id, "Meter", name, aggregation, filters)


def row(number: int, properties: str = "{}", **fields: object) -> Row:
    return {
        "partition": 0,
        "offset": number,
        "tenant_id": "t",
        "environment_id": "e",
        "event_id": f"event {number}",
        "event_name": "call",
        "external_customer_id": f"customer {number % 2}",
        "customer_id": "",
        "source": "",
        "timestamp": MIDNIGHT + timedelta(seconds=number),
        "timestamp_given": True,
        "ingested_at": MIDNIGHT,
        "properties": properties,
        **fields,
    }


def table(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=EVENTS)


def passes(filters: list[Filter], properties: str, source: str = "") -> bool:
    events = table(row(0, properties, source=source))
    columns = property_columns(events["properties"], [each.key for each in filters])
    return bool(matches(filters, events, columns)[0].as_py())


@pytest.mark.parametrize(
    ("key", "values", "properties", "source", "expected"),
    [
        ("k", ("a", "b"), '{"k": "b"}', "", True),
        ("k", ("a",), "{}", "", False),
        ("k", ("",), "{}", "", False),  # Missing is not empty.
        ("k", ("",), '{"k": ""}', "", True),
        ("k", ("",), '{"k": null}', "", False),
        ("k", ("1",), '{"k": 1.0}', "", True),
        ("k", ("1",), '{"k": "1.0"}', "", False),
        ("k", ("true",), '{"k": true}', "", True),
        ("k", ("100000000000000000000",), '{"k": 1e20}', "", False),
        ("source", ("api",), "{}", "api", True),
        ("source", ("api",), '{"source": "sdk"}', "api", False),
        ("source", ("sdk",), '{"source": "sdk"}', "api", True),
        (
            "source",
            ("api",),
            '{"source": null}',
            "api",
            False,
        ),  # It is there, and hides the event's.
        ("source", ("",), "{}", "", False),
        ("source", ("",), '{"source": ""}', "api", True),
    ],
)
def test_a_filter_compares_the_canonical_text(
    key: str, values: tuple[str, ...], properties: str, source: str, expected: bool
) -> None:
    assert passes([Filter(key, values)], properties, source) is expected


def test_all_filters_must_hold_even_of_one_key() -> None:
    filters = [Filter("k", ("a", "b")), Filter("k", ("b", "c"))]
    assert [passes(filters, f'{{"k": "{text}"}}') for text in "abc"] == [False, True, False]
    assert passes([], "{}")


@pytest.mark.parametrize(
    ("aggregation", "properties", "reason"),
    [
        (SUM_V, "{}", "missing_field"),
        (SUM_V, '{"v": null}', "wrong_type"),
        (SUM_V, '{"v": true}', "wrong_type"),
        (SUM_V, '{"v": [1]}', "wrong_type"),
        (SUM_V, '{"v": ""}', "not_a_number"),
        (SUM_V, '{"v": "-inf"}', "not_finite"),
        (SUM_V, '{"v": 1e20}', "out_of_range"),
        (UNIQUE_U, "{}", "missing_field"),
        (UNIQUE_U, '{"u": null}', "wrong_type"),
        (UNIQUE_U, '{"u": {}}', "wrong_type"),
        (UNIQUE_U, '{"u": 1e20}', "out_of_range"),
    ],
)
def test_what_a_meter_cannot_use_is_skipped_with_its_reason(
    aggregation: Aggregation, properties: str, reason: str
) -> None:
    matched = match([meter(aggregation), meter(COUNT, id="other")], table(row(7, properties)))
    assert matched.skipped.to_pylist() == [
        {"event_id": "event 7", "meter_id": "m", "reason": reason}
    ]
    assert matched.counted["meter_id"].to_pylist() == ["other"]
    assert matched.unmatched.to_pylist() == [False]


def test_a_counted_event_is_one_row_of_pairs() -> None:
    events = table(row(1, '{"v": "2.5", "u": 1.0, "r": true}'), row(2, '{"v": 3, "u": "1"}'))
    meters = [meter(GROUPED, id="a"), meter(UNIQUE_U, id="b"), meter(COUNT, id="c")]
    counted = match(meters, events).counted
    assert counted.schema.equals(PAIRS)
    by_meter = {name: [r for r in counted.to_pylist() if r["meter_id"] == name] for name in "abc"}
    assert [(r["group"], r["value"]) for r in by_meter["a"]] == [
        ("true", Decimal("2.5")),
        ("", Decimal(3)),
    ]
    digest = text_digests(pa.array(["1"]))[0].as_py()
    assert [r["member"] for r in by_meter["b"]] == [digest, digest]
    assert [(r["value"], r["member"], r["group"]) for r in by_meter["c"]] == [(None, None, "")] * 2
    assert by_meter["c"][0]["external_customer_id"] == "customer 1"
    assert by_meter["c"][0]["timestamp"] == MIDNIGHT + timedelta(seconds=1)


def test_only_numbers_that_changed_count_as_rounded() -> None:
    rows = [row(0, '{"v": 1e-19}'), row(1, '{"v": 0.5}'), row(2, '{"v": "5e-19", "k": "x"}')]
    assert match([meter(SUM_V)], table(*rows)).rounded == 2
    assert match([meter(SUM_V, Filter("k", ("x",)))], table(*rows)).rounded == 1


def test_nothing_crosses_a_tenant_or_an_environment() -> None:
    events = table(row(0), row(1, tenant_id="other"), row(2, environment_id="other"))
    meters = [
        meter(COUNT, id="a"),
        meter(COUNT, id="b", tenant_id="other"),
        meter(COUNT, id="c", tenant_id="other", environment_id="other"),
    ]
    matched = match(meters, events)
    pairs = sorted(
        zip(*(matched.counted[c].to_pylist() for c in ("meter_id", "event_id")), strict=True)
    )
    assert pairs == [("a", "event 0"), ("b", "event 1")]
    assert matched.unmatched.to_pylist() == [False, False, True]


def test_an_event_of_no_meter_is_unmatched() -> None:
    events = table(row(0), row(1, event_name="other"), row(2, '{"k": "x"}'))
    matched = match([meter(COUNT, Filter("k", ("x",)))], events)
    assert matched.unmatched.to_pylist() == [True, True, False]


def test_without_events_or_meters_the_shapes_are_right() -> None:
    for matched in (match([], table(row(0))), match([meter(SUM_V)], table())):
        assert matched.counted.schema.equals(PAIRS)
        assert matched.skipped.schema.equals(SKIPPED)
        assert matched.counted.num_rows == matched.skipped.num_rows == matched.rounded == 0
    assert len(match([meter(SUM_V)], table()).unmatched) == 0


values = st.sampled_from(
    ["1", "1.0", '"1"', "-2.5", "1e-19", "1e20", '"x"', '""', "null", "true", "[]", "{}"]
)
properties = st.dictionaries(st.sampled_from(["v", "u", "r", "source"]), values, max_size=4).map(
    lambda members: "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in members.items()) + "}"
)
batches = st.lists(
    st.tuples(properties, st.sampled_from(["call", "seat", "none"]), st.sampled_from(["", "1"])),
    max_size=12,
).map(lambda cells: [row(i, p, event_name=n, source=s) for i, (p, n, s) in enumerate(cells)])
METERS = [
    meter(SUM_V, id="sum"),
    meter(GROUPED, Filter("u", ("1", "x")), id="grouped"),
    meter(UNIQUE_U, Filter("source", ("1",)), id="unique"),
    meter(COUNT, Filter("v", ("1",)), name="seat", id="count"),
    meter(SUM_V, Filter("r", ("true",)), name="seat", id="seat"),
]


def listed(tables: list[pa.Table]) -> list[str]:
    return sorted(str(sorted(each.items())) for rows in tables for each in rows.to_pylist())


@given(batches, st.integers(0, 12))
def test_splitting_and_reversing_a_batch_changes_nothing(rows: list[Row], at: int) -> None:
    whole = match(METERS, table(*rows))
    parts = [match(METERS, table(*reversed(rows[at:]))), match(METERS[::-1], table(*rows[:at]))]
    assert listed([whole.counted]) == listed([part.counted for part in parts])
    assert listed([whole.skipped]) == listed([part.skipped for part in parts])
    assert whole.rounded == sum(part.rounded for part in parts)
    unmatched = parts[1].unmatched.to_pylist() + parts[0].unmatched.to_pylist()[::-1]
    assert whole.unmatched.to_pylist() == unmatched


@given(batches)
def test_every_matched_event_is_counted_or_skipped(rows: list[Row]) -> None:
    matched = match(METERS, table(*rows))
    for each in METERS:
        named = table(*(r for r in rows if r["event_name"] == each.event_name))
        columns = property_columns(named["properties"], properties_of([each]))
        passing = named.filter(matches(each.filters, named, columns))
        pairs = pair(each, passing, property_columns(passing["properties"], properties_of([each])))
        assert pairs.counted.num_rows + pairs.skipped.num_rows == passing.num_rows
        for found, own in ((matched.counted, pairs.counted), (matched.skipped, pairs.skipped)):
            mine = [r for r in found.to_pylist() if r["meter_id"] == each.id]
            assert mine == own.to_pylist()
