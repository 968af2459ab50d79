"""Back-filling: the rows of meters that are new, made of the raw events that were there before them.

Runs before the flow starts, some hours of events at a time, and may be cut short and begun again: rows
are cumulative and their versions say what they contain. A shard that resumes brings windows of these
meters back from raw when it touches them (`flows.metering.merging`), so that both agree.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa

from flows.metering.aggregating import partials_of
from flows.metering.usage_rows import usage_rows
from flows.stores.clickhouse import IN_SCOPE, Store
from flows.stores.engine import among
from flows.stores.registry import register, registered_meters
from flows.stores.tables import MeterState, schema
from operators.matching import match
from schemas.event import INSTANT
from schemas.meter import Meter
from schemas.scope import Scope

# Events that are read together: enough that a call costs little, few enough for any memory.
EVENTS_TOGETHER = 200_000
HOUR = timedelta(hours=1)

_HOURS = schema(
    pa.field("hour", INSTANT, nullable=False), pa.field("events", pa.uint64(), nullable=False)
)


def build_missing(
    store: Store,
    meters: Sequence[Meter],
    progress: Callable[[int], None] | None = None,
) -> int:
    """Build the rows of all meters whose generation is not complete, and let readers rely on them.

    `progress` hears how many events were read each time. Returns how many meters were built. Must not
    run while a flow meters into the same store.
    """
    known = registered_meters(store)
    missing: dict[Scope, list[Meter]] = {}
    for meter in meters:
        scope = Scope(meter.tenant_id, meter.environment_id)
        found = known.get((scope, meter.id))
        if found is not None and found.state is MeterState.BUILDING:
            missing.setdefault(scope, []).append(meter)
    for scope, mine in missing.items():
        _build(store, scope, mine, progress or (lambda _: None))
        found_again = (known[scope, meter.id] for meter in mine)
        register(
            store,
            [
                replace(each, state=MeterState.LIVE, revision=each.revision + 1)
                for each in found_again
            ],
        )
    return sum(len(mine) for mine in missing.values())


def _build(
    store: Store, scope: Scope, meters: Sequence[Meter], progress: Callable[[int], None]
) -> None:
    """Write the rows of some meters of one scope."""
    by_id: Mapping[str, Meter] = {meter.id: meter for meter in meters}
    names = sorted({meter.event_name for meter in meters})
    for start, end in _spans(store, scope, names):
        events = store.read_events(scope, names, start=start, end=end)
        rows, members = usage_rows(partials_of(match(meters, events).counted, by_id), by_id, {})
        store.insert_usage(rows, members)
        progress(events.num_rows)


def _spans(
    store: Store, scope: Scope, event_names: Sequence[str]
) -> Iterator[tuple[datetime, datetime]]:
    """Yield spans of whole hours that hold all events of some names, each with a bearable number."""
    wanted = among(pa.table({"x": pa.array(event_names, pa.string())}), "x String", "x")
    hours = store.engine.read(
        "SELECT toStartOfHour(timestamp) AS hour, count() FROM events "
        f"WHERE {IN_SCOPE} AND event_name IN {wanted} GROUP BY hour ORDER BY hour",
        _HOURS,
        {"tenant": scope.tenant_id, "environment": scope.environment_id},
    ).to_pylist()
    begun, gathered = None, 0
    for row, following in zip(hours, [*hours[1:], None], strict=True):
        begun = begun or row["hour"]
        gathered += row["events"]
        if following is None or gathered + following["events"] > EVENTS_TOGETHER:
            yield begun, row["hour"] + HOUR
            begun, gathered = None, 0
