"""The topic of events as a log: one partition of the flow for each partition of the topic.

Offsets are part of the flow's own recovery state. They are committed to Kafka as well, for people
and tools that look at lag; nothing reads them back.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from flows.connectors.reading import ReadAheadPartition, Reading, read_batch
from flows.metering.batches import ReadBatch
from operators.decoding import Door
from operators.lateness import BEGINNING
from schemas.errors import StoreError
from schemas.event import INSTANT, RECORDS

# Records are gathered for so long, or until a batch is full: small batches halve the throughput.
GATHER_SECONDS = 0.2
CONSUME_MAX = 10_000
CONSUME_SECONDS = 0.005
METADATA_SECONDS = 10


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where events are read, whose they are by default, and how they are gathered into batches.

    With `idle_seconds` a partition ends when nothing has come for so long; otherwise it never does.
    """

    brokers: str
    topic: str
    group: str
    tenant_id: str
    environment_id: str
    batch_records_max: int
    event_bytes_max: int
    lateness_microseconds: int
    idle_seconds: float | None


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """The next offset to read, and how far the partition has come in event time."""

    offset: int = OFFSET_BEGINNING
    watermark: int = BEGINNING


class KafkaSource(FixedPartitionedSource[ReadBatch, KafkaPosition]):
    """The records of a topic. `stop` ends all partitions after the batch that they are at."""

    def __init__(self, settings: KafkaSettings, stop: threading.Event):
        self._settings = settings
        self._stop = stop

    def list_parts(self) -> list[str]:
        """Return the topic's partitions by number. Raises StoreError if the broker does not answer."""
        return [str(partition) for partition in partitions_of(self._settings)]

    def build_part(
        self, step_id: str, for_part: str, resume_state: KafkaPosition | None
    ) -> ReadAheadPartition[KafkaPosition]:
        """Read a partition from its beginning, or from where a snapshot was."""
        reader = _PartitionReader(self._settings, int(for_part), self._stop)
        return ReadAheadPartition(
            f"{self._settings.topic}/{for_part}",
            resume_state or KafkaPosition(),
            reader.readings,
            reader.note_progress,
        )


class _PartitionReader:
    """Reads one partition with a consumer of its own."""

    def __init__(self, settings: KafkaSettings, partition: int, stop: threading.Event):
        self._settings = settings
        self._partition = partition
        self._stop = stop
        self._snapshot = self._committed = KafkaPosition()
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.brokers,
                "group.id": settings.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": False,
                "queued.max.messages.kbytes": 65_536,
            }
        )
        self._door = Door(
            settings.tenant_id,
            settings.environment_id,
            self._fill_ids,
            event_bytes_max=settings.event_bytes_max,
        )

    def readings(
        self, start: KafkaPosition, stop: threading.Event
    ) -> Iterator[Reading[KafkaPosition]]:
        """Yield batches from a position on, until the flow stops or the partition is idle."""
        place = TopicPartition(self._settings.topic, self._partition, start.offset)
        self._consumer.assign([place])
        watermark = start.watermark
        try:
            while not (stop.is_set() or self._stop.is_set()):
                messages = self._gather(stop)
                self._commit()
                if messages is None:
                    return
                if messages:
                    batch, watermark = read_batch(
                        _records(messages),
                        self._door,
                        watermark,
                        self._settings.lateness_microseconds,
                    )
                    yield Reading(batch, KafkaPosition(_offset(messages[-1]) + 1, watermark))
        finally:
            self._consumer.close()

    def note_progress(self, position: KafkaPosition) -> None:
        """Take note of a snapshot; the reading thread commits it, because a consumer serves one thread."""
        self._snapshot = position

    def _commit(self) -> None:
        """Commit the offset of the last snapshot for those who watch lag; nothing reads it back."""
        position = self._snapshot
        if position == self._committed or position.offset == OFFSET_BEGINNING:
            return
        place = TopicPartition(self._settings.topic, self._partition, position.offset)
        self._committed = position
        try:
            self._consumer.commit(offsets=[place], asynchronous=True)
        except KafkaException:
            # Lag is shown too high until the next commit; the flow does not depend on it.
            return

    def _gather(self, stop: threading.Event) -> list[Message] | None:
        """Collect records until a batch is full or time is up; None if the partition has been idle."""
        settings = self._settings
        gathered: list[Message] = []
        begun = time.monotonic()
        idle_from = begun
        while not (stop.is_set() or self._stop.is_set()):
            room = settings.batch_records_max - len(gathered)
            messages = self._consumer.consume(min(room, CONSUME_MAX), CONSUME_SECONDS)
            now = time.monotonic()
            if messages:
                gathered += _without_errors(messages)
                idle_from = now
            if len(gathered) >= settings.batch_records_max:
                return gathered
            if gathered and now - begun >= GATHER_SECONDS:
                return gathered
            if not gathered:
                begun = now
                if settings.idle_seconds is not None and now - idle_from >= settings.idle_seconds:
                    return None
                self._commit()
        return gathered

    def _fill_ids(self, records: pa.Table) -> pa.Array:
        """Return ids made of topic, partition and offset (metering.md 2.3)."""
        prefix = f"event_{self._settings.topic}_{self._partition}_"
        return pa.array([f"{prefix}{offset:020d}" for offset in records["offset"].to_pylist()])


def partitions_of(settings: KafkaSettings) -> list[int]:
    """Return the numbers of the topic's partitions. Raises StoreError if the broker does not answer."""
    consumer = Consumer({"bootstrap.servers": settings.brokers, "group.id": settings.group})
    try:
        topics = consumer.list_topics(settings.topic, timeout=METADATA_SECONDS).topics
    except KafkaException as cause:
        raise StoreError(f"Kafka at {settings.brokers} does not answer: {cause}") from cause
    finally:
        consumer.close()
    topic = topics[settings.topic]
    if topic.error is not None:
        raise StoreError(f"the topic {settings.topic} cannot be read: {topic.error}")
    return sorted(topic.partitions)


def _without_errors(messages: Sequence[Message]) -> list[Message]:
    """Return records; raise what is no passing trouble of the connection."""
    good = [message for message in messages if message.error() is None]
    if len(good) < len(messages):
        for message in messages:
            error = message.error()
            # What librdkafka retries by itself is reported as well.
            if error is not None and not (error.retriable() or error.code() in _PASSING):
                raise StoreError(f"Kafka refuses to be read: {error}")
    return good


_PASSING = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._PARTITION_EOF}  # noqa: SLF001 - the client's public constants are spelt so.
)


def _records(messages: Sequence[Message]) -> pa.Table:
    """Return messages as RECORDS. The client hands them over one object each, so columns are gathered."""
    received = [_received(message) for message in messages]
    return pa.table(
        [
            pa.array([message.partition() for message in messages], pa.int32()),
            pa.array([message.offset() for message in messages], pa.int64()),
            pa.array([message.value() for message in messages], pa.large_binary()),
            pa.array([message.key() for message in messages], pa.binary()),
            pa.array(received, pa.int64()).cast(INSTANT),
        ],
        schema=RECORDS,
    )


def _offset(message: Message) -> int:
    """Return the offset of a record that was read."""
    offset = message.offset()
    assert offset is not None
    return offset


def _received(message: Message) -> int | None:
    """Return the record's own timestamp in microseconds."""
    kind, milliseconds = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE else milliseconds * 1000
