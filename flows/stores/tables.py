"""The tables of the ClickHouse store as Arrow schemas, and the records that name places in them.

Column names are those of the flows; `COLUMNS` says where a table calls one differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

from schemas.event import EVENTS, INSTANT, REJECTED
from schemas.usage import CELL_FIELDS, USAGE

DIGEST = pa.binary(16)


def schema(*fields: "pa.Field[Any]") -> pa.Schema:
    """Return the schema of some fields of many types.

    >>> schema(pa.field("reason", pa.string())).names
    ['reason']
    """
    return pa.schema(list(fields))


SCOPE_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("tenant_id", pa.string(), nullable=False),
    pa.field("environment_id", pa.string(), nullable=False),
]
POSITION_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("partition", pa.int32(), nullable=False),
    pa.field("offset", pa.int64(), nullable=False),
]

# An accepted copy with the digest of its identity (tenant, environment and event id), and the log's
# own time of the record.
STORED_EVENTS = EVENTS.append(pa.field("event_digest", DIGEST, nullable=False)).append(
    pa.field("received_at", INSTANT)
)

# The minutes of events that a rebuild wants; `window_start` is the minute's first microsecond.
CELLS = schema(
    *SCOPE_FIELDS,
    pa.field("event_name", pa.string(), nullable=False),
    pa.field("external_customer_id", pa.string(), nullable=False),
    pa.field("window_start", INSTANT, nullable=False),
)

STORED_MEMBERS = schema(
    *SCOPE_FIELDS,
    pa.field("generation", pa.int32(), nullable=False),
    *CELL_FIELDS,
    pa.field("member", DIGEST, nullable=False),
)

VERDICTS = schema(
    *SCOPE_FIELDS,
    pa.field("event_id", pa.string(), nullable=False),
    *POSITION_FIELDS,
    pa.field("verdict", pa.string(), nullable=False),
    # Where the accepted copy is; null for verdicts that are about this copy alone.
    pa.field("first_partition", pa.int32()),
    pa.field("first_offset", pa.int64()),
    pa.field("received_at", INSTANT),
    pa.field("content", pa.string()),
)

SKIPS = schema(
    *SCOPE_FIELDS,
    pa.field("meter_id", pa.string(), nullable=False),
    pa.field("generation", pa.int32(), nullable=False),
    pa.field("event_id", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
)

DEAD_LETTERS = schema(pa.field("door", pa.string(), nullable=False), *REJECTED)

WITHDRAWN = schema(*POSITION_FIELDS)

# How often a cell changed otherwise than by growing; ranks above the count in a row's version.
CORRECTIONS = schema(
    *SCOPE_FIELDS,
    pa.field("aggregation_type", pa.string(), nullable=False),
    *CELL_FIELDS,
    pa.field("correction", pa.int64(), nullable=False),
)

GENERATIONS = schema(
    *SCOPE_FIELDS,
    pa.field("meter_id", pa.string(), nullable=False),
    pa.field("generation", pa.int32(), nullable=False),
    pa.field("state", pa.string(), nullable=False),
    pa.field("revision", pa.int64(), nullable=False),
)

DEFINITIONS = schema(
    *SCOPE_FIELDS,
    pa.field("meter_id", pa.string(), nullable=False),
    pa.field("generation", pa.int32(), nullable=False),
    pa.field("definition", pa.string(), nullable=False),
)

LAYOUTS = schema(
    pa.field("flow", pa.string(), nullable=False), pa.field("shards", pa.int32(), nullable=False)
)

FLUSHES = schema(
    pa.field("flow", pa.string(), nullable=False),
    pa.field("shard", pa.int32(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("sequence", pa.int64(), nullable=False),
    pa.field("partitions", pa.list_(pa.int32()), nullable=False),
    pa.field("identify_shards", pa.list_(pa.int32()), nullable=False),
    pa.field("offsets", pa.list_(pa.int64()), nullable=False),
)

TABLES: Mapping[str, pa.Schema] = {
    "events": STORED_EVENTS,
    "withdrawn": WITHDRAWN,
    "corrections": CORRECTIONS,
    "usage": USAGE,
    "usage_members": STORED_MEMBERS,
    "meter_generations": GENERATIONS,
    "meter_definitions": DEFINITIONS,
    "layouts": LAYOUTS,
    "verdicts": VERDICTS,
    "skips": SKIPS,
    "dead_letters": DEAD_LETTERS,
    "flushes": FLUSHES,
}

# `partition` and `offset` are words of SQL.
COLUMNS = {"partition": "log_partition", "offset": "log_offset"}


class MeterState(StrEnum):
    """Whether the rows of a meter's generation are all there: what readers may answer from.

    Of a meter that is building, rows are missing still, and an answer comes from raw events. One that
    is retired is in no catalog any more, and its rows have stopped growing.
    """

    LIVE = "live"
    BUILDING = "building"
    RETIRED = "retired"


class FlushKind(StrEnum):
    """Whether a flush was begun or is complete in the store."""

    INTENT = "intent"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Flush:
    """How far one shard of a flow has published.

    `frontier` maps (log partition, identify shard) to the greatest offset whose events are in the
    published rows. Of one flow, shard and kind the highest sequence is the one that counts.
    """

    flow: str
    shard: int
    kind: FlushKind
    sequence: int
    frontier: Mapping[tuple[int, int], int]
