"""The ids that are not in a file yet: columns with a hash table beside them, a batch at a time."""

import secrets

import numpy as np
import numpy.typing as npt

from flows.identity.segments import BYTES_PER_ID, Columns, Positions, Words

Rows = npt.NDArray[np.intp]
SMALLEST_BITS = 12


class Memtable:
    """Ids in the order in which they came, found by open addressing on all 128 bits of the digest.

    A slot holds the number of a row, or 0; at most half of the slots are in use. The multiplier is
    secret, so that nobody can send ids that all fall into one place.
    """

    def __init__(self) -> None:
        self.ids = 0
        # Rows that nothing points to: later copies of an id that was new in their batch.
        self._unused: list[Rows] = []
        self._multiplier = np.uint64(secrets.randbits(64) | 1)
        self._bits = SMALLEST_BITS
        self._allot(np.zeros((4, 1), np.uint64))

    @property
    def resident_bytes(self) -> int:
        """Memory that the table takes."""
        return self._slots.nbytes + self._high.size * BYTES_PER_ID

    def clear(self) -> None:
        """Forget all ids; the table keeps its size, since the next epoch is about as large."""
        self.ids = 0
        self._unused = []
        self._slots.fill(0)

    def reserve(self, more: int) -> None:
        """Make room for so many new ids. Slots found before are no longer valid."""
        needed = (self.ids + more + 1) * 2
        if needed > 1 << self._bits:
            self._bits = (needed - 1).bit_length()
            self._allot(self._columns[:, : self.ids + 1])
            self._fill(np.arange(1, self.ids + 1), self._home(self._high[1 : self.ids + 1]))

    def find(self, high: Words, low: Words) -> tuple[Rows, Rows]:
        """Return the row of each id, 0 where it is not here, and where the search ended."""
        slots = self._home(high)
        found = self._slots[slots].astype(np.intp)
        left = np.flatnonzero(found)
        while left.size:
            rows = found[left]
            other = (self._high[rows] != high[left]) | (self._low[rows] != low[left])
            left = left[other]
            slots[left] = self._after(slots[left])
            found[left] = self._slots[slots[left]]
            left = left[found[left] > 0]
        return found, slots

    def at(self, rows: Rows) -> tuple[Positions, Words]:
        """Return position and line digest of rows."""
        return self._positions[rows], self._lines[rows]

    def add(self, columns: Columns, slots: Rows) -> tuple[Positions, Words]:
        """Add ids from the slots where `find` ended, and return the copy that stands for each.

        The same id may come several times; the first of them stands.
        """
        rows = self._append(columns)
        stands = self._fill(rows, slots)
        self._unused.append(rows[stands != rows])
        return self.at(stands)

    def lower(self, columns: Columns) -> None:
        """Set the position of ids, each given once, whether they are here or not."""
        found, slots = self.find(columns[0], columns[1])
        here, absent = np.flatnonzero(found), np.flatnonzero(found == 0)
        self._positions[found[here]] = columns[2][here]
        self._lines[found[here]] = columns[3][here]
        high, low, positions, lines = columns
        rows = self._append((high[absent], low[absent], positions[absent], lines[absent]))
        self._fill(rows, slots[absent])

    def columns(self) -> Columns:
        """Return all ids, each once, in no order."""
        rows = np.delete(np.arange(self.ids + 1), np.concatenate([[0], *self._unused]))
        return self._high[rows], self._low[rows], self._positions[rows], self._lines[rows]

    def _allot(self, columns: Words) -> None:
        """Make an empty table for the number of bits, with rows that are there already."""
        self._slots = np.zeros(1 << self._bits, np.int32)
        self._columns = np.zeros((4, (1 << self._bits) // 2 + 1), np.uint64)
        self._columns[:, : columns.shape[1]] = columns
        self._high, self._low, positions, self._lines = self._columns
        self._positions = positions.view(np.int64)

    def _append(self, columns: Columns) -> Rows:
        """Append rows that no slot points to yet, and return their numbers, from 1 up."""
        rows = slice(self.ids + 1, self.ids + 1 + columns[0].size)
        self._high[rows], self._low[rows], self._positions[rows], self._lines[rows] = columns
        self.ids += columns[0].size
        return np.arange(rows.start, rows.stop)

    def _home(self, high: Words) -> Rows:
        """Return the slot where the search for each id begins."""
        shift = np.uint64(64 - self._bits)
        return ((high * self._multiplier) >> shift).astype(np.intp)

    def _after(self, slots: Rows) -> Rows:
        """Return the slots that follow."""
        following: Rows = (slots + 1) & ((1 << self._bits) - 1)
        return following

    def _fill(self, rows: Rows, slots: Rows) -> Rows:
        """Point the next empty slots at rows; return the row that stands for the id of each.

        Of several rows that want one empty slot the earliest gets it: written backwards, it is the
        last to be written. Rows of the same id walk through the same slots side by side.
        """
        stands = rows.copy()
        left = np.arange(rows.size)
        while left.size:
            empty = left[self._slots[slots[left]] == 0][::-1]
            self._slots[slots[empty]] = rows[empty]
            left = left[self._slots[slots[left]] != rows[left]]
            owners, mine = self._slots[slots[left]], rows[left]
            alike = (self._high[owners] == self._high[mine]) & (
                self._low[owners] == self._low[mine]
            )
            stands[left[alike]] = owners[alike]
            left = left[~alike]
            slots[left] = self._after(slots[left])
        return stands
