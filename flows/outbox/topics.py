"""What the outbox tells Kafka: invoice lines and alerts, JSON, one fact a record.

The key of a record is tenant:environment:customer, and its header `outbox_id` tells a record that
came twice from one that happened twice.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from billing.webhooks.bodies import payload_of
from schemas.errors import StoreError
from schemas.scope import Scope
from schemas.webhook import OutboxMessage

CONFIRM_SECONDS_MAX = 10.0
# How long what was given up may take to be reported.
PURGE_SECONDS_MAX = 1.0
ID_HEADER = "outbox_id"

LOG = logging.getLogger("tally.outbox")


class Publisher(Protocol):
    """Takes rows to their topics."""

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Return when all of them are there for good; else raise StoreError, and some may be."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class LocalPublisher:
    """Publishes to nobody, where there is no Kafka: rows stay readable in the store."""

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Log each row."""
        for message in messages:
            facts = {"topic": message.topic, "outbox_id": message.id}
            LOG.debug("nobody listens to the topic", extra=facts)

    def close(self) -> None:
        """Do nothing."""


class KafkaPublisher:
    """Publishes to the topics of one broker; for one thread. `names` are those of topics there."""

    def __init__(
        self,
        brokers: str,
        scope: Scope,
        *,
        names: Mapping[str, str] | None = None,
        confirm_seconds: float = CONFIRM_SECONDS_MAX,
    ):
        self._brokers = brokers
        self._scope = scope
        self._names = names or {}
        self._confirm_seconds = confirm_seconds
        self._producer: Producer | None = None

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        """Send rows and wait until all replicas in sync have them, those of a key in their order."""
        if not messages:
            return
        producer = self._producer = self._producer or self._made()
        failures: list[KafkaError] = []

        def note(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error)

        try:
            for message in messages:
                assert message.topic is not None
                producer.produce(
                    self._names.get(message.topic, message.topic),
                    payload_of(message),
                    self.key_of(message),
                    headers={ID_HEADER: message.id},
                    on_delivery=note,
                )
            left = producer.flush(self._confirm_seconds)
        except (BufferError, KafkaException) as cause:
            raise self._failed(str(cause)) from cause
        if failures:
            raise self._failed(failures[0].str())
        if left:
            raise self._failed("it has not confirmed in time")

    def key_of(self, message: OutboxMessage) -> str:
        """Return the key of a record, which orders it among those of its customer."""
        return f"{self._scope.tenant_id}:{self._scope.environment_id}:{message.key}"

    def close(self) -> None:
        """Let go of the broker."""
        self._producer = None

    def _made(self) -> Producer:
        """Return a client for the topics."""
        return Producer(
            {
                "bootstrap.servers": self._brokers,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 2,
                # No record gives up alone, or a later one of its key could be there without it.
                "message.timeout.ms": 0,
                # The partition that clients in Java choose for the same key.
                "partitioner": "murmur2_random",
            },
            logger=LOG,
        )

    def _failed(self, reason: str) -> StoreError:
        """Return the error of a broker, with a client that sends nothing of this any more."""
        broken, self._producer = self._producer, None
        if broken is not None:
            broken.purge()
            broken.flush(PURGE_SECONDS_MAX)
        return StoreError(f"Kafka at {self._brokers} does not take the outbox: {reason}")
