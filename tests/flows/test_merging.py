"""The merge of one shard over crashes, evictions and corrections, against a plain model of its log.

The log is a list of events at offsets 0, 1, 2 …; one may lose its place to a later offset. What a cell
contains at a frontier is then a plain question, and every publication must answer it.
"""

import pickle
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.metering.aggregating import partials_of
from flows.metering.batches import CellChange, CellKey, Frontier, PartialBatch
from flows.metering.merging import MergeLogic, MergeSettings, MergeSnapshot, ShardPast
from flows.metering.open_cells import of_cells
from flows.metering.usage_rows import usage_rows
from operators.partials import Partials
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.usage import CELL, PAIRS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = (0, 0)
METERS = {
    name: Meter(name, "t", "e", name, "call", aggregation)
    for name, aggregation in {
        "total": Aggregation(AggregationType.SUM, field="amount"),
        "users": Aggregation(AggregationType.COUNT_UNIQUE, field="user"),
        "reading": Aggregation(AggregationType.LATEST, field="amount"),
    }.items()
}


@dataclass(frozen=True)
class Happened:
    """An event of the log; from the offset `lost_at` on it counts no more."""

    minute: int
    amount: int
    user: int
    lost_at: int | None = None

    def counts(self, offset: int, frontier: int) -> bool:
        return offset <= frontier and (self.lost_at is None or frontier < self.lost_at)


Log = list[Happened]


def pairs(log: Log, offsets: Iterable[int]) -> pa.Table:
    """Return what some events of the log bring to each meter."""
    rows = []
    for offset in offsets:
        event = log[offset]
        row = {
            "external_customer_id": "acme",
            "group": "",
            "timestamp": NOON + timedelta(minutes=event.minute, seconds=event.amount % 60),
            "event_id": f"{offset:03}",
        }
        for meter in METERS:
            member = bytes([event.user]) * 16 if meter == "users" else None
            value = None if meter == "users" else Decimal(event.amount)
            rows.append({**row, "meter_id": meter, "value": value, "member": member})
    return pa.Table.from_pylist(rows, schema=PAIRS)


def keys(event: Happened) -> set[CellKey]:
    """Return the cells of an event."""
    at = NOON + timedelta(minutes=event.minute)
    return {CellKey(m.aggregation.type, m.id, "acme", "", at) for m in METERS.values()}


