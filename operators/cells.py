"""Cells of an answer: usage cut by a period, its windows and its buckets, then folded.

Nothing here turns a partial into a quantity; that is operators.finishing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.folding import Column, fold, microseconds, replaced, times
from operators.partials import BASE_WINDOW_MICROSECONDS, distinct, lift
from operators.usage import Usage
from operators.windows import DAY, Microseconds, days_of, edges, edges_around, instant, whole
from schemas.decimals import WIDE
from schemas.meter import AggregationType, Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.usage import PARTIAL_COLUMNS
from schemas.zones import zone

# One digit less than a moment may have, so that Arrow can name the type of a sum of two.
ADDEND = pa.decimal256(75, 18)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a question cuts time into: a period, its windows, and the buckets of the meter.

    All in microseconds since 1970. `spans` are the natural edges of the windows, one more than
    there are windows; without windows they are the period itself. `buckets` likewise, or None.
    """

    start: int
    end: int
    spans: Microseconds
    buckets: Microseconds | None
    running: bool

    def lows(self) -> Microseconds:
        """Return where each span begins within the period."""
        return np.maximum(self.spans[:-1], self.start)

    def highs(self) -> Microseconds:
        """Return where each span ends within the period."""
        return np.minimum(self.spans[1:], self.end)

    def cut_minutes(self) -> Microseconds:
        """Return the starts of the base windows that an edge cuts."""
        found = [np.array([self.start, self.end]), self.spans]
        if self.buckets is not None:
            found.append(self.buckets)
        every = np.unique(np.concatenate(found))
        inner = every[(every >= self.start) & (every <= self.end)]
        offsets = inner % BASE_WINDOW_MICROSECONDS
        return np.unique((inner - offsets)[offsets > 0])


