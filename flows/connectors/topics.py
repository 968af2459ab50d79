"""What the flow tells Kafka: changed usage rows, and malformed records (metering.md 13)."""

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.kernels import select
from schemas.errors import StoreError
from schemas.usage import USAGE

DELIVERY_SECONDS_MAX = 60
# The client lets through what only the broker can judge.
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
# Of a dead letter that the broker will not take so much goes out; the store has all of it.
CUT_BYTES = 10_000
QUEUED_MAX = 100_000

Headers = dict[str, str | bytes | None]

# An instant as the API writes it, and a decimal without trailing zeros.
_INSTANT = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ')"
_ZEROS = r"(?:\.?0+|E-18)$"


class Topics:
    """Publishes to the topics of one broker; each call returns when the broker has all of it."""

    def __init__(self, brokers: str, usage: str, dead_letters: str, events: str):
        self._usage = usage
        self._dead_letters = dead_letters
        self._events = events
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                "bootstrap.servers": brokers,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "queue.buffering.max.messages": 2 * QUEUED_MAX,
            }
        )

    def publish_usage(self, rows: pa.Table) -> None:
        """Publish changed rows as JSON, decimals as text, keyed by customer (in: USAGE)."""
        encoded = encoded_usage(rows)
        for start in range(0, encoded.num_rows, QUEUED_MAX):
            part = encoded.slice(start, QUEUED_MAX)
            self._producer.produce_batch(
                self._usage, part.to_pylist(), on_delivery=self._note_delivery
            )
            self._flush()

    def publish_dead_letters(self, rejected: pa.Table) -> None:
        """Publish malformed records as they came, with what is known of them (in: REJECTED)."""
        # The client takes headers only one record at a time; malformed records are few.
        for row in rejected.to_pylist():
            headers: Headers = {
                "reason": row["reason"],
                "topic": self._events,
                "partition": str(row["partition"]),
                "offset": str(row["offset"]),
                **_scope(row["key"]),
            }
            self._produce_dead_letter(row["value"] or b"", row["key"], headers)
            self._producer.poll(0)
        self._flush()

    def _produce_dead_letter(self, value: bytes, key: bytes | None, headers: Headers) -> None:
        """Send one dead letter; if the broker finds it too large, only its beginning."""

        def note(error: KafkaError | None, message: Message) -> None:
            too_large = error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE
            if too_large and len(value) > CUT_BYTES:
                cut: Headers = {**headers, "bytes": str(len(value))}
                self._produce_dead_letter(value[:CUT_BYTES], key, cut)
            else:
                self._note_delivery(error, message)

        self._producer.produce(self._dead_letters, value, key, headers=headers, on_delivery=note)

    def _note_delivery(self, error: KafkaError | None, _message: Message) -> None:
        """Remember that a record could not be delivered."""
        self._failed = self._failed or error

    def _flush(self) -> None:
        """Wait until the broker has everything. Raises StoreError."""
        try:
            left = self._producer.flush(DELIVERY_SECONDS_MAX)
        except KafkaException as cause:
            raise StoreError(f"Kafka does not take what is published: {cause}") from cause
        if left or self._failed is not None:
            raise StoreError(
                f"Kafka does not take what is published: {self._failed or 'timed out'}"
            )


def _scope(key: bytes | None) -> dict[str, str]:
    """Return the tenant and environment that a key names, if it names them."""
    parts = (key or b"").decode(errors="replace").split(":", 2)
    return {"tenant": parts[0], "environment": parts[1]} if len(parts) == 3 else {}


def encoded_usage(rows: pa.Table) -> pa.Table:
    """Return USAGE rows as Kafka records: columns key and value.

    >>> encoded_usage(USAGE.empty_table()).num_rows
    0
    """
    columns = {}
    for field in USAGE:
        column = rows[field.name]
        if pa.types.is_decimal(field.type):
            column = pc.replace_substring_regex(pc.cast(column, pa.string()), _ZEROS, "")
        columns[field.name] = column
    members = ", ".join(
        f'"{field.name}" := {_INSTANT.format(_quoted(field.name))}'
        if pa.types.is_timestamp(field.type)
        else f'"{field.name}" := {_quoted(field.name)}'
        for field in USAGE
    )
    return select(
        "SELECT concat_ws(':', tenant_id, environment_id, external_customer_id) AS key, "
        f"to_json(struct_pack({members}))::VARCHAR AS value FROM rows",
        rows=pa.table(columns),
    )


def _quoted(name: str) -> str:
    """Return a column's name as SQL takes it."""
    return f'"{name}"'
