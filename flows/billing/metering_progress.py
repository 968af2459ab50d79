"""How far metering has come in the log that it reads from Kafka, as somebody beside it can see.

Metering commits the offsets of its snapshots for those who watch. What the log held at an instant is
metered once the committed offsets have reached the ends that it had then.
"""

import threading
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, KafkaException, TopicPartition

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 5.0
# What a snapshot holds is published at the latest with the flush after it.
PUBLISHED_AFTER = timedelta(seconds=1)


class MeteringProgress:
    """Looks every second, on a thread of its own, until `stop` is set."""

    def __init__(self, brokers: str, topic: str, group: str, stop: threading.Event) -> None:
        self._topic = topic
        self._stop = stop
        self._consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
        self._ends: tuple[datetime, dict[int, int]] | None = None
        # What was seen to be in a snapshot, and when that was seen.
        self._reached: tuple[datetime, datetime] | None = None
        self._until: datetime | None = None
        self._thread = threading.Thread(target=self._run, name="metering progress", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def published_until(self) -> datetime | None:
        """Return the instant before which all that was accepted is published, None if unknown."""
        return self._until

    def look(self, now: datetime) -> None:
        """Take note of how far metering is; what Kafka does not answer is asked again later."""
        partitions = self._consumer.list_topics(self._topic, timeout=ANSWER_SECONDS)
        places = [
            TopicPartition(self._topic, number)
            for number in partitions.topics[self._topic].partitions
        ]
        ends = {
            place.partition: self._consumer.get_watermark_offsets(place, ANSWER_SECONDS)
            for place in places
        }
        committed = {
            place.partition: place.offset
            for place in self._consumer.committed(places, timeout=ANSWER_SECONDS)
        }
        if self._reached is not None and now - self._reached[1] >= PUBLISHED_AFTER:
            self._until, self._reached = self._reached[0], None
        if self._ends is not None and self._reached is None:
            at, wanted = self._ends
            if all(committed.get(number, -1) >= end for number, end in wanted.items()):
                self._reached = (at, now)
                self._ends = None
        if self._ends is None:
            # A partition without a record is always reached.
            self._ends = (now, {number: high for number, (low, high) in ends.items() if high > low})

    def _run(self) -> None:
        """Look until it is over."""
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self.look(datetime.now(UTC))
            except KafkaException:
                continue
        self._consumer.close()