def scope_of(
    meter: Meter,
    period: Interval,
    *,
    window: WindowSize | None = None,
    timezone: str = "UTC",
    anchor: datetime | None = None,
    days: Microseconds | None = None,
) -> Scope:
    """Return what a question cuts time into.

    With `days`, the UTC days that hold usage, windows that touch none of them are not worked out.
    Raises ValidationFailed (reason `unknown_timezone`), also where no window needs a zone.

    >>> from schemas.meter import Aggregation
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> scope = scope_of(meter, Interval(instant(0), instant(DAY)), window=WindowSize.HALF_DAY)
    >>> (scope.spans * 2 // DAY).tolist(), scope.buckets is None
    ([0, 1, 2], True)
    """
    zone(timezone or "UTC")
    start, end = whole(period.start), whole(period.end)

    def grid(size: WindowSize) -> Microseconds:
        if start == end:
            return np.array([], dtype=np.int64)
        if days is None:
            return edges(size, start, end - 1, timezone=timezone, anchor=anchor)
        inside = days[(days >= start // DAY) & (days <= (end - 1) // DAY)]
        return edges_around(size, inside, timezone=timezone, anchor=anchor)

    bucket = meter.aggregation.bucket_size
    return Scope(
        start,
        end,
        np.array([start, end], dtype=np.int64) if window is None else grid(window),
        None if bucket is None else grid(bucket),
        meter.reset_usage is ResetUsage.NEVER,
    )


def cut_minutes(
    meter: Meter,
    period: Interval,
    *,
    window: WindowSize | None = None,
    timezone: str = "UTC",
    anchor: datetime | None = None,
) -> list[datetime]:
    """Return the base windows whose counted pairs a question needs: those that an edge cuts.

    Few ever: the two ends of a period, edges at an anchor with seconds, Africa/Monrovia before
    1972. Source: metering.md 11.

    >>> from schemas.meter import Aggregation
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> [at.minute for at in cut_minutes(meter, Interval(instant(0), instant(90_000_000)))]
    [1]
    """
    scope = scope_of(meter, period, window=window, timezone=timezone, anchor=anchor)
    return [instant(int(at)) for at in scope.cut_minutes()]


def days_with(usage: Usage) -> Microseconds:
    """Return the UTC days that hold usage, counted from 1970.

    >>> from schemas.usage import PAIRS
    >>> days_with(Usage(None, PAIRS.empty_table())).tolist()
    []
    """
    found = [np.array([], dtype=np.int64)]
    if usage.rows is not None:
        found.append(days_of(usage.rows.table["window_start"]))
    if usage.pairs is not None:
        found.append(days_of(usage.pairs["timestamp"]))
    return np.unique(np.concatenate(found))


def cells(meter: Meter, usage: Usage, scope: Scope, by: Sequence[str]) -> pa.Table:
    """Return the partials of usage folded by `by`, span, and bucket and group of bucketed meters.

    out: the keys, `span` (its index; -1 for what lies before the period of a running total),
         `bucket` (an index), `group`, and the partial columns; `moment` counts from the start of
         the period; for COUNT_UNIQUE `members`, how many there are, in a running total how many
         are new.

    >>> from schemas.meter import Aggregation
    >>> from schemas.usage import PAIRS
    >>> meter = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> scope = scope_of(meter, Interval(instant(0), instant(DAY)))
    >>> cells(meter, Usage(None, PAIRS.empty_table()), scope, ["group"]).column_names
    ['group', 'span', 'counted']
    """
    kind = meter.aggregation.type
    columns = PARTIAL_COLUMNS[kind]
    keys = [*by, "span"]
    if scope.buckets is not None:
        keys += ["bucket", "group"] if meter.aggregation.group_by else ["bucket"]
    keys = list(dict.fromkeys(keys))
    parts, members = _parts(kind, usage, scope)
    parts = [_placed(part, scope) for part in parts]
    table = pa.concat_tables(
        [part.select(list(dict.fromkeys([*keys, *columns]))) for part in parts],
        promote_options="default",
    )
    folded = fold(table, keys, columns)
    if kind is not AggregationType.COUNT_UNIQUE:
        return folded
    placed = pa.concat_tables(
        [_placed(part, scope).select([*keys, "member"]) for part in members],
        promote_options="default",
    )
    return folded.join(
        _member_counts(placed, keys, running=scope.running), keys, join_type="left outer"
    )


def _member_counts(members: pa.Table, keys: list[str], *, running: bool) -> pa.Table:
    """Return how many members each cell has; running, each counts where it comes first."""
    if running:
        others = [*(name for name in keys if name != "span"), "member"]
        once = members.group_by(others, use_threads=False).aggregate([("span", "min")])
        once = once.rename_columns([*others, "span"])
    else:
        once = distinct(members, [*keys, "member"])
    counts = once.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    return counts.rename_columns([*keys, "members"])


def _parts(kind: str, usage: Usage, scope: Scope) -> tuple[list[pa.Table], list[pa.Table]]:
    """Return the rows and lifted pairs that a scope reads, and those that carry members.

    Each has `at`, an instant inside its span and bucket, in microseconds.
    """
    parts: list[pa.Table] = []
    members: list[pa.Table] = []
    cut = scope.cut_minutes()
    if usage.rows is not None:
        table = _read(usage.rows.table, scope, cut, checked=usage.pairs is None)
        parts.append(_rebased(table, scope))
        if usage.rows.members is not None:
            members.append(_read(usage.rows.members, scope, cut, checked=usage.pairs is None))
    if usage.pairs is not None:
        lifted = lift(kind, usage.pairs)
        lifted = lifted.append_column("at", microseconds(lifted["timestamp"]))
        if usage.rows is not None:
            minutes = microseconds(lifted["window_start"])
            lifted = lifted.filter(pc.is_in(minutes, value_set=pa.array(cut)))
        lifted = lifted.filter(_inside(lifted["at"], scope))
        parts.append(_rebased(_widened(lifted), scope))
        members.append(lifted)
    return parts, members


def _read(table: pa.Table, scope: Scope, cut: Microseconds, *, checked: bool) -> pa.Table:
    """Return the rows of whole base windows inside the scope."""
    at = microseconds(table["window_start"])
    ragged = pc.is_in(at, value_set=pa.array(cut))
    if checked:
        assert not pc.any(ragged).as_py(), "an edge cuts a base window and no pairs were given"
    wanted = pc.and_not(_inside(at, scope), ragged)
    return table.append_column("at", at).filter(wanted)


def _inside(at: Column, scope: Scope) -> Column:
    """Say which instants the scope reads: a running total reads all before the end."""
    inside = pc.less(at, pa.scalar(scope.end))
    if not scope.running:
        inside = pc.and_(inside, pc.greater_equal(at, pa.scalar(scope.start)))
    return cast("Column", inside)


def _widened(table: pa.Table) -> pa.Table:
    """Give the sums of lifted pairs the type that they have in rows."""
    for name in ("sum", "moment"):
        if name in table.column_names:
            table = replaced(table, name, table[name].cast(WIDE))
    return table


def _rebased(table: pa.Table, scope: Scope) -> pa.Table:
    """Count moments from the start of the period instead of from that of their base window."""
    if "moment" not in table.column_names:
        return table
    lengths = pc.subtract(microseconds(table["window_start"]), pa.scalar(scope.start))
    moved = times(table["sum"], lengths)
    moments = pc.add(table["moment"].cast(ADDEND), moved.cast(ADDEND))
    return replaced(table, "moment", moments.cast(WIDE))


def _placed(table: pa.Table, scope: Scope) -> pa.Table:
    """Add the index of the span, and of the bucket, that holds each row."""
    at = table["at"].to_numpy()
    spans = np.searchsorted(scope.spans, at, side="right") - 1
    if scope.running:
        spans = np.where(at < scope.start, -1, spans)
    table = table.append_column("span", pa.array(spans, pa.int64()))
    if scope.buckets is None:
        return table
    buckets = np.searchsorted(scope.buckets, at, side="right") - 1
    return table.append_column("bucket", pa.array(buckets, pa.int64()))
