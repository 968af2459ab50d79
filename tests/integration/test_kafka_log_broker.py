"""The log on a real broker: what was confirmed is there once, also when the broker was away for a while."""

import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.log.event_log import APPENDED
from flows.log.kafka import KafkaLog
from schemas.errors import StoreError

pytestmark = [pytest.mark.requires("kafka"), pytest.mark.timeout(900)]

RECEIVED = datetime(2026, 3, 1, tzinfo=UTC)
TOPIC = "events-of-the-log"
THREADS = 4
BATCH = 500


def batch(name: str) -> pa.Table:
    values = [f"{name}-{number}".encode() for number in range(BATCH)]
    return pa.table([values, values, [RECEIVED] * BATCH], schema=APPENDED)


def values_in(broker: str) -> Counter[bytes]:
    """Return how often each value is in the topic."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test"})
    found: Counter[bytes] = Counter()
    for partition in consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions:
        place = TopicPartition(TOPIC, partition, 0)
        consumer.assign([place])
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        reached = 0
        while reached < end:
            for message in consumer.consume(1000, 1):
                assert message.error() is None
                value, offset = message.value(), message.offset()
                assert value is not None
                assert offset is not None
                found[value] += 1
                reached = offset + 1
    consumer.close()
    return found


def test_what_was_confirmed_is_there_once_though_the_broker_went_away(
    broker_script: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    broker = f"127.0.0.1:{port}"

    def run_broker(*arguments: str) -> None:
        done = broker_script(*arguments, "--data", str(tmp_path))
        assert done.returncode == 0, done.stderr

    run_broker("start", "--port", port)
    try:
        admin = AdminClient({"bootstrap.servers": broker})
        admin.create_topics([NewTopic(TOPIC, 3)])[TOPIC].result(30)
        log = KafkaLog(broker, TOPIC, append_seconds=5)
        log.check()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(log.append, [batch(f"before-{number}") for number in range(20)]))

        run_broker("stop")
        with pytest.raises(StoreError, match="does not take records"):
            log.append(batch("meanwhile"))
        with pytest.raises(StoreError, match="does not take records"):
            log.check()

        run_broker("start", "--port", port)
        log.append(batch("after"))
        log.check()
        log.close()
        found = values_in(broker)
    finally:
        run_broker("stop")
    confirmed = [f"before-{number}" for number in range(20)] + ["after"]
    for name in confirmed:
        assert [found[value] for value in batch(name)["value"].to_pylist()] == [1] * BATCH
