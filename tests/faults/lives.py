"""Lives of the metering flow that end by SIGKILL at a chosen durable write, then one that does not.

Run as a program with a folder to work in; each line on its standard input is a plan, a JSON list of the
writes at which the lives before the last are killed, each answered by one line: what is wrong, a list,
and how many writes each life has made. The program imports everything once and forks a process for each
life, before the engine has ever been started in it.
"""

import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import clickhouse_connect  # noqa: F401 - imported before the lives are forked
import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from nasty_log import Log, nasty_log
from reckoning import EPOCH, METERS, MICROSECOND, Reckoned, reckon

from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.reading import read_batch
from flows.connectors.usage_sink import UsageSink
from flows.metering.batches import ReadBatch
from flows.metering.flow import Counts, MeteringSettings, metering_flow
from flows.metering.identifying import IdentifyLogic
from flows.metering.merging import MergeLogic
from flows.stores.clickhouse import Store, open_store
from flows.stores.engine import Engine
from operators.decoding import Door
from operators.lateness import BEGINNING
from schemas.event import RECORDS
from schemas.meter import Aggregation, AggregationType, Meter, WindowSize
from schemas.scope import Scope
from schemas.usage import CELL, PARTIAL_FIELDS

TENANT, ENVIRONMENT = "tenant_default", "env_development"
SCOPE = Scope(TENANT, ENVIRONMENT)
SHARDS = 2
CELLS_IN_MEMORY_MAX = 24
AGGREGATIONS = {
    "calls": Aggregation(AggregationType.COUNT),
    "total": Aggregation(AggregationType.SUM, field="amount"),
    "highest": Aggregation(
        AggregationType.MAX, field="amount", bucket_size=WindowSize.HOUR, group_by="zone"
    ),
    "users": Aggregation(AggregationType.COUNT_UNIQUE, field="user"),
    "reading": Aggregation(AggregationType.LATEST, field="amount"),
    "average_level": Aggregation(AggregationType.WEIGHTED_SUM, field="amount"),
}
METERS_OF_CATALOG = [
    Meter(name, TENANT, ENVIRONMENT, name, METERS[name][0], aggregation)
    for name, aggregation in AGGREGATIONS.items()
]

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a plan: its number, and at which write it is killed."""

    plan: str
    number: int
    kill_at: int | None

    def chance(self, what: str) -> random.Random:
        """Return the chance that decides about something in this life, the same each time."""
        return random.Random(f"{what} {self.plan} {self.number}")  # noqa: S311 - reproducible

    def flush_every(self) -> timedelta | None:
        """Return how often usage is published: always, now and then, or when the log ends."""
        often, now_and_then = timedelta(0), timedelta(milliseconds=40)
        return self.chance("flush").choice([often, often, now_and_then, None])

    def epoch(self) -> timedelta:
        """Return how long an epoch is: a batch, some batches, or the whole life."""
        lengths = (timedelta(0), timedelta(milliseconds=100), timedelta(minutes=1))
        return self.chance("epoch").choice(lengths)


class LogPartition(StatefulSourcePartition[ReadBatch, Position]):
    """A partition of the log in batches of changing sizes, with pauses, as chance has it."""

    def __init__(self, records: pa.Table, chance: random.Random, state: Position | None):
        self._records = records
        self._offset, self._watermark = state or (0, BEGINNING)
        self._chance = chance
        self._pauses = self._chance.random() * 0.8

    def next_batch(self) -> list[ReadBatch]:
        if self._offset >= self._records.num_rows:
            raise StopIteration
        if self._chance.random() < self._pauses:
            return []
        batch = self._records.slice(self._offset, self._chance.randrange(6, 24))
        self._offset += batch.num_rows
        door = Door(TENANT, ENVIRONMENT, lambda rows: pa.nulls(rows.num_rows, pa.string()))
        read, self._watermark = read_batch(batch, door, self._watermark, 60_000_000)
        return [read]

    def snapshot(self) -> Position:
        return self._offset, self._watermark


class LogSource(FixedPartitionedSource[ReadBatch, Position]):
    """The log as a source of the flow; no life reads the partitions in step like another."""

    def __init__(self, log: Log, life: "Life"):
        self._log = log
        self._life = life

    def list_parts(self) -> list[str]:
        return [str(partition) for partition in range(len(self._log))]

    def build_part(self, _step: str, part: str, state: Position | None) -> LogPartition:
        records = [
            (int(part), offset, record.value, None, record.received_at)
            for offset, record in enumerate(self._log[int(part)])
        ]
        columns = [list(column) for column in zip(*records, strict=True)]
        table = pa.table(columns, schema=RECORDS)
        return LogPartition(table, self._life.chance(part), state)


class Writes:
    """Counts durable writes, and kills this process right before one of them."""

    def __init__(self, folder: Path, life: Life):
        self._folder = folder
        self._life = life
        self.count = 0

    def watch(self) -> None:
        """Watch everything that the flow makes durable, from now on."""
        for owner, name in (
            (Engine, "insert"),
            (Engine, "command"),
            (Path, "rename"),
            (Path, "unlink"),
            (IdentifyLogic, "snapshot"),
            (MergeLogic, "snapshot"),
        ):
            setattr(owner, name, self._watched(name, getattr(owner, name)))

    def _watched(self, name: str, write: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **named: object) -> object:
            if name == "insert" and not arguments[2].num_rows:
                return None
            if name == "snapshot":
                # What it returns is written by Bytewax, later.
                snapshot = write(*arguments, **named)
                self.note("snapshot")
                return snapshot
            self.note(f"{name} {arguments[1:2]}")
            if name == "insert" and arguments[1] == "usage":
                self._note_usage(arguments[2])
            return write(*arguments, **named)

        return watched

    def note(self, what: str) -> None:
        """Count one write that is about to be made."""
        self.count += 1
        with (self._folder / "writes").open("a") as file:
            file.write(f"{self._life.number} {self.count} {what[:60]!r}\n")
        if self.count == self._life.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _note_usage(self, rows: pa.Table) -> None:
        """Keep what is about to be published."""
        with (self._folder / "published").open("a") as file:
            for cell, version, content in _rows(rows):
                file.write(json.dumps([self._life.number, cell, version, content]) + "\n")


def _rows(usage: pa.Table) -> list[tuple[tuple, int, dict[str, str]]]:
    """Return usage rows as cell, version and content without nulls."""
    for name in ("window_start", "latest_at"):
        place = usage.schema.get_field_index(name)
        usage = usage.set_column(place, name, usage[name].cast(pa.int64()))
    return [
        (
            tuple(row[name] for name in CELL),
            row["version"],
            {name: _text(row[name]) for name in PARTIAL_FIELDS if row[name] is not None},
        )
        for row in usage.to_pylist()
    ]


def _text(value: object) -> str:
    """Write a figure with all its digits."""
    return f"{value:.18f}" if isinstance(value, Decimal) else str(value)


def live(folder: Path, log: Log, life: Life) -> None:
    """Run the flow on what earlier lives have left, up to a write or to the end of the log."""
    writes = Writes(folder, life)
    meters = {meter.id: meter for meter in METERS_OF_CATALOG}
    with open_store(str(folder / "store")) as store:
        writes.watch()
        flow = metering_flow(
            LogSource(log, life),
            store,
            METERS_OF_CATALOG,
            MeteringSettings(folder / "state", SHARDS, life.flush_every(), CELLS_IN_MEMORY_MAX),
            usage=UsageSink(store, meters),
            dead_letters=DeadLetterSink(store, "test"),
            counts=Counts(),
        )
        run_main(
            flow,
            epoch_interval=life.epoch(),
            recovery_config=RecoveryConfig(folder / "recovery"),
        )
        if life.kill_at is None:
            (folder / "verdict").write_text(json.dumps(wrong_in(store, folder, reckon(log))))


def wrong_in(store: Store, folder: Path, right: Reckoned) -> list[str]:
    """Return what differs between the store and the reckoning, and what was published wrongly."""
    usage = {cell: content for cell, _, content in _rows(store.read_usage(SCOPE, list(METERS)))}
    usage = {cell: content for cell, content in usage.items() if content["counted"] != "0"}
    members = store.read_members(SCOPE, ["users"]).select([*CELL, "member"])
    members = members.set_column(3, "window_start", members["window_start"].cast(pa.int64()))
    events = store.read_events(SCOPE, ["call", "level"])
    accepted = {
        (row["partition"], row["offset"]): (
            row["event_id"],
            row["external_customer_id"],
            (row["timestamp"] - EPOCH) // MICROSECOND,
        )
        for row in events.to_pylist()
    }
    verdicts = store.read_table("verdicts").to_pylist()
    letters = store.read_table("dead_letters").to_pylist()
    refused = {_position(row) for row in verdicts if row["verdict"] in ("duplicate", "conflict")}
    return [
        *_differences("usage", usage, {cell: _written(row) for cell, row in right.usage.items()}),
        *_differences(
            "members",
            dict.fromkeys((tuple(row.values()) for row in members.to_pylist()), ""),
            dict.fromkeys(right.members, ""),
        ),
        *_differences("accepted", accepted, right.accepted),
        *_differences("refused", dict.fromkeys(refused, ""), dict.fromkeys(right.refused, "")),
        *_differences(
            "rejected",
            dict.fromkeys(map(_position, letters), ""),
            dict.fromkeys(right.rejected, ""),
        ),
        *_published_wrongly(folder),
    ]


def _position(row: dict[str, int]) -> tuple[int, int]:
    return row["partition"], row["offset"]


def _written(row: dict[str, object]) -> dict[str, str]:
    """Write a reckoned row as `_rows` does a stored one."""
    return {name: _text(value) for name, value in row.items()}


def _differences(what: str, found: dict, right: dict) -> list[str]:
    """Say what is missing, what is too much and what is different, at most a few of each."""
    missing = [f"{what}: missing {key} {right[key]}" for key in right.keys() - found.keys()]
    extra = [f"{what}: too much {key} {found[key]}" for key in found.keys() - right.keys()]
    other = [
        f"{what}: {key} is {found[key]}, not {right[key]}"
        for key in right.keys() & found.keys()
        if found[key] != right[key]
    ]
    return [*sorted(missing)[:4], *sorted(extra)[:4], *sorted(other)[:4]]


def _published_wrongly(folder: Path) -> list[str]:
    """Check over all lives: of equal version equal content, and versions never fall."""
    problems = []
    contents: dict[tuple, object] = {}
    versions: dict[tuple, int] = {}
    for line in (folder / "published").read_text().splitlines():
        life, cell, version, content = json.loads(line)
        key = tuple(cell)
        if contents.setdefault((key, version), content) != content:
            known = contents[key, version]
            problems.append(
                f"published: {key} version {version} in life {life}: {known}, {content}"
            )
        if version < versions.get(key, 0):
            problems.append(f"published: {key} falls from {versions[key]} to {version}")
        versions[key] = version
    return problems[:4]


def forked(work: Callable[[], None]) -> int:
    """Do some work in a process of its own; return how it ended."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the parent hears of it by the exit code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def prepare(folder: Path) -> None:
    """Make the empty store, once for all plans."""
    (folder / "recovery").mkdir(parents=True)
    init_db_dir(folder / "recovery", 1)

    def create() -> None:
        open_store(str(folder / "store")).close()

    assert forked(create) == 0


def carry_out(template: Path, folder: Path, log: Log, kills: list[int]) -> list[str]:
    """Live and be killed by plan, then live to the end; return what is wrong then."""
    shutil.copytree(template, folder, symlinks=True)
    for number, kill_at in enumerate([*kills, None]):
        code = forked(partial(live, folder, log, Life(str(kills), number, kill_at)))
        if code not in {0, -signal.SIGKILL}:
            return [f"life {number} ended with {code}"]
    return list(json.loads((folder / "verdict").read_text()))


def main() -> None:
    """Carry out the plans that come in."""
    work = Path(sys.argv[1])
    log = nasty_log()
    template = work / "template"
    prepare(template)
    for number, line in enumerate(sys.stdin):
        kills = json.loads(line)
        folder = work / f"plan-{number}"
        problems = carry_out(template, folder, log, kills)
        writes = (folder / "writes").read_text().splitlines()
        print(json.dumps({"wrong": problems, "writes": len(writes)}), flush=True)  # noqa: T201 - the program answers its parent
        if not problems:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
