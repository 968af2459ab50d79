"""Answers of a store equal answers over all of its events, exactly, whatever is asked."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.connectors.usage_answers import StoredAnswers
from flows.connectors.usage_sink import UsageSink
from flows.metering.aggregating import partials_of
from flows.metering.backfilling import build_missing
from flows.metering.batches import CellChange
from flows.metering.registry import registered
from flows.metering.sharding import by_customer, identity_shards
from flows.stores.clickhouse import Store, open_store
from flows.stores.registry import Registered, register, registered_meters
from flows.stores.tables import STORED_EVENTS, MeterState
from operators.answers import answer
from operators.digests import identity_digests
from operators.grouping import group_properties, with_groups
from operators.matching import match
from operators.properties import property_columns
from operators.usage import usage_of_pairs
from schemas.answer import Answer
from schemas.errors import ValidationFailed
from schemas.event_query import UsageQuery
from schemas.meter import Aggregation, AggregationType, Filter, Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.scope import Scope

pytestmark = pytest.mark.requires("embedded")

START = datetime(2026, 1, 30, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SHARDS = 2
CUSTOMERS = ["acme", "beta", "it's"]
OFFSETS = count(1)
ENVIRONMENTS = count(1)

Row = dict[str, Any]


def meter_of(kind: str, *, never: bool = False, **options: Any) -> Meter:
    field = None if kind == "COUNT" else "v"
    return Meter(
        f"{kind} {never} {sorted(options)}",
        "t",
        "e",
        "Meter",
        "call",
        Aggregation(AggregationType(kind), field, **options),
        (Filter("kept", ("yes", "1")),),
        ResetUsage.NEVER if never else ResetUsage.BILLING_PERIOD,
    )


PLAIN = [kind for kind in AggregationType if kind != "SUM_WITH_MULTIPLIER"]
METERS = [
    *(meter_of(kind) for kind in PLAIN),
    *(meter_of(kind, never=True) for kind in PLAIN),
    meter_of("SUM_WITH_MULTIPLIER", multiplier=Decimal("0.5")),
    meter_of("SUM", bucket_size=WindowSize.MONTH),
    meter_of("MAX", bucket_size=WindowSize.HOUR, group_by="r"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with open_store(str(tmp_path_factory.mktemp("store")), "tally_answers") as opened:
        yield opened


@pytest.fixture
def scope() -> Scope:
    return Scope("t", f"own_{next(ENVIRONMENTS)}")


def stored_events(scope: Scope, rows: Sequence[Row]) -> pa.Table:
    """Return events as raw has them, each at a new place of the log."""
    whole = [
        {
            "partition": 0,
            "offset": next(OFFSETS),
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
            "event_id": f"event_{number}",
            "event_name": "call",
            "external_customer_id": "acme",
            "customer_id": "",
            "source": "",
            "timestamp": START,
            "timestamp_given": True,
            "ingested_at": START,
            "properties": "{}",
            "event_digest": b" " * 16,
            "received_at": START,
        }
        | row
        for number, row in enumerate(rows)
    ]
    table = pa.Table.from_pylist(whole, STORED_EVENTS)
    place = STORED_EVENTS.get_field_index("event_digest")
    return table.set_column(place, STORED_EVENTS.field(place), identity_digests(table))


def of_scope(meters: Sequence[Meter], scope: Scope) -> list[Meter]:
    """Return the meters as those of a scope."""
    return [
        replace(each, tenant_id=scope.tenant_id, environment_id=scope.environment_id)
        for each in meters
    ]


def flushed(store: Store, meters: Sequence[Meter], events: pa.Table) -> list[Meter]:
    """Meter events as the flow does, in one flush of each shard."""
    chosen = registered(store, meters, flow="metering", shards=SHARDS)
    by_id = {meter.id: meter for meter in chosen}
    store.insert_events(events)
    digests = events["event_digest"].combine_chunks()
    numbers = identity_shards(digests, SHARDS).tolist()
    frontier: dict[tuple[int, int], int] = {}
    for shard, offset in zip(numbers, events["offset"].to_pylist(), strict=True):
        frontier[0, shard] = max(offset, frontier.get((0, shard), 0))
    parts = by_customer(partials_of(match(chosen, events).counted, by_id), SHARDS)
    sink = UsageSink(store, by_id).build("store_usage", 0, 1)
    sink.write_batch(
        [CellChange(shard, part, frontier, {}, frozenset()) for shard, part in enumerate(parts)]
    )
    return chosen


def reference(query: UsageQuery, events: pa.Table) -> Answer:
    """Answer from all events by the operators alone."""
    rows = [
        row
        for row in events.to_pylist()
        if (
            query.external_customer_ids is None
            or row["external_customer_id"] in query.external_customer_ids
        )
        and (query.customer_id is None or row["customer_id"] == query.customer_id)
        and (query.sources is None or row["source"] in query.sources)
    ]
    asked = pa.Table.from_pylist(rows, STORED_EVENTS)
    meter = replace(query.meter, filters=(*query.meter.filters, *query.filters))
    pairs = match(of_scope([meter], query.scope), asked).counted
    columns = property_columns(asked["properties"], group_properties(query.group_by))
    return answer(
        query.meter,
        usage_of_pairs(with_groups(pairs, asked, columns, query.group_by)),
        query.period,
        window=query.window,
        timezone=query.timezone,
        anchor=query.anchor,
        group_by=query.group_by,
    )


def never(seconds: float) -> None:
    """Where no flush is under way nothing is waited for."""
    pytest.fail(f"an answer waited {seconds} s, though no flush was under way")


MOMENTS = st.one_of(
    st.integers(0, 4 * 24 * 3600 * 1_000_000).map(lambda number: START + number * MICROSECOND),
    st.sampled_from([START + timedelta(days=2, seconds=s) for s in (0, 1, 30, 59, 60, 61)]),
)
VALUES = st.sampled_from(
    ["1", "-3", "0.1000000000000000055", '"7"', "12345678901234567890", "null", '"x"', "1e2"]
)


@st.composite
def events(draw: st.DrawFn) -> list[Row]:
    found: list[Row] = []
    for _ in range(draw(st.integers(0, 12))):
        kept = draw(st.sampled_from(['"yes"', "1.0", '"no"', '"y\\u0065s"']))
        region = draw(st.sampled_from(["", ', "r": "eu"', ', "r": 1.50']))
        found.append(
            {
                "timestamp": draw(MOMENTS),
                "external_customer_id": draw(st.sampled_from(CUSTOMERS)),
                "customer_id": draw(st.sampled_from(["", "cust_1"])),
                "source": draw(st.sampled_from(["", "api", "batch"])),
                "event_name": draw(st.sampled_from(["call", "call", "call", "other"])),
                "properties": f'{{"v": {draw(VALUES)}, "kept": {kept}{region}}}',
            }
        )
    return found


@st.composite
def questions(draw: st.DrawFn, *, narrowed: bool) -> dict[str, Any]:
    first, second = sorted((draw(MOMENTS), draw(MOMENTS)))
    anchor = st.sampled_from([None, datetime(2025, 3, 31, 0, 0, 30, 1, UTC)])
    asked: dict[str, Any] = {
        "period": Interval(first, second),
        "external_customer_ids": draw(
            st.sampled_from([None, ("acme",), ("beta", "it's"), ("nobody",), ()])
        ),
        "window": draw(st.sampled_from([None, *WindowSize])),
        "timezone": draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"])),
        "anchor": draw(anchor),
    }
    if narrowed:
        asked |= {
            "customer_id": draw(st.sampled_from([None, "cust_1"])),
            "filters": draw(
                st.sampled_from([(), (Filter("r", ("1.5",)),), (Filter("source", ("api", "")),)])
            ),
            "sources": draw(st.sampled_from([None, ("api",), ("", "batch")])),
            "group_by": draw(st.sampled_from([(), ("source",), ("properties.r", "source")])),
        }
    return asked


FEW = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@given(events(), st.data())
@FEW
def test_an_answer_from_rows_equals_one_over_all_events(
    store: Store, rows: list[Row], data: st.DataObject
) -> None:
    scope = Scope("t", f"law_{next(ENVIRONMENTS)}")
    table = stored_events(scope, rows)
    meters = flushed(store, of_scope(METERS, scope), table)
    answers = StoredAnswers(store, pause=never)
    for meter in data.draw(st.lists(st.sampled_from(meters), min_size=4, max_size=4)):
        query = UsageQuery(scope, meter, **data.draw(questions(narrowed=False)))
        assert answers.answer(query) == reference(query, table)


@given(events(), st.data())
@FEW
def test_an_answer_from_raw_equals_one_over_all_events(
    store: Store, rows: list[Row], data: st.DataObject
) -> None:
    scope = Scope("t", f"law_{next(ENVIRONMENTS)}")
    table = stored_events(scope, rows)
    store.insert_events(table)
    answers = StoredAnswers(store)
    for meter in data.draw(st.lists(st.sampled_from(METERS), min_size=4, max_size=4)):
        query = UsageQuery(scope, meter, **data.draw(questions(narrowed=True)))
        assert answers.answer(query) == reference(query, table)


def test_rows_are_read_only_where_the_registry_vouches_for_them(store: Store, scope: Scope) -> None:
    table = stored_events(scope, [{"properties": '{"kept": 1}'}, {"properties": '{"kept": 2}'}])
    (meter,) = flushed(store, of_scope([meter_of("COUNT")], scope), table)
    day = Interval(START, START + timedelta(days=1))
    asked = UsageQuery(scope, meter, day)
    # Rows that are wrong on purpose tell where an answer came from.
    usage = store.read_usage(scope, [meter.id])
    row = usage.to_pylist()[0] | {"version": 90, "counted": 90}
    store.insert_usage(pa.Table.from_pylist([row], usage.schema))
    clock = [0.0]
    answers = StoredAnswers(store, clock=lambda: clock[0])

    assert answers.answer(asked).value == 90
    assert answers.answer(replace(asked, sources=("",))).value == 1
    widened = replace(meter, filters=(Filter("kept", ("1", "2")),))
    assert answers.answer(replace(asked, meter=widened)).value == 2
    known = registered_meters(store)[scope, meter.id]
    building = Registered(
        scope, meter.id, known.generation, MeterState.BUILDING, known.revision + 1
    )
    register(store, [building])
    assert answers.answer(asked).value == 90
    clock[0] = 1.1
    assert answers.answer(asked).value == 1


def test_rows_that_were_built_from_raw_keep_their_edges(store: Store, scope: Scope) -> None:
    table = stored_events(scope, [{"timestamp": START + timedelta(seconds=s)} for s in (5, 20)])
    store.insert_events(table)
    plain = replace(meter_of("COUNT"), filters=())
    (meter,) = registered(store, of_scope([plain], scope), flow="metering", shards=SHARDS)
    known = registered_meters(store)[scope, meter.id]
    assert known.state is MeterState.BUILDING
    build_missing(store, [meter])

    # No flush has come as far as these events, and none will if nobody sends any more.
    period = Interval(START + timedelta(seconds=1), START + timedelta(seconds=21))
    assert StoredAnswers(store, pause=never).answer(UsageQuery(scope, meter, period)).value == 2


def test_tenants_and_environments_never_meet(store: Store, scope: Scope) -> None:
    table = stored_events(scope, [{"properties": '{"kept": 1}'}])
    (meter,) = flushed(store, of_scope([meter_of("COUNT")], scope), table)
    day = Interval(START, START + timedelta(days=1))
    for other in (Scope("t", "elsewhere"), Scope("other", scope.environment_id)):
        assert StoredAnswers(store).answer(UsageQuery(other, meter, day)).value == 0
    assert StoredAnswers(store, pause=never).answer(UsageQuery(scope, meter, day)).value == 1


def test_threads_ask_one_store_at_once(store: Store, scope: Scope) -> None:
    rows = [
        {
            "timestamp": START + timedelta(minutes=number),
            "properties": f'{{"kept": 1, "v": {number}}}',
        }
        for number in range(30)
    ]
    table = stored_events(scope, rows)
    meters = flushed(store, of_scope([meter_of("SUM"), meter_of("COUNT_UNIQUE")], scope), table)
    period = Interval(START + timedelta(seconds=30), START + timedelta(minutes=20, seconds=30))
    queries = [UsageQuery(scope, meter, period) for meter in meters] * 6
    answers = StoredAnswers(store, pause=never)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(answers.answer, queries))
    assert found == [reference(query, table) for query in queries]


def test_an_unknown_zone_is_refused(store: Store, scope: Scope) -> None:
    day = Interval(START, START + timedelta(days=1))
    with pytest.raises(ValidationFailed):
        StoredAnswers(store).answer(
            UsageQuery(scope, meter_of("COUNT"), day, timezone="Mars/Olympus")
        )


def test_an_event_of_another_century_costs_no_more(store: Store, scope: Scope) -> None:
    moments = [datetime(1970, 1, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 1, tzinfo=UTC)]
    rows = [{"timestamp": at, "properties": json.dumps({"kept": 1})} for at in moments]
    store.insert_events(stored_events(scope, rows))
    period = Interval(datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    query = UsageQuery(scope, meter_of("COUNT"), period, window=WindowSize.QUARTER_HOUR)
    found = StoredAnswers(store).answer(query)
    assert [point.counted for point in found.windows] == [1, 1]
