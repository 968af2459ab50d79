"""Meters that come, change and go between two runs of one flow: usage is as if each had always been.

The flow runs on a log of events in pieces; between the pieces the catalog changes, and some runs break off
with raw events stored ahead of their last snapshot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.reading import read_batch
from flows.connectors.usage_sink import UsageSink
from flows.metering.backfilling import build_missing
from flows.metering.batches import ReadBatch
from flows.metering.flow import FLOW, Counts, MeteringSettings, metering_flow
from flows.metering.layout import prepare
from flows.metering.registry import registered
from flows.stores.clickhouse import Store, open_store
from flows.stores.registry import registered_meters, shards_of
from flows.stores.tables import MeterState
from operators.decoding import Door
from operators.lateness import BEGINNING
from operators.matching import match
from operators.partials import base_window_starts
from schemas.event import INSTANT, RECORDS
from schemas.meter import Aggregation, AggregationType, Filter, Meter, ResetUsage
from schemas.scope import Scope

pytestmark = pytest.mark.requires("embedded")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCOPE = Scope("t", "e")
DATABASES = count(1)
SHARDS = 2
DOOR = Door("t", "e", lambda rows: pa.nulls(rows.num_rows, pa.string()))

CALLS = Meter("calls", "t", "e", "calls", "call", Aggregation(AggregationType.COUNT))
TOTAL = Meter("total", "t", "e", "total", "call", Aggregation(AggregationType.SUM, "amount"))
USERS = Meter("users", "t", "e", "users", "call", Aggregation(AggregationType.COUNT_UNIQUE, "user"))
LARGE = replace(TOTAL, filters=(Filter("size", ("large",)),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("joining"))


@pytest.fixture
def store(folder: str) -> Iterator[Store]:
    with open_store(folder, f"joining_{next(DATABASES)}") as opened:
        yield opened


def record(number: int) -> bytes:
    """Return an event of the log; neighbours share minutes, customers and users."""
    at = NOON + timedelta(seconds=13 * number)
    size = "large" if number % 3 else "small"
    return (
        f'{{"event_id": "e{number:04}", "event_name": "call", "timestamp": "{at:%Y-%m-%dT%H:%M:%SZ}", '
        f'"external_customer_id": "c{number % 4}", '
        f'"properties": {{"amount": {number}.25, "user": "u{number % 7}", "size": "{size}"}}}}'
    ).encode()


class Broken(Exception):
    """The run breaks off here, with nothing closed."""


class Piece(StatefulSourcePartition[ReadBatch, int]):
    """A part of the log, six records a batch; with `breaks` it ends in an exception."""

    def __init__(self, offset: int, end: int, *, breaks: bool):
        self._offset, self._end, self._breaks = offset, end, breaks

    def next_batch(self) -> list[ReadBatch]:
        if self._offset >= self._end:
            if self._breaks:
                raise Broken
            raise StopIteration
        offsets = range(self._offset, min(self._offset + 6, self._end))
        self._offset = offsets.stop
        rows = len(offsets)
        records = pa.table(
            [
                pa.array([0] * rows, pa.int32()),
                pa.array(list(offsets), pa.int64()),
                pa.array([record(offset) for offset in offsets], pa.large_binary()),
                pa.nulls(rows, pa.binary()),
                pa.array([NOON] * rows, INSTANT),
            ],
            schema=RECORDS,
        )
        return [read_batch(records, DOOR, BEGINNING, 60_000_000)[0]]

    def snapshot(self) -> int:
        return self._offset


class PieceSource(FixedPartitionedSource[ReadBatch, int]):
    def __init__(self, end: int, *, breaks: bool):
        self._end, self._breaks = end, breaks

    def list_parts(self) -> list[str]:
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Piece:
        return Piece(resume_state or 0, self._end, breaks=self._breaks)


def run(
    store: Store,
    data: Path,
    meters: Sequence[Meter],
    end: int,
    *,
    breaks: bool = False,
    epoch: timedelta = timedelta(0),
    flush: timedelta | None = timedelta(0),
) -> list[Meter]:
    """Run the flow up to an offset, with whatever must be done before it; return its meters."""
    state, recovery = prepare(data, SHARDS)
    mine = registered(store, meters, flow=FLOW, shards=SHARDS)
    build_missing(store, mine)
    flow = metering_flow(
        PieceSource(end, breaks=breaks),
        store,
        mine,
        MeteringSettings(state, SHARDS, flush),
        usage=UsageSink(store, {meter.id: meter for meter in mine}),
        dead_letters=DeadLetterSink(store, "test"),
        counts=Counts(),
    )
    try:
        run_main(flow, epoch_interval=epoch, recovery_config=RecoveryConfig(recovery))
    except BaseException:
        if not breaks:
            raise
    return mine


def expected(
    store: Store, meter: Meter, end: int
) -> dict[tuple[str, datetime], tuple[int, object]]:
    """Return count and sum of each cell by looking at all events anew."""
    events = store.read_events(SCOPE, ["call"])
    assert events.num_rows == end
    pairs = match([meter], events).counted
    pairs = pairs.append_column("window", base_window_starts(pairs["timestamp"]))
    cells: dict[tuple[str, datetime], tuple[int, object]] = {}
    for row in pairs.to_pylist():
        key = row["external_customer_id"], row["window"]
        counted, total = cells.get(key, (0, 0))
        cells[key] = counted + 1, total + (row["value"] or 0)
    return cells


def stored(store: Store, meter: Meter) -> dict[tuple[str, datetime], tuple[int, object]]:
    """Return count and sum of each stored cell of a meter's generation."""
    rows = store.read_usage(SCOPE, [meter.id])
    assert pc.all(pc.equal(rows["generation"], meter.generation)).as_py() is not False
    return {
        (row["external_customer_id"], row["window_start"]): (row["counted"], row["sum"] or 0)
        for row in rows.to_pylist()
    }


