"""`tally run metering` ends in good order when it is told to, and goes on where it was."""

import signal
import subprocess
import time
from pathlib import Path

import generated_events
import pytest
import written_records
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

pytestmark = [pytest.mark.requires("kafka", "embedded"), pytest.mark.timeout(300)]

COUNT, SEED = 5_000, 9
STOP_SECONDS_MAX = 60
TOPICS = {"TALLY_TOPIC_EVENTS": "stop", "TALLY_TOPIC_USAGE": "stop.usage"}


def test_a_signal_ends_it_with_everything_counted_once(
    broker: str, tally: str, plain_environment: dict[str, str], root: Path, tmp_path: Path
) -> None:
    drawn = generated_events.values(COUNT, SEED)
    records = written_records.records(drawn, SEED)
    topics = {"TALLY_TOPIC_DEAD_LETTERS": "stop.dlq", **TOPICS}
    make(broker, list(topics.values()))
    produce(broker, records)
    data = {"TALLY_KAFKA_BROKERS": broker, "TALLY_DATA": str(tmp_path / "data")}
    environment = plain_environment | topics | data
    command = [tally, "run", "metering", "--catalog", str(root / "tests/generator/catalog.yaml")]

    said = [ended(command, environment, number) for number in (signal.SIGTERM, signal.SIGINT)]
    last = subprocess.run(
        [*command, "--until-idle", "3"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert last.returncode == 0, last.stderr
    accepted = [number_of("accepted", text) for text in (*said, last.stderr)]
    assert sum(accepted) == records["kind"].to_pylist().count("event")


def make(broker: str, names: list[str]) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    for made in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        made.result(timeout=30)


def produce(broker: str, records: object) -> None:
    producer = Producer({"bootstrap.servers": broker, "message.max.bytes": 1_040_000})
    for row in records.select(["key", "value", "stamp"]).to_pylist():  # type: ignore[attr-defined]  # an Arrow table
        producer.produce("stop", row["value"], row["key"], timestamp=row["stamp"])
    assert producer.flush(60) == 0


def ended(command: list[str], environment: dict[str, str], number: signal.Signals) -> str:
    """Start the program, tell it to end as soon as it listens to signals, and return what it said."""
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while not catches(process.pid, signal.SIGTERM):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(number)
        _, said = process.communicate(timeout=STOP_SECONDS_MAX)
        assert process.returncode == 0, said
        return said


def catches(process_id: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def number_of(word: str, said: str) -> int:
    """Return a count from the program's last line; 0 where it is not named."""
    parts = said.strip().splitlines()[-1].replace("metering stopped: ", "").split(" · ")
    counts = dict(part.rsplit(" ", 1) for part in parts if part != "nothing came")
    return int(counts.get(word, "0").replace(",", ""))
