"""Append records to a topic: `tests/generator/send_records.py BROKER TOPIC FILE`, an Arrow file of them.

A process of its own, as producers are; says how many seconds it took.
"""

import sys
import time

import pyarrow as pa
from confluent_kafka import KafkaError, Message, Producer

FLUSH_SECONDS_MAX = 120
BATCH_RECORDS = 20_000


def main() -> None:
    """Append the columns `key` and `value` of a file in their order, all of them or fail."""
    broker, topic, file = sys.argv[1:]
    with pa.memory_map(file) as source:
        records = pa.ipc.open_file(source).read_all()
    failed: list[KafkaError] = []

    def note(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(
        {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    begun = time.monotonic()
    for batch in records.select(["key", "value"]).to_batches(max_chunksize=BATCH_RECORDS):
        producer.produce_batch(topic, batch.to_pylist(), on_delivery=note)
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS_MAX)
    if left or failed:
        sys.exit(f"{left} records were not appended, {len(failed)} failed: {failed[:1]}")
    sys.stdout.write(f"{time.monotonic() - begun:.1f}\n")


if __name__ == "__main__":
    main()
