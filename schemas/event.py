"""The shapes of an event on its way from the log to the meters, as Arrow schemas.

A position is a place in the log: (partition, offset). Of a file the partition is the rank of its
base name among the files read together, and the offset the number of the line.
"""

import pyarrow as pa

INSTANT = pa.timestamp("us", "UTC")

# A record as the log gives it, before anybody has looked inside.
RECORDS = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("value", pa.large_binary()),
        pa.field("key", pa.binary()),
        # Receipt time; a file read in place has none.
        pa.field("received_at", INSTANT),
    ]
)

# A well-formed event. Absent texts are "", properties are the text of one JSON object with all
# digits.
EVENTS = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("tenant_id", pa.string(), nullable=False),
        pa.field("environment_id", pa.string(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_name", pa.string(), nullable=False),
        pa.field("external_customer_id", pa.string(), nullable=False),
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("timestamp", INSTANT, nullable=False),
        # False where the door filled the timestamp in: such a time is no content (metering.md 4).
        pa.field("timestamp_given", pa.bool_(), nullable=False),
        # Receipt time; of a file read in place the event's own timestamp.
        pa.field("ingested_at", INSTANT, nullable=False),
        pa.field("properties", pa.string(), nullable=False),
    ]
)

# A copy of an event as it goes to its identity's shard. The digest names (tenant, environment,
# event id); the fingerprint is a hint that two copies have equal bytes; `late` is the word of
# metering.md 12.1; `received_at` is the log's own time of the record, by which copies in several
# partitions are ordered.
COPIES = pa.schema(
    [
        *EVENTS,
        pa.field("event_digest", pa.binary(16), nullable=False),
        pa.field("fingerprint", pa.uint64(), nullable=False),
        pa.field("late", pa.bool_(), nullable=False),
        # Whether the properties passed the guard of decode, so that a quick reader keeps their digits.
        pa.field("plain", pa.bool_(), nullable=False),
        pa.field("received_at", INSTANT),
    ]
)

# A malformed record, with its bytes as they came.
REJECTED = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("value", pa.large_binary()),
        pa.field("key", pa.binary()),
        pa.field("received_at", INSTANT),
    ]
)
