"""The usage that a shard of customers has so far: of each cell the row of the highest version.

Rows are cumulative and their versions grow with them, so it does not matter in which batches and
in which order they come, how often, or which versions come in between. Members of a cell are a set,
which only grows. A member that a correction takes back cannot be told from stored members, which
carry no version; it stays, here as in the store.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pyarrow as pa

from flows.billing.batches import UsageBatch
from flows.stores.tables import STORED_MEMBERS
from operators.columns import compute as pc
from operators.partials import Partials
from schemas.meter import AggregationType, Meter
from schemas.usage import MEMBERS, PARTIAL_COLUMNS, USAGE, partial_schema

# What names a row; rows of an older generation of a meter are kept apart and never read.
ROW_KEY = tuple(USAGE.names[: USAGE.names.index("version")])
PLACE = "place"


class CumulativeUsage:
    """Rows and members of some customers; what was added is merged when it is asked for."""

    def __init__(self, payload: tuple[bytes, bytes] | None = None) -> None:
        self._rows = _read(payload[0]) if payload else USAGE.empty_table()
        self._members = _read(payload[1]) if payload else STORED_MEMBERS.empty_table()
        self._added: list[UsageBatch] = []

    def add(self, batches: Sequence[UsageBatch]) -> None:
        """Take in rows and members."""
        self._added += batches

    def settle(self) -> set[str]:
        """Merge what was added; return the external ids of the customers for whom it was news."""
        if not self._added:
            return set()
        rows = pa.concat_tables([batch.rows for batch in self._added])
        members = pa.concat_tables([batch.members for batch in self._added])
        self._added = []
        known = self._rows, self._members
        self._rows, new_rows = _merged(known[0], rows, ROW_KEY, latest_by="version")
        self._members, new_members = _merged(known[1], members, tuple(STORED_MEMBERS.names))
        return new_rows | new_members

    def usage(self, meter: Meter) -> Partials:
        """Return the rows of a meter, and its members if it counts them; call `settle` before."""
        columns = partial_schema(PARTIAL_COLUMNS[meter.aggregation.type])
        table = _of_meter(self._rows, meter).select(columns.names).cast(columns)
        if meter.aggregation.type is not AggregationType.COUNT_UNIQUE:
            return Partials(table, None)
        members = _of_meter(self._members, meter).select(MEMBERS.names).cast(MEMBERS)
        return Partials(table, members)

    def payload(self) -> tuple[bytes, bytes]:
        """Return rows and members as Arrow streams, from which the same usage can be made again.

        Call `settle` before. The same usage gives the same bytes.
        """
        return _written(self._rows), _written(self._members)


def _merged(
    known: pa.Table, more: pa.Table, key: Sequence[str], *, latest_by: str | None = None
) -> tuple[pa.Table, set[str]]:
    """Return both tables with each key once, in order of the keys, and the customers with news.

    Of several rows of a key the one with the greatest value of `latest_by` is kept, of equal ones
    the known one: equal versions have equal content.
    """
    # The last row of a key is kept, so that among equals it is the known one. The sort is stable.
    table = pa.concat_tables([more, known])
    order = np.arange(table.num_rows)
    if latest_by is not None:
        order = pc.sort_indices(table, sort_keys=[(latest_by, "ascending")]).to_numpy()
    ranked = (
        table.select(list(key)).take(order).append_column(PLACE, pa.array(np.arange(order.size)))
    )
    last = ranked.group_by(list(key), use_threads=False).aggregate([(PLACE, "max")])
    last = last.sort_by([(name, "ascending") for name in key])
    places = order[last[f"{PLACE}_max"].to_numpy()]
    news = places[places < more.num_rows]
    customers = pc.unique(more["external_customer_id"].take(news)).to_pylist()
    return table.take(pa.array(places)).combine_chunks(), set(cast("list[str]", customers))


def _of_meter(table: pa.Table, meter: Meter) -> pa.Table:
    """Return what belongs to the live generation of a meter."""
    of_meter = table.filter(pc.equal(table["meter_id"], meter.id))
    return of_meter.filter(pc.equal(of_meter["generation"], meter.generation))


def _written(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def _read(payload: bytes) -> pa.Table:
    """Return the table of an Arrow stream."""
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_all()
