"""The usage that a shard of customers has so far: of each cell the row of the highest version.

Rows are cumulative and their versions grow with them, so it does not matter in which batches and
in which order they come, how often, or which versions come in between. Members of a cell are a set,
which only grows. A member that a correction takes back cannot be told from stored members, which
carry no version; it stays, here as in the store.

Each customer's rows of a meter are a part of their own, in order of time. New rows are merged with
what is not older than they are, so that a flush costs what is new in it and not the history.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flows.billing.batches import UsageBatch
from flows.billing.feed import newest
from flows.stores.tables import STORED_MEMBERS
from operators.partials import Partials, empty
from operators.windows import instant, whole
from schemas.meter import AggregationType, Meter, ResetUsage
from schemas.period import Interval
from schemas.usage import BASE_WINDOW, MEMBERS, PARTIAL_COLUMNS, USAGE, partial_schema

# What names a part. Rows of an older generation of a meter are kept apart and never read.
PART = ("external_customer_id", "meter_id", "generation")
# What names a row or a member inside its part, after its window.
ROW_KEY = ("group",)
MEMBER_KEY = ("group", "member")
# Each merge may leave a piece more of a part; so many are put together again.
CHUNKS_MAX = 64
# So many new rows of a part are cheaper to merge one after the other.
FEW_ROWS = 3

PartKey = tuple[str, str, int]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Change:
    """News about a customer's usage of a meter: the time that holds all windows that changed."""

    external_customer_id: str
    meter_id: str
    windows: Interval


@dataclass(slots=True)
class _Part:
    """The rows and members of one customer and generation of a meter, in order of time."""

    rows: pa.Table = field(default_factory=USAGE.empty_table)
    members: pa.Table = field(default_factory=STORED_MEMBERS.empty_table)


class CumulativeUsage:
    """Rows and members of some customers; what was added is merged when it is asked for."""

    def __init__(self, payload: tuple[bytes, bytes] | None = None) -> None:
        self._parts: dict[str, dict[tuple[str, int], _Part]] = {}
        self._added: list[UsageBatch] = []
        if payload is not None:
            self.add([UsageBatch(_read(payload[0]), _read(payload[1]))])
            self.settle()

    def add(self, batches: Sequence[UsageBatch]) -> None:
        """Take in rows and members."""
        self._added += batches

    def settle(self) -> tuple[Change, ...]:
        """Merge what was added; return for whom it was news, in order of customer and meter."""
        if not self._added:
            return ()
        rows = pa.concat_tables([batch.rows for batch in self._added])
        # Once for all customers, which leaves few rows to merge one by one.
        rows = newest(rows).sort_by("window_start")
        members = pa.concat_tables([batch.members for batch in self._added])
        self._added = []
        news: dict[PartKey, list[Interval]] = {}
        for key, more in _split(rows):
            part = self._part(key)
            part.rows, windows = _merged(part.rows, more, ROW_KEY, latest_by="version")
            news.setdefault(key, []).extend(windows)
        for key, more in _split(members):
            part = self._part(key)
            part.members, windows = _merged(part.members, more, MEMBER_KEY)
            news.setdefault(key, []).extend(windows)
        return tuple(
            Change(
                key[0],
                key[1],
                Interval(min(each.start for each in found), max(each.end for each in found)),
            )
            for key, found in sorted(news.items())
            if found
        )

    def usage(self, meter: Meter, external_customer_id: str, period: Interval) -> Partials:
        """Return what is needed of a customer's usage of a meter for a period; `settle` before.

        Rows of a running total reach back to the beginning, others to the start of the period.
        """
        return self.usage_together(meter, [external_customer_id], period)

    def usage_together(
        self, meter: Meter, external_customer_ids: Iterable[str], period: Interval
    ) -> Partials:
        """Return the same of several customers as one."""
        kind = meter.aggregation.type
        key = meter.id, meter.generation
        parts = [
            part
            for name in external_customer_ids
            if (part := self._parts.get(name, {}).get(key)) is not None
        ]
        if not parts:
            return empty(kind)
        start = None if meter.reset_usage is ResetUsage.NEVER else period.start - BASE_WINDOW
        columns = partial_schema(PARTIAL_COLUMNS[kind])
        rows = pa.concat_tables(
            [_between(part.rows, start, period.end).select(columns.names) for part in parts]
        )
        # A cell that lost its only event to another is said to be empty.
        table = rows.filter(pc.greater(rows["counted"], 0)).cast(columns)
        if kind is not AggregationType.COUNT_UNIQUE:
            return Partials(table, None)
        members = pa.concat_tables([_between(part.members, start, period.end) for part in parts])
        return Partials(table, members.select(MEMBERS.names).cast(MEMBERS))

    def first_window_since(self, external_customer_id: str, at: datetime) -> datetime | None:
        """Return the earliest window of a customer that starts at or after an instant, if any."""
        since = whole(at)
        found = []
        for part in self._parts.get(external_customer_id, {}).values():
            windows = _windows(part.rows)
            place = int(np.searchsorted(windows, since))
            if place < len(windows):
                found.append(int(windows[place]))
        return instant(min(found)) if found else None

    def payload(self) -> tuple[bytes, bytes]:
        """Return rows and members as Arrow streams, from which the same usage can be made again.

        Call `settle` before. The same usage gives the same bytes.
        """
        parts = [
            part
            for _, of_customer in sorted(self._parts.items())
            for _, part in sorted(of_customer.items(), key=lambda named: named[0])
        ]
        rows = pa.concat_tables([USAGE.empty_table(), *(part.rows for part in parts)])
        members = pa.concat_tables([STORED_MEMBERS.empty_table(), *(p.members for p in parts)])
        return _written(rows), _written(members)

    def _part(self, key: PartKey) -> _Part:
        """Return a part, which may be new."""
        customer, meter_id, generation = key
        of_customer = self._parts.setdefault(customer, {})
        part = of_customer.get((meter_id, generation))
        if part is None:
            part = of_customer[meter_id, generation] = _Part()
        return part


