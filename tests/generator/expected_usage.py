"""What the meters of catalog.yaml must make of generated values: by SQL, in integers.

Every figure is calculated in DuckDB from the columns of generated_events.py as whole numbers: an
amount is its two halves, summed apart in 128 bits and joined in Python, so that no decimal type and
no JSON takes part. Figures are in units of 10^-18, moments in the same times microseconds.
"""

from typing import NamedTuple

import duckdb
import pyarrow as pa
from written_records import EVENT_ID

UNIT = 10**18
MINUTE = 60_000_000


class Cell(NamedTuple):
    """What names a row of usage: the meter by name, and the start of its minute in microseconds."""

    meter: str
    customer: str
    group: str
    window_start: int


class Row(NamedTuple):
    """The figures of a row of usage; None where the meter has none of the kind."""

    counted: int
    sum: int | None = None
    moment: int | None = None
    maximum: int | None = None
    minimum: int | None = None
    latest_at: int | None = None
    latest_id: str | None = None
    latest_value: int | None = None


# Of each meter: the events that count, the text of their group, and the figures.
CALL, LLM = "event_name = 'api.call'", "event_name = 'llm.completion' AND whole IS NOT NULL"
JOB, LEVEL = "event_name = 'job.run' AND whole IS NOT NULL", "event_name = 'storage.level'"
SUM = "sum(high), sum(low), NULL, NULL, NULL, NULL, NULL, NULL, NULL"
NOTHING = "NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"
METERS = {
    "calls": (CALL, "''", NOTHING),
    "failures": (f"{CALL} AND status IN (500, 503)", "''", NOTHING),
    "tokens": (
        "event_name = 'llm.completion' AND model IN ('large', 'médium')",
        "''",
        "sum(tokens), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    ),
    "spend": (LLM, "''", SUM),
    "mean_amount": (f"{CALL} AND whole IS NOT NULL", "''", SUM),
    "peak": (JOB, "''", "NULL, NULL, NULL, NULL, max(units), NULL, NULL, NULL, NULL"),
    "floor": (JOB, "''", "NULL, NULL, NULL, NULL, NULL, min(units), NULL, NULL, NULL"),
    "users": ("event_name = 'llm.completion' AND \"user\" IS NOT NULL", "''", NOTHING),
    "reading": (
        f"{LEVEL} AND whole IS NOT NULL",
        "''",
        "NULL, NULL, NULL, NULL, NULL, NULL, max(reading)[1], max(reading)[2], max(reading)[3]",
    ),
    "storage": (
        f"{LEVEL} AND whole IS NOT NULL",
        "''",
        "sum(high), sum(low), sum(high * past), sum(low * past), NULL, NULL, NULL, NULL, NULL",
    ),
    "compute": (JOB, "''", SUM),
    "peak_by_zone": (
        JOB,
        "coalesce(zone, '')",
        "NULL, NULL, NULL, NULL, max(units), NULL, NULL, NULL, NULL",
    ),
}

DRAWN = f"""
CREATE TABLE facts AS SELECT *,
    high::HUGEINT * {UNIT} + low AS units,
    happened_at - minute AS past,
    row(happened_at, event_id, units) AS reading,
FROM (SELECT *,
    {EVENT_ID} AS event_id,
    happened_at - happened_at % {MINUTE} AS minute,
    if(negative, -whole, whole)::HUGEINT AS high,
    if(negative, -fraction, fraction)::HUGEINT AS low,
FROM drawn)
"""


def usage(drawn: pa.Table) -> dict[Cell, Row]:
    """Return each row of usage that these values make, over all meters of the catalog."""
    rows: dict[Cell, Row] = {}
    with duckdb.connect() as connection:
        connection.register("drawn", drawn)
        connection.execute(DRAWN)
        for meter, (counts, group, figures) in METERS.items():
            # The columns and conditions are the texts above.
            select = f"SELECT customer, {group}, minute, count(*), {figures} FROM facts"
            query = f"{select} WHERE {counts} GROUP BY ALL"
            for customer, of, minute, counted, *told in connection.execute(query).fetchall():
                rows[Cell(meter, customer, of, minute)] = _row(counted, *told)
    return rows


def _row(
    counted: int,
    high: int | None,
    low: int | None,
    moment_high: int | None,
    moment_low: int | None,
    maximum: int | None,
    minimum: int | None,
    latest_at: int | None,
    latest_id: str | None,
    latest_value: int | None,
) -> Row:
    return Row(
        counted,
        None if high is None else high * UNIT + (low or 0),
        None if moment_high is None else moment_high * UNIT + (moment_low or 0),
        maximum,
        minimum,
        latest_at,
        latest_id,
        latest_value,
    )


def members(drawn: pa.Table) -> set[tuple[Cell, bytes]]:
    """Return the members of the cells of `users`: the MD5 digest of each canonical text, once."""
    with duckdb.connect() as connection:
        connection.register("drawn", drawn)
        query = """
            SELECT DISTINCT customer, happened_at - happened_at % $minute, unhex(md5("user"))
            FROM drawn WHERE event_name = 'llm.completion' AND "user" IS NOT NULL
        """
        found = connection.execute(query, {"minute": MINUTE}).fetchall()
    return {(Cell("users", customer, "", minute), digest) for customer, minute, digest in found}
