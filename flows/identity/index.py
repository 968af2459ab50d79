"""The identity index: which log position of an event id is the first (metering.md 4).

An event is a duplicate if and only if its id is known at an earlier position: a record that is
read again after a crash finds itself. Ids are known for ever, exact on 128 bits, at 32 bytes each
on disk and 1.5 in memory, plus a bounded table of the newest.
"""

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from flows.identity.memtable import Memtable
from flows.identity.segments import (
    Columns,
    Positions,
    Segment,
    Words,
    filter_bits,
    in_order,
    load,
    merged,
    write,
)
from schemas.errors import StoreError

# Ids in memory before they go to a file, though no seal asked for it: 128 MB at most.
MEMTABLE_IDS_MAX = 2_000_000
# So many files of one size class become one of the next.
TIER_SEGMENTS = 4
# A recovery may go back to the epoch before the last: files stay for so many seals after their use.
SEALS_KEPT = 2
UNKNOWN = np.iinfo(np.int64).max
OFFSET_BITS = 48


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index was made of when it was sealed: names and rows of files, a few dozen."""

    segments: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class FirstCopies:
    """Of each row of a batch the first known copy of its id.

    A row is itself the first if and only if `positions` is its own. Where `displaced` is set, the
    row is the first although a later position, `former_positions`, was taken for it before.
    """

    positions: Positions
    line_digests: Words
    displaced: npt.NDArray[np.bool_]
    former_positions: Positions


class IdentityIndex:
    """The first positions of all ids of one shard of identities, in a folder of its own."""

    def __init__(self, folder: Path, segments: list[Segment], memtable_ids_max: int):
        self._folder = folder
        self._segments = segments
        self._memtable = Memtable()
        self._memtable_ids_max = memtable_ids_max
        self._seals = 0
        named = {segment.name for segment in segments}
        present = sorted(path.name for path in folder.glob("*.ids"))
        # Names are never used twice, so no file of another life of this index is overwritten.
        self._next = max((int(name[:-4]) for name in present), default=0) + 1
        self._retired = [(0, folder / name) for name in present if name not in named]
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="identity")
        self._compaction: tuple[list[Segment], Future[Segment]] | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        manifest: Manifest | None = None,
        *,
        memtable_ids_max: int = MEMTABLE_IDS_MAX,
    ) -> Self:
        """Open an index as it was when it was sealed with the manifest, or an empty one without.

        Files that the manifest does not name are ignored, and removed after two seals. Raises
        StoreError where a file it names is missing or damaged, or the folder cannot be used.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob("*.part"):
                unfinished.unlink()
        except OSError as error:
            raise StoreError(f"cannot use the identity folder {folder}: {error}") from error
        named = manifest.segments if manifest else ()
        segments = [load(folder / name, rows) for name, rows in named]
        return cls(folder, segments, memtable_ids_max)

    @property
    def resident_bytes(self) -> int:
        """Memory of the index without the pages of its files, which the system may drop."""
        filters = sum(segment.resident_bytes for segment in self._segments)
        return filters + self._memtable.resident_bytes

    def first_copies(
        self, high: Words, low: Words, positions: Positions, line_digests: Words
    ) -> FirstCopies:
        """Look up the ids of a batch, and remember those that are new.

        Positions are those of `packed_positions`, in any order; digests those of `halves`. Of an id
        that is new, the lowest position in the batch is the first. Raises StoreError.
        """
        columns = (high, low, positions, line_digests)
        if positions.size and np.any(positions[1:] < positions[:-1]):
            return self._unordered(columns)
        first, line = self._first(columns)
        displaced = np.zeros(positions.size, np.bool_)
        former = first
        if np.any(positions < first):
            former = first.copy()
            displaced = self._displace(columns, first, line)
        return FirstCopies(first, line, displaced, former)

    def first_seen(
        self, high: Words, low: Words, positions: Positions, line_digests: Words
    ) -> FirstCopies:
        """Look up the ids of a batch, and remember those that are new, by arrival.

        Of an id the row that came first is the first, whatever its position, and nothing is ever
        displaced: for a log whose order is not that of the positions. One index is asked either in
        this way or by `first_copies`, never in both. Raises StoreError.
        """
        first, line = self._first((high, low, positions, line_digests))
        return FirstCopies(first, line, np.zeros(first.size, np.bool_), first)

    def seal(self) -> Manifest:
        """Make all ids durable, and return what to open the index with to have it as it is now.

        The files are on the disk before the manifest exists. Raises StoreError.
        """
        self._freeze()
        self._seals += 1
        self._adopt()
        self._compact()
        self._sweep()
        return Manifest(tuple((segment.name, segment.rows) for segment in self._segments))

    def settle(self) -> None:
        """Wait for the compaction that is under way, if any; the next seal takes its result."""
        if self._compaction:
            self._compaction[1].exception()

    def close(self) -> None:
        """Stop the background work; ids that no seal made durable are gone."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _first(self, columns: Columns) -> tuple[Positions, Words]:
        """Return the first known copy of each id, after adding those that are new in row order."""
        high, low, positions, _ = columns
        if self._memtable.ids + positions.size > self._memtable_ids_max:
            self._freeze()
        self._memtable.reserve(positions.size)
        first, line, slots = self._known(high, low)
        new = np.flatnonzero(first == UNKNOWN)
        first[new], line[new] = self._memtable.add(_rows_of(columns, new), slots[new])
        return first, line

    def _known(self, high: Words, low: Words) -> tuple[Positions, Words, npt.NDArray[np.intp]]:
        """Return the first known copy of each id, or UNKNOWN, and its slot in memory."""
        found, slots = self._memtable.find(high, low)
        first = np.full(high.size, UNKNOWN, np.int64)
        line = np.zeros(high.size, np.uint64)
        here = np.flatnonzero(found)
        first[here], line[here] = self._memtable.at(found[here])
        # A position in memory is never above one in a file, so only the rest is looked up there.
        rest = np.flatnonzero(found == 0)
        rest_high, rest_low = high[rest], low[rest]
        rest_first = np.full(rest.size, UNKNOWN, np.int64)
        rest_line = np.zeros(rest.size, np.uint64)
        bits = filter_bits(rest_low)
        for segment in self._segments:
            segment.look_up(rest_high, rest_low, bits, rest_first, rest_line)
        first[rest], line[rest] = rest_first, rest_line
        return first, line, slots

    def _displace(self, columns: Columns, first: Positions, line: Words) -> npt.NDArray[np.bool_]:
        """Lower the ids of which the batch has an earlier copy; return the rows that are now first.

        Happens only where copies of one id lie in several partitions, so for few rows.
        """
        high, low, positions, _ = columns
        earlier = np.flatnonzero(positions < first)
        ids = np.stack([high[earlier], low[earlier]], axis=1)
        # Positions ascend, so the first occurrence of an id is its lowest.
        _, lowest = np.unique(ids, axis=0, return_index=True)
        rows = earlier[lowest]
        self._memtable.reserve(rows.size)
        self._memtable.lower(_rows_of(columns, rows))
        found, _ = self._memtable.find(high, low)
        here = np.flatnonzero(found)
        first[here], line[here] = self._memtable.at(found[here])
        displaced = np.zeros(positions.size, np.bool_)
        displaced[rows] = True
        return displaced

    def _unordered(self, columns: Columns) -> FirstCopies:
        """Answer a batch whose positions do not ascend."""
        order = np.argsort(columns[2], kind="stable")
        answer = self.first_copies(*_rows_of(columns, order))
        back = np.empty_like(order)
        back[order] = np.arange(order.size)
        return FirstCopies(
            answer.positions[back],
            answer.line_digests[back],
            answer.displaced[back],
            answer.former_positions[back],
        )

    def _freeze(self) -> None:
        """Write the ids in memory to a file."""
        if self._memtable.ids:
            columns = in_order(self._memtable.columns())
            self._segments.append(write(self._new_path(), columns[0].size, iter([columns])))
            self._memtable.clear()

    def _new_path(self) -> Path:
        """Return the path of the next file."""
        path = self._folder / f"{self._next:010d}.ids"
        self._next += 1
        return path

    def _compact(self) -> None:
        """Begin to merge a size class that is full; one merge at a time, beside the lookups."""
        if self._compaction:
            return
        tiers: dict[int, list[Segment]] = {}
        for segment in self._segments:
            # Powers of four: the class of a file that a full class makes is the next one.
            tiers.setdefault(segment.rows.bit_length() // 2, []).append(segment)
        for _, full in sorted(tiers.items()):
            if len(full) >= TIER_SEGMENTS:
                path, capacity = self._new_path(), sum(segment.rows for segment in full)
                work = self._worker.submit(write, path, capacity, merged(full))
                self._compaction = (full, work)
                return

    def _adopt(self) -> None:
        """Take the file that a finished compaction made in the place of those it was made of."""
        if self._compaction and self._compaction[1].done():
            replaced, work = self._compaction
            self._compaction = None
            segment = work.result()
            self._segments = [s for s in self._segments if s not in replaced] + [segment]
            self._retired += [(self._seals, s.path) for s in replaced]

    def _sweep(self) -> None:
        """Remove files that no manifest of the last seals names."""
        due = [path for seal, path in self._retired if seal + SEALS_KEPT <= self._seals]
        self._retired = [(seal, path) for seal, path in self._retired if path not in due]
        for path in due:
            path.unlink(missing_ok=True)


def halves(digests: pa.FixedSizeBinaryArray) -> tuple[Words, Words]:
    """Return 16-byte digests as two arrays of 64-bit words, without nulls.

    >>> high, low = halves(pa.array([bytes(15) + bytes([1])], pa.binary(16)))
    >>> high.tolist(), low.tolist()
    ([0], [72057594037927936])
    """
    buffer = digests.buffers()[1]
    assert buffer is not None
    words = np.frombuffer(memoryview(buffer), "<u8", 2 * len(digests), digests.offset * 16)
    words = words.reshape(-1, 2)
    return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])


def packed_positions(
    partitions: Iterable[int] | npt.NDArray[np.int32], offsets: Iterable[int] | Positions
) -> Positions:
    """Return log positions as one number each, in the order of (partition, offset).

    Offsets are below 2 ** 48 and partitions below 2 ** 15.

    >>> packed_positions([0, 1], [7, 0]).tolist()
    [7, 281474976710656]
    """
    return (np.asarray(partitions, np.int64) << OFFSET_BITS) | np.asarray(offsets, np.int64)


def unpacked_positions(positions: Positions) -> tuple[npt.NDArray[np.int32], Positions]:
    """Return partitions and offsets of packed positions.

    >>> partitions, offsets = unpacked_positions(np.array([281474976710656 + 5]))
    >>> partitions.tolist(), offsets.tolist()
    ([1], [5])
    """
    return (positions >> OFFSET_BITS).astype(np.int32), positions & ((1 << OFFSET_BITS) - 1)


def _rows_of(columns: Columns, rows: npt.NDArray[np.intp]) -> Columns:
    """Return some rows of a batch."""
    high, low, positions, line_digests = columns
    return high[rows], low[rows], positions[rows], line_digests[rows]
