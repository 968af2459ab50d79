"""Partials: what cells hold, against a plain reading of the definitions, and how they merge."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.partials import Partials, empty, merge, ordered, start
from schemas.decimals import EXACT
from schemas.meter import AggregationType
from schemas.usage import CELL, MEMBERS, PAIRS, PARTIAL_COLUMNS, partial_schema

Row: TypeAlias = dict[str, Any]

TYPES = list(AggregationType)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GREATEST = Decimal("99999999999999999999.999999999999999999")


def pairs_of(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=PAIRS)


def pair(seconds: float, value: str, name: str = "a") -> Row:
    return {
        "meter_id": "m",
        "external_customer_id": "acme",
        "group": "",
        "timestamp": NOON + timedelta(seconds=seconds),
        "event_id": name,
        "value": Decimal(value),
        "member": name.encode().ljust(16),
    }


def rows_of(partials: Partials) -> tuple[list[Row], list[Row]]:
    """Return the rows of partials in the order of their cells."""
    inorder = ordered(partials)
    members = inorder.members
    return inorder.table.to_pylist(), [] if members is None else members.to_pylist()


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Draw counted pairs in few cells, their values as large as values may be, no id twice."""
    digits = st.integers(-(10**38) + 1, 10**38 - 1) | st.integers(-(10**19), 10**19)
    found = []
    for name in draw(st.lists(st.text("aAzé\U0001f600", max_size=3), max_size=12, unique=True)):
        microseconds = draw(
            st.integers(0, 150_000_000) | st.sampled_from([0, 59_999_999, 60_000_000])
        )
        row = {
            "meter_id": draw(st.sampled_from(["m", "n"])),
            "external_customer_id": draw(st.sampled_from(["acme", "Ácme"])),
            "group": draw(st.sampled_from(["", "x"])),
            "timestamp": NOON + timedelta(microseconds=microseconds),
            "value": Decimal(draw(digits)).scaleb(-18, EXACT),
            "member": draw(st.sampled_from([b"1" * 16, b"2" * 16])),
        }
        found.append({**pair(0, "0", name), **row})
    return found


def minute(row: Row) -> datetime:
    at: datetime = row["timestamp"]
    return at.replace(second=0, microsecond=0)


