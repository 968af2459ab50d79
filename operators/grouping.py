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

# Stands between the texts of a group; no text of an event holds it.
_BETWEEN = "\0"


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


def keyed_by_group(pairs: pa.Table, group_by: Sequence[str]) -> pa.Table:
    r"""Put the group of each pair in the place of its customer, as one text.

    Partials of such pairs are as few as there are groups and base windows, however many customers
    there are. No text of an event holds U+0000, which stands between the parts (metering.md 2.2).

    in:  PAIRS and the columns of `group_by`
    out: PAIRS

    >>> pairs = pa.table({"external_customer_id": ["acme"], "source": ["api"], "properties.r": ["eu"]})
    >>> keyed_by_group(pairs, ["source", "properties.r"])["external_customer_id"].to_pylist()
    ['api\x00eu']
    """
    key = pa.chunked_array([pa.repeat("", pairs.num_rows)])
    if group_by:
        columns = [pairs[name] for name in group_by]
        key = cast("Column", pc.binary_join_element_wise(*columns, _BETWEEN))
    place = pairs.schema.get_field_index("external_customer_id")
    field = pa.field("external_customer_id", pa.string(), nullable=False)
    return pairs.set_column(place, field, key).drop_columns(list(group_by))


def with_group_columns(table: pa.Table, group_by: Sequence[str]) -> pa.Table:
    r"""Undo `keyed_by_group` in pairs, partials or members: add the columns of the groups.

    >>> keyed = pa.table({"external_customer_id": ["api\x00eu", "api\x00"]})
    >>> with_group_columns(keyed, ["source", "properties.r"])["properties.r"].to_pylist()
    ['eu', '']
    """
    if not group_by:
        return table
    parts = pc.split_pattern(table["external_customer_id"], _BETWEEN)
    for number, name in enumerate(group_by):
        table = table.append_column(name, pc.list_element(parts, number))
    return table
