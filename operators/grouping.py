"""Groups of a query: what each counted event says of the dimensions that a query asks for.

Usage rows do not carry them, so that such a query is answered from pairs (metering.md 9).
"""

from collections.abc import Mapping, Sequence
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc

from operators.folding import Column
from operators.properties import Property, canonical_text

PREFIX = "properties."


def group_properties(group_by: Sequence[str]) -> list[str]:
    """Return the properties that groups are made of; `source` is the event's own and none.

    >>> group_properties(["source", "properties.region"])
    ['region']
    """
    return [name.removeprefix(PREFIX) for name in group_by if name.startswith(PREFIX)]


def with_groups(
    pairs: pa.Table,
    events: pa.Table,
    columns: Mapping[str, Property],
    group_by: Sequence[str],
) -> pa.Table:
    """Add to each pair one text column for each name of `group_by`, under that name.

    A missing property, one without canonical text, and a missing source are "".

    in:  PAIRS; EVENTS that hold all of their ids, each once; `columns` of the events by property
    out: PAIRS and the columns `source` and `properties.NAME` that were asked for

    >>> events = pa.table({"event_id": ["a", "b"], "source": ["api", ""]})
    >>> with_groups(pa.table({"event_id": ["b"]}), events, {}, ["source"]).to_pylist()
    [{'event_id': 'b', 'source': ''}]
    """
    rows = pc.index_in(pairs["event_id"], value_set=events["event_id"].combine_chunks())
    for name in group_by:
        texts = events[name] if name == "source" else _texts(columns[name.removeprefix(PREFIX)])
        pairs = pairs.append_column(name, texts.take(rows))
    return pairs


def _texts(column: Property) -> Column:
    """Return the canonical texts of a property, "" where it has none."""
    texts = pa.chunked_array([canonical_text(column.kind, column.text)])
    return cast("Column", pc.fill_null(texts, pa.scalar("")))