@dataclass
class Store:
    """What survives crashes: published rows and members, intents and correction numbers."""

    log: Log
    rows: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    members: set[tuple[Any, ...]] = field(default_factory=set)
    published: Frontier = field(default_factory=dict)
    corrections: dict[CellKey, int] = field(default_factory=dict)
    reads: int = 0

    def rebuild(self, cells: Mapping[str, pa.Table], frontier: Frontier) -> dict[str, Partials]:
        self.reads += 1
        parts = partials_of(pairs(self.log, self.counting(frontier.get(PLACE, -1))), METERS)
        return {
            name: Partials(
                of_cells(part.table, cells[name]),
                None if part.members is None else of_cells(part.members, cells[name]),
            )
            for name, part in parts.items()
            if name in cells
        }

    def counting(self, frontier: int) -> list[int]:
        return [offset for offset, event in enumerate(self.log) if event.counts(offset, frontier)]

    def take(self, change: CellChange) -> None:
        """Store a publication as the sink does; rows of equal version must be equal."""
        self.published = dict(change.frontier)
        for cell in change.corrected:
            self.corrections[cell] = change.corrections[cell]
            gone = (cell.meter_id, cell.external_customer_id, cell.group, cell.window_start)
            self.members = {member for member in self.members if member[:4] != gone}
        rows, members = usage_rows(change.cells, METERS, change.corrections)
        self.members |= {tuple(row[n] for n in (*CELL, "member")) for row in members.to_pylist()}
        right = self.right(change.frontier[PLACE])
        for row in rows.to_pylist():
            cell, version = tuple(row[name] for name in CELL), row.pop("version")
            known = self.rows[cell]
            assert known.get(version, row) == row
            assert version >= max(known, default=0)
            known[version] = row
            assert figures(row) == right.get(cell, (0, None, None))

    def right(self, frontier: int) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Return what each cell must contain at a frontier: count, sum and latest value."""
        found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for offset in self.counting(frontier):
            for key in keys(self.log[offset]):
                found[key.meter_id, "acme", "", key.window_start].append(offset)
        return {
            cell: (
                len(offsets),
                Decimal(sum(self.log[o].amount for o in offsets)) if cell[0] == "total" else None,
                max((self.log[o].amount % 60, o, Decimal(self.log[o].amount)) for o in offsets)[2]
                if cell[0] == "reading"
                else None,
            )
            for cell, offsets in found.items()
        }

    def check(self) -> None:
        """Compare what readers see in the end with the model of the whole log."""
        end = len(self.log) - 1
        seen = {cell: figures(known[max(known)]) for cell, known in self.rows.items()}
        assert {cell: row for cell, row in seen.items() if row[0]} == self.right(end)
        assert self.members == {
            ("users", "acme", "", NOON + timedelta(minutes=e.minute), bytes([e.user]) * 16)
            for e in (self.log[offset] for offset in self.counting(end))
        }


def figures(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["counted"], row["sum"], row["latest_value"]


def batch(log: Log, start: int, end: int) -> PartialBatch:
    """Return the contribution of the offsets [start, end)."""
    here = [offset for offset in range(start, end) if log[offset].counts(offset, end - 1)]
    corrected = {
        key
        for event in log
        if event.lost_at is not None and start <= event.lost_at < end
        for key in keys(event)
    }
    partials = partials_of(pairs(log, here), METERS)
    return PartialBatch(0, partials, {PLACE: end - 1}, frozenset(corrected))


def shard(store: Store, folder: Path, snapshot: bytes | None, cells_max: int = 10**6) -> MergeLogic:
    """Build the shard from a pickled snapshot, or anew."""
    past = ShardPast(folder, dict(store.published), dict(store.corrections))
    restored: MergeSnapshot | None = None if snapshot is None else pickle.loads(snapshot)  # noqa: S301 - what this test has pickled itself
    return MergeLogic(
        MergeSettings(timedelta(0), cells_max, dict.fromkeys(METERS, 1)),
        lambda _: past,
        store.rebuild,
        restored,
    )


def flush(store: Store, logic: MergeLogic) -> None:
    for change in logic.on_notify()[0]:
        store.take(change)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    count = draw(st.integers(2, 14))
    log = []
    for offset in range(count):
        lost = draw(st.none() | st.integers(offset + 1, count + 3))
        lost = lost if lost is not None and lost < count else None
        minute, amount, user = draw(
            st.tuples(st.integers(0, 5), st.integers(-99, 99), st.integers(0, 2))
        )
        log.append(Happened(minute, amount, user, lost))
    return log


# What may happen between two batches of one to four events.
STEPS = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from(["", "flush", "seal", "flush seal", "crash"])),
    max_size=16,
)


@given(logs(), STEPS, st.sampled_from([1, 6, 10**6]))
@settings(max_examples=40)
def test_any_crash_split_eviction_and_correction_comes_to_the_same_usage(
    log: Log, steps: list[tuple[int, str]], cells_max: int
) -> None:
    store = Store(log)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logic, offset = shard(store, folder, None, cells_max), 0
        saved: tuple[bytes | None, int] = (None, 0)
        for size, what in [*steps, *[(3, "flush")] * len(log)]:
            end = min(offset + size, len(log))
            if end > offset:
                logic.on_batch([batch(log, offset, end)])
                offset = end
            if "flush" in what and offset:
                flush(store, logic)
            if "seal" in what and offset:
                saved = pickle.dumps(logic.snapshot()), offset
            if what == "crash":
                logic, offset = shard(store, folder, saved[0], cells_max), saved[1]
        for change in logic.on_eof()[0]:
            store.take(change)
    store.check()


@given(logs(), st.integers(0, 14), st.booleans())
@settings(max_examples=20)
def test_a_restored_shard_goes_on_as_if_nothing_had_happened(
    log: Log, at: int, flushed: bool
) -> None:
    at = min(max(at, 1), len(log) - 1)
    ends = []
    with tempfile.TemporaryDirectory() as name:
        for restored in (False, True):
            store, folder = Store(log), Path(name) / str(restored)
            logic = shard(store, folder, None)
            logic.on_batch([batch(log, 0, at)])
            if flushed:
                flush(store, logic)
            if restored:
                logic = shard(store, folder, pickle.dumps(logic.snapshot()))
            logic.on_batch([batch(log, at, len(log))])
            flush(store, logic)
            store.check()
            ends.append((store.rows, store.members))
    assert ends[0] == ends[1]


def test_trap_1_a_rebuild_takes_no_event_that_comes_again(tmp_path: Path) -> None:
    """After the crash raw holds four events of the minute, the restored shard has merged two."""
    log = [Happened(0, 1, 0), Happened(0, 2, 0), Happened(9, 4, 0), Happened(0, 8, 0)]
    store = Store(log)
    logic = shard(store, tmp_path, None, cells_max=1)
    logic.on_batch([batch(log, 0, 3)])
    flush(store, logic)
    assert logic._progress.horizon_us > NOON.timestamp() * 1_000_000
    saved = pickle.dumps(logic.snapshot())
    logic.on_batch([batch(log, 3, 4)])
    flush(store, logic)

    logic = shard(store, tmp_path, saved, cells_max=1)
    logic.on_batch([batch(log, 3, 4)])
    flush(store, logic)

    assert store.reads == 2
    assert store.rows["total", "acme", "", NOON].keys() == {2, 3}
    store.check()


def test_trap_2_nothing_is_published_until_the_replay_has_passed_what_was(tmp_path: Path) -> None:
    """{a, b} was published as version 2; the replay must not publish {a, c} as version 2."""
    log = [Happened(0, 1, 0), Happened(0, 2, 1), Happened(0, 4, 2)]
    store = Store(log)
    logic = shard(store, tmp_path, None)
    logic.on_batch([batch(log, 0, 3)])
    flush(store, logic)
    published = {cell: dict(versions) for cell, versions in store.rows.items()}

    logic = shard(store, tmp_path, None)
    for offset in range(2):
        logic.on_batch([batch(log, offset, offset + 1)])
        assert logic.on_notify()[0] == []
        assert logic.notify_at() is not None
    logic.on_batch([batch(log, 2, 3)])
    flush(store, logic)

    assert store.rows == published
    store.check()


def test_the_replay_may_end_exactly_where_was_published(tmp_path: Path) -> None:
    log = [Happened(0, 1, 0), Happened(1, 2, 1)]
    store = Store(log)
    logic = shard(store, tmp_path, None)
    logic.on_batch([batch(log, 0, 2)])
    flush(store, logic)

    logic = shard(store, tmp_path, None)
    logic.on_batch([batch(log, 0, 2)])

    assert [change.frontier for change in logic.on_eof()[0]] == [{PLACE: 1}]


def test_progress_without_an_event_lets_the_replay_catch_up(tmp_path: Path) -> None:
    """The last records before the crash were duplicates: they bring nothing but their offsets."""
    log = [Happened(0, 1, 0)]
    store = Store(log)
    store.published = {PLACE: 5}
    logic = shard(store, tmp_path, None)
    logic.on_batch([batch(log, 0, 1)])
    assert logic.on_notify()[0] == []

    logic.on_batch([PartialBatch(0, {}, {PLACE: 5})])

    assert len(list(logic.on_notify()[0])) == 1


def test_a_cell_that_loses_its_only_event_is_published_as_empty(tmp_path: Path) -> None:
    log = [Happened(0, 1, 0, lost_at=1), Happened(4, 2, 1)]
    store = Store(log)
    logic = shard(store, tmp_path, None)
    for offset in range(2):
        logic.on_batch([batch(log, offset, offset + 1)])
        flush(store, logic)

    emptied = store.rows["total", "acme", "", NOON]
    assert [row["counted"] for row in emptied.values()] == [1, 0]
    assert emptied[max(emptied)]["sum"] is None
    store.check()


def test_correction_numbers_of_a_lost_run_are_never_used_again(tmp_path: Path) -> None:
    log = [Happened(0, 1, 0), Happened(0, 2, 0, lost_at=2), Happened(0, 4, 0)]
    store = Store(log)
    for _ in range(3):
        logic = shard(store, tmp_path, None)
        logic.on_batch([batch(log, 0, 2)])
        logic.on_batch([batch(log, 2, 3)])
        flush(store, logic)

    assert set(store.corrections.values()) == {3}
    assert [len(versions) for versions in store.rows.values()] == [3] * len(METERS)
    store.check()


@pytest.mark.parametrize("windows", [2, 40])
def test_trap_9_the_missing_windows_of_a_flush_are_rebuilt_in_one_read(
    tmp_path: Path, windows: int
) -> None:
    early = [Happened(minute, minute, 0) for minute in range(windows)]
    log = [*early, Happened(500, 1, 0), *early]
    store = Store(log)
    logic = shard(store, tmp_path, None, cells_max=1)
    logic.on_batch([batch(log, 0, windows + 1)])
    for _ in range(8):
        # Each flush lets the older half of the windows go.
        flush(store, logic)
    before = store.reads

    logic.on_batch([batch(log, windows + 1, len(log))])
    flush(store, logic)

    assert store.reads == before + 1
    store.check()