def _split(table: pa.Table) -> Iterator[tuple[PartKey, pa.Table]]:
    """Yield the rows of each part, in order of the names of the parts."""
    if table.num_rows == 0:
        return
    ranks = [_ranks(table[name]) for name in PART]
    order = np.lexsort(ranks[::-1])
    ordered = table.take(pa.array(order))
    starts = _starts([rank[order] for rank in ranks])
    ends = [*starts[1:].tolist(), table.num_rows]
    names = ordered.select(PART).take(pa.array(starts)).to_pylist()
    for name, start, end in zip(names, starts.tolist(), ends, strict=True):
        yield (name[PART[0]], name[PART[1]], name[PART[2]]), ordered.slice(start, end - start)


def _merged(
    known: pa.Table, more: pa.Table, key: Sequence[str], *, latest_by: str | None = None
) -> tuple[pa.Table, list[Interval]]:
    """Return both tables of one part with each key once, and the time of what was news, if any.

    Of several rows of a key the one with the greatest value of `latest_by` is kept, of equal ones
    the known one: equal versions have equal content. Both in and out are in order of time; `known`
    is touched only from the first window of `more` on.
    """
    if 1 < more.num_rows <= FEW_ROWS:
        found: list[Interval] = []
        for place in range(more.num_rows):
            known, windows = _merged(known, more.slice(place, 1), key, latest_by=latest_by)
            found += windows
        return known, found
    if more.num_rows == 1 and latest_by is not None and known.num_rows:
        # The running minute goes on, or the next one begins: by far the most frequent news.
        window, last = _window(more, 0), _window(known, known.num_rows - 1)
        if window > last:
            return _joined(known, more), [_minute(window)]
        if window == last and _is_only(known, window) and _same(known, more, key):
            if more[latest_by][0].as_py() <= known[latest_by][-1].as_py():
                return known, []
            return _joined(known.slice(0, known.num_rows - 1), more), [_minute(window)]
    first = int(_windows(more).min())
    place = int(np.searchsorted(_windows(known), first))
    # The last row of a key is kept, so that among equals it is the known one. The sort is stable.
    table = pa.concat_tables([more, known.slice(place)])
    places = _last_of_each(table, key, latest_by)
    news = places[places < more.num_rows]
    if not news.size:
        return known, []
    changed = _windows(more)[news]
    spans = Interval(instant(int(changed.min())), instant(int(changed.max())) + BASE_WINDOW)
    return _joined(known.slice(0, place), table.take(pa.array(places))), [spans]


def _joined(before: pa.Table, after: pa.Table) -> pa.Table:
    """Return rows that follow others, in not too many pieces."""
    joined = pa.concat_tables([before, after])
    return joined.combine_chunks() if joined.column(0).num_chunks > CHUNKS_MAX else joined


def _window(table: pa.Table, row: int) -> int:
    """Return the window of a row, in microseconds since 1970."""
    at: Any = table["window_start"][row]
    return int(at.value)


def _is_only(known: pa.Table, window: int) -> bool:
    """Tell whether the last row alone is of its window."""
    return known.num_rows == 1 or _window(known, known.num_rows - 2) < window


def _same(known: pa.Table, more: pa.Table, key: Sequence[str]) -> bool:
    """Tell whether the last row of one table has the key of the first of another."""
    return all(known[name][-1].as_py() == more[name][0].as_py() for name in key)


def _minute(window: int) -> Interval:
    """Return the time of a base window."""
    return Interval(instant(window), instant(window) + BASE_WINDOW)


def _last_of_each(table: pa.Table, key: Sequence[str], latest_by: str | None) -> Numbers:
    """Return where the row of each window and key is that is to be kept, in their order."""
    ranks = [_windows(table), *(_ranks(table[name]) for name in key)]
    by = ranks if latest_by is None else [*ranks, _ranks(table[latest_by])]
    order = np.lexsort(by[::-1])
    starts = _starts([rank[order] for rank in ranks])
    last: Numbers = order[np.append(starts[1:], table.num_rows) - 1]
    return last


def _starts(ranks: Sequence[Numbers]) -> Numbers:
    """Return where runs of equal ranks begin, in rows that are ordered by them."""
    changes = np.zeros(len(ranks[0]), dtype=bool)
    changes[:1] = True
    for rank in ranks:
        changes[1:] |= rank[1:] != rank[:-1]
    return np.flatnonzero(changes)


def _ranks(column: pa.ChunkedArray) -> Numbers:
    """Return numbers that order as the values do, and are equal where they are."""
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    encoded = pc.dictionary_encode(column).combine_chunks()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return np.asarray(ranks[encoded.indices.to_numpy()])


def _windows(table: pa.Table) -> Numbers:
    """Return the windows of rows, in microseconds since 1970."""
    return np.asarray(table["window_start"].cast(pa.int64()).to_numpy())


def _between(table: pa.Table, start: datetime | None, end: datetime) -> pa.Table:
    """Return the rows whose windows start in [start, end), from rows in order of time."""
    if not table.num_rows:
        return table
    if (start is None or _window(table, 0) >= whole(start)) and (
        _window(table, table.num_rows - 1) < whole(end)
    ):
        return table
    windows = _windows(table)
    low = 0 if start is None else int(np.searchsorted(windows, whole(start)))
    return table.slice(low, max(int(np.searchsorted(windows, whole(end))) - low, 0))


def _written(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def _read(payload: bytes) -> pa.Table:
    """Return the table of an Arrow stream."""
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_all()
