"""The feed: usage rows on their way from the metering flow to the billing flow of one process.

The metering flow hands over rows that are stored, and never waits. Rows are cumulative, so of a
cell only the newest version is worth keeping; when even that is too much, the feed remembers only
which windows were touched, and the reader takes those from the store. So its memory is bounded and
no version that is newest is ever lost.
"""

import threading
from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.billing.batches import PublishedUsage
from flows.metering.observing import Receipts
from operators.columns import Column
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, USAGE

ROWS_MAX = 100_000
CELL_KEY = USAGE.names[: USAGE.names.index("version")]


class UsageFeed:
    """Rows of one scope, from one or more threads to one; see the module for its bound."""

    def __init__(
        self, scope: Scope, customers: Collection[str] | None = None, *, rows_max: int = ROWS_MAX
    ) -> None:
        self._scope = scope
        self._customers = None if customers is None else pa.array(sorted(customers), pa.string())
        self._rows_max = rows_max
        self._lock = threading.Lock()
        self._waiting: list[pa.Table] = []
        self._missed: Interval | None = None
        self._receipts: list[Receipts] = []

    def publish(self, rows: pa.Table, receipts: Sequence[Receipts] = ()) -> None:
        """Take in rows that are stored already; those of others than the customers are ignored.

        `receipts` tell when the events were accepted that are new in them. in: USAGE
        """
        wanted = rows.filter(self._wanted(rows))
        if not wanted.num_rows:
            return
        with self._lock:
            self._waiting.append(wanted)
            self._receipts += receipts
            if sum(each.num_rows for each in self._waiting) > self._rows_max:
                self._shrink()

    def take(self) -> PublishedUsage | None:
        """Return what came since the last time, None if nothing did."""
        with self._lock:
            waiting, missed, receipts = self._waiting, self._missed, self._receipts
            self._waiting, self._missed, self._receipts = [], None, []
        if not waiting and missed is None:
            return None
        rows = newest(pa.concat_tables(waiting)) if waiting else USAGE.empty_table()
        return PublishedUsage(rows, missed, receipts=tuple(receipts))

    def _wanted(self, rows: pa.Table) -> Column:
        """Say which rows are of the scope and of somebody who is billed."""
        wanted = pc.and_(
            pc.equal(rows["tenant_id"], self._scope.tenant_id),
            pc.equal(rows["environment_id"], self._scope.environment_id),
        )
        if self._customers is None:
            return wanted
        billed = pc.is_in(rows["external_customer_id"], value_set=self._customers)
        return pc.and_(wanted, billed)

    def _shrink(self) -> None:
        """Keep the newest row of each cell; if that is not enough, only know their windows.

        What is kept is at most half of the bound, so that the work is not done for each flush.
        """
        rows = newest(pa.concat_tables(self._waiting))
        if rows.num_rows <= self._rows_max // 2:
            self._waiting = [rows]
            return
        bounds = pc.min_max(rows["window_start"]).as_py()
        start, end = bounds["min"], bounds["max"] + BASE_WINDOW
        if self._missed is not None:
            start, end = min(start, self._missed.start), max(end, self._missed.end)
        self._waiting, self._missed = [], Interval(start, end)


def newest(rows: pa.Table) -> pa.Table:
    """Return the row of the highest version of each cell, in no promised order.

    in, out: USAGE

    >>> newest(USAGE.empty_table()).num_rows
    0
    """
    places = pa.array(np.arange(rows.num_rows))
    ordered = rows.select([*CELL_KEY, "version"]).append_column("place", places)
    ordered = ordered.sort_by([("version", "ascending")])
    last = ordered.group_by(CELL_KEY, use_threads=False).aggregate([("place", "last")])
    return rows.take(last["place_last"])
