"""Verdicts on copies that are not plainly accepted: rows for the store (metering.md 3, 4)."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.identity.index import unpacked_positions
from flows.stores.tables import VERDICTS
from operators.content import content_of
from schemas.event import EVENTS
from schemas.verdict import Verdict

# What the sender said; the rest of an event is where it came from.
_CONTENT = [
    "event_name",
    "external_customer_id",
    "customer_id",
    "source",
    "timestamp",
    "timestamp_given",
    "properties",
]


def verdict_rows(
    copies: pa.Table, verdicts: Verdict | pa.Array, first: np.ndarray | None = None
) -> pa.Table:
    """Return VERDICTS rows for COPIES; `first` are the packed positions of the accepted copies.

    A conflict carries what the refused copy said, for people to compare.
    """
    rows = copies.num_rows
    words = (
        pa.repeat(pa.scalar(verdicts.value), rows) if isinstance(verdicts, Verdict) else verdicts
    )
    partitions, offsets = pa.nulls(rows, pa.int32()), pa.nulls(rows, pa.int64())
    if first is not None:
        places = unpacked_positions(first)
        partitions, offsets = pa.array(places[0], pa.int32()), pa.array(places[1], pa.int64())
    columns = {
        **{name: copies[name] for name in ("tenant_id", "environment_id", "event_id")},
        **{name: copies[name] for name in ("partition", "offset", "received_at")},
        "verdict": words,
        "first_partition": partitions,
        "first_offset": offsets,
        "content": _contents_of(copies, words),
    }
    return pa.table([columns[name] for name in VERDICTS.names], schema=VERDICTS)


def _contents_of(copies: pa.Table, words: pa.Array) -> pa.Array:
    """Return the content of conflicts, null for the other rows."""
    conflicts = pc.equal(words, Verdict.CONFLICT.value)
    none = pa.nulls(copies.num_rows, pa.string())
    if not pc.any(conflicts).as_py():
        return none
    found = [content.decode() for content in _contents(copies.filter(conflicts))]
    return pc.replace_with_mask(none, conflicts, pa.array(found, pa.string()))


def same_content(rows: pa.Table, others: pa.Table) -> np.ndarray:
    """Tell which rows say the same as the row beside them, by the comparison of metering.md 4.

    Only copies whose bytes differ come here, so they are compared one at a time.

    in:  EVENTS columns, two tables of the same length
    """
    pairs = zip(_contents(rows), _contents(others), strict=True)
    return np.array([one == other for one, other in pairs], bool)


def _contents(events: pa.Table) -> Sequence[bytes]:
    """Return the canonical content of events."""
    return [
        content_of(
            event_name=row["event_name"],
            external_customer_id=row["external_customer_id"],
            customer_id=row["customer_id"],
            source=row["source"],
            timestamp=row["timestamp"] if row["timestamp_given"] else None,
            properties=row["properties"],
        )
        for row in events.select(_CONTENT).to_pylist()
    ]


assert set(_CONTENT) < set(EVENTS.names)
