"""The usage of a made-up company: seeded, vectorised, and with the flaws that real logs have.

Forty days of LLM completions, API requests, seat counts and storage changes of several customers,
in the order in which they arrive: some late, some twice, some changed under their old id, some
without a usable value, some of a name that no meter has, some malformed. The generator keeps its
own table of what it meant, from which the numbers can be computed without reading the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from operators.columns import Column
from operators.columns import compute as pc
from schemas.event import INSTANT

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

START_AT = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 40
SPAN_MILLISECONDS = DAYS * 86_400_000
END_AT = START_AT + timedelta(days=DAYS)

# Customers and their share of the traffic.
CUSTOMERS = {
    "acme": 0.34,
    "brightloom": 0.24,
    "cedarworks": 0.18,
    "duskfield": 0.12,
    "emberline": 0.08,
    "fjordlight": 0.04,
}

# Event names and their share.
NAMES = {
    "llm.completion": 0.46,
    "api.request": 0.44,
    "seats.counted": 0.04,
    "storage.changed": 0.05,
    "page.viewed": 0.01,
}

COMPLETION, REQUEST, SEATS, STORAGE, _ = range(len(NAMES))
VALUED = (COMPLETION, SEATS, STORAGE)

MODELS = ("large", "small", "tiny")
WORKSPACES = ("eu", "us")

# How much of the log is flawed, and how.
DUPLICATE_SHARE = 0.01
CONFLICT_SHARE = 0.0005
LATE_SHARE = 0.005
UNUSABLE_SHARE = 0.001
MALFORMED_SHARE = 0.001

MALFORMED = (
    '{"event_name":"llm.completion","external_customer_id":"acme","timestamp":"2026-01-0',
    '{"event_name":"llm.completion","timestamp":"2026-01-09T08:00:00Z","properties":{"tokens":1}}',
    '{"event_name":"api.request","external_customer_id":"acme","timestamp":"yesterday"}',
    '["api.request","acme"]',
    '{"event_name":"a","external_customer_id":"b","timestamp":"2026-01-09T08:00:00Z","properties":1}',
    '{"event_name":"storage.changed","external_customer_id":"acme","properties":{"gigabytes":NaN}}',
)

# What the generator meant: one row an event id, in order of arrival. `value` is the number that a
# meter reads (tokens, seats, gigabytes), null where the event has none or where it is unusable.
FIELDS: list["pa.Field[Any]"] = [
    pa.field("event_id", pa.string()),
    pa.field("event_name", pa.string()),
    pa.field("external_customer_id", pa.string()),
    pa.field("timestamp", INSTANT),
    pa.field("value", pa.decimal128(18, 3)),
    pa.field("model", pa.string()),
    pa.field("workspace", pa.string()),
    pa.field("user", pa.string()),
]
MEANT = pa.schema(FIELDS)


@dataclass(frozen=True, slots=True)
class Generated:
    """A log and what it means: its lines in order of arrival, and how many of them are flawed."""

    lines: Column
    meant: pa.Table
    duplicates: int
    conflicts: int
    unusable: int
    malformed: int

    def write(self, path: Path) -> None:
        """Write the log as NDJSON."""
        with path.open("wb") as file:
            file.write("\n".join(map(str, self.lines.to_pylist())).encode() + b"\n")


def generate(events: int, *, seed: int) -> Generated:
    """Return the log of so many events, and of the copies and malformed lines that come with them.

    The same arguments give the same bytes. A copy always arrives after its original.

    >>> generate(1000, seed=7).meant.num_rows
    1000
    """
    chance = np.random.default_rng(seed)
    names = chance.choice(len(NAMES), events, p=list(NAMES.values()))
    thousandths = amounts(chance, names)
    at = np.sort(chance.integers(0, SPAN_MILLISECONDS, events))
    arrival = at + delays(chance, events)
    unusable = (chance.random(events) < UNUSABLE_SHARE) & (names == COMPLETION)
    valued = np.isin(names, VALUED) & ~unusable
    meant = meant_table(chance, names, at, only(valued, in_units(thousandths)))
    lines = event_lines(meant, value_texts(thousandths, unusable))

    again = np.flatnonzero(chance.random(events) < DUPLICATE_SHARE)
    changed = np.flatnonzero(
        (chance.random(events) < CONFLICT_SHARE) & (thousandths > 0) & ~unusable
    )
    other_values = value_texts(thousandths[changed] + 1000, unusable[changed])
    broken = np.arange(max(int(events * MALFORMED_SHARE), len(MALFORMED))) % len(MALFORMED)
    arrivals = [
        arrival,
        arrival[again] + hours_later(chance, len(again)),
        arrival[changed] + hours_later(chance, len(changed)),
        chance.integers(0, SPAN_MILLISECONDS, len(broken)),
    ]
    texts = [
        lines,
        lines.take(again),
        event_lines(meant.take(changed), other_values),
        pa.array(MALFORMED, pa.large_string()).take(broken),
    ]
    order = np.argsort(np.concatenate(arrivals), kind="stable")
    return Generated(
        lines=pa.concat_arrays(texts).take(order),
        meant=meant.take(np.argsort(arrival, kind="stable")),
        duplicates=len(again),
        conflicts=len(changed),
        unusable=int(unusable.sum()),
        malformed=len(broken),
    )


def amounts(chance: np.random.Generator, names: Integers) -> Integers:
    """Return the value of each event in thousandths; 0 where its name has none."""
    size = len(names)
    tokens = np.minimum(chance.lognormal(6.5, 0.9, size).astype(np.int64) + 1, 60_000) * 1000
    seats = chance.integers(3, 40, size) * 1000
    gigabytes = np.rint(chance.normal(0.4, 2.0, size) * 1000).astype(np.int64)
    nothing = np.zeros(size, np.int64)
    return np.choose(names, [tokens, nothing, seats, gigabytes, nothing])


def delays(chance: np.random.Generator, size: int) -> Integers:
    """Return how many milliseconds after its time each event arrives: none, or hours for a few."""
    late = chance.random(size) < LATE_SHARE
    return np.where(late, hours_later(chance, size), 0)


def hours_later(chance: np.random.Generator, size: int) -> Integers:
    """Return delays of one minute to two days, in milliseconds."""
    return chance.integers(60_000, 48 * 3_600_000, size)


def meant_table(
    chance: np.random.Generator, names: Integers, at: Integers, values: Column
) -> pa.Table:
    """Return the events as the generator means them, in order of event time. out: MEANT."""
    size = len(names)
    customers = chance.choice(len(CUSTOMERS), size, p=list(CUSTOMERS.values()))
    name = pa.array(list(NAMES)).take(names)
    start = round(START_AT.timestamp() * 1000)
    number = pc.utf8_lpad(pa.array(np.arange(size)).cast(pa.string()), 8, "0")
    # Few users are busy and many are not, and customers share none.
    user = pc.binary_join_element_wise(
        pa.array(list(CUSTOMERS)).take(customers),
        pa.array(np.minimum(chance.geometric(0.02, size), 400)).cast(pa.string()),
        "-",
    )
    columns = {
        "event_id": pc.binary_join_element_wise("event", number, "-"),
        "event_name": name,
        "external_customer_id": pa.array(list(CUSTOMERS)).take(customers),
        "timestamp": pa.array(at + start).cast(pa.timestamp("ms", "UTC")).cast(INSTANT),
        "value": values,
        "model": only(names == COMPLETION, chosen(chance, MODELS, size)),
        "workspace": only(names == SEATS, chosen(chance, WORKSPACES, size)),
        "user": only((names == COMPLETION) | (names == REQUEST), user),
    }
    return pa.table(columns, schema=MEANT)


def chosen(chance: np.random.Generator, words: Sequence[str], size: int) -> Column:
    """Return so many words, each as likely as the others."""
    return pa.array(words).take(chance.integers(0, len(words), size))


def only(where: Flags, values: Column) -> Column:
    """Return the values, null where the flag is not set."""
    chosen: Column = pc.if_else(pa.array(where), values, pa.scalar(None, values.type))
    return chosen


def in_units(thousandths: Integers) -> Column:
    """Return thousandths as exact decimals of units."""
    whole = pa.array(thousandths).cast(pa.decimal128(19))
    units: Column = pc.multiply(whole, pa.scalar(Decimal("0.001")))
    return units.cast(MEANT.field("value").type)


def value_texts(thousandths: Integers, unusable: Flags) -> Column:
    """Return each value as the JSON that a sender writes; an unusable one as a text."""
    whole = pa.array(thousandths // 1000).cast(pa.string())
    exact = pc.if_else(
        pa.array(thousandths % 1000 == 0), whole, in_units(thousandths).cast(pa.string())
    )
    texts: Column = pc.if_else(pa.array(unusable), '"n/a"', exact)
    return texts


def event_lines(meant: pa.Table, values: Column) -> Column:
    """Return the NDJSON line of each event, with these texts for the values.

    in:  MEANT and one JSON text a row
    out: one line a row, without its end
    """
    milliseconds: Any = meant["timestamp"].cast(pa.timestamp("ms", "UTC"))
    when = pc.strftime(milliseconds, "%Y-%m-%dT%H:%M:%SZ")
    user, model, workspace = (meant[name] for name in ("user", "model", "workspace"))
    # In the order of NAMES.
    pieces = (
        ('{"model":"', model, '","tokens":', values, ',"user":"', user, '"}'),
        ('{"route":"/v1/answers","user":"', user, '"}'),
        ('{"workspace":"', workspace, '","seats":', values, "}"),
        ('{"gigabytes":', values, "}"),
        ('{"path":"/pricing","title":"', meant["event_name"], '"}'),
    )
    # What one name lacks is null, and chosen for no event of that name.
    texts = [
        pc.binary_join_element_wise(*parts, "", "", null_handling="replace", null_replacement="")
        for parts in pieces
    ]
    properties = pc.choose(pc.index_in(meant["event_name"], pa.array(list(NAMES))), *texts)
    lines: Any = pc.binary_join_element_wise(
        '{"event_id":"',
        meant["event_id"],
        '","event_name":"',
        meant["event_name"],
        '","external_customer_id":"',
        meant["external_customer_id"],
        '","timestamp":"',
        when,
        '","source":"demo","properties":',
        properties,
        "}",
        "",
    )
    one: Column = lines.cast(pa.large_string()).combine_chunks()
    return one
