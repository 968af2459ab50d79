"""Copies of an id in raw: the accepted one, and those that were taken for it before."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows.identity.index import packed_positions
from flows.stores.clickhouse import IN_CELLS, WITHDRAWN_POSITIONS, Store
from flows.stores.engine import among, select
from flows.stores.tables import CELLS, STORED_EVENTS, schema
from schemas.errors import StoreError

# Tells which rows of STORED_EVENTS lie at or below some place in the log.
Within = Callable[[pa.Table], npt.NDArray[np.bool_]]

_COUNT = schema(pa.field("rows", pa.uint64(), nullable=False))


def stored_copies(store: Store, digests: pa.Array) -> pa.Table:
    """Return all copies in raw of the ids with the given digests, withdrawn ones included.

    A copy that was written again after a crash may come twice.

    out: STORED_EVENTS, in no order
    """
    return store.copies_of(digests.unique())


def copies_at(copies: pa.Table, positions: np.ndarray) -> pa.Table:
    """Return the copies that lie at packed positions, one for each in that order.

    Raises StoreError if one is not there: raw is written before anything refers to it.
    """
    have = positions_of(copies)
    order = np.argsort(have)
    places = np.searchsorted(have[order], positions)
    if positions.size and (places.max() >= have.size or (have[order][places] != positions).any()):
        raise StoreError("a first copy is missing in raw events: the store lost acknowledged rows")
    return copies.take(pa.array(order[places]))


def positions_of(copies: pa.Table) -> np.ndarray:
    """Return the packed position of each copy."""
    return packed_positions(copies["partition"].to_numpy(), copies["offset"].to_numpy())


def place_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what orders a copy among those of its id in other partitions.

    A record of which nobody knows when it was received counts as received first.

    >>> place_of({"received_at": 5, "partition": 1, "offset": 7})
    (True, 5, 1, 7)
    """
    received = row["received_at"]
    return received is not None, received, row["partition"], row["offset"]


def restored_copies(store: Store, cells: pa.Table, within: Within) -> pa.Table:
    """Return the copies of some minutes that are withdrawn, but not yet at this place in the log.

    A crash leaves withdrawals behind whose cause lies ahead of the place that the flow went back
    to. Until it comes there again such a copy is the first of its id and counts.

    in:  CELLS
    out: STORED_EVENTS
    """
    known = store.engine.read("SELECT count() FROM withdrawn", _COUNT)
    if not cells.num_rows or not known["rows"][0].as_py():
        return STORED_EVENTS.empty_table()
    instants = cells["window_start"].cast(pa.int64())
    wanted = among(
        cells.set_column(CELLS.get_field_index("window_start"), "window_start", instants),
        "t String, e String, n String, c String, m Int64",
        "t, e, n, c, toStartOfMinute(fromUnixTimestamp64Micro(m, 'UTC'))",
    )
    hidden = f"(log_partition, log_offset) IN ({WITHDRAWN_POSITIONS})"
    found = _here(
        store.engine.read(
            select(STORED_EVENTS, "events FINAL", IN_CELLS + wanted, hidden), STORED_EVENTS
        ),
        within,
    )
    if not found.num_rows:
        return found
    others = _here(stored_copies(store, found["event_digest"].combine_chunks()), within)
    names = ["event_digest", "received_at", "partition", "offset"]
    first: dict[object, tuple[object, ...]] = {}
    # Copies of one id in several partitions are rare.
    for row in others.select(names).to_pylist():
        digest, place = row["event_digest"], place_of(row)
        first[digest] = min(first.get(digest, place), place)
    rows = found.select(names).to_pylist()
    return found.filter(pa.array([first[row["event_digest"]] == place_of(row) for row in rows]))


def _here(copies: pa.Table, within: Within) -> pa.Table:
    """Return the copies that lie within."""
    return copies.filter(pa.array(within(copies), pa.bool_()))
