"""Stored usage for the billing dataflow: what a shard reads when it first needs it."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from flows.billing.batches import UsageBatch
from flows.stores.tables import STORED_MEMBERS
from operators.matching import match
from operators.windows import whole
from schemas.meter import AggregationType, Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.subscription import Subscription
from schemas.usage import BASE_WINDOW, PAIRS

# So many cut minutes of customers are kept; each holds the few pairs of one customer and meter.
MINUTES_MAX = 10_000

MinuteKey = tuple[str, int, datetime, tuple[str, ...]]


class UsageReads(Protocol):
    """The reads of `flows.stores.clickhouse.Store` that billing needs, with what they promise."""

    def read_usage(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the newest row of each cell. out: USAGE."""
        ...

    def read_members(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return members, each once. out: STORED_MEMBERS."""
        ...

    def read_events(
        self,
        scope: Scope,
        event_names: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return accepted events, each once. out: STORED_EVENTS."""
        ...


class StoredUsage:
    """The usage of one scope, read by one thread; every read may raise StoreError.

    `current` gives a meter as it is metered now; what was agreed on with a customer may name an older
    generation of it.
    """

    def __init__(
        self,
        store: UsageReads,
        scope: Scope,
        current: Callable[[Meter], Meter] = lambda meter: meter,
    ) -> None:
        self._store = store
        self._scope = scope
        self.current = current
        self._minutes: OrderedDict[MinuteKey, pa.Table] = OrderedDict()

    def read(
        self,
        customers: Sequence[str],
        meters: Collection[Meter],
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> UsageBatch:
        """Return the rows and members of windows that start in [start, end), of some customers."""
        names = sorted({meter.id for meter in meters})
        rows = self._store.read_usage(self._scope, names, start=start, end=end, customers=customers)
        unique = sorted({meter.id for meter in meters if counts_members(meter)})
        if not unique:
            return UsageBatch(rows, STORED_MEMBERS.empty_table())
        members = self._store.read_members(
            self._scope, unique, start=start, end=end, customers=customers
        )
        return UsageBatch(rows, members)

    def members_of(self, rows: pa.Table, meters: Collection[Meter]) -> pa.Table:
        """Return the members of the cells that published rows tell of, of meters that count them.

        Members are stored before the rows that tell of them are published. in: USAGE
        """
        unique = sorted({meter.id for meter in meters if counts_members(meter)})
        counting = rows.filter(pc.is_in(rows["meter_id"], value_set=pa.array(unique, pa.string())))
        if not counting.num_rows:
            return STORED_MEMBERS.empty_table()
        bounds = pc.min_max(counting["window_start"]).as_py()
        return self._store.read_members(
            self._scope,
            pc.unique(counting["meter_id"]).to_pylist(),
            start=bounds["min"],
            end=bounds["max"] + BASE_WINDOW,
            customers=pc.unique(counting["external_customer_id"]).to_pylist(),
        )

    def edges(self, meter: Meter, interval: Interval, customers: Sequence[str]) -> pa.Table:
        """Return the counted pairs of the minutes that the ends of an interval cut. out: PAIRS.

        A minute is read from raw events again when a row of it comes. What it holds beyond the
        rows so far is what the next rows will say.
        """
        cut = sorted({minute_of(at) for at in (interval.start, interval.end) if is_cut(at)})
        found = [self._minute(meter, minute, tuple(customers)) for minute in cut]
        return pa.concat_tables([PAIRS.empty_table(), *found])

    def _minute(self, meter: Meter, minute: datetime, customers: tuple[str, ...]) -> pa.Table:
        """Return the counted pairs of a minute, from memory if nothing was said of it since."""
        key = (meter.id, meter.generation, minute, customers)
        if key not in self._minutes:
            events = self._store.read_events(
                self._scope,
                [meter.event_name],
                start=minute,
                end=minute + BASE_WINDOW,
                customers=customers,
            )
            self._minutes[key] = match([meter], events).counted
            if len(self._minutes) > MINUTES_MAX:
                self._minutes.popitem(last=False)
        self._minutes.move_to_end(key)
        return self._minutes[key]

    def forget(self, rows: pa.Table) -> None:
        """Forget the cut minutes that rows (USAGE) tell of."""
        if not self._minutes or not rows.num_rows:
            return
        cells = rows.select(["meter_id", "window_start"]).group_by(["meter_id", "window_start"])
        told = {
            (cell["meter_id"], whole(cell["window_start"]))
            for cell in cells.aggregate([]).to_pylist()
        }
        for key in [key for key in self._minutes if (key[0], whole(key[2])) in told]:
            del self._minutes[key]


def meters_of(subscriptions: Iterable[Subscription]) -> tuple[Meter, ...]:
    """Return the meters that the lines of subscriptions are priced by, in order of their ids.

    >>> meters_of([])
    ()
    """
    found = {
        line.meter.id: line.meter
        for subscription in subscriptions
        for line in subscription.lines
        if line.meter is not None
    }
    return tuple(found[name] for name in sorted(found))


def counts_members(meter: Meter) -> bool:
    """Tell whether a meter counts distinct members, which are stored beside its rows."""
    return meter.aggregation.type is AggregationType.COUNT_UNIQUE


def is_cut(at: datetime) -> bool:
    """Tell whether an instant lies inside a base window.

    >>> from datetime import UTC
    >>> is_cut(datetime(2026, 1, 1, 9, 30, 1, tzinfo=UTC))
    True
    """
    return minute_of(at) != at


def minute_of(at: datetime) -> datetime:
    """Return the start of the base window that holds an instant.

    >>> from datetime import UTC
    >>> minute_of(datetime(2026, 1, 1, 9, 30, 1, tzinfo=UTC)).second
    0
    """
    return at - timedelta(seconds=at.second, microseconds=at.microsecond)
