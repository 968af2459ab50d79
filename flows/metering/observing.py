"""What the metering flow tells those who watch it: once a batch, a flush or a snapshot, never once an event.

An observer must be quick and must not raise: it is called between the steps, from the threads of all
workers. The flow runs the same without one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import CellChange, IdentifiedBatch, PartialBatch, ReadBatch
from operators.partials import Partials

# Receipt times of a batch are told apart by so many steps, but no finer than by milliseconds.
RECEIPT_STEPS = 256
MILLISECOND = 1000

# What a source tells of a read: records and bytes, records that wait behind it, and how many seconds ago
# its last record was received.
OnRead = Callable[[int, int, int, float], None]


@dataclass(frozen=True, slots=True)
class Receipts:
    """When some events of one environment were received: microseconds since 1970, and how many each.

    Times are rounded down by at most a 256th of the time that their batch spans.
    """

    environment_id: str
    received_us: npt.NDArray[np.int64]
    events: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Looked:
    """What a shard of identities did with a batch: ids that were new, ids that were known, seconds."""

    new: int
    known: int
    seconds: float


@dataclass(frozen=True, slots=True)
class IdentitySize:
    """How large a shard of identities is: ids, their bytes on disk, and the bytes that it holds in memory."""

    shard: int
    ids: int
    disk_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CellSize:
    """How large a shard of cells is: windows in memory (None if not counted now) and bytes on disk."""

    shard: int
    windows: int | None
    disk_bytes: int


class FlowObserver(Protocol):
    """Is told what the metering flow does."""

    def batch_read(self, batch: ReadBatch) -> None:
        """Take note of a batch that the flow took in, its malformed records included."""
        ...

    def identified(self, looked: Looked) -> None:
        """Take note that a shard has told copies apart and stored the first ones."""
        ...

    def judged(self, batch: IdentifiedBatch, unmatched: pa.Array) -> None:
        """Take note of verdicts; `unmatched` marks the accepted events that no meter wanted."""
        ...

    def rebuilt(self, windows: Mapping[str, int]) -> None:
        """Take note of windows made anew from raw events, by environment."""
        ...

    def usage_stored(self, rows: pa.Table, receipts: tuple[Receipts, ...], seconds: float) -> None:
        """Take note that rows (USAGE) are stored, and when the events came that are new in them."""
        ...

    def dead_letters_stored(self, records: int, seconds: float) -> None:
        """Take note that malformed records are stored."""
        ...

    def identities_sealed(self, size: IdentitySize) -> None:
        """Take note of a snapshot of a shard of identities."""
        ...

    def cells_sealed(self, size: CellSize) -> None:
        """Take note of a snapshot of a shard of cells."""
        ...

    def snapshot_made(self) -> None:
        """Take note that a source has handed out its position for a snapshot."""
        ...

    def store_failed(self) -> None:
        """Take note that the store did not take or give something; the flow ends of it."""
        ...


@dataclass(frozen=True, slots=True)
class ObservedPartials(PartialBatch):
    """A contribution to a shard of cells that knows when its events were received."""

    receipts: tuple[Receipts, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedChange(CellChange):
    """Changed cells that know when the events were received that are new in them."""

    receipts: tuple[Receipts, ...] = ()


def receipts_by_shard(
    accepted: pa.Table, wanted: pa.Array, parts: Sequence[Mapping[str, Partials]]
) -> list[tuple[Receipts, ...]]:
    """Return when the wanted events of a batch were received, by the shard of their customer.

    `parts` is what they contribute to each shard. A log without receipt times, as files are, gives
    nothing.

    in: COPIES, and a truth value for each
    """
    shards = len(parts)
    received = accepted["received_at"]
    counting = wanted.to_numpy(zero_copy_only=False)
    if received.null_count == len(received) or not counting.any():
        return [()] * shards
    times = pc.fill_null(received.cast(pa.int64()), 0).to_numpy()
    least = int(times.min())
    step = max(MILLISECOND, (int(times.max()) - least) // RECEIPT_STEPS)
    encoded = pc.dictionary_encode(accepted["environment_id"]).combine_chunks()
    names = encoded.dictionary.to_pylist()
    # One number for each environment, shard and step, so that one pass counts them all.
    number = (times - least) // step
    steps = int(number.max()) + 1
    if len(names) > 1:
        number += encoded.indices.to_numpy() * np.int64(shards * steps)
    if shards > 1:
        number += _shards_of(accepted["external_customer_id"], parts) * steps
    counted = np.bincount(number, counting, len(names) * shards * steps).astype(np.int64)
    of_all = counted.reshape(len(names), shards, steps)
    return [
        tuple(
            Receipts(name, least + np.flatnonzero(mine) * step, mine[mine > 0])
            for name, mine in zip(names, of_all[:, shard], strict=True)
            if mine.any()
        )
        for shard in range(shards)
    ]


def _shards_of(
    customers: pa.ChunkedArray, parts: Sequence[Mapping[str, Partials]]
) -> npt.NDArray[np.int64]:
    """Return the shard that each customer contributes to, 0 for those that contribute to none.

    The parts were made by shard already, and their rows are few: no customer is hashed again.
    """
    known = [
        pc.unique(
            pa.chunked_array(
                [chunk for each in part.values() for chunk in _customers(each)], pa.string()
            )
        )
        for part in parts
    ]
    shard_of_known = np.repeat(np.arange(len(parts)), [len(each) for each in known])
    encoded = pc.dictionary_encode(customers).combine_chunks()
    places = pc.index_in(encoded.dictionary, value_set=pa.concat_arrays(known))
    found = places.is_valid().to_numpy(zero_copy_only=False)
    shards = np.zeros(len(encoded.dictionary), np.int64)
    shards[found] = shard_of_known[places.drop_null().to_numpy()]
    of_rows: npt.NDArray[np.int64] = shards[encoded.indices.to_numpy()]
    return of_rows


def _customers(partials: Partials) -> list[pa.Array]:
    """Return the column of customers."""
    chunks: list[pa.Array] = partials.table["external_customer_id"].chunks
    return chunks


def bytes_by_environment(
    records: pa.Table, batch: ReadBatch, environment_id: str
) -> dict[str, int]:
    """Return how many bytes of records each environment sent; malformed ones count for the given one.

    in: RECORDS of one partition in their order
    """
    lengths = pc.fill_null(pc.binary_length(records["value"]), 0).to_numpy()
    environments = batch.copies["environment_id"]
    names = pc.unique(environments).to_pylist()
    if not batch.rejected.num_rows and len(names) == 1:
        return {names[0]: int(lengths.sum())}
    offsets = records["offset"].to_numpy()
    found: dict[str, int] = {}
    if batch.rejected.num_rows:
        rows = np.searchsorted(offsets, batch.rejected["offset"].to_numpy())
        found[environment_id] = int(lengths[rows].sum())
    of_copies = lengths[np.searchsorted(offsets, batch.copies["offset"].to_numpy())]
    for name in names:
        mine = pc.equal(environments, name).to_numpy()
        found[name] = found.get(name, 0) + int(of_copies[mine].sum())
    return found
