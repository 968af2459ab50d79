"""Identify: the stateful step that tells first copies from later ones, and stores the first (metering.md 4).

A copy is a duplicate or a conflict if and only if its id is known at an earlier place in the log. A copy
that is read again after a crash finds itself there and counts again, into state that was restored to
before it. Raw rows are in the store before anything that follows from them leaves this step.

Between partitions the log is ordered by (receipt time, partition, offset), where a record counts as received
no earlier than those before it in its partition. A copy that was read later but lies earlier takes the place
of the one that was accepted: that one is withdrawn from raw, and the cells it had counted in are rebuilt
without it (ENGINE trap 3). So is a copy that a run which crashed had accepted, because it read the
partitions in another order, when it is not the first in this run.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.operators import StatefulBatchLogic

from flows.identity.index import IdentityIndex, Manifest, packed_positions, unpacked_positions
from flows.identity.segments import BYTES_PER_ID
from flows.metering.batches import Frontier, IdentifiedBatch, ShardedCopies
from flows.metering.observing import FlowObserver, IdentitySize, Looked
from flows.metering.verdicts import same_content, verdict_rows
from flows.stores.clickhouse import Store
from flows.stores.first_copies import copies_at, place_of, positions_of, stored_copies
from flows.stores.tables import STORED_EVENTS, VERDICTS, WITHDRAWN
from operators.digests import halves
from schemas.errors import StoreError
from schemas.event import EVENTS, INSTANT
from schemas.verdict import Verdict


@dataclass(frozen=True, slots=True)
class IdentifySnapshot:
    """What recovery needs of a shard.

    The files of its index, the copies that took another's place, and how far each partition has come in
    receipt time.
    """

    shard: int
    index: Manifest
    taken_over: dict[bytes, tuple[int, int]]
    received: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What became of later copies: verdicts, the rows that are first after all, and what they replace.

    `lost` are the copies whose places the `taken` rows take, one for each; `orphans` are rows of raw
    that a run which crashed had accepted.
    """

    verdicts: pa.Table
    taken: np.ndarray
    lost: pa.Table
    orphans: pa.Table


