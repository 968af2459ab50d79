"""A topic as a source says what it read, how much waits, and whose bytes they were."""

import threading
import time
import uuid
from collections import Counter

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.connectors.kafka_source import KafkaPosition, KafkaSettings, KafkaSource

pytestmark = [pytest.mark.requires("kafka"), pytest.mark.timeout(300)]

RECORDS = 5000
BATCH = 1000
SECONDS_MAX = 60


def test_a_topic_says_how_far_behind_it_is_read(broker: str) -> None:
    topic = f"lag-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": broker})
    sizes: Counter[str] = Counter()
    for number in range(RECORDS):
        environment = f"env_{number % 2}"
        text = f'{{"event_name": "call", "external_customer_id": "c", "event_id": "{number}"}}'
        producer.produce(topic, text.encode(), f"t:{environment}:c".encode())
        sizes[environment] += len(text)
        producer.poll(0)
    assert producer.flush(30) == 0

    reads: list[tuple[int, int, int, float]] = []
    beats, sent = [0], Counter[str]()

    def on_heartbeat() -> None:
        beats[0] += 1

    stop = threading.Event()
    source = KafkaSource(
        KafkaSettings(broker, topic, "lag", "t", "env_0", BATCH, 10**6, 60_000_000, 1.5, 0.05),
        stop,
        on_heartbeat=on_heartbeat,
        on_read=lambda partition: lambda *read: reads.append(read) if partition == 0 else None,
        on_bytes=sent.update,
    )
    part = source.build_part("read", "0", KafkaPosition())
    rows, deadline = 0, time.monotonic() + SECONDS_MAX
    try:
        while time.monotonic() < deadline:
            rows += sum(batch.copies.num_rows for batch in part.next_batch())
    except StopIteration:
        pass
    finally:
        part.close()
    assert rows == RECORDS
    assert sum(read[0] for read in reads) == RECORDS
    assert sum(read[1] for read in reads) == sum(sizes.values())
    assert sent == sizes
    # All of it was there from the beginning, so what waits is what was not read yet.
    full = [read for read in reads if read[0]]
    left = RECORDS
    for read in full:
        left -= read[0]
        assert read[2] == left
        assert 0 <= read[3] < SECONDS_MAX
    assert reads[-1] == (0, 0, 0, 0.0)
    assert beats[0] >= len(full)
