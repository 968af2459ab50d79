"""Which copy of an id counts: the first of the log, however its partitions are read and re-read."""

import pickle
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.connectors.reading import read_batch
from flows.identity.index import IdentityIndex
from flows.metering.batches import IdentifiedBatch, ShardedCopies
from flows.metering.identifying import IdentifyLogic
from flows.stores.clickhouse import Store, open_store
from flows.stores.first_copies import restored_copies
from flows.stores.tables import CELLS
from operators.decoding import Door
from operators.lateness import BEGINNING
from schemas.event import RECORDS
from schemas.scope import Scope

pytestmark = pytest.mark.requires("embedded")

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCOPE = Scope("t", "e")
DATABASES = count(1)


@dataclass(frozen=True)
class Copy:
    """A copy of an event: its id, what it says, and when it was received."""

    name: str
    amount: int
    second: int


Log = list[list[Copy]]
Place = tuple[int, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def store(folder: str) -> Iterator[Store]:
    with open_store(folder, f"identifying_{next(DATABASES)}") as opened:
        yield opened


def copies(log: Log, partition: int, start: int, end: int) -> ShardedCopies:
    """Return some records of a partition as the shard gets them."""
    rows = [
        {
            "partition": partition,
            "offset": offset,
            "value": (
                f'{{"event_id": "{copy.name}", "event_name": "call", "external_customer_id": "c", '
                f'"timestamp": "2026-03-01T12:00:00Z", "properties": {{"amount": {copy.amount}}}}}'
            ).encode(),
            "received_at": NOON + timedelta(seconds=copy.second),
        }
        for offset, copy in enumerate(log[partition][start:end], start)
    ]
    door = Door("t", "e", lambda records: pa.nulls(records.num_rows, pa.string()))
    batch, _ = read_batch(pa.Table.from_pylist(rows, schema=RECORDS), door, BEGINNING, 10**12)
    return ShardedCopies(0, batch.copies)


@dataclass
class Shard:
    """The logic of a shard over several lives, and what it has said in the last."""

    store: Store
    path: Path
    said: list[IdentifiedBatch] = field(default_factory=list)
    logic: IdentifyLogic | None = None

    def begin(self, snapshot: bytes | None = None) -> None:
        restored = None if snapshot is None else pickle.loads(snapshot)  # noqa: S301 - what this test has pickled itself
        self.logic = IdentifyLogic(
            lambda _, manifest: IdentityIndex.open(self.path, manifest), self.store, restored
        )

    def take(self, *batches: ShardedCopies) -> IdentifiedBatch:
        assert self.logic is not None
        (said,) = self.logic.on_batch(list(batches))[0]
        self.said.append(said)
        return said

    def accepted(self) -> set[Place]:
        """Return the positions of what raw shows to readers."""
        return places(self.store.read_events(SCOPE, ["call"]))

    def refused(self) -> dict[Place, set[str]]:
        """Return the words on refused copies by position."""
        found: dict[Place, set[str]] = defaultdict(set)
        for row in self.store.read_table("verdicts").to_pylist():
            found[row["partition"], row["offset"]].add(row["verdict"])
        return found


@pytest.fixture
def shard(store: Store, tmp_path: Path) -> Shard:
    made = Shard(store, tmp_path)
    made.begin()
    return made


def places(rows: pa.Table) -> set[Place]:
    return {(row["partition"], row["offset"]) for row in rows.to_pylist()}


def first_copies(log: Log) -> set[Place]:
    """Return the first copy of each id; within a partition receipt times count as never falling."""
    first: dict[str, tuple[int, int, int]] = {}
    for partition, records in enumerate(log):
        received = -100
        for offset, copy in enumerate(records):
            received = max(received, copy.second)
            place = (received, partition, offset)
            first[copy.name] = min(first.get(copy.name, place), place)
    return {place[1:] for place in first.values()}


@pytest.mark.parametrize("seed", range(6))
def test_trap_3_the_first_copy_counts_however_partitions_are_read(shard: Shard, seed: int) -> None:
    """Any interleaving, any batches, crashes between them, receipt times that fall now and then."""
    chance = random.Random(seed)  # noqa: S311 - reproducible
    log = [
        [
            Copy(f"id-{chance.randrange(9)}", chance.randrange(3), offset + chance.randrange(-9, 9))
            for offset in range(18)
        ]
        for _ in range(3)
    ]
    at, saved = [0, 0, 0], (None, [0, 0, 0])
    crashes = 3
    while any(position < 18 for position in at):
        batches = []
        for partition in chance.sample(range(3), chance.randrange(1, 4)):
            end = min(at[partition] + chance.randrange(1, 7), 18)
            if end > at[partition]:
                batches.append(copies(log, partition, at[partition], end))
                at[partition] = end
        if batches:
            shard.take(*batches)
        if chance.random() < 0.3 and shard.said:
            assert shard.logic is not None
            saved = pickle.dumps(shard.logic.snapshot()), list(at)
        if crashes and chance.random() < 0.25:
            crashes -= 1
            shard.begin(saved[0])
            at = list(saved[1])

    right = first_copies(log)
    everything = {(partition, offset) for partition in range(3) for offset in range(18)}
    assert shard.accepted() == right
    words = shard.refused()
    assert {place for place, said in words.items() if said & {"duplicate", "conflict"}} == (
        everything - right
    )


def test_an_earlier_copy_takes_the_place_of_the_one_that_was_read_first(shard: Shard) -> None:
    log = [[Copy("a", 1, 50)], [Copy("a", 2, 10)]]
    shard.take(copies(log, 0, 0, 1))

    said = shard.take(copies(log, 1, 0, 1))

    assert places(said.accepted) == {(1, 0)}
    assert places(said.displaced) == {(0, 0)}
    assert said.taken_over == 1
    assert shard.accepted() == {(1, 0)}
    assert shard.refused() == {(0, 0): {"conflict"}}


def test_of_several_earlier_copies_the_first_takes_the_place(shard: Shard) -> None:
    log = [[Copy("a", 1, 50)], [Copy("a", 2, 20)], [Copy("a", 2, 10)]]
    shard.take(copies(log, 0, 0, 1))

    said = shard.take(copies(log, 1, 0, 1), copies(log, 2, 0, 1))

    assert places(said.accepted) == {(2, 0)}
    # Each is compared with the copy that counts now, not with the one that counted before.
    assert shard.refused() == {(0, 0): {"conflict"}, (1, 0): {"duplicate"}}


@pytest.mark.parametrize("sealed", [False, True])
def test_what_a_lost_run_accepted_is_displaced_when_it_is_not_first(
    shard: Shard, sealed: bool
) -> None:
    """The lost run read partition 0 first and published it; this run reads partition 1 first."""
    log = [[Copy("a", 1, 50)], [Copy("b", 1, 0), Copy("a", 2, 10)]]
    snapshot = None
    if sealed:
        shard.take(copies(log, 1, 0, 1))
        assert shard.logic is not None
        snapshot = pickle.dumps(shard.logic.snapshot())
    shard.take(copies(log, 0, 0, 1))

    shard.begin(snapshot)
    shard.take(copies(log, 1, int(sealed), 2))
    said = shard.take(copies(log, 0, 0, 1))

    assert said.accepted.num_rows == said.taken_over == 0
    assert places(said.displaced) == {(0, 0)}
    assert shard.accepted() == {(1, 0), (1, 1)}


def test_a_withdrawal_of_a_lost_run_does_not_hide_a_copy_that_is_first_again(shard: Shard) -> None:
    log = [[Copy("a", 1, 50)], [Copy("a", 2, 10)]]
    shard.take(copies(log, 0, 0, 1))
    shard.take(copies(log, 1, 0, 1))
    minute = pa.Table.from_pylist(
        [
            {
                "tenant_id": "t",
                "environment_id": "e",
                "event_name": "call",
                "external_customer_id": "c",
                "window_start": NOON,
            }
        ],
        schema=CELLS,
    )

    def before(rows: pa.Table) -> Any:
        return rows["partition"].to_numpy() == 0

    def after(rows: pa.Table) -> Any:
        return rows["partition"].to_numpy() >= 0

    assert places(restored_copies(shard.store, minute, before)) == {(0, 0)}
    assert places(restored_copies(shard.store, minute, after)) == set()


def test_a_copy_that_is_read_again_finds_itself(shard: Shard) -> None:
    log = [[Copy("a", 1, 0), Copy("a", 1, 1), Copy("b", 1, 2)]]
    assert shard.logic is not None
    said = [shard.take(copies(log, 0, 0, 3))]
    shard.begin()
    said.append(shard.take(copies(log, 0, 0, 1)))
    said.append(shard.take(copies(log, 0, 1, 3)))

    assert [places(each.accepted) for each in said] == [{(0, 0), (0, 2)}, {(0, 0)}, {(0, 2)}]
    assert [each.displaced.num_rows for each in said] == [0, 0, 0]
    assert [each.frontier for each in said] == [{(0, 0): 2}, {(0, 0): 0}, {(0, 0): 2}]


def test_a_restored_shard_goes_on_as_if_nothing_had_happened(shard: Shard, store: Store) -> None:
    log = [[Copy("a", 1, 50), Copy("a", 1, 51)], [Copy("a", 2, 10), Copy("a", 2, 60)]]
    shard.take(copies(log, 0, 0, 1))
    shard.take(copies(log, 1, 0, 1))
    assert shard.logic is not None
    shard.begin(pickle.dumps(shard.logic.snapshot()))

    said = shard.take(copies(log, 0, 1, 2), copies(log, 1, 1, 2))

    assert said.accepted.num_rows == said.displaced.num_rows == 0
    verdicts = {
        (row["partition"], row["offset"]): (row["verdict"], row["first_partition"])
        for row in store.read_table("verdicts").to_pylist()
    }
    assert verdicts[0, 1] == ("conflict", 1)
    assert verdicts[1, 1] == ("duplicate", 1)


def test_copies_of_a_batch_that_are_all_known_still_say_how_far_it_came(shard: Shard) -> None:
    log = [[Copy("a", 1, 0), Copy("a", 1, 1), Copy("a", 1, 2)]]
    shard.take(copies(log, 0, 0, 1))

    said = shard.take(copies(log, 0, 1, 3))

    assert said.accepted.num_rows == 0
    assert said.frontier == {(0, 0): 2}