class IdentifyLogic(StatefulBatchLogic[ShardedCopies, IdentifiedBatch, IdentifySnapshot]):
    """The identities of one shard; see the module for the rule.

    Bytewax does not tell a logic its key, so a new shard learns its number from its first batch.
    `open_index` opens the index of a shard, as a manifest says or empty.
    """

    def __init__(
        self,
        open_index: Callable[[int, Manifest | None], IdentityIndex],
        store: Store,
        snapshot: IdentifySnapshot | None,
        observer: FlowObserver | None = None,
    ):
        self._open_index = open_index
        self._observer = observer
        self._store = store
        self._shard = -1
        self._index: IdentityIndex | None = None
        # Digest → packed position and fingerprint of the copy that is first after all. Few, or none.
        self._taken_over: dict[bytes, tuple[int, int]] = {}
        # Partition → the latest receipt time so far, in microseconds.
        self._received: dict[int, int] = {}
        if snapshot is not None:
            self._shard = snapshot.shard
            self._index = open_index(snapshot.shard, snapshot.index)
            self._taken_over = dict(snapshot.taken_over)
            self._received = dict(snapshot.received)

    def on_batch(self, values: Sequence[ShardedCopies]) -> tuple[Iterable[IdentifiedBatch], bool]:
        """Tell the copies apart, store the first ones, and pass them on."""
        try:
            return [self._identified(values)], self.RETAIN
        except StoreError:
            if self._observer is not None:
                self._observer.store_failed()
            raise

    def _identified(self, values: Sequence[ShardedCopies]) -> IdentifiedBatch:
        """Tell the copies apart and store the first ones."""
        begun = time.monotonic()
        if self._index is None:
            self._shard = values[0].shard
            self._index = self._open_index(self._shard, None)
        copies = pa.concat_tables([each.copies for each in values]).combine_chunks()
        copies = _in_log_order(self._with_rising_receipts(copies))
        positions = packed_positions(copies["partition"].to_numpy(), copies["offset"].to_numpy())
        lines = copies["fingerprint"].to_numpy()
        first, first_lines = self._first_copies(copies, positions, lines)
        own = first == positions
        accepted = copies if own.all() else copies.filter(pa.array(own))
        self._store_raw(accepted)
        verdicts, displaced, taken_over = VERDICTS.empty_table(), EVENTS.empty_table(), 0
        if not own.all():
            later = np.flatnonzero(~own)
            judged = self._judge(copies.take(pa.array(later)), first[later], first_lines[later])
            winners = copies.take(pa.array(later[judged.taken]))
            displaced = self._take_over(winners, judged)
            accepted = pa.concat_tables([accepted, winners])
            verdicts, taken_over = judged.verdicts, judged.taken.size
        late = verdict_rows(accepted.filter(accepted["late"]), Verdict.LATE)
        verdicts = pa.concat_tables([late, verdicts])
        self._store.insert_verdicts(verdicts)
        frontier = _frontier(copies, self._shard)
        batch = IdentifiedBatch(self._shard, accepted, verdicts, displaced, taken_over, frontier)
        if self._observer is not None:
            new = int(np.count_nonzero(own))
            looked = Looked(new, own.size - new, time.monotonic() - begun)
            self._observer.identified(looked)
        return batch

    def snapshot(self) -> IdentifySnapshot:
        """Make the ids durable, then name the files they are in."""
        assert self._index is not None
        manifest = self._index.seal()
        if self._observer is not None:
            ids = sum(rows for _, rows in manifest.segments)
            memory = self._index.resident_bytes
            size = IdentitySize(self._shard, ids, ids * BYTES_PER_ID, memory)
            self._observer.identities_sealed(size)
        return IdentifySnapshot(self._shard, manifest, dict(self._taken_over), dict(self._received))

    def _with_rising_receipts(self, copies: pa.Table) -> pa.Table:
        """Return copies with receipt times that never fall within a partition.

        Senders may stamp the records of a topic. If their times fell, which copy of three is the first
        would depend on the order in which partitions are read.
        """
        column = copies["received_at"]
        if column.null_count == copies.num_rows:
            # Files have none: they are read in the order of their positions.
            return copies
        times = pc.fill_null(column.cast(pa.int64()), 0).to_numpy().copy()
        partitions = copies["partition"].to_numpy()
        for partition in np.unique(partitions).tolist():
            rows = partitions == partition
            before = self._received.get(partition, 0)
            times[rows] = np.maximum(np.maximum.accumulate(times[rows]), before)
            self._received[partition] = int(times[rows][-1])
        place = copies.schema.get_field_index("received_at")
        return copies.set_column(place, copies.schema.field(place), pa.array(times).cast(INSTANT))

    def _first_copies(
        self, copies: pa.Table, positions: np.ndarray, lines: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the position and the fingerprint of the first copy of each row's id."""
        digests = copies["event_digest"].combine_chunks()
        high, low = (np.ascontiguousarray(half) for half in halves(digests))
        assert self._index is not None
        found = self._index.first_seen(high, low, positions, lines)
        first, first_lines = found.positions.copy(), found.line_digests.copy()
        if self._taken_over:
            known = pc.is_in(digests, pa.array(list(self._taken_over), pa.binary(16)))
            # A row whose id another copy took over: as few as there are such ids.
            for row in np.flatnonzero(known.to_numpy(zero_copy_only=False)):
                first[row], first_lines[row] = self._taken_over[digests[row].as_py()]
        return first, first_lines

    def _store_raw(self, accepted: pa.Table) -> None:
        """Make first copies durable."""
        if accepted.num_rows:
            self._store.insert_events(accepted.select(STORED_EVENTS.names))

    def _judge(self, rows: pa.Table, first: np.ndarray, first_lines: np.ndarray) -> _Judged:
        """Compare later copies, in log order, with the first copies of their ids."""
        positions = positions_of(rows)
        same = first_lines == rows["fingerprint"].to_numpy()
        other_partition = unpacked_positions(first)[0] != rows["partition"].to_numpy()
        contended = other_partition & rows["received_at"].is_valid().to_numpy()
        asked = np.flatnonzero(~same | contended)
        taken = np.zeros(rows.num_rows, bool)
        lost = orphans = STORED_EVENTS.empty_table()
        if asked.size:
            doubtful = rows.take(pa.array(asked))
            raw = stored_copies(self._store, doubtful["event_digest"].combine_chunks())
            known = copies_at(raw, first[asked])
            same[asked] |= same_content(doubtful, known)
            taken[asked] = _earlier(doubtful, known) & contended[asked]
            taken = _one_of_each(first, taken)
            lost = copies_at(raw, first[taken])
            # Only the first copy of a partition can ever have been accepted.
            stored = np.isin(positions, positions_of(raw)) & contended & ~taken
            orphans = copies_at(raw, positions[stored])
        winners = rows.filter(pa.array(taken))
        if winners.num_rows:
            first = first.copy()
            _compare_again(rows, winners, first, same)
        keep = ~taken
        verdicts = verdict_rows(rows.filter(pa.array(keep)), _words(same[keep]), first[keep])
        if winners.num_rows:
            words = _words(same_content(lost, winners))
            verdicts = pa.concat_tables(
                [verdicts, verdict_rows(lost, words, positions_of(winners))]
            )
        return _Judged(verdicts, np.flatnonzero(taken), lost, orphans)

    def _take_over(self, winners: pa.Table, judged: _Judged) -> pa.Table:
        """Put earlier copies in the place of those accepted before; return all that no longer count."""
        self._store_raw(winners)
        hidden = pa.concat_tables([judged.lost, judged.orphans])
        if hidden.num_rows:
            self._store.withdraw_events(hidden.select(WITHDRAWN.names))
        digests = winners["event_digest"].to_pylist()
        lines = winners["fingerprint"].to_pylist()
        places = zip(digests, positions_of(winners).tolist(), lines, strict=True)
        self._taken_over |= {digest: (position, line) for digest, position, line in places}
        return hidden.select(EVENTS.names)


def _compare_again(rows: pa.Table, winners: pa.Table, first: np.ndarray, same: np.ndarray) -> None:
    """Judge the rows whose first copy has just lost its place by the copy that took it; few, or none."""
    places = dict(zip(winners["event_digest"].to_pylist(), range(winners.num_rows), strict=True))
    positions = positions_of(winners)
    for row, digest in enumerate(rows["event_digest"].to_pylist()):
        place = places.get(digest)
        if place is not None:
            first[row] = positions[place]
            same[row] = same_content(rows.slice(row, 1), winners.slice(place, 1))[0]


def _words(same: np.ndarray) -> pa.Array:
    """Return the verdicts on refused copies."""
    return pa.array(np.where(same, Verdict.DUPLICATE.value, Verdict.CONFLICT.value), pa.string())


def _in_log_order(copies: pa.Table) -> pa.Table:
    """Return copies in the order of the log; one partition is in order already."""
    partitions = copies["partition"].to_numpy()
    if not copies.num_rows or (partitions == partitions[0]).all():
        return copies
    received = pc.fill_null(pc.cast(copies["received_at"], pa.int64()), 0).to_numpy()
    order = np.lexsort((copies["offset"].to_numpy(), partitions, received))
    return copies.take(pa.array(order))


def _earlier(rows: pa.Table, known: pa.Table) -> np.ndarray:
    """Tell which rows lie before their first copies in the order of (receipt time, partition, offset)."""
    names = ["received_at", "partition", "offset"]
    pairs = zip(rows.select(names).to_pylist(), known.select(names).to_pylist(), strict=True)
    return np.array([place_of(row) < place_of(other) for row, other in pairs], bool)


def _one_of_each(first: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Of several rows that could take one place let only the first do so: rows are in log order."""
    chosen = np.zeros(first.size, bool)
    rows = np.flatnonzero(taken)
    _, lowest = np.unique(first[rows], return_index=True)
    chosen[rows[lowest]] = True
    return chosen


def _frontier(copies: pa.Table, shard: int) -> Frontier:
    """Return the greatest offset of each partition in a batch."""
    greatest = copies.group_by("partition").aggregate([("offset", "max")])
    rows = zip(greatest["partition"].to_pylist(), greatest["offset_max"].to_pylist(), strict=True)
    return {(partition, shard): offset for partition, offset in rows}
