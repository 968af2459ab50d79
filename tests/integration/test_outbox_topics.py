"""The outbox on a real broker: records as promised, in order, and noted only once they are there."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.outbox.topics import KafkaPublisher
from schemas.errors import StoreError
from schemas.ids import OutboxId
from schemas.scope import Scope
from schemas.webhook import OutboxMessage

pytestmark = [pytest.mark.requires("kafka"), pytest.mark.timeout(900)]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
TOPICS = {"alerts": "test-alerts", "invoice_lines": "test-invoice-lines"}


def message(number: int, customer: str, topic: str) -> OutboxMessage:
    name = OutboxId(f"msg_{number}")
    return OutboxMessage(number, name, customer, NOON, topic, {"n": number}, None, {}, None)


def records_of(broker: str, topic: str, count: int) -> Sequence[Message]:
    """Return so many records of a topic of one partition, from its beginning."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Message] = []
    while len(found) < count:
        found += consumer.consume(count - len(found), 30)
    consumer.close()
    return found


def test_rows_are_records_of_their_topics_in_the_order_of_their_sequences(broker: str) -> None:
    administrator = AdminClient({"bootstrap.servers": broker})
    made = administrator.create_topics([NewTopic(name, 1) for name in TOPICS.values()])
    for future in made.values():
        future.result(60)
    publisher = KafkaPublisher(broker, SCOPE, names=TOPICS)
    rows = [message(n, f"cust_{n % 3}", ("alerts", "invoice_lines")[n % 2]) for n in range(200)]
    publisher.publish(rows[:100])
    publisher.publish(rows[100:])
    publisher.close()
    for topic, name in TOPICS.items():
        mine = [row for row in rows if row.topic == topic]
        found = records_of(broker, name, len(mine))
        assert [each.value() for each in found] == [b'{"n":%d}' % row.sequence for row in mine]
        assert [each.key() for each in found] == [
            f"tenant_default:env_development:{row.key}".encode() for row in mine
        ]
        assert [each.headers() for each in found] == [
            [("outbox_id", row.id.encode())] for row in mine
        ]
        # The time of publishing: a fact may be older than what a topic keeps.
        assert all(each.timestamp()[1] > NOON.timestamp() * 1000 for each in found)


def test_a_broker_that_is_away_is_an_error_and_the_next_call_begins_anew() -> None:
    publisher = KafkaPublisher("127.0.0.1:1", SCOPE, confirm_seconds=0.2)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:1"):
            publisher.publish([message(1, "c", "alerts")])
    publisher.close()
