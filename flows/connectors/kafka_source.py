"""The topic of events as a log: one partition of the flow for each partition of the topic.

Offsets are part of the flow's own recovery state. They are committed to Kafka as well, for people
and tools that look at lag; nothing reads them back.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
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
from flows.metering.observing import OnRead, bytes_by_environment
from operators.decoding import Door
from operators.lateness import BEGINNING
from schemas.errors import StoreError
from schemas.event import INSTANT, RECORDS

# Small batches halve the throughput.
GATHER_SECONDS = 0.2
CONSUME_MAX = 10_000
CONSUME_SECONDS = 0.005
METADATA_SECONDS = 10
# So often a partition that nothing comes from tells how far behind it is.
IDLE_TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where events are read, whose they are by default, and how they are gathered into batches.

    Records are gathered for `gather_seconds` from the first on, or until a batch is full. With
    `idle_seconds` a partition ends when nothing has come for so long; otherwise it never does.
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
    gather_seconds: float = GATHER_SECONDS


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """The next offset to read, and how far the partition has come in event time."""

    offset: int = OFFSET_BEGINNING
    watermark: int = BEGINNING


@dataclass(frozen=True, slots=True)
class KafkaListeners:
    """Who is told of a topic's reading.

    `on_heartbeat` is called whenever the flow asks for a batch. The others are called in the threads
    that read: `on_read` gives for the number of a partition whom to tell of each batch, and every
    second of how far it is behind while nothing comes; `on_bytes` gets bytes by environment.
    """

    on_heartbeat: Callable[[], None] | None = None
    on_read: Callable[[int], OnRead] | None = None
    on_bytes: Callable[[Mapping[str, int]], None] | None = None


class KafkaSource(FixedPartitionedSource[ReadBatch, KafkaPosition]):
    """The records of a topic. `stop` ends all partitions after the batch that they are at.

    `on_heartbeat`, `on_read` and `on_bytes` are told what `KafkaListeners` says.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        stop: threading.Event,
        *,
        on_heartbeat: Callable[[], None] | None = None,
        on_read: Callable[[int], OnRead] | None = None,
        on_bytes: Callable[[Mapping[str, int]], None] | None = None,
    ):
        self._settings = settings
        self._stop = stop
        self._listeners = KafkaListeners(on_heartbeat, on_read, on_bytes)

    def list_parts(self) -> list[str]:
        """Return the topic's partitions by number. Raises StoreError if the broker does not answer."""
        return [str(partition) for partition in partitions_of(self._settings)]

    def build_part(
        self, step_id: str, for_part: str, resume_state: KafkaPosition | None
    ) -> ReadAheadPartition[KafkaPosition]:
        """Read a partition from its beginning, or from where a snapshot was."""
        reader = _PartitionReader(self._settings, int(for_part), self._stop, self._listeners)
        return _BeatingPartition(
            f"{self._settings.topic}/{for_part}",
            resume_state or KafkaPosition(),
            reader,
            self._listeners.on_heartbeat,
        )


class _BeatingPartition(ReadAheadPartition[KafkaPosition]):
    """A partition that tells whenever the flow asks for a batch: as long as it does, the flow lives."""

    def __init__(
        self,
        name: str,
        start: KafkaPosition,
        reader: "_PartitionReader",
        on_heartbeat: Callable[[], None] | None,
    ):
        self._on_heartbeat = on_heartbeat
        super().__init__(name, start, reader.readings, reader.note_progress)

    def next_batch(self) -> list[ReadBatch]:
        """Return the next batch if one is ready."""
        if self._on_heartbeat is not None:
            self._on_heartbeat()
        return super().next_batch()


class _PartitionReader:
    """Reads one partition with a consumer of its own."""

    def __init__(
        self,
        settings: KafkaSettings,
        partition: int,
        stop: threading.Event,
        listeners: KafkaListeners,
    ):
        self._settings = settings
        self._partition = partition
        self._stop = stop
        self._on_read = listeners.on_read(partition) if listeners.on_read else None
        self._on_bytes = listeners.on_bytes
        self._idle_told_at = 0.0
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
                    records = _records(messages)
                    batch, watermark = read_batch(
                        records, self._door, watermark, self._settings.lateness_microseconds
                    )
                    self._tell(records, batch)
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
            if gathered and now - begun >= settings.gather_seconds:
                return gathered
            if not gathered:
                begun = now
                if settings.idle_seconds is not None and now - idle_from >= settings.idle_seconds:
                    return None
                self._commit()
                self._tell_idle(now)
        return gathered

    def _tell(self, records: pa.Table, batch: ReadBatch) -> None:
        """Tell what was read, how much waits, and how long ago the last record was received."""
        if self._on_bytes is not None:
            environment = self._settings.environment_id
            self._on_bytes(bytes_by_environment(records, batch, environment))
        if self._on_read is None:
            return
        size = pc.sum(pc.binary_length(records["value"])).as_py() or 0
        received = records["received_at"][-1].as_py()
        behind = 0.0 if received is None else (datetime.now(UTC) - received).total_seconds()
        waiting = self._waiting(records["offset"][-1].as_py() + 1)
        self._on_read(records.num_rows, size, waiting, max(0.0, behind))

    def _tell_idle(self, now: float) -> None:
        """Tell now and then that nothing came and so nothing waits."""
        if self._on_read is not None and now - self._idle_told_at >= IDLE_TELL_SECONDS:
            self._idle_told_at = now
            self._on_read(0, 0, 0, 0.0)

    def _waiting(self, next_offset: int) -> int:
        """Return how many records lie behind an offset, as far as the client knows without asking."""
        place = TopicPartition(self._settings.topic, self._partition)
        known: tuple[int, int] | None = self._consumer.get_watermark_offsets(place, cached=True)
        return 0 if known is None else max(0, known[1] - next_offset)

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
