"""Folding rows by key columns, exactly: the kernels under every partial and every answer.

A sum of quantities must never wrap: pyarrow's decimal128 sums do so silently (ENGINE trap 7), so
that one is taken only where its greatest value times its number of rows provably fits.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.decimals import EXACT, VALUE, WIDE
from schemas.event import INSTANT

if TYPE_CHECKING:
    Column: TypeAlias = pa.ChunkedArray[Any]
else:
    # At run time the class takes no arguments.
    Column: TypeAlias = pa.ChunkedArray

Rule: TypeAlias = Literal["sum", "min", "max"]

# How rows of a cell become one. The columns of the latest reading move together: see `fold`.
RULES: dict[str, Rule] = {
    "counted": "sum",
    "sum": "sum",
    "moment": "sum",
    "maximum": "max",
    "minimum": "min",
}

LATEST = ("latest_at", "latest_id", "latest_value")

# The integer part of a value or of a narrow sum stays below this: 38 digits, 18 of them after the
# point.
NARROW_BOUND = Decimal(10) ** 20

# Factors whose product is at most 76 digits wide, which is all that decimal256 has. 38 digits
# before the point are room for 10^18 values of the greatest magnitude.
FACTOR = pa.decimal256(56, 18)
WHOLE = pa.decimal256(19, 0)


def microseconds(timestamps: Column) -> Column:
    """Return instants as microseconds since 1970.

    >>> from datetime import UTC, datetime
    >>> microseconds(pa.chunked_array([[datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]]))[0].as_py()
    1000000
    """
    return pc.cast(timestamps.cast(INSTANT), pa.int64())


def instants(numbers: Column) -> Column:
    """Return microseconds since 1970 as instants.

    >>> instants(pa.chunked_array([[1_000_000]]))[0].as_py().isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return pc.cast(numbers, INSTANT)


def times(quantities: Column, factors: Column) -> Column:
    """Multiply quantities by whole numbers, exactly.

    >>> product = times(pa.chunked_array([[Decimal("0.5")]], VALUE), pa.chunked_array([[3]]))
    >>> product[0].as_py(), product.type == WIDE
    (Decimal('1.500000000000000000'), True)
    """
    product = pc.multiply(quantities.cast(FACTOR), factors.cast(WHOLE))
    assert product.type == WIDE, product.type
    return product


def fold(table: pa.Table, keys: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Merge partial columns by key columns, by the rule of each (metering.md 7.1 `merge`).

    in:  the keys and `columns`, names of partial columns; sums as narrow as values or wide
    out: the keys, then `columns`; sums wide; one row a key, in no promised order

    >>> sums = pa.array([Decimal(1), Decimal(2)], VALUE)
    >>> rows = pa.table({"key": ["a", "a"], "counted": [1, 1], "sum": sums})
    >>> fold(rows, ["key"], ["counted", "sum"]).to_pylist()
    [{'key': 'a', 'counted': 2, 'sum': Decimal('3.000000000000000000')}]
    """
    grouped = _grouping(table, keys)
    summed = [name for name in columns if name in RULES]
    latest = "latest_id" in columns
    working = table.select(list(dict.fromkeys([*keys, *columns])))
    if latest:
        # Sorted by (time, id), the latest reading of a key is simply its last row.
        working = working.sort_by([("latest_at", "ascending"), ("latest_id", "ascending")])
        working = working.append_column("row", pa.array(np.arange(working.num_rows)))
    for name in summed:
        working = _exact(working, name)
    rules = [(name, RULES[name]) for name in summed] + ([("row", "max")] if latest else [])
    folded = working.group_by(grouped, use_threads=False).aggregate(rules)
    found: dict[str, Column] = {name: folded[name] for name in grouped}
    for name in keys:
        if name not in found:
            found[name] = pa.repeat(table[name][0], folded.num_rows)
    for name in summed:
        found[name] = folded[f"{name}_{RULES[name]}"]
        if name in ("sum", "moment"):
            found[name] = found[name].cast(WIDE)
    if latest:
        last = working.select(LATEST).take(folded["row_max"])
        found |= {name: last[name] for name in LATEST}
    return pa.table({name: found[name] for name in [*keys, *columns]})


def _grouping(table: pa.Table, keys: Sequence[str]) -> list[str]:
    """Return the keys to group by: without `group` where all rows have the same.

    Most meters have no groups, and each text among the keys costs a third of the whole.
    """
    if "group" not in keys or len(keys) == 1 or table.num_rows == 0:
        return list(keys)
    same = len(pc.unique(table["group"])) == 1
    return [name for name in keys if name != "group" or not same]


def _exact(table: pa.Table, name: str) -> pa.Table:
    """Widen a narrow decimal column that is to be summed, unless its sum provably fits."""
    column = table[name]
    if RULES[name] != "sum" or column.type != VALUE or fits(column):
        return table
    return replaced(table, name, column.cast(WIDE))


def replaced(table: pa.Table, name: str, column: Column) -> pa.Table:
    """Return a table with another column under the same name, in the same place.

    >>> replaced(pa.table({"a": [1]}), "a", pa.chunked_array([[2]]))["a"].to_pylist()
    [2]
    """
    return table.set_column(table.schema.get_field_index(name), name, column)


def fits(values: Column) -> bool:
    """Say whether every sum of some of these values provably fits a narrow decimal.

    >>> fits(pa.chunked_array([[Decimal(10) ** 19] * 9], VALUE))
    True
    >>> fits(pa.chunked_array([[Decimal(10) ** 19] * 10], VALUE))
    False
    """
    bounds = [pc.min(values).as_py(), pc.max(values).as_py()]
    greatest = max((bound.copy_abs() for bound in bounds if bound is not None), default=Decimal(0))
    return EXACT.multiply(greatest, Decimal(len(values))) < NARROW_BOUND
