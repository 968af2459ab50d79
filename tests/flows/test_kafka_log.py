"""The log on Kafka confirms what the broker has confirmed, and nothing else.

The broker is the mock that the client library brings: it keeps records and offsets. What it does not do is
tested with a real one in tests/integration/test_kafka_log_broker.py.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from flows.log.event_log import APPENDED, EventLog
from flows.log.kafka import KafkaLog, _Delivery
from schemas.errors import StoreError

RECEIVED = datetime(2026, 3, 1, 12, 0, 0, 123_987, tzinfo=UTC)
TOPIC = "events"
# Nothing listens on it.
NOWHERE = "127.0.0.1:9"


@pytest.fixture
def broker() -> Iterator[str]:
    """Start the mock; it lives as long as the client that brought it."""
    host = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
    found = next(iter(host.list_topics(timeout=10).brokers.values()))
    host.list_topics(TOPIC, timeout=10)
    yield f"{found.host}:{found.port}"
    host.flush(1)


def records(*values: bytes, key: bytes = b"tenant:environment:acme") -> pa.Table:
    received = [RECEIVED + timedelta(milliseconds=number) for number in range(len(values))]
    return pa.table([list(values), [key] * len(values), received], schema=APPENDED)


def in_the_topic(broker: str, count: int) -> list[tuple[int, bytes, bytes, int]]:
    """Return partition, value, key and timestamp of so many records, in the order of each partition."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test", "log_level": 0})
    partitions = consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in partitions])
    found: list[tuple[int, bytes, bytes, int]] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(count, 0.2):
            assert message.error() is None
            value, key, partition = message.value(), message.key(), message.partition()
            assert value is not None
            assert isinstance(key, bytes)
            assert partition is not None
            found.append((partition, value, key, message.timestamp()[1]))
    consumer.close()
    return found


def test_what_was_confirmed_is_in_the_topic_with_key_and_time(broker: str) -> None:
    log: EventLog = KafkaLog(broker, TOPIC)
    log.append(records(b"a", b"b"))
    log.append(records())
    log.append(records(b"c"))
    found = in_the_topic(broker, 3)
    log.close()
    assert [(value, key) for _, value, key, _ in found] == [
        (value, b"tenant:environment:acme") for value in (b"a", b"b", b"c")
    ]
    # The microseconds are cut off.
    milliseconds = int(RECEIVED.timestamp()) * 1000 + 123
    assert [at - milliseconds for *_, at in found] == [0, 1, 0]
    assert len({partition for partition, *_ in found}) == 1


def test_appends_of_many_threads_are_all_there_and_keep_their_order(broker: str) -> None:
    log = KafkaLog(broker, TOPIC)

    def append(thread: int) -> None:
        for number in range(5):
            batch = (b"%d %d" % (thread, 4 * number + place) for place in range(4))
            log.append(records(*batch, key=b"key %d" % thread))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(8)))
    log.close()
    by_thread: dict[bytes, list[int]] = defaultdict(list)
    for _, value, key, _ in in_the_topic(broker, 160):
        thread, number = value.split()
        assert key == b"key " + thread
        by_thread[thread].append(int(number))
    assert by_thread == {b"%d" % thread: list(range(20)) for thread in range(8)}


def test_a_broker_that_is_away_fails_the_append_in_time(caplog: pytest.LogCaptureFixture) -> None:
    log = KafkaLog(NOWHERE, TOPIC, append_seconds=0.3)
    with pytest.raises(
        StoreError, match=r"Kafka at 127.0.0.1:9 does not take records of .* events"
    ):
        log.append(records(b"a", b"b"))
    log.close()
    # What the client says goes to the log of the process, not to stderr.
    assert {each.name for each in caplog.records} <= {"tally.kafka"}


def test_a_record_that_is_refused_fails_its_own_call_alone(broker: str) -> None:
    log = KafkaLog(broker, TOPIC, event_bytes_max=1000)
    with pytest.raises(StoreError, match="too large"):
        log.append(records(b"x" * 20_000))
    log.append(records(b"small"))
    log.close()
    assert [value for _, value, *_ in in_the_topic(broker, 1)] == [b"small"]


def test_a_client_beyond_repair_is_replaced(broker: str) -> None:
    log = KafkaLog(broker, TOPIC)
    log.append(records(b"before"))
    first = log._producer
    log._broken.set()
    deadline = time.monotonic() + 30
    while log._producer is first and time.monotonic() < deadline:
        log._thread.join(timeout=0.01)
    assert log._producer is not first
    log.append(records(b"after"))
    log.close()
    assert [value for _, value, *_ in in_the_topic(broker, 2)] == [b"before", b"after"]


def test_a_check_says_whether_the_broker_answers(broker: str) -> None:
    log = KafkaLog(broker, TOPIC)
    log.check()
    log.close()
    with pytest.raises(StoreError, match="closed"):
        log.check()
    with pytest.raises(StoreError, match="closed"):
        log.append(records(b"a"))
    away = KafkaLog(NOWHERE, TOPIC)
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"Kafka at 127\.0\.0\.1:9"):
        away.check()
    # Two seconds are allowed, and a machine that is busy.
    assert time.monotonic() - begun < 10
    away.close()


def test_closing_waits_for_what_is_under_way(broker: str) -> None:
    log = KafkaLog(broker, TOPIC)
    delivery = _Delivery(2, log._broken)
    log._send(records(b"a", b"b"), delivery)
    log.close()
    assert delivery.done.is_set()
    assert delivery.failure is None
    assert [value for _, value, *_ in in_the_topic(broker, 2)] == [b"a", b"b"]
