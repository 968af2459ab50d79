"""Identify: the stateful step that tells first copies from later ones, and stores the first (metering.md 4).

A copy is a duplicate or a conflict if and only if its id is known at an earlier place in the log. A copy
that is read again after a crash finds itself there and counts again, into state that was restored to
before it. Raw rows are in the store before anything that follows from them leaves this step.

Between partitions the log is ordered by (receipt time, partition, offset). A copy that was read later but
lies earlier takes the place of the one that was accepted: that one is withdrawn from raw, and the cells
it had counted in are rebuilt without it (ENGINE trap 3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.operators import StatefulBatchLogic

from flows.identity.index import IdentityIndex, Manifest, packed_positions, unpacked_positions
from flows.metering.batches import Frontier, IdentifiedBatch, ShardedCopies
from flows.metering.verdicts import same_content, verdict_rows
from flows.stores.first_copies import events_at
from flows.stores.clickhouse import Store
from flows.stores.tables import STORED_EVENTS
from operators.digests import halves
from schemas.event import EVENTS
from schemas.verdict import Verdict


@dataclass(frozen=True, slots=True)
class IdentifySnapshot:
    """What recovery needs of a shard: the files of its index, and the copies that took another's place."""

    shard: int
    index: Manifest
    taken_over: dict[bytes, tuple[int, int]]


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
    ):
        self._open_index = open_index
        self._store = store
        self._shard = -1
        self._index: IdentityIndex | None = None
        # Digest → packed position and fingerprint of the copy that is first after all. Few, or none.
        self._taken_over: dict[bytes, tuple[int, int]] = {}
        if snapshot is not None:
            self._shard = snapshot.shard
            self._index = open_index(snapshot.shard, snapshot.index)
            self._taken_over = dict(snapshot.taken_over)

    def on_batch(self, values: Sequence[ShardedCopies]) -> tuple[Iterable[IdentifiedBatch], bool]:
        """Tell the copies apart, store the first ones, and pass them on."""
        if self._index is None:
            self._shard = values[0].shard
            self._index = self._open_index(self._shard, None)
        copies = _in_log_order(pa.concat_tables([each.copies for each in values]).combine_chunks())
        positions = packed_positions(copies["partition"].to_numpy(), copies["offset"].to_numpy())
        lines = copies["fingerprint"].to_numpy()
        first, first_lines = self._first_copies(copies, positions, lines)
        own = first == positions
        accepted = copies if own.all() else copies.filter(pa.array(own))
        self._store_raw(accepted)
        later = np.flatnonzero(~own)
        displaced = EVENTS.empty_table()
        verdicts = verdict_rows(accepted.filter(accepted["late"]), Verdict.LATE)
        if later.size:
            rest, taken = self._judge(copies, later, positions, first, first_lines)
            verdicts = pa.concat_tables([verdicts, rest])
            if taken.size:
                winners = copies.take(pa.array(taken))
                displaced = self._take_over(winners, first[taken], positions[taken], lines[taken])
                accepted = pa.concat_tables([accepted, winners])
        self._store.insert_verdicts(verdicts)
        frontier = _frontier(copies, self._shard)
        return [IdentifiedBatch(self._shard, accepted, verdicts, displaced, frontier)], self.RETAIN

    def snapshot(self) -> IdentifySnapshot:
        """Make the ids durable, then name the files they are in."""
        assert self._index is not None
        return IdentifySnapshot(self._shard, self._index.seal(), dict(self._taken_over))

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

    def _judge(
        self,
        copies: pa.Table,
        later: np.ndarray,
        positions: np.ndarray,
        first: np.ndarray,
        first_lines: np.ndarray,
    ) -> tuple[pa.Table, np.ndarray]:
        """Return the verdicts on later copies, and the rows that lie earlier in the log after all."""
        rows = copies.take(pa.array(later))
        same = first_lines[later] == rows["fingerprint"].to_numpy()
        across = unpacked_positions(first[later])[0] != rows["partition"].to_numpy()
        doubtful = ~same | across
        taken = np.zeros(later.size, bool)
        if doubtful.any():
            asked = np.flatnonzero(doubtful)
            known = self._firsts(rows.take(pa.array(asked)), first[later][asked])
            same[asked] |= same_content(rows.take(pa.array(asked)), known)
            taken[asked] = _earlier(rows.take(pa.array(asked)), known) & across[asked]
        taken &= _one_of_each(first[later], taken)
        words = np.where(same, Verdict.DUPLICATE.value, Verdict.CONFLICT.value)
        keep = ~taken
        judged = verdict_rows(
            rows.filter(pa.array(keep)), pa.array(words[keep]), first[later][keep]
        )
        return judged, later[taken]

    def _firsts(self, rows: pa.Table, first: np.ndarray) -> pa.Table:
        """Return the first copies as the store has them, one for each row (EVENTS)."""
        return events_at(self._store, rows["event_digest"].combine_chunks(), first)

    def _take_over(
        self, winners: pa.Table, former: np.ndarray, positions: np.ndarray, lines: np.ndarray
    ) -> pa.Table:
        """Put earlier copies in the place of those accepted before; return the latter."""
        lost = self._firsts(winners, former)
        self._store_raw(winners)
        partitions, offsets = unpacked_positions(former)
        withdrawn = pa.table({"partition": pa.array(partitions), "offset": pa.array(offsets)})
        self._store.withdraw_events(withdrawn)
        digests = winners["event_digest"].to_pylist()
        places = zip(digests, positions.tolist(), lines.tolist(), strict=True)
        self._taken_over |= {digest: (position, line) for digest, position, line in places}
        return lost.select(EVENTS.names)


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
    mine = [pc.cast(rows["received_at"], pa.int64()), rows["partition"], rows["offset"]]
    theirs = [pc.cast(known["received_at"], pa.int64()), known["partition"], known["offset"]]
    places = (zip(*(column.to_pylist() for column in columns), strict=True) for columns in (mine, theirs))
    # Only copies of one id in two partitions come here, and both have a receipt time.
    return np.array([one < other for one, other in zip(*places, strict=True)], bool)


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

