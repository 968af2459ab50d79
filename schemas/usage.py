"""The shapes of usage: partials on their way, and cumulative rows as they are stored.

Source: metering.md 7, 11.

A partial is what some events of one cell contribute: one meter, customer, group and base window.
Each aggregation type has its own few columns beside `counted`; partials of one meter merge by the
rule of its columns, in any order and any grouping, to the same partial.
"""

from datetime import timedelta

import pyarrow as pa

from schemas.decimals import VALUE, WIDE
from schemas.event import INSTANT

# Zone offsets are whole minutes, so each window of metering.md 8 is a union of these but for cut
# edges.
BASE_WINDOW = timedelta(minutes=1)

# One row a counted (event, meter). `value` is null for COUNT, `member` is null but for COUNT_UNIQUE
# (the 128-bit digest of the canonical text); `group` is "" for meters without group_by.
PAIRS = pa.schema(
    [
        pa.field("meter_id", pa.string(), nullable=False),
        pa.field("external_customer_id", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("timestamp", INSTANT, nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("value", VALUE),
        pa.field("member", pa.binary(16)),
    ]
)

# What names a cell.
CELL = ("meter_id", "external_customer_id", "group", "window_start")

CELL_FIELDS = [
    pa.field("meter_id", pa.string(), nullable=False),
    pa.field("external_customer_id", pa.string(), nullable=False),
    pa.field("group", pa.string(), nullable=False),
    pa.field("window_start", INSTANT, nullable=False),
]

# The columns that partials are made of. `moment` is the sum of value × (t − window_start) in
# microseconds: relative to its window it stays small (ENGINE trap 7).
PARTIAL_FIELDS = {
    "counted": pa.field("counted", pa.int64(), nullable=False),
    "sum": pa.field("sum", WIDE),
    "moment": pa.field("moment", WIDE),
    "maximum": pa.field("maximum", VALUE),
    "minimum": pa.field("minimum", VALUE),
    "latest_at": pa.field("latest_at", INSTANT),
    "latest_id": pa.field("latest_id", pa.string()),
    "latest_value": pa.field("latest_value", VALUE),
}

# The columns of each aggregation type, `counted` first.
PARTIAL_COLUMNS = {
    "COUNT": ("counted",),
    "SUM": ("counted", "sum"),
    "AVG": ("counted", "sum"),
    "MAX": ("counted", "maximum"),
    "MIN": ("counted", "minimum"),
    "LATEST": ("counted", "latest_at", "latest_id", "latest_value"),
    "COUNT_UNIQUE": ("counted",),
    "SUM_WITH_MULTIPLIER": ("counted", "sum"),
    "WEIGHTED_SUM": ("counted", "sum", "moment"),
}


def partial_schema(columns: tuple[str, ...]) -> pa.Schema:
    """Return the schema of partials with the given columns: the cell, then the columns.

    >>> partial_schema(("counted", "sum")).names[-2:]
    ['counted', 'sum']
    """
    return pa.schema([*CELL_FIELDS, *(PARTIAL_FIELDS[name] for name in columns)])


# The members of cells of COUNT_UNIQUE meters, each once.
MEMBERS = pa.schema([*CELL_FIELDS, pa.field("member", pa.binary(16), nullable=False)])

# A stored row: every partial column, null where the meter has none. `version` grows with each event
# that the row contains; readers take the highest version of the live generation.
USAGE = pa.schema(
    [
        pa.field("tenant_id", pa.string(), nullable=False),
        pa.field("environment_id", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        *CELL_FIELDS,
        pa.field("version", pa.int64(), nullable=False),
        *PARTIAL_FIELDS.values(),
    ]
)