@pytest.mark.parametrize("breaks", [False, True], ids=["stopped", "broken off"])
@pytest.mark.parametrize("epoch", [timedelta(0), timedelta(minutes=1)], ids=["often", "at the end"])
@pytest.mark.parametrize("flush", [timedelta(0), None], ids=["published", "pending"])
def test_meters_that_join_or_change_are_as_if_they_had_always_been(
    store: Store, tmp_path: Path, *, breaks: bool, epoch: timedelta, flush: timedelta | None
) -> None:
    run(store, tmp_path, [CALLS, TOTAL], 50)
    run(store, tmp_path, [CALLS, TOTAL], 90, breaks=breaks, epoch=epoch, flush=flush)
    # total changes its filter, users is new, and they meet windows of before in the same minutes.
    run(store, tmp_path, [CALLS, LARGE, USERS], 131, breaks=breaks, epoch=epoch, flush=flush)
    meters = run(store, tmp_path, [CALLS, LARGE, USERS], 200)
    assert [meter.generation for meter in meters] == [1, 2, 1]
    for meter in meters:
        assert stored(store, meter) == expected(store, meter, 200)
    members = store.read_members(SCOPE, ["users"])
    assert set(members["external_customer_id"].to_pylist()) == {"c0", "c1", "c2", "c3"}
    assert {each.state for each in registered_meters(store).values()} == {MeterState.LIVE}
    assert shards_of(store, FLOW) == SHARDS


def test_a_meter_that_was_away_comes_back_without_a_gap(store: Store, tmp_path: Path) -> None:
    run(store, tmp_path, [CALLS, TOTAL], 60)
    run(store, tmp_path, [CALLS], 120)
    assert registered_meters(store)[SCOPE, "total"].state is MeterState.RETIRED
    _, total = run(store, tmp_path, [CALLS, TOTAL], 180)
    assert total.generation == 2
    assert stored(store, total) == expected(store, total, 180)


def test_registering_again_changes_nothing(store: Store) -> None:
    first = registered(store, [CALLS, TOTAL], flow=FLOW, shards=SHARDS)
    before = registered_meters(store)
    assert registered(store, [CALLS, TOTAL], flow=FLOW, shards=SHARDS) == first
    assert registered_meters(store) == before


def test_how_usage_resets_makes_no_new_generation(store: Store) -> None:
    registered(store, [TOTAL], flow=FLOW, shards=SHARDS)
    changed = replace(TOTAL, reset_usage=ResetUsage.NEVER)
    assert registered(store, [changed], flow=FLOW, shards=SHARDS)[0].generation == 1
