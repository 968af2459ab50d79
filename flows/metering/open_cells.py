"""The cells in memory: cumulative partials of one shard, grown by what batches contribute.

Rows never change in place. A changed cell gets a new row in a new chunk and its old row is marked dead, so
that a flush costs what has changed and a quick look over the hashes of what has not.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels import select
from operators.partials import Partials, empty, merge
from schemas.usage import CELL, PARTIAL_COLUMNS

# More chunks than this are made one, and dead rows go.
CHUNKS_MAX = 32

# The hash lives in memory only, so that it need not be the same in another version.
_NAMES = ", ".join(f'"{name}"' for name in CELL)
_HASHES = f"SELECT hash({_NAMES}) AS cell FROM cells"


@dataclass(slots=True)
class _Chunk:
    """Rows of partials, a hash of each one's cell, and which of them still count."""

    table: pa.Table
    cells: pa.Array
    alive: npt.NDArray[np.bool_]


class OpenCells:
    """Cumulative partials of one aggregation type, and contributions that are not merged in yet.

    Members of COUNT_UNIQUE are passed on and not kept: the store holds them as a set, so that a member
    which comes twice changes nothing.
    """

    def __init__(self, aggregation_type: str):
        self.aggregation_type = aggregation_type
        self._chunks: list[_Chunk] = []
        self._pending: list[Partials] = []

    def add(self, partials: Partials) -> None:
        """Take in what a batch contributes; it counts at the next `settle`."""
        if partials.table.num_rows:
            self._pending.append(partials)

    def pending(self) -> Partials:
        """Return what was added since the last `settle`, merged."""
        if len(self._pending) > 1:
            self._pending = [merge(self.aggregation_type, self._pending)]
        return self._pending[0] if self._pending else empty(self.aggregation_type)

    def settled(self) -> Partials:
        """Return the cumulative rows of all cells in memory, without what is pending and without members."""
        nothing = empty(self.aggregation_type)
        tables = [_living(chunk) for chunk in self._chunks]
        return Partials(pa.concat_tables([nothing.table, *tables]), nothing.members)

    def settle(self) -> Partials:
        """Merge what is pending into its cells; return the changed cells' rows and the members that came."""
        delta = self.pending()
        self._pending = []
        if not delta.table.num_rows:
            return empty(self.aggregation_type)
        before = self._take_out(delta.table)
        changed = delta
        if before:
            nothing = empty(self.aggregation_type).members
            known = (Partials(table, nothing) for table in before)
            changed = merge(self.aggregation_type, [*known, delta])
        self._chunks.append(_chunk(changed.table))
        if len(self._chunks) > CHUNKS_MAX:
            self._compact()
        return changed

    def load(self, partials: Partials) -> None:
        """Put rows of cells that are not in memory in place, as they were stored."""
        if partials.table.num_rows:
            self._chunks.append(_chunk(partials.table))

    def drop(self, cells: pa.Table) -> None:
        """Forget the settled rows of some cells (columns CELL)."""
        for table in self._take_out(cells):
            self.load(Partials(without_cells(table, cells), None))

    def missing(self, cells: pa.Table) -> pa.Table:
        """Return those of some cells (columns CELL, each once) that have no settled row."""
        known = [_living(chunk).select(CELL) for chunk in self._chunks]
        if not known:
            return cells
        return without_cells(cells, pa.concat_tables(known))

    def evict(self, horizon: pa.Scalar) -> int:
        """Forget the settled rows of windows that start before an instant; return how many."""
        self._compact()
        if not self._chunks:
            return 0
        table = self._chunks[0].table
        kept = table.filter(pc.greater_equal(table["window_start"], horizon))
        self._chunks = [_chunk(kept)] if kept.num_rows else []
        return int(table.num_rows - kept.num_rows)

    def row_count(self) -> int:
        """Return how many settled rows are in memory, dead ones included."""
        return sum(chunk.table.num_rows for chunk in self._chunks)

    def starts(self) -> pa.ChunkedArray:
        """Return the window starts of the settled rows."""
        tables = [_living(chunk).select(["window_start"]) for chunk in self._chunks]
        return pa.concat_tables(
            [empty(self.aggregation_type).table.select(["window_start"]), *tables]
        )[0]

    def _take_out(self, cells: pa.Table) -> list[pa.Table]:
        """Mark the rows of some cells dead and return them; rows of equal hash go the same way."""
        wanted = _hashes(cells)
        found = []
        for chunk in self._chunks:
            hit = (
                pc.is_in(chunk.cells, value_set=wanted).to_numpy(zero_copy_only=False) & chunk.alive
            )
            if hit.any():
                found.append(chunk.table.filter(pa.array(hit)))
                chunk.alive &= ~hit
        return found

    def _compact(self) -> None:
        """Make one chunk of all, without the dead rows."""
        table = self.settled().table.combine_chunks()
        self._chunks = [_chunk(table)] if table.num_rows else []


def _chunk(table: pa.Table) -> _Chunk:
    """Return rows with their hashes, all alive."""
    table = table.combine_chunks()
    return _Chunk(table, _hashes(table), np.ones(table.num_rows, bool))


def _hashes(cells: pa.Table) -> pa.Array:
    """Return a hash of each row's cell."""
    return select(_HASHES, cells=cells.select(CELL))["cell"].combine_chunks()


def _living(chunk: _Chunk) -> pa.Table:
    """Return the rows of a chunk that still count."""
    return chunk.table if chunk.alive.all() else chunk.table.filter(pa.array(chunk.alive))


def of_cells(rows: pa.Table, cells: pa.Table) -> pa.Table:
    """Return the rows that belong to some cells (columns CELL of both), in no order.

    >>> of_cells(empty("COUNT").table, empty("SUM").table).column_names[-1]
    'counted'
    """
    return _joined(rows, cells, "left semi")


def without_cells(rows: pa.Table, cells: pa.Table) -> pa.Table:
    """Return the rows that belong to none of some cells (columns CELL of both), in no order.

    >>> without_cells(empty("COUNT").table, empty("SUM").table).column_names[-1]
    'counted'
    """
    return _joined(rows, cells, "left anti")


def _joined(rows: pa.Table, cells: pa.Table, kind: str) -> pa.Table:
    """Join rows with cells; a join changes the order of columns and forgets which are never null."""
    joined = rows.join(cells.select(CELL), list(CELL), join_type=kind)
    return joined.select(rows.column_names).cast(rows.schema)


def open_cells() -> dict[str, OpenCells]:
    """Return empty cells of every aggregation type."""
    return {name: OpenCells(name) for name in PARTIAL_COLUMNS}


def concatenated(parts: Iterable[Mapping[str, Partials]]) -> dict[str, Partials]:
    """Put several contributions one behind the other: quick to write, and merged when they are read.

    >>> concatenated([]) == {}
    True
    """
    return {
        name: Partials(
            pa.concat_tables([each.table for each in several]),
            None
            if several[0].members is None
            else pa.concat_tables([each.members for each in several if each.members is not None]),
        )
        for name, several in _by_type(parts).items()
    }


def combined(parts: Iterable[Mapping[str, Partials]]) -> dict[str, Partials]:
    """Merge several contributions, each by aggregation type, into one.

    >>> combined([]) == {}
    True
    """
    return {name: merge(name, several) for name, several in _by_type(parts).items()}


def _by_type(parts: Iterable[Mapping[str, Partials]]) -> dict[str, list[Partials]]:
    """Return contributions by aggregation type."""
    by_type: dict[str, list[Partials]] = {}
    for part in parts:
        for name, partials in part.items():
            by_type.setdefault(name, []).append(partials)
    return by_type
