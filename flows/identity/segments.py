"""Immutable files of ids: sorted, checked, memory-mapped, with a small filter in memory.

A file holds four columns of one capacity, after a header: the two halves of the 128-bit digest,
ascending, then the first log position and the line digest of that copy: 32 bytes an id. No id is
twice in a file. The filter, rebuilt on opening, says of most unknown ids that they are not here.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.errors import StoreError

Words = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
# Both halves of the digest, the position, the line digest.
Columns = tuple[Words, Words, Positions, Words]

MAGIC = b"TALLYID1"
# Magic, rows, capacity, the checksum of each column, then the checksum of all that.
HEADER = struct.Struct("<8sQQ4I")
HEADER_BYTES = 64
COLUMNS = 4
BYTES_PER_ID = 8 * COLUMNS
# One id in some fifty passes a filter that it should not, and costs one binary search.
FILTER_BITS_PER_ID = 12
# What is sorted or checked at a time; bounds the memory of a merge.
CHUNK_ROWS = 1 << 20
THIRTY_TWO = np.uint64(32)


class Segment:
    """One open file of ids."""

    def __init__(self, path: Path, rows: int, capacity: int):
        self.path = path
        self.rows = rows
        words = np.memmap(path, np.uint64, "r", HEADER_BYTES, (COLUMNS, capacity))
        columns = np.asarray(words)[:, :rows]
        self.high: Words = columns[0]
        self.low: Words = columns[1]
        self.positions: Positions = columns[2].view(np.int64)
        self.line_digests: Words = columns[3]
        self._filter = np.zeros(max(1, rows * FILTER_BITS_PER_ID // 64), np.uint64)
        for start in range(0, rows, CHUNK_ROWS):
            self._remember(
                self.high[start : start + CHUNK_ROWS], self.low[start : start + CHUNK_ROWS]
            )

    @property
    def name(self) -> str:
        """The name of the file in its folder."""
        return self.path.name

    @property
    def resident_bytes(self) -> int:
        """Memory that the filter takes; the columns are pages of the file."""
        return self._filter.nbytes

    def columns(self, start: int, end: int) -> Columns:
        """Return the rows [start, end)."""
        return (
            self.high[start:end],
            self.low[start:end],
            self.positions[start:end],
            self.line_digests[start:end],
        )

    def look_up(self, high: Words, low: Words, bits: Words, first: Positions, line: Words) -> None:
        """Lower `first` to the positions known here, and set `line` with it.

        `bits` are the `filter_bits` of `low`; `first` is the greatest int64 where nothing is known.
        """
        maybe = (self._filter[self._filter_words(high)] & bits) == bits
        asked = np.flatnonzero(maybe)
        # In the order of the file, so that neighbours share its pages.
        asked = asked[np.argsort(high[asked])]
        at = np.searchsorted(self.high, high[asked])
        while asked.size:
            inside = at < self.rows
            asked, at = asked[inside], at[inside]
            alike = self.high[at] == high[asked]
            asked, at = asked[alike], at[alike]
            found = self.low[at] == low[asked]
            lower = found & (self.positions[at] < first[asked])
            first[asked[lower]] = self.positions[at[lower]]
            line[asked[lower]] = self.line_digests[at[lower]]
            # Ids that share 64 bits stand side by side; one round for each is enough.
            asked, at = asked[~found], at[~found] + 1

    def _filter_words(self, high: Words) -> Words:
        """Return which word of the filter each id falls into; it grows with the id."""
        words: Words = ((high >> THIRTY_TWO) * np.uint64(self._filter.size)) >> THIRTY_TWO
        return words

    def _remember(self, high: Words, low: Words) -> None:
        """Add ascending ids to the filter."""
        words = self._filter_words(high)
        starts = np.flatnonzero(np.diff(words, prepend=~words[:1]))
        self._filter[words[starts]] |= np.bitwise_or.reduceat(filter_bits(low), starts)


def filter_bits(low: Words) -> Words:
    """Return the four bits of a filter word that an id sets.

    >>> [f"{word:b}" for word in filter_bits(np.array([0, 0b000011000010000001000000], np.uint64))]
    ['1', '1111']
    """
    one, six = np.uint64(1), np.uint64(63)
    bits = one << (low & six)
    for shift in (6, 12, 18):
        bits |= one << ((low >> np.uint64(shift)) & six)
    return bits


def in_order(columns: Columns) -> Columns:
    """Sort ids, and keep of equal ones the lowest position.

    >>> high, low = np.array([2, 1, 2], np.uint64), np.array([5, 9, 5], np.uint64)
    >>> _, _, positions, _ = in_order((high, low, np.array([7, 8, 3]), low))
    >>> positions.tolist()
    [8, 3]
    """
    high, low, positions, _ = columns
    order = np.argsort(high)
    ranked = high[order]
    tied = ranked[1:] == ranked[:-1]
    if not tied.any():
        return _taken(columns, order)
    group = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    rows = order[group]
    order[group] = rows[np.lexsort((positions[rows], low[rows], high[rows]))]
    high, low = high[order], low[order]
    repeated = (high[1:] == high[:-1]) & (low[1:] == low[:-1])
    return _taken(columns, order[~np.append(False, repeated)])


def _taken(columns: Columns, rows: npt.NDArray[np.intp]) -> Columns:
    """Return some rows of all columns."""
    high, low, positions, line_digests = columns
    return high[rows], low[rows], positions[rows], line_digests[rows]


def merged(segments: Sequence[Segment]) -> Iterator[Columns]:
    """Merge files into ascending chunks; of an id in several the lowest position is kept.

    Digests spread evenly, so equal slices of their range are chunks of about equal size.
    """
    slices = max(1, sum(segment.rows for segment in segments) // CHUNK_ROWS)
    bounds = np.array([(1 << 64) * cut // slices for cut in range(1, slices)], np.uint64)
    cuts = [
        [0, *np.searchsorted(segment.high, bounds).tolist(), segment.rows] for segment in segments
    ]
    for part in range(slices):
        pieces = [
            segment.columns(cut[part], cut[part + 1])
            for segment, cut in zip(segments, cuts, strict=True)
        ]
        high, low, positions, line_digests = (
            np.concatenate(column) for column in zip(*pieces, strict=True)
        )
        yield in_order((high, low, positions, line_digests))


def write(path: Path, capacity: int, chunks: Iterator[Columns]) -> Segment:
    """Write ascending chunks of at most `capacity` ids in all as a file that is durable on return.

    The file gets its name only when it is complete and on the disk. Raises StoreError.
    """
    unfinished = path.with_suffix(".part")
    rows, checksums = 0, [0] * COLUMNS
    try:
        with unfinished.open("wb") as file:
            file.truncate(HEADER_BYTES + BYTES_PER_ID * capacity)
            for chunk in chunks:
                for number, column in enumerate(chunk):
                    data = np.ascontiguousarray(column).view(np.uint8).data
                    checksums[number] = zlib.crc32(data, checksums[number])
                    file.seek(HEADER_BYTES + 8 * (number * capacity + rows))
                    file.write(data)
                rows += chunk[0].size
            file.seek(0)
            file.write(_header(rows, capacity, checksums))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)
        _sync_folder(path.parent)
        return Segment(path, rows, capacity)
    except OSError as error:
        raise StoreError(f"cannot write the identity segment {path.name}: {error}") from error


def load(path: Path, rows: int) -> Segment:
    """Open a file that a manifest names, after reading all of it once.

    Raises StoreError where the file is missing, torn or not the one that the manifest means.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise StoreError(f"cannot read the identity segment {path.name}: {error}") from error
    if len(header) < HEADER_BYTES or header[:8] != MAGIC:
        raise StoreError(f"{path.name} is no identity segment")
    _, found, capacity, *checksums = HEADER.unpack_from(header)
    if _header(found, capacity, checksums) != header:
        raise StoreError(f"the header of the identity segment {path.name} is damaged")
    if found != rows or size != HEADER_BYTES + BYTES_PER_ID * capacity:
        raise StoreError(f"the identity segment {path.name} is torn: {size} bytes, {found} ids")
    segment = Segment(path, rows, capacity)
    for column, checksum in zip(segment.columns(0, rows), checksums, strict=True):
        if zlib.crc32(column.view(np.uint8).data) != checksum:
            raise StoreError(f"the identity segment {path.name} is damaged: a checksum differs")
    return segment


def _header(rows: int, capacity: int, checksums: Sequence[int]) -> bytes:
    """Return the first bytes of a file, which carry their own checksum."""
    fields = HEADER.pack(MAGIC, rows, capacity, *checksums)
    return (fields + struct.pack("<I", zlib.crc32(fields))).ljust(HEADER_BYTES, b"\0")


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
