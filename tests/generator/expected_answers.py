"""What `tally meter` must answer for generated values over whole days, from their expected usage.

The formulas are those of metering.md 7.1, in integers: units of 10^-18 and microseconds.
"""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
from expected_usage import UNIT, Cell, Row, usage

DAY = 86_400_000_000
HOUR = 3_600_000_000

# One customer's answer for a meter: the value as text, and how many events it is made of.
Answers = dict[tuple[str, str, str | None], tuple[str, int]]


def answers(drawn: pa.Table) -> tuple[Answers, str, str]:
    """Return the answers per meter, customer and group, and the start and end of their period."""
    instants = drawn["happened_at"].to_numpy()
    start = int(instants.min()) // DAY * DAY
    end = (int(instants.max()) // DAY + 1) * DAY
    apart: dict[tuple[str, str, str | None], list[tuple[Cell, Row]]] = defaultdict(list)
    for cell, row in usage(drawn).items():
        group = cell.group if cell.meter == "peak_by_zone" else None
        apart[cell.meter, cell.customer, group].append((cell, row))
    unique = unique_users(drawn)
    found: Answers = {}
    for key, rows in apart.items():
        counted = sum(row.counted for _, row in rows)
        signed = unique[key[1]] * UNIT if key[0] == "users" else quantity(key[0], rows, start, end)
        found[key] = (plain(max(0, signed)), counted)
    return found, written(start), written(end)


def quantity(meter: str, rows: list[tuple[Cell, Row]], start: int, end: int) -> int:
    """Return the signed quantity of a meter in units."""
    counted = sum(row.counted for _, row in rows)
    total = sum(row.sum or 0 for _, row in rows)
    moment = sum((row.moment or 0) + cell.window_start * (row.sum or 0) for cell, row in rows)
    buckets: dict[int, int] = defaultdict(int)
    for cell, row in rows:
        buckets[cell.window_start // HOUR] = max(
            buckets[cell.window_start // HOUR], row.maximum or 0
        )
    readings = ((row.latest_at or 0, (row.latest_id or "").encode(), row) for _, row in rows)
    newest = max(readings, key=lambda reading: reading[:2])
    return {
        "calls": counted * UNIT,
        "failures": counted * UNIT,
        "tokens": total,
        "spend": total,
        "mean_amount": divided(total, counted),
        "peak": max(row.maximum or 0 for _, row in rows),
        "floor": min(row.minimum or 0 for _, row in rows),
        "reading": newest[2].latest_value or 0,
        "storage": divided(end * total - moment, end - start),
        "compute": divided(total * 25, 10_000),
        "peak_by_zone": sum(buckets.values()),
    }[meter]


def divided(number: int, by: int) -> int:
    """Return a quotient rounded half to even.

    >>> divided(5, 2), divided(7, 2), divided(-5, 2), divided(-6, 4)
    (2, 4, -2, -2)
    """
    whole, rest = divmod(number, by)
    return whole + (2 * rest > by or (2 * rest == by and whole % 2 == 1))


def plain(units: int) -> str:
    """Return units as plain digits.

    >>> plain(1_500_000_000_000_000_000), plain(0), plain(12 * UNIT)
    ('1.5', '0', '12')
    """
    whole, fraction = divmod(units, UNIT)
    return f"{whole}.{fraction:018d}".rstrip("0").rstrip(".")


def written(microseconds: int) -> str:
    """Return an instant of whole seconds as the program writes it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def unique_users(drawn: pa.Table) -> dict[str, int]:
    """Return how many different users each customer has."""
    with duckdb.connect() as connection:
        connection.register("drawn", drawn)
        counts = connection.execute("""
            SELECT customer, count(DISTINCT "user") FROM drawn
            WHERE event_name = 'llm.completion' GROUP BY ALL
        """).fetchall()
    return dict(counts)
