"""The fifteen correctness traps of the engine, by their numbers; each test is named after its trap.

Elsewhere: 1, 2 and 9 in test_merging.py, 3 in test_identifying.py, all of them under kills in
tests/faults. Traps 10 and 13 are open (DECISIONS.md).
"""

import gzip
import hashlib
import shutil
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import bytewax.operators as op
import numpy as np
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main

from flows.connectors.file_source import FileSettings, FileSource
from flows.connectors.reading import read_batch
from flows.connectors.usage_sink import UsagePartition
from flows.identity.index import IdentityIndex, packed_positions
from flows.metering.aggregating import partials_of
from flows.metering.batches import CellChange, ReadBatch, ShardedCopies
from flows.metering.identifying import IdentifyLogic
from flows.metering.sharding import by_identity
from flows.stores.clickhouse import Store, open_store
from flows.stores.migrations import numbered_files, statements
from flows.stores.tables import FlushKind
from operators.decoding import Door
from operators.digests import halves
from operators.lateness import BEGINNING, mark_late
from operators.partials import merge
from operators.windows import window_of
from schemas.event import INSTANT, RECORDS
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.scope import Scope
from schemas.usage import PAIRS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCOPE = Scope("t", "e")
DATABASES = count(1)
METERS = {
    "total": Meter("total", "t", "e", "total", "call", Aggregation(AggregationType.SUM, "amount")),
    "users": Meter(
        "users", "t", "e", "users", "call", Aggregation(AggregationType.COUNT_UNIQUE, "amount")
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(folder: str) -> Iterator[Store]:
    with open_store(folder, f"traps_{next(DATABASES)}") as opened:
        yield opened


def read(*records: dict[str, Any]) -> ReadBatch:
    """Read records as a source does; each is a call of amount 1 where it says nothing else."""
    rows = []
    for offset, record in enumerate(records):
        said = {"id": "a", "at": "2026-03-01T12:00:00Z", "amount": "1", "partition": 0} | record
        value = (
            f'{{"event_id": "{said["id"]}", "event_name": "call", "external_customer_id": "c", '
            f'"timestamp": "{said["at"]}", "properties": {{"amount": {said["amount"]}}}}}'
        )
        received = NOON + timedelta(seconds=offset)
        rows.append(
            {"partition": said["partition"], "offset": offset, "value": value.encode()}
            | {"received_at": received}
        )
    door = Door("t", "e", lambda rows: pa.nulls(rows.num_rows, pa.string()))
    return read_batch(pa.Table.from_pylist(rows, schema=RECORDS), door, BEGINNING, 0)[0]


def pairs(*values: Decimal) -> pa.Table:
    rows = [
        {
            "meter_id": meter,
            "external_customer_id": "c",
            "group": "",
            "timestamp": NOON + timedelta(seconds=number),
            "event_id": f"{number}",
            "value": None if meter == "users" else value,
            "member": bytes([number]) * 16 if meter == "users" else None,
        }
        for number, value in enumerate(values)
        for meter in METERS
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def identified(store: Store, path: Path) -> IdentifyLogic:
    return IdentifyLogic(lambda _, manifest: IdentityIndex.open(path, manifest), store, None)


@pytest.mark.parametrize("shards", [2, 8])
def test_trap_4_copies_of_an_id_meet_whatever_partition_they_come_by(shards: int) -> None:
    names = [f"id-{number}" for number in range(60)]
    found: dict[int, set[str]] = {}
    for partition in range(3):
        batch = read(*({"id": name, "partition": partition} for name in names))
        for shard, copies in by_identity(batch.copies, shards):
            met = set(copies["event_id"].to_pylist())
            assert found.setdefault(shard, met) == met
    assert sorted(name for met in found.values() for name in met) == sorted(names)


def test_trap_5_the_files_that_a_manifest_names_are_whole_when_it_exists(tmp_path: Path) -> None:
    copies = read(*({"id": f"id-{number}"} for number in range(50))).copies
    high, low = halves(copies["event_digest"].combine_chunks())
    positions = packed_positions(copies["partition"].to_numpy(), copies["offset"].to_numpy())
    index = IdentityIndex.open(tmp_path / "live")
    index.first_seen(high, low, positions, copies["fingerprint"].to_numpy())

    manifest = index.seal()
    # What a crash in this very moment would leave behind.
    shutil.copytree(tmp_path / "live", tmp_path / "left")

    again = IdentityIndex.open(tmp_path / "left", manifest)
    found = again.first_seen(high, low, positions + 1000, np.zeros(50, np.uint64))
    assert found.positions.tolist() == positions.tolist()


@pytest.mark.requires("embedded")
def test_trap_5_a_conflict_is_told_by_the_content_in_raw(store: Store, tmp_path: Path) -> None:
    batch = read({}, {"amount": "1.0"}, {"amount": "2"}, {"amount": '"1"'})
    identified(store, tmp_path).on_batch([ShardedCopies(0, batch.copies)])

    found = {row["offset"]: row["verdict"] for row in store.read_table("verdicts").to_pylist()}

    assert found == {1: "duplicate", 2: "conflict", 3: "conflict"}


@pytest.mark.requires("embedded")
def test_trap_6_an_id_is_one_event_however_far_apart_its_copies_lie(
    store: Store, tmp_path: Path
) -> None:
    logic = identified(store, tmp_path)
    for number, year in enumerate((2026, 1971, 2199)):
        copies = read(*[{"at": f"{year}-01-01T00:00:00Z"}] * (number + 1)).copies
        logic.on_batch([ShardedCopies(0, copies.slice(number))])
        logic.snapshot()

    assert store.read_events(SCOPE, ["call"])["offset"].to_pylist() == [0]


def test_trap_6_no_table_is_partitioned() -> None:
    created = [each for _, text in numbered_files() for each in statements(text)]
    assert any("CREATE TABLE IF NOT EXISTS events" in each for each in created)
    assert [each for each in created if "PARTITION BY" in each] == []


@pytest.mark.requires("embedded")
def test_trap_7_sums_beyond_38_digits_are_exact_up_to_the_reader(store: Store) -> None:
    greatest = Decimal("99999999999999999999.999999999999999999")
    parts = [partials_of(pairs(greatest), METERS)["SUM"] for _ in range(300)]
    change = CellChange(0, {"SUM": merge("SUM", parts)}, {(0, 0): 1}, {}, frozenset())
    UsagePartition(store, METERS, None).write_batch([change])

    found = store.read_usage(SCOPE, ["total"])["sum"].to_pylist()

    assert found == [Decimal("29999999999999999999999.999999999999999700")]


@pytest.mark.requires("embedded")
def test_trap_8_a_flush_is_written_in_an_order_that_readers_can_rely_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is about to be published, members, rows, that they are; raw was written a step before."""
    written: list[str] = []
    insert = Store.insert

    def noted(self: Store, table: str, rows: pa.Table) -> None:
        kinds = rows["kind"].to_pylist() if table == "flushes" else []
        written.extend(kinds or [table])
        insert(self, table, rows)

    monkeypatch.setattr(Store, "insert", noted)
    partials = partials_of(pairs(Decimal(1)), METERS)
    change = CellChange(0, partials, {(0, 0): 7}, {}, frozenset())
    UsagePartition(store, METERS, lambda _: written.append("topic")).write_batch([change])

    assert written == ["intent", "usage_members", "usage", "done", "topic"]
    done = store.last_flush("metering", 0, FlushKind.DONE)
    assert done is not None
    assert done.frontier == {(0, 0): 7}


def test_trap_11_one_event_from_the_far_future_makes_nothing_late() -> None:
    times = [NOON, datetime(2199, 12, 31, tzinfo=UTC), NOON + timedelta(seconds=1), NOON]
    received = [NOON, NOON, NOON + timedelta(minutes=2), NOON + timedelta(minutes=3)]
    events = pa.table(
        {"timestamp": pa.array(times, INSTANT), "received_at": pa.array(received, INSTANT)}
    )

    late, watermark = mark_late(events, BEGINNING, 60_000_000)

    assert late.to_pylist() == [False] * 4
    assert watermark == int((NOON + timedelta(seconds=1)).timestamp()) * 1_000_000


def test_trap_11_the_word_is_the_same_in_any_split() -> None:
    seconds = [0, 200, 10, 500, 130, 499, 90, 800, 700]
    times = pa.array([NOON + timedelta(seconds=each) for each in seconds], INSTANT)
    events = pa.table({"timestamp": times, "received_at": pa.nulls(len(seconds), INSTANT)})
    whole, end = mark_late(events, BEGINNING, 60_000_000)
    assert 0 < whole.true_count < len(seconds)
    for cut in range(1, len(seconds)):
        first, watermark = mark_late(events.slice(0, cut), BEGINNING, 60_000_000)
        rest, last = mark_late(events.slice(cut), watermark, 60_000_000)
        assert [*first.to_pylist(), *rest.to_pylist()] == whole.to_pylist()
        assert last == end


def test_trap_12_edges_come_from_the_pinned_zones_and_not_from_the_machine(tmp_path: Path) -> None:
    """A machine that takes the Chatham Islands for Greenwich changes no edge."""
    wrong = tmp_path / "Pacific" / "Chatham"
    wrong.parent.mkdir()
    wrong.write_bytes(resources.files("tzdata").joinpath("zoneinfo", "UTC").read_bytes())
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        assert NOON.astimezone(ZoneInfo.no_cache("Pacific/Chatham")).utcoffset() == timedelta(0)
        day = window_of(WindowSize.DAY, NOON, timezone="Pacific/Chatham")
    finally:
        zoneinfo.reset_tzpath()

    assert day.start == datetime(2026, 3, 1, 10, 15, tzinfo=UTC)
    assert day.end == datetime(2026, 3, 2, 10, 15, tzinfo=UTC)


@pytest.mark.parametrize("packed", [False, True])
def test_trap_14_positions_and_ids_follow_from_name_and_line_alone(
    tmp_path: Path, packed: bool
) -> None:
    line = (
        b'{"event_name": "call", "external_customer_id": "c", "timestamp": "2026-03-01T12:00:00Z"}'
    )
    texts = {"b.ndjson": [line, line], "a.ndjson": [line, b"", line]}
    paths = []
    for number, (name, lines) in enumerate(texts.items()):
        # Neither the folder nor the order on the command line counts.
        place = tmp_path / f"{number}"
        place.mkdir()
        text = b"\n".join(lines)
        path = place / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(text) if packed else text)
        paths.append(str(path))
    found: list[ReadBatch] = []
    flow = Dataflow("read")
    source = FileSource(paths, FileSettings("t", "e", 2, 1000, 0))
    op.output("out", op.input("in", flow, source), TestingSink(found))
    run_main(flow)

    copies = pa.concat_tables([batch.copies for batch in found])

    assert copies.select(["partition", "offset"]).to_pylist() == [
        {"partition": 0, "offset": 0},
        {"partition": 0, "offset": 2},
        {"partition": 1, "offset": 0},
        {"partition": 1, "offset": 1},
    ]
    assert copies["received_at"].null_count == 4
    digest = hashlib.md5(line).digest()  # noqa: S324 - a name, no secret
    said = [
        f"{name}.ndjson\x1f{number}\x1f".encode() + digest for name in "ab" for number in (0, 1)
    ]
    assert copies["event_id"].to_pylist() == [
        f"event_{hashlib.md5(each).hexdigest()}"  # noqa: S324 - it names things and guards nothing
        for each in said
    ]


def test_trap_15_what_is_acknowledged_is_on_the_disk() -> None:
    """The durable path waits for the disk with every table; only a store of one run does not."""
    created = [
        each for _, text in numbered_files() for each in statements(text) if "MergeTree" in each
    ]
    assert len(created) >= 10
    assert [each for each in created if "fsync_after_insert = 1" not in each] == []