def expected(kind: str, found: list[Row]) -> list[Row]:
    """Read the definitions of metering.md 7.1 pair by pair."""
    cells: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in found:
        at = row["timestamp"]
        window = minute(row)
        key = (row["meter_id"], row["external_customer_id"], row["group"], window)
        cells[key].append({**row, "into": (at - window) // timedelta(microseconds=1)})
    answers = []
    for cell, inside in cells.items():
        total = moment = Decimal(0)
        for row in inside:
            total = EXACT.add(total, row["value"])
            moment = EXACT.add(moment, EXACT.multiply(row["value"], Decimal(row["into"])))
        latest = max(inside, key=lambda row: (row["timestamp"], row["event_id"].encode()))
        columns = {
            "counted": len(inside),
            "sum": total,
            "moment": moment,
            "maximum": max(row["value"] for row in inside),
            "minimum": min(row["value"] for row in inside),
            "latest_at": latest["timestamp"],
            "latest_id": latest["event_id"],
            "latest_value": latest["value"],
        }
        answers.append(
            dict(zip(CELL, cell, strict=True))
            | {name: columns[name] for name in PARTIAL_COLUMNS[kind]}
        )
    return sorted(answers, key=lambda row: [row[name] for name in CELL])


@pytest.mark.parametrize(
    ("kind", "found", "column", "held"),
    [
        ("COUNT", [pair(0, "5"), pair(1, "-5")], "counted", 2),
        ("SUM", [pair(0, "0.1"), pair(59.999999, "0.2")], "sum", "0.3"),
        ("SUM", [pair(0, str(GREATEST))] * 1000, "sum", EXACT.multiply(GREATEST, Decimal(1000))),
        ("SUM", [pair(0, f"-{GREATEST}")] * 3, "sum", EXACT.multiply(GREATEST, -3)),
        # Neither order of these may overflow on the way to their small sum.
        ("SUM", [pair(0, f"{sign}90000000000000000000") for sign in "++++----"], "sum", "0"),
        ("WEIGHTED_SUM", [pair(0.000001, "2"), pair(0.000002, "3")], "moment", "8"),
        (
            "WEIGHTED_SUM",
            [pair(59.999999, str(GREATEST))] * 2,
            "sum",
            EXACT.add(GREATEST, GREATEST),
        ),
        ("MAX", [pair(0, "-1"), pair(1, "-2")], "maximum", "-1"),
        ("MIN", [pair(0, "-1"), pair(1, "-2")], "minimum", "-2"),
        ("LATEST", [pair(2, "1", "a"), pair(1, "2", "b")], "latest_value", "1"),
        # Of one instant the greater id counts, by its bytes: lower case is after upper, é after z.
        ("LATEST", [pair(0, "1", "b"), pair(0, "2", "B")], "latest_value", "1"),
        ("LATEST", [pair(0, "1", "é"), pair(0, "2", "z")], "latest_value", "1"),
        ("LATEST", [pair(0, "1", "\U0001f600"), pair(0, "2", "\uffee")], "latest_value", "1"),
    ],
)
def test_a_cell_holds(kind: str, found: list[Row], column: str, held: str | int | Decimal) -> None:
    (row,) = start(kind, pairs_of(found)).table.to_pylist()
    assert row[column] == (Decimal(held) if isinstance(held, str) else held)


def test_a_member_is_held_once_in_each_cell() -> None:
    found = [pair(0, "0", "a"), pair(1, "0", "a"), pair(60, "0", "a"), pair(61, "0", "b")]
    started = start("COUNT_UNIQUE", pairs_of(found))
    table, members = rows_of(started)
    assert [row["counted"] for row in table] == [2, 2]
    assert [(row["window_start"], row["member"][:1]) for row in members] == [
        (NOON, b"a"),
        (NOON + timedelta(minutes=1), b"a"),
        (NOON + timedelta(minutes=1), b"b"),
    ]


@pytest.mark.parametrize("kind", TYPES)
def test_partials_have_the_agreed_columns(kind: str) -> None:
    made = [start(kind, pairs_of([pair(0, "1")])), empty(kind), start(kind, PAIRS.empty_table())]
    for partials in [*made, merge(kind, made)]:
        assert partials.table.schema == partial_schema(PARTIAL_COLUMNS[kind])
        assert (partials.members is not None) is (kind == "COUNT_UNIQUE")
        if partials.members is not None:
            assert partials.members.schema == MEMBERS


@given(st.sampled_from(TYPES), rows())
def test_partials_are_what_a_reading_of_the_definitions_gives(kind: str, found: list[Row]) -> None:
    started = start(kind, pairs_of(found))
    table, members = rows_of(started)
    assert table == expected(kind, found)
    if kind == "COUNT_UNIQUE":
        cells = {(*(row[name] for name in CELL[:3]), minute(row), row["member"]) for row in found}
        assert len(members) == len(cells)


@given(st.sampled_from(TYPES), st.data())
def test_splitting_and_permuting_changes_nothing(kind: str, data: st.DataObject) -> None:
    found = data.draw(rows())
    whole = start(kind, pairs_of(found))
    shuffled = data.draw(st.permutations(found))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=4)))
    batches = [
        start(kind, pairs_of(shuffled[low:high]))
        for low, high in zip([0, *cuts], [*cuts, len(found)], strict=True)
    ]
    assert rows_of(merge(kind, data.draw(st.permutations(batches)))) == rows_of(whole)


@given(st.sampled_from(TYPES), rows(), rows(), rows())
def test_merge_is_associative_and_commutative_with_an_identity(
    kind: str,
    one: list[Row],
    two: list[Row],
    three: list[Row],
) -> None:
    # The same id in two of them would be two readings of one instant: ids are made different.
    parts = [
        start(kind, pairs_of([{**row, "event_id": f"{row['event_id']}{index}"} for row in found]))
        for index, found in enumerate((one, two, three))
    ]
    left = merge(kind, [merge(kind, parts[:2]), parts[2]])
    right = merge(kind, [parts[0], merge(kind, parts[1:])])
    assert rows_of(left) == rows_of(right) == rows_of(merge(kind, parts[::-1]))
    assert rows_of(merge(kind, [empty(kind), parts[0]])) == rows_of(parts[0])
    assert rows_of(merge(kind, [parts[0]])) == rows_of(parts[0])
