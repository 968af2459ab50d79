"""Answers beside a flow that writes: each is that of some flush, never of half of one (ENGINE trap 8).

The real metering flow runs once, and all that it writes is noted. Then the same writes are made again,
one by one, between the statements of a reader that asks on and on.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bytewax.testing import TestingSource, run_main

from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.reading import read_batch
from flows.connectors.usage_answers import StoredAnswers
from flows.connectors.usage_sink import UsageSink
from flows.metering.consistent_reads import (
    PAUSE_SECONDS,
    READINGS_MAX,
    Published,
    settled_readings,
    within,
)
from flows.metering.flow import Counts, MeteringSettings, metering_flow
from flows.metering.registry import registered
from flows.metering.sharding import customer_shards
from flows.stores.clickhouse import Store, open_store
from flows.stores.first_copies import place_of
from operators.answers import answer
from operators.decoding import Door
from operators.digests import identity_digests
from operators.lateness import BEGINNING
from operators.matching import match
from operators.usage import usage_of_pairs
from schemas.event import RECORDS
from schemas.event_query import UsageQuery
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.period import Interval
from schemas.scope import Scope

embedded = pytest.mark.requires("embedded")

SCOPE = Scope("tenant_default", "env_development")
START = datetime(2026, 3, 1, tzinfo=UTC)
SHARDS = 2
CUSTOMERS = ["acme", "beta", "gamma", "delta"]
BATCHES, BATCH = 14, 12
# Both ends cut a minute in which events keep coming.
PERIOD = Interval(START + timedelta(seconds=20), START + timedelta(minutes=2, seconds=40))
METERS = [
    Meter(name, SCOPE.tenant_id, SCOPE.environment_id, name, "call", aggregation)
    for name, aggregation in {
        "calls": Aggregation(AggregationType.COUNT),
        "total": Aggregation(AggregationType.SUM, field="amount"),
        "users": Aggregation(AggregationType.COUNT_UNIQUE, field="user"),
    }.items()
]

Frontier = dict[tuple[int, int], int]


@dataclass
class Tape:
    """An engine that notes what is written, or hears of each statement that reads."""

    engine: Any
    writes: list[Callable[[Any], None]] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)
    flushes: list[dict[str, Any] | None] = field(default_factory=list)
    heard: Callable[[], None] = lambda: None

    def insert(self, table: str, rows: pa.Table) -> None:
        self.writes.append(lambda engine: engine.insert(table, rows))
        self.flushes.append(rows.to_pylist()[0] if table == "flushes" else None)
        if rows.num_rows:
            self.tables.add(table)
        self.engine.insert(table, rows)

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.writes.append(lambda engine: engine.command(statement, parameters))
        self.flushes.append(None)
        self.engine.command(statement, parameters)

    def read(self, *arguments: Any) -> pa.Table:
        found = self.engine.read(*arguments)
        self.heard()
        return found

    def close(self) -> None:
        self.engine.close()


def log() -> list[pa.Table]:
    """Return batches of two partitions, with copies of ids that were received earlier in the other."""
    chance = random.Random(5)  # noqa: S311 - the same log on every call
    offsets = [0, 0]
    batches = []
    for number in range(BATCHES):
        partition = number % 2
        rows = []
        for _ in range(BATCH):
            # Partition 1 was received before partition 0, so that its copies take ids over.
            received = START + timedelta(minutes=5 - 5 * partition, seconds=number)
            event = {
                "event_id": f"event_{chance.randrange(120)}",
                "event_name": "call",
                "external_customer_id": chance.choice(CUSTOMERS),
                "timestamp": (START + timedelta(seconds=chance.randrange(200))).isoformat(),
                "properties": {"amount": chance.randrange(1, 1000), "user": chance.randrange(9)},
            }
            rows.append((partition, offsets[partition], json.dumps(event).encode(), None, received))
            offsets[partition] += 1
        columns = [list(column) for column in zip(*rows, strict=True)]
        batches.append(pa.table(columns, schema=RECORDS))
    return batches


def no_ids(rows: pa.Table) -> pa.Array:
    return pa.nulls(rows.num_rows, pa.string())


def recorded(folder: Path, store_folder: str) -> tuple[Tape, list[pa.Table]]:
    """Run the flow over the log, and return what it wrote and the copies that it read."""
    door = Door(SCOPE.tenant_id, SCOPE.environment_id, no_ids)
    read = [read_batch(batch, door, BEGINNING, 60_000_000)[0] for batch in log()]
    with open_store(store_folder, "tally_recorded") as store:
        tape = Tape(store.engine)
        recorder = Store(tape)  # type: ignore[arg-type]  # it does what an engine does
        meters = registered(recorder, METERS, flow="metering", shards=SHARDS)
        flow = metering_flow(
            TestingSource(read),
            recorder,
            meters,
            MeteringSettings(folder, SHARDS, flush_every=timedelta(0)),
            usage=UsageSink(recorder, {meter.id: meter for meter in meters}),
            dead_letters=DeadLetterSink(recorder, "log"),
            counts=Counts(),
        )
        run_main(flow)
    return tape, [each.copies for each in read]


def frontier_of(row: dict[str, Any]) -> Frontier:
    places = zip(row["partitions"], row["identify_shards"], strict=True)
    return dict(zip(places, row["offsets"], strict=True))


def first_copies(copies: pa.Table, frontier: Frontier) -> pa.Table:
    """Return the copies that are the first of their ids at or below a frontier, by a plain reading."""
    seen = copies.filter(pa.array(within(copies, frontier, SHARDS)))
    first: dict[str, tuple[Any, ...]] = {}
    rows = seen.to_pylist()
    for row in rows:
        place = place_of(row)
        first[row["event_id"]] = min(first.get(row["event_id"], place), place)
    return seen.filter(pa.array([first[row["event_id"]] == place_of(row) for row in rows]))


def answers_of_flushes(
    tape: Tape, copies: pa.Table, meter: Meter, customer: str | None
) -> list[set[Any]]:
    """Return, for each shard, the answers that its flushes and the time before them have."""
    found: list[set[Any]] = [{0} for _ in range(SHARDS)]
    for row in tape.flushes:
        if row is None or row["kind"] != "done":
            continue
        shard = row["shard"]
        accepted = first_copies(copies, frontier_of(row))
        mine = customer_shards(accepted, SHARDS) == shard
        if customer is not None:
            mine &= pc.equal(accepted["external_customer_id"], customer).to_numpy()
        pairs = match([meter], accepted.filter(pa.array(mine))).counted
        found[shard].add(answer(meter, usage_of_pairs(pairs), PERIOD).value)
    return found


@dataclass
class Replay:
    """The writes of a tape, made one after the other on another store."""

    tape: Tape
    store: Store
    chance: random.Random
    done: int = 0
    budget: int = 0

    def write(self) -> None:
        if self.done < len(self.tape.writes):
            self.tape.writes[self.done](self.store.engine)
            self.done += 1

    def between_statements(self) -> None:
        """Write as much as chance has it, until the patience of a reader would end."""
        while self.budget and self.chance.random() < 0.5:
            self.budget -= 1
            self.write()

    def pause(self, seconds: float) -> None:
        """Write on until no flush is under way."""
        assert seconds >= PAUSE_SECONDS
        while self.done < len(self.tape.writes) and self.under_way():
            self.write()

    def under_way(self) -> bool:
        begun = [row for row in self.tape.flushes[: self.done] if row is not None]
        return bool(begun) and begun[-1]["kind"] == "intent"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def taped(folder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tape, pa.Table]:
    tape, copies = recorded(tmp_path_factory.mktemp("flow"), folder)
    return tape, pa.concat_tables(copies)


def asked_on_and_on(
    folder: str, taped: tuple[Tape, pa.Table], name: str, *, careful: bool
) -> Iterator[tuple[str | None, Meter, Any]]:
    """Ask between the writes, and yield what was asked and answered.

    A reader that is not careful does not know the shards of the flow, as if there were no protocol.
    """
    tape, _ = taped
    with open_store(folder, name) as store:
        replay = Replay(tape, store, random.Random(name))  # noqa: S311 - the same on every run
        hearing = Tape(store.engine, heard=replay.between_statements)
        reader = Store(hearing)  # type: ignore[arg-type]  # it does what an engine does
        answers = StoredAnswers(reader, clock=lambda: float(replay.done), pause=replay.pause)
        if not careful:
            hearing.read = without_layouts(hearing.read)  # type: ignore[method-assign]  # a lame reader
        while replay.done < len(tape.writes):
            customer = replay.chance.choice([None, *CUSTOMERS])
            meter = replay.chance.choice(METERS)
            customers = None if customer is None else (customer,)
            replay.budget = READINGS_MAX - 3
            query = UsageQuery(SCOPE, meter, PERIOD, external_customer_ids=customers)
            yield customer, meter, answers.answer(query).value
            replay.write()


def without_layouts(read: Callable[..., pa.Table]) -> Callable[..., pa.Table]:
    def lame(statement: str, *arguments: Any) -> pa.Table:
        found = read(statement, *arguments)
        return found.slice(0, 0) if "FROM layouts" in statement else found

    return lame


def strays(
    folder: str, taped: tuple[Tape, pa.Table], name: str, *, careful: bool
) -> tuple[int, list[Any]]:
    """Return how many questions were asked, and the answers that no flushes have."""
    tape, copies = taped
    known: dict[tuple[str | None, str], list[set[Any]]] = {}
    asked, found = 0, []
    for customer, meter, value in asked_on_and_on(folder, taped, name, careful=careful):
        key = (customer, meter.id)
        if key not in known:
            known[key] = answers_of_flushes(tape, copies, meter, customer)
        asked += 1
        # What customers used together is theirs alone added up, but for members.
        if meter.id == "users" and customer is None:
            continue
        if value not in {sum(parts) for parts in product(*known[key])}:
            found.append((customer, meter.id, value))
    return asked, found


@embedded
def test_an_answer_is_that_of_some_flush_whatever_is_written_meanwhile(
    folder: str, taped: tuple[Tape, pa.Table]
) -> None:
    tape, _ = taped
    assert sum(row is not None for row in tape.flushes) >= 16, "too few flushes to fall between"
    assert tape.tables >= {"withdrawn", "corrections"}, "no copy took the place of another"
    for number in range(2):
        asked, found = strays(folder, taped, f"tally_careful_{number}", careful=True)
        assert asked >= 20
        assert found == []


@embedded
def test_without_the_protocol_answers_stray(folder: str, taped: tuple[Tape, pa.Table]) -> None:
    found = [
        strays(folder, taped, f"tally_careless_{number}", careful=False)[1] for number in range(2)
    ]
    assert any(found)


@embedded
def test_when_all_is_written_the_answer_is_that_of_all_events(
    folder: str, taped: tuple[Tape, pa.Table]
) -> None:
    tape, copies = taped
    everything = {(partition, shard): 10**6 for partition in (0, 1) for shard in range(SHARDS)}
    pairs = match(METERS, first_copies(copies, everything)).counted
    with open_store(folder, "tally_all") as store:
        replay = Replay(tape, store, random.Random(1))  # noqa: S311 - nothing is drawn
        while replay.done < len(tape.writes):
            replay.write()
        for meter in METERS:
            own = pairs.filter(pc.equal(pairs["meter_id"], meter.id))
            query = UsageQuery(SCOPE, meter, PERIOD)
            found = StoredAnswers(store, pause=replay.pause).answer(query)
            assert found == answer(meter, usage_of_pairs(own), PERIOD)


def settled(
    markers: list[Mapping[int, Published]], shards: set[int]
) -> tuple[list[tuple[str, dict[int, Any]]], list[float]]:
    """Settle readings over a script of markers; the last of them stays."""
    script, pauses, readings = list(markers), list[float](), iter("abcdefgh")

    def seen() -> Mapping[int, Published]:
        return script.pop(0) if len(script) > 1 else script[0]

    def part(reading: str, shard: int, frontier: Frontier, last: bool) -> Any:
        del shard, last, reading
        return frontier.get((0, 0), -1)

    found = settled_readings(shards, seen, lambda: next(readings), part, pauses.append)
    return [(each.reading, dict(each.parts)) for each in found], pauses


REST, NEXT = Published(1, 1, {(0, 0): 10}), Published(2, 2, {(0, 0): 20})
BEGUN = Published(2, 1, {(0, 0): 10})


@pytest.mark.parametrize(
    ("markers", "found", "waited"),
    [
        # Nothing was ever published.
        ([{}], [("a", {0: -1})], 0),
        ([{0: REST}], [("a", {0: 10})], 0),
        # A flush that is under way is waited for, and nothing read meanwhile.
        ([{0: BEGUN}, {0: BEGUN}, {0: NEXT}], [("a", {0: 20})], 2),
        # One that began, or came and went, while the reader read, spoils the reading.
        ([{0: REST}, {0: BEGUN}, {0: NEXT}], [("b", {0: 20})], 1),
        ([{0: REST}, {0: NEXT}], [("b", {0: 20})], 1),
        # A flush that never ends is not waited for for ever.
        ([{0: BEGUN}], [("a", {0: 10})], READINGS_MAX - 1),
    ],
)
def test_a_reading_counts_if_no_flush_falls_into_it(
    markers: list[Mapping[int, Published]],
    found: list[tuple[str, dict[int, Any]]],
    waited: int,
) -> None:
    settlement, pauses = settled(markers, {0})
    assert settlement == found
    assert len(pauses) == waited
    assert all(shorter < longer for shorter, longer in pairwise(pauses))


def test_shards_settle_one_by_one() -> None:
    script: list[Mapping[int, Published]] = [
        {0: REST, 1: BEGUN},
        {0: REST, 1: NEXT},
        {0: NEXT, 1: NEXT},
    ]
    settlement, _ = settled(script, {0, 1})
    assert settlement == [("a", {0: 10}), ("b", {1: 20})]


def test_a_frontier_holds_what_lies_at_or_below_it() -> None:
    names = [{"tenant_id": "t", "environment_id": "e", "event_id": str(n)} for n in range(8)]
    digests = identity_digests(pa.Table.from_pylist(names))
    events = pa.table(
        {
            "partition": pa.array([0] * 8, pa.int32()),
            "offset": pa.array(range(8), pa.int64()),
            "event_digest": digests,
        }
    )
    assert within(events, {(0, 0): 4}, 1).tolist() == [True] * 5 + [False] * 3
    assert not within(events, {(1, 0): 4}, 1).any()
    both = within(events, {(0, 0): 7, (0, 1): 7}, 2)
    halves = [within(events, {(0, shard): 7}, 2) for shard in (0, 1)]
    assert both.all()
    assert (halves[0] ^ halves[1]).all()
