"""The log as those see it who append to it: embedded or Kafka, the same promises."""

from typing import Protocol

import pyarrow as pa

from schemas.event import INSTANT

# Records on their way into the log, which gives them their positions. `key` is
# tenant:environment:external_customer_id; `received_at` was stamped by the door.
APPENDED = pa.schema(
    [
        pa.field("value", pa.large_binary(), nullable=False),
        pa.field("key", pa.binary(), nullable=False),
        pa.field("received_at", INSTANT, nullable=False),
    ]
)


class EventLog(Protocol):
    """Takes records; safe to use from many threads at once."""

    def append(self, records: pa.Table) -> None:
        """Make records durable, all of them in their order, before the call returns.

        in: APPENDED

        Raises StoreError if that cannot be confirmed in time; the records may be there all the same,
        which does no harm, because they come again with the same ids.
        """
        ...

    def check(self) -> None:
        """Do nothing if the log takes appends; else raise StoreError that says what is wrong."""
        ...

    def close(self) -> None:
        """Wait for what is under way, and let go of the log."""
        ...
