"""The usage of one meter that a question is answered from, and how parts of it are picked.

Whole base windows come as partial rows, those that an edge cuts as the counted pairs themselves; a
question about dimensions that rows do not carry comes with pairs alone (metering.md 9).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.partials import Partials


@dataclass(frozen=True, slots=True)
class Usage:
    """Rows and counted pairs of one meter, all of one generation.

    With `rows`, of each base window either the row or the pairs are read, never both: the pairs
    where an edge of the question cuts the window, the row elsewhere. More of either than is needed
    does no harm. `pairs` of None promises that no edge cuts a base window. With `rows` of None the
    pairs are everything, and may carry further columns to group by. Rows of members may be wider
    than base windows (roll-ups) where no edge of the question cuts them.
    """

    rows: Partials | None
    pairs: pa.Table | None = None


def usage_of_pairs(pairs: pa.Table) -> Usage:
    """Return usage that is known from its counted pairs alone.

    >>> from schemas.usage import PAIRS
    >>> usage_of_pairs(PAIRS.empty_table()).rows is None
    True
    """
    return Usage(None, pairs)


def of_meter(usage: Usage, meter_id: str) -> Usage:
    """Return the part of one meter.

    >>> from schemas.usage import PAIRS
    >>> of_meter(usage_of_pairs(PAIRS.empty_table()), "m").pairs.num_rows
    0
    """
    return _picked(usage, "meter_id", [meter_id])


def of_customers(usage: Usage, external_customer_ids: Collection[str]) -> Usage:
    """Return the part of some customers, told apart by their external ids.

    >>> from schemas.usage import PAIRS
    >>> of_customers(usage_of_pairs(PAIRS.empty_table()), {"acme"}).pairs.num_rows
    0
    """
    return _picked(usage, "external_customer_id", sorted(external_customer_ids))


def by_customer(usage: Usage) -> Iterator[tuple[str, Usage]]:
    """Yield each external customer id with its part, in order of the ids.

    Sorted once and sliced: asking each of many customers costs one pass, not one for each.

    >>> from schemas.usage import PAIRS
    >>> list(by_customer(usage_of_pairs(PAIRS.empty_table())))
    []
    """
    rows, pairs = usage.rows, usage.pairs
    tables = _sliced(None if rows is None else rows.table)
    members = _sliced(None if rows is None else rows.members)
    cut = _sliced(pairs)
    for customer in sorted(tables.keys() | cut.keys()):
        part = None
        if rows is not None:
            part = Partials(
                tables.get(customer, rows.table.slice(0, 0)),
                None if rows.members is None else members.get(customer, rows.members.slice(0, 0)),
            )
        own = None if pairs is None else cut.get(customer, pairs.slice(0, 0))
        yield customer, Usage(part, own)


def _sliced(table: pa.Table | None) -> dict[str, pa.Table]:
    """Return the rows of each customer as a slice of the table, sorted."""
    if table is None or table.num_rows == 0:
        return {}
    ordered = table.sort_by("external_customer_id").combine_chunks()
    customers = ordered["external_customer_id"].combine_chunks()
    encoded = cast("pa.DictionaryArray[Any, Any]", pc.dictionary_encode(customers))
    # Sorted, each customer's rows follow one another, and the dictionary is in the same order.
    counts = np.bincount(encoded.indices.to_numpy()).tolist()
    ends = np.cumsum(counts).tolist()
    return {
        str(customer): ordered.slice(end - count, count)
        for customer, end, count in zip(encoded.dictionary.to_pylist(), ends, counts, strict=True)
    }


def _picked(usage: Usage, name: str, values: list[str]) -> Usage:
    """Return the rows and pairs whose column has one of the values."""
    wanted = pa.array(values, pa.string())

    def pick(table: pa.Table) -> pa.Table:
        return table.filter(pc.is_in(table[name], value_set=wanted))

    rows = usage.rows
    if rows is not None:
        rows = Partials(pick(rows.table), None if rows.members is None else pick(rows.members))
    return Usage(rows, None if usage.pairs is None else pick(usage.pairs))
