"""Half a million events through a real broker, two kills: every figure is equal to the last digit.

The events are generated (tests/generator), the figures come from SQL over the generator's values.
The program is killed with SIGKILL as soon as usage appears, started again, and killed once more
right behind new events; the last events are appended only then, so that no kill can come too late.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Context, Decimal
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect
import generated_events
import pyarrow as pa
import pytest
import written_records
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from expected_usage import Cell, Row, members, usage

from flows.catalog import load_catalog

pytestmark = [pytest.mark.requires("kafka", "embedded"), pytest.mark.timeout(600)]

COUNT, SEED = 500_000, 20260301
PARTITIONS = 4
# The parts of the records that are appended before each kill.
FIRST, SECOND = 0.6, 0.8
IDLE_SECONDS = 5
WAIT_SECONDS_MAX = 120
DIGITS = Context(prec=100)

Position = tuple[int, int]


class Metered(NamedTuple):
    """What was drawn, what was appended, and where the program left its answers."""

    drawn: pa.Table
    records: pa.Table
    malformed: dict[Position, tuple[str, bytes]]
    dead_letters: dict[Position, tuple[str, bytes]]
    usage: dict[Cell, Row]
    members: set[tuple[Cell, bytes]]
    verdicts: dict[str, int]


class Program:
    """`tally run metering` on a folder of its own, started as often as it is killed."""

    def __init__(self, command: list[str], environment: dict[str, str], output: Path):
        self.command, self.environment, self.output = command, environment, output

    @contextmanager
    def started(self, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                [*self.command, *flags],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        """Return the last that the program said, for a failure to be understood."""
        return self.output.read_text(errors="replace")[-20000:]


@pytest.fixture(scope="module")
def metered(
    broker: str,
    tally: str,
    plain_environment: dict[str, str],
    root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Metered:
    folder = tmp_path_factory.mktemp("metered")
    catalog = str(root / "tests" / "generator" / "catalog.yaml")
    drawn = generated_events.values(COUNT, SEED)
    records = written_records.records(drawn, SEED)
    make_topics(broker, {"events": PARTITIONS, "usage": PARTITIONS, "events.dlq": 1})
    settings = {"TALLY_KAFKA_BROKERS": broker, "TALLY_DATA": str(folder / "data")}
    program = Program(
        [tally, "run", "metering", "--catalog", catalog],
        plain_environment | settings,
        folder / "output.txt",
    )
    first, second = int(records.num_rows * FIRST), int(records.num_rows * SECOND)
    with Topics(broker) as topics:
        malformed = produce(broker, records.slice(0, first))
        with program.started() as process:
            topics.wait_until_more("usage", 0, process, program)
            kill(process)
        seen = topics.end("usage")
        with program.started() as process:
            malformed |= produce(broker, records.slice(first, second - first))
            topics.wait_until_more("usage", seen, process, program)
            kill(process)
        with program.started("--until-idle", str(IDLE_SECONDS)) as process:
            malformed |= produce(broker, records.slice(second))
            assert process.wait(timeout=2 * WAIT_SECONDS_MAX) == 0, program.said()
        dead_letters = dict(map(dead_letter, topics.read("events.dlq")))
    names = {meter.id: meter.name for meter in load_catalog(catalog).meters}
    return Metered(drawn, records, malformed, dead_letters, *stored(folder / "data", names))


def make_topics(broker: str, partitions: dict[str, int]) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    topics = [NewTopic(name, count, 1) for name, count in partitions.items()]
    for made in admin.create_topics(topics).values():
        made.result(timeout=30)


def produce(broker: str, records: pa.Table) -> dict[Position, tuple[str, bytes]]:
    """Append records in their order, and return where the malformed ones came to lie."""
    malformed: dict[Position, tuple[str, bytes]] = {}
    failed: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": broker,
            # Copies must stay behind the event that they are copies of.
            "enable.idempotence": True,
            "linger.ms": 50,
            "compression.type": "lz4",
            "message.max.bytes": 1_040_000,
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 3,
        }
    )

    def noted(reason: str | None, value: bytes) -> Callable[[KafkaError | None, Message], None]:
        def note(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            elif reason is not None:
                malformed[message.partition(), message.offset()] = (reason, value)

        return note

    plain = noted(None, b"")
    for batch in records.to_batches(max_chunksize=50_000):
        columns = (batch[name].to_pylist() for name in ("key", "value", "stamp", "reason"))
        for key, value, stamp, reason in zip(*columns, strict=True):
            note = noted(reason, value) if reason else plain
            producer.produce("events", value, key, timestamp=stamp, on_delivery=note)
        producer.poll(0)
    assert producer.flush(WAIT_SECONDS_MAX) == 0
    assert failed == []
    return malformed


def kill(process: subprocess.Popen[bytes]) -> None:
    """End the program as a power cut would."""
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL


class Topics:
    """What lies in the topics, as anybody would see it."""

    def __init__(self, broker: str):
        self.consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "watcher",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 2_000_000,
            }
        )

    def __enter__(self) -> "Topics":
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()

    def ends(self, topic: str) -> list[TopicPartition]:
        known = self.consumer.list_topics(topic, timeout=30).topics[topic].partitions
        places = (TopicPartition(topic, partition) for partition in known)
        return [
            TopicPartition(
                topic, place.partition, self.consumer.get_watermark_offsets(place, timeout=30)[1]
            )
            for place in places
        ]

    def end(self, topic: str) -> int:
        """Return how many records a topic has had over all partitions."""
        return sum(place.offset for place in self.ends(topic))

    def wait_until_more(
        self, topic: str, than: int, process: subprocess.Popen[bytes], program: Program
    ) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.end(topic) <= than:
            assert process.poll() is None, program.said()
            assert time.monotonic() < deadline, f"nothing new in {topic}: {program.said()}"

    def read(self, topic: str) -> Iterator[Message]:
        """Yield all records of a topic, up to where each partition ends now."""
        waiting = {place.partition for place in self.ends(topic)}
        self.consumer.assign([TopicPartition(topic, partition, 0) for partition in waiting])
        while waiting:
            messages = self.consumer.consume(10_000, timeout=1)
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    waiting.discard(message.partition())


def dead_letter(message: Message) -> tuple[Position, tuple[str, bytes]]:
    """Return the position that a dead letter names, its reason, and its bytes."""
    headers = {name: value.decode() for name, value in message.headers() or []}
    assert headers["topic"] == "events"
    assert headers["tenant"] == written_records.TENANT
    assert headers["environment"] == written_records.ENVIRONMENT
    position = (int(headers["partition"]), int(headers["offset"]))
    return position, (headers["reason"], message.value() or b"")


def stored(
    data: Path, names: dict[str, str]
) -> tuple[dict[Cell, Row], set[tuple[Cell, bytes]], dict[str, int]]:
    """Read usage, members and the count of each verdict from the embedded store, by plain SQL."""
    # The engine keeps a folder `metadata` at the top of its own.
    (folder,) = {path.parent for path in data.rglob("metadata") if path.is_dir()}
    client = clickhouse_connect.get_client(interface="chdb", path=str(folder), database="tally")
    try:
        cell = "meter_id, external_customer_id, `group`, toUnixTimestamp64Micro(window_start)"
        rows = client.query(
            f"SELECT {cell}, counted, toString(sum), toString(moment), toString(maximum), "
            "toString(minimum), toUnixTimestamp64Micro(latest_at), latest_id, "
            "toString(latest_value) FROM usage FINAL"
        ).result_rows
        found = client.query(f"SELECT {cell}, hex(member) FROM usage_members FINAL").result_rows
        events = client.query("SELECT count() FROM events FINAL").result_rows
        verdicts = client.query(
            "SELECT verdict, uniqExact(log_partition, log_offset) FROM verdicts FINAL GROUP BY 1"
        ).result_rows
    finally:
        client.close()
    usage_rows = {named(row[:4], names): figures(row[4:]) for row in rows}
    assert len(usage_rows) == len(rows)
    digests = {(named(row[:4], names), bytes.fromhex(row[4])) for row in found}
    return usage_rows, digests, {**dict(verdicts), "kept": events[0][0]}


def named(cell: Iterable[object], names: dict[str, str]) -> Cell:
    meter, customer, group, start = cell
    return Cell(names[str(meter)], str(customer), str(group), int(str(start)))


def figures(row: Iterable[object]) -> Row:
    counted, total, moment, maximum, minimum, latest_at, latest_id, latest_value = row
    return Row(
        int(str(counted)),
        *(units(value) for value in (total, moment, maximum, minimum)),
        latest_at=None if latest_at is None else int(str(latest_at)),
        latest_id=None if latest_id is None else str(latest_id),
        latest_value=units(latest_value),
    )


def units(text: object) -> int | None:
    """Return a decimal in units of 10^-18, exactly."""
    if text is None:
        return None
    scaled = Decimal(str(text)).scaleb(18, DIGITS)
    assert scaled == scaled.to_integral_value(context=DIGITS)
    return int(scaled)


def differences(expected: dict[Cell, Row], found: dict[Cell, Row]) -> list[str]:
    """Return the first rows that are not the same; a bare comparison would print all of them."""
    different = (
        f"{cell}: {expected.get(cell)} expected, {found.get(cell)} found"
        for cell in sorted(expected.keys() | found.keys())
        if expected.get(cell) != found.get(cell)
    )
    return [line for line, _ in zip(different, range(10), strict=False)]


def test_every_usage_row_is_what_sql_over_the_values_gives(metered: Metered) -> None:
    expected = usage(metered.drawn)
    assert differences(expected, metered.usage) == []
    assert len(expected) == len(metered.usage)


def test_every_member_is_kept_once(metered: Metered) -> None:
    expected = members(metered.drawn)
    assert len(expected - metered.members) == 0
    assert len(metered.members - expected) == 0


def test_the_dead_letters_are_the_malformed_records(metered: Metered) -> None:
    assert len(metered.malformed) == COUNT // 1000
    assert metered.dead_letters.keys() == metered.malformed.keys()
    different = [
        (position, reason, metered.dead_letters[position][0])
        for position, (reason, value) in metered.malformed.items()
        if metered.dead_letters[position] != (reason, value)
    ]
    assert different == []


def test_every_record_has_its_verdict(metered: Metered) -> None:
    kinds = metered.records["kind"].to_pylist()
    assert metered.verdicts["kept"] == kinds.count("event")
    assert metered.verdicts["duplicate"] == kinds.count("copy")
    assert metered.verdicts["conflict"] == kinds.count("conflict")
