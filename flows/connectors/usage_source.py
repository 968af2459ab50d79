"""The topic `usage` as a source: rows that metering has published, from the moment on that it is opened.

What was published before is in the store, where rows are before they are published; so there is no
position to keep, and a process that begins again begins at the end of the topic.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from flows.billing.batches import NOTHING, PublishedUsage
from schemas.errors import StoreError
from schemas.scope import Scope
from schemas.usage import USAGE

RECORDS_MAX = 10_000
POLL_EVERY = timedelta(milliseconds=20)
TELL_EVERY = timedelta(seconds=1)
ANSWER_SECONDS = 10.0

Decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class UsageTopic:
    """Where usage is published, and whose rows are wanted."""

    brokers: str
    topic: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class UsageTopicHooks:
    """Whom the source asks and tells.

    `built` says whether the rows of all meters are stored; before that nothing begins. `published_until`
    says up to when all that was accepted has been published, None where nobody knows.
    """

    built: Callable[[], bool] = lambda: True
    published_until: Callable[[], datetime | None] = lambda: None
    on_heartbeat: Callable[[], None] = lambda: None


class UsageTopicSource(FixedPartitionedSource[PublishedUsage, None]):
    """Rows of a topic, its partitions apart; ends when `stop` is set."""

    def __init__(
        self,
        topic: UsageTopic,
        partitions: Sequence[int],
        stop: threading.Event,
        hooks: UsageTopicHooks,
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._stop = stop
        self._hooks = hooks

    def list_parts(self) -> list[str]:
        """Return the partitions of the topic by number."""
        return [str(number) for number in self._partitions]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "UsageTopicPartition":
        """Begin at the end of a partition. Raises StoreError."""
        return UsageTopicPartition(self._topic, int(for_part), self._stop, self._hooks)


class UsageTopicPartition(StatefulSourcePartition[PublishedUsage, None]):
    """The reader of one partition, with a consumer of its own."""

    def __init__(
        self, topic: UsageTopic, partition: int, stop: threading.Event, hooks: UsageTopicHooks
    ) -> None:
        self._topic = topic
        self._name = str(partition)
        self._stop = stop
        self._hooks = hooks
        self._place = TopicPartition(topic.topic, partition)
        self._consumer = Consumer(
            {
                "bootstrap.servers": topic.brokers,
                # Nobody's offsets are kept; the client will not do without a name.
                "group.id": "tally-billing",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            _, self._next = self._consumer.get_watermark_offsets(self._place, ANSWER_SECONDS)
        except KafkaException as cause:
            raise StoreError(f"Kafka at {topic.brokers} does not answer: {cause}") from cause
        self._consumer.assign([TopicPartition(topic.topic, partition, self._next)])
        self._begun = False
        self._told_at = datetime.now(UTC)
        self._awake_at: datetime | None = None

    def next_batch(self) -> list[PublishedUsage]:
        """Return what has come, if anything did. Raises StoreError."""
        self._hooks.on_heartbeat()
        if self._stop.is_set():
            raise StopIteration
        now = datetime.now(UTC)
        if not self._begun:
            return self._first(now)
        self._awake_at = now + POLL_EVERY
        # Asked before reading: what was published by then is in what is read, if that is all there is.
        until = self._hooks.published_until()
        messages = self._consumer.consume(RECORDS_MAX, 0)
        rows = self._rows(messages)
        if not messages and now - self._told_at < TELL_EVERY:
            return []
        self._told_at = now
        known = until if not messages and self._at_end() else None
        return [PublishedUsage(rows, until=known, partition=self._name)]

    def next_awake(self) -> datetime | None:
        """Ask again soon."""
        return self._awake_at

    def snapshot(self) -> None:
        """There is no place to go on from: a new flow begins at the end."""
        return

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _first(self, now: datetime) -> list[PublishedUsage]:
        """Begin, unless rows of some meter are still missing."""
        self._begun = self._hooks.built()
        if not self._begun:
            self._awake_at = now + timedelta(milliseconds=200)
            return []
        return [PublishedUsage(NOTHING.rows, begins=1, partition=self._name)]

    def _rows(self, messages: Sequence[Message]) -> pa.Table:
        """Return the rows of records; raise what is no passing trouble of the connection."""
        values = []
        for message in messages:
            error = message.error()
            if error is None:
                values.append(message.value() or b"{}")
                self._next = (message.offset() or 0) + 1
            elif not error.retriable():
                raise StoreError(f"Kafka refuses to be read: {error}")
        return decoded_usage(values, self._topic.scope)

    def _at_end(self) -> bool:
        """Tell whether all that the broker has was read, as far as the client knows without asking."""
        known: tuple[int, int] | None = self._consumer.get_watermark_offsets(
            self._place, cached=True
        )
        return known is None or known[1] <= self._next


def decoded_usage(values: Sequence[bytes], scope: Scope) -> pa.Table:
    """Return records of the topic as rows (USAGE) of one scope: what `encoded_usage` wrote.

    >>> decoded_usage([], Scope("t", "e")).num_rows
    0
    """
    found = [Decoder.decode(value) for value in values]
    wanted = (scope.tenant_id, scope.environment_id)
    mine = [row for row in found if (row.get("tenant_id"), row.get("environment_id")) == wanted]
    columns = []
    for field in USAGE:
        cells = [row.get(field.name) for row in mine]
        # Decimals and instants travel as texts.
        as_text = pa.types.is_decimal(field.type) or pa.types.is_timestamp(field.type)
        column = pa.array(cells, pa.string()) if as_text else pa.array(cells, field.type)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=USAGE)
