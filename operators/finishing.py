"""Finishing: from the folded partials of cells to signed quantities and values (metering.md 7.1).

The three types that divide or multiply are rounded once, half to even at 18 digits, in Python
decimals over finished cells, which are as few as the answers; all others stay columns.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from operators.cells import Scope
from operators.folding import WHOLE, Column
from schemas.decimals import EXACT, WIDE, rounded
from schemas.meter import Aggregation, AggregationType

# A row of folded partials, as Python values.
Cell: TypeAlias = dict[str, Any]

ZERO = pa.scalar(Decimal(0), WIDE)

# Types whose signed quantity is a partial column as it stands.
PLAIN = {
    AggregationType.COUNT: "counted",
    AggregationType.SUM: "sum",
    AggregationType.MAX: "maximum",
    AggregationType.MIN: "minimum",
    AggregationType.LATEST: "latest_value",
    AggregationType.COUNT_UNIQUE: "members",
}


def signed(aggregation: Aggregation, cells: pa.Table, scope: Scope) -> Column:
    """Return the signed quantity of each cell.

    in:  `span`, the partial columns, and for running levels `level`, what was there before the span
    out: decimal256(76, 18)

    >>> import numpy as np
    >>> cells = pa.table({"span": [0], "counted": [3], "sum": pa.array([Decimal(2)], WIDE)})
    >>> scope = Scope(0, 60_000_000, np.array([0, 60_000_000]), None, running=False)
    >>> signed(Aggregation(AggregationType.AVG, "v"), cells, scope)[0].as_py()
    Decimal('0.666666666666666667')
    """
    kind = aggregation.type
    quotients: Iterable[Decimal]
    if kind in PLAIN:
        column = cells[PLAIN[kind]]
        whole = pa.types.is_integer(column.type)
        return column.cast(WHOLE).cast(WIDE) if whole else column.cast(WIDE)
    if kind is AggregationType.AVG:
        quotients = (
            EXACT.divide(total, Decimal(counted))
            for total, counted in _rows(cells, "sum", "counted")
        )
    elif kind is AggregationType.SUM_WITH_MULTIPLIER:
        multiplier = aggregation.multiplier or Decimal(1)
        quotients = (EXACT.multiply(multiplier, total) for (total,) in _rows(cells, "sum"))
    else:
        quotients = _levels(cells, scope)
    return pa.chunked_array([pa.array([rounded(each) for each in quotients], WIDE)])


def _levels(cells: pa.Table, scope: Scope) -> Iterable[Decimal]:
    """Yield the average level over each span: (e·sum − moment)/(e − s), and what was carried in."""
    lows, highs = scope.lows().tolist(), scope.highs().tolist()
    names = ["span", "sum", "moment", *(["level"] if "level" in cells.column_names else [])]
    for span, total, moment, *carried in _rows(cells, *names):
        level = carried[0] if carried else Decimal(0)
        length = Decimal(highs[span] - lows[span])
        if not length:
            yield level
            continue
        # Moments count from the start of the period, whatever the span.
        until = Decimal(highs[span] - scope.start)
        area = EXACT.subtract(EXACT.multiply(until, total), moment)
        yield EXACT.divide(EXACT.add(area, EXACT.multiply(level, length)), length)


def _rows(cells: pa.Table, *names: str) -> Iterable[tuple[Decimal, ...]]:
    """Yield the values of some columns cell by cell."""
    return zip(*(cells[name].to_pylist() for name in names), strict=True)


def values(quantities: Column) -> Column:
    """Return what is billed and answered: never below 0 (metering.md 5.3).

    >>> values(pa.chunked_array([[Decimal("-2"), Decimal("3")]], WIDE)).to_pylist()
    [Decimal('0E-18'), Decimal('3.000000000000000000')]
    """
    return cast("Column", pc.if_else(pc.less(quantities, ZERO), ZERO, quantities))


def run(
    aggregation: Aggregation, cells: pa.Table, by: Sequence[str], shown: int | None
) -> pa.Table:
    """Return the running totals of meters that never reset: each cell with all that came before.

    in:  as operators.cells.cells gives them; `shown` is the number of spans to list for every key,
         or None to list those only in which something was counted
    out: the same columns, none before the period, and for WEIGHTED_SUM `level`

    A loop over cells, not over events: there are as many as the answer has windows.

    >>> cells = pa.table({"span": [-1, 1], "counted": [4, 1]})
    >>> run(Aggregation(AggregationType.COUNT), cells, (), None).to_pylist()
    [{'span': 1, 'counted': 5}]
    """
    weighted = aggregation.type is AggregationType.WEIGHTED_SUM
    names = [name for name in cells.column_names if name not in {*by, "span"}]
    keys: dict[tuple[str, ...], dict[int, Cell]] = {}
    for row in cells.sort_by("span").to_pylist():
        keys.setdefault(tuple(row[name] for name in by), {})[row["span"]] = row
    rows: list[Cell] = []
    for key, own in keys.items():
        total: Cell | None = None
        listed = sorted(own) if shown is None else range(-1, shown)
        for span in listed:
            here = own.get(span)
            before = total
            total = _merged(before, here, names)
            if span >= 0 and total is not None:
                row = {**dict(zip(by, key, strict=True)), "span": span, **total}
                if weighted:
                    row |= _weighted(before, here)
                rows.append(row)
    fields = [cells.schema.field(name) for name in [*by, "span", *names]]
    if weighted:
        fields.append(pa.field("level", WIDE))
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _weighted(before: Cell | None, here: Cell | None) -> Cell:
    """Return a span's own changes, and the level that it starts with."""
    zero = Decimal(0)
    return {
        "sum": here["sum"] if here else zero,
        "moment": here["moment"] if here else zero,
        "level": before["sum"] if before else zero,
    }


def _merged(before: Cell | None, here: Cell | None, names: Sequence[str]) -> Cell | None:
    """Merge what came before a span with the span itself, by the rule of each column."""
    if before is None or here is None:
        found = before if here is None else here
        return None if found is None else {name: found[name] for name in names}
    return {name: _RUN[name](before[name], here[name]) for name in names}


def _add(before: Decimal, here: Decimal) -> Decimal:
    return EXACT.add(before, here)


def _later(before: Any, here: Any) -> Any:
    """Spans follow one another, so that a reading of this one is later than any before."""
    del before
    return here


_RUN: dict[str, Callable[[Any, Any], Any]] = {
    "counted": lambda before, here: before + here,
    # Members of a span are those that no earlier one had; a span without new ones has none.
    "members": lambda before, here: (before or 0) + (here or 0),
    "sum": _add,
    "moment": _add,
    "maximum": max,
    "minimum": min,
    "latest_at": _later,
    "latest_id": _later,
    "latest_value": _later,
}
