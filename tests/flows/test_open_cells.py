"""Cells in memory: however contributions come, the rows are those of one merge of all of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.metering.open_cells import OpenCells, of_cells
from operators.partials import Partials, merge, ordered, start
from schemas.event import INSTANT
from schemas.meter import AggregationType
from schemas.usage import CELL, PAIRS, PARTIAL_COLUMNS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPES = list(AggregationType)

# Minute, customer, value, member.
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from("ab"), st.integers(-(10**37), 10**37), st.integers(0, 2)
    ),
    max_size=14,
)


def contribution(events: list[tuple[int, str, int, int]], kind: str, first: int = 0) -> Partials:
    """Return the partials of events, numbered from `first` on."""
    rows = [
        {
            "meter_id": "m",
            "external_customer_id": customer,
            "group": "",
            "timestamp": NOON + timedelta(minutes=minute, seconds=member),
            "event_id": f"{number:03}",
            "value": Decimal(value).scaleb(-18),
            "member": bytes([member]) * 16,
        }
        for number, (minute, customer, value, member) in enumerate(events, first)
    ]
    return start(kind, pa.Table.from_pylist(rows, schema=PAIRS))


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.sort_by([(name, "ascending") for name in CELL]).to_pylist()


def cells_at(minute: int, *customers: str) -> pa.Table:
    return contribution([(minute, customer, 0, 0) for customer in customers], "COUNT").table


@given(EVENTS, st.sampled_from(TYPES), st.lists(st.booleans(), min_size=14, max_size=14), st.data())
@settings(max_examples=40)
def test_any_split_and_order_comes_to_one_merge(
    events: list[tuple[int, str, int, int]], kind: str, settles: list[bool], data: st.DataObject
) -> None:
    parts = [contribution([event], kind, number) for number, event in enumerate(events)]
    cells = OpenCells(kind)
    published: dict[tuple[Any, ...], dict[str, Any]] = {}
    members = []
    for part, settle in zip(data.draw(st.permutations(parts)), settles, strict=False):
        cells.add(part)
        if settle:
            changed = cells.settle()
            members.append(changed)
            published |= {tuple(row[n] for n in CELL): row for row in rows(changed.table)}
    changed = cells.settle()
    members.append(changed)
    published |= {tuple(row[n] for n in CELL): row for row in rows(changed.table)}

    whole = ordered(merge(kind, parts))

    assert rows(cells.settled().table) == whole.table.to_pylist()
    assert sorted(published.values(), key=lambda row: [row[n] for n in CELL]) == rows(whole.table)
    if whole.members is not None:
        assert ordered(merge(kind, members)).members == whole.members


@given(EVENTS, EVENTS, st.sampled_from(TYPES), st.integers(0, 6))
@settings(max_examples=40)
def test_eviction_and_bringing_back_equals_no_eviction(
    before: list[tuple[int, str, int, int]],
    late: list[tuple[int, str, int, int]],
    kind: str,
    minute: int,
) -> None:
    kept, evicted = OpenCells(kind), OpenCells(kind)
    for cells in (kept, evicted):
        cells.add(contribution(before, kind))
        cells.settle()
    stored = evicted.settled()
    evicted.evict(pa.scalar(NOON + timedelta(minutes=minute), INSTANT))
    delta = contribution(late, kind, len(before))
    changes = []
    for cells in (kept, evicted):
        cells.add(delta)
        missing = cells.missing(cells.pending().table.select(CELL))
        if cells is evicted:
            cells.load(Partials(of_cells(stored.table, missing), None))
        changes.append(rows(cells.settle().table))

    assert changes[0] == changes[1]


@pytest.mark.parametrize("kind", TYPES)
def test_a_dropped_cell_begins_anew_and_the_others_stay(kind: str) -> None:
    cells = OpenCells(kind)
    cells.add(contribution([(0, "a", 5, 0), (0, "b", 6, 0), (1, "a", 7, 1)], kind))
    cells.settle()

    cells.drop(cells_at(0, "a"))

    assert rows(cells.missing(cells_at(0, "a", "b").select(CELL))) == rows(
        cells_at(0, "a").select(CELL)
    )
    cells.add(contribution([(0, "a", 9, 2)], kind, 3))
    cells.settle()
    right = contribution([(0, "b", 6, 0), (1, "a", 7, 1), (0, "a", 9, 2)], kind, 1)
    assert rows(cells.settled().table) == rows(right.table)


def test_what_is_pending_is_not_settled_yet() -> None:
    cells = OpenCells("SUM")
    cells.add(contribution([(0, "a", 5, 0)], "SUM"))
    cells.add(contribution([(0, "a", 6, 0)], "SUM", 1))

    assert cells.settled().table.num_rows == cells.row_count() == 0
    assert rows(cells.pending().table)[0]["counted"] == 2


def test_dead_rows_do_not_pile_up() -> None:
    cells = OpenCells("COUNT")
    for number in range(200):
        cells.add(contribution([(0, "a", 1, 0), (number, "b", 1, 0)], "COUNT", number))
        cells.settle()

    assert len(cells.starts()) == 201
    assert cells.row_count() < 240
    assert set(PARTIAL_COLUMNS["COUNT"]) < set(cells.settled().table.column_names)
