"""The log as a topic of Kafka: what is acknowledged, all replicas in sync have.

A record's timestamp is its receipt time, which Kafka keeps in milliseconds: the log cuts the microseconds
off. What counts is what the log holds, on the first reading as on every replay: an event without a timestamp
of its own has the receipt time of its record, to the millisecond.
"""

import logging
import threading

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from flows.log.event_log import APPENDED
from schemas.errors import StoreError

APPEND_SECONDS = 10.0
CHECK_SECONDS = 2.0
POLL_SECONDS = 0.1
# The client gives up by itself first; this is how much longer a call waits for the client.
GRACE_SECONDS = 1.0
# Records of calls that come together travel together; a single one waits no longer than this.
LINGER_MILLISECONDS = 2
QUEUED_RECORDS_MAX = 1_000_000
# What a record has beside its value: a key of three texts, and the client's own framing.
FRAME_BYTES_MAX = 8192

LOGGER = logging.getLogger("tally.kafka")


class KafkaLog:
    """An EventLog on a topic; safe to use from many threads at once.

    An append fails after `append_seconds` at the latest, and a little.
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        *,
        append_seconds: float = APPEND_SECONDS,
        event_bytes_max: int = 1_000_000,
    ):
        self._brokers = brokers
        self._topic = topic
        self._append_seconds = append_seconds
        self._event_bytes_max = event_bytes_max
        self._closed = threading.Event()
        # Set when the client has met an error after which it takes no more records.
        self._broken = threading.Event()
        self._producer = self._made()
        self._thread = threading.Thread(target=self._poll, name="event log reports", daemon=True)
        self._thread.start()

    def append(self, records: pa.Table) -> None:
        """Send records and wait until the broker has confirmed each of them.

        Records of one key stay in their order.

        in: APPENDED

        Raises StoreError if one of them fails or is not confirmed in time; others may be in the log.
        """
        assert records.schema.equals(APPENDED), records.schema
        if not records.num_rows:
            return
        delivery = _Delivery(records.num_rows, self._broken)
        self._send(records, delivery)
        if not delivery.done.wait(self._append_seconds + GRACE_SECONDS):
            raise self._failed("it has not confirmed in time")
        if delivery.failure is not None:
            raise self._failed(delivery.failure.str()) from KafkaException(delivery.failure)

    def check(self) -> None:
        """Do nothing if the broker answers and has the topic; else raise StoreError."""
        if self._closed.is_set():
            raise self._failed("the log is closed")
        try:
            topics = self._producer.list_topics(self._topic, timeout=CHECK_SECONDS).topics
        except KafkaException as cause:
            raise self._failed(str(cause)) from cause
        error = topics[self._topic].error
        if error is not None:
            raise self._failed(error.str())

    def close(self) -> None:
        """Wait for what is under way, and let go of the broker."""
        self._closed.set()
        self._thread.join()
        self._producer.flush(self._append_seconds)

    def _made(self) -> Producer:
        """Return a client for the log."""
        return Producer(
            {
                "bootstrap.servers": self._brokers,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": LINGER_MILLISECONDS,
                "message.timeout.ms": int(self._append_seconds * 1000),
                "message.max.bytes": self._event_bytes_max + FRAME_BYTES_MAX,
                "queue.buffering.max.messages": QUEUED_RECORDS_MAX,
                # The partition that clients in Java choose for the same key.
                "partitioner": "murmur2_random",
            },
            logger=LOGGER,
        )

    def _send(self, records: pa.Table, delivery: "_Delivery") -> None:
        """Hand records to the client, which sends them by itself."""
        if self._closed.is_set():
            raise self._failed("the log is closed")
        milliseconds = pc.divide(pc.cast(records["received_at"], pa.int64()), 1000)
        columns = (records["value"], records["key"], milliseconds)
        producer = self._producer
        # The client takes timestamps one record at a time; its call for a batch has none, and costs the same.
        try:
            for value, key, at in zip(*(column.to_pylist() for column in columns), strict=True):
                producer.produce(self._topic, value, key, timestamp=at, on_delivery=delivery.report)
        except (BufferError, KafkaException) as cause:
            raise self._failed(str(cause)) from cause

    def _poll(self) -> None:
        """Receive reports until the log is closed; replace a client that is beyond repair."""
        while not self._closed.is_set():
            self._producer.poll(POLL_SECONDS)
            if self._broken.is_set():
                broken, self._producer = self._producer, self._made()
                self._broken.clear()
                # Those who wait for its records hear that they failed.
                broken.purge()
                broken.flush(POLL_SECONDS)

    def _failed(self, reason: str) -> StoreError:
        """Return the error of a broker that did not do what was asked."""
        return StoreError(
            f"Kafka at {self._brokers} does not take records of the topic {self._topic}: {reason}"
        )


class _Delivery:
    """What has been reported of the records of one call. Reports come from one thread only."""

    def __init__(self, records: int, broken: threading.Event):
        self._missing = records
        self._broken = broken
        self.failure: KafkaError | None = None
        self.done = threading.Event()

    def report(self, error: KafkaError | None, _message: Message) -> None:
        """Take note of one record."""
        if error is not None:
            self.failure = error
            if error.fatal():
                self._broken.set()
        self._missing -= 1
        if not self._missing:
            self.done.set()
