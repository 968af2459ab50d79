"""The billing dataflow beside metering in one process: what `tally dev` runs.

Usage rows that the metering flow publishes become claims, balances and alerts; what ends by the clock
is closed by the scheduler (`flows.billing.scheduling`). There is no recovery store: money is in SQL,
and usage is read from the table `usage` at each start.
"""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from bytewax.testing import run_main

from flows.billing.claiming import ClaimSettings, ClaimStores
from flows.billing.claims_flow import ClaimHooks, claims_flow
from flows.billing.feed import UsageFeed
from flows.billing.live_source import LiveUsageSource
from flows.billing.stored import StoredUsage
from flows.stores.clickhouse import Store
from flows.stores.registry import registered_meters
from flows.stores.tables import MeterState
from schemas.meter import Meter
from schemas.scope import Scope

FLUSH_EVERY = timedelta(milliseconds=250)
TICK = timedelta(seconds=1)


def now() -> datetime:
    """Return the instant that it is."""
    return datetime.now(UTC)


def meters_built(store: Store, scope: Scope, meters: Iterable[Meter]) -> bool:
    """Tell whether the store has all rows of some meters.

    What nobody registered has them. Raises StoreError.
    """
    wanted = {meter.id for meter in meters}
    found = registered_meters(store, scope).values()
    return not any(each.meter_id in wanted and each.state is MeterState.BUILDING for each in found)


def run_billing_live(
    stored: StoredUsage,
    kept: ClaimStores,
    feed: UsageFeed,
    stop: threading.Event,
    *,
    hooks: ClaimHooks | None = None,
    built: Callable[[], bool] = lambda: True,
    until: Callable[[], datetime] = now,
    clock: Callable[[], datetime] = now,
    flush_every: timedelta = FLUSH_EVERY,
    tick: timedelta = TICK,
) -> None:
    """Keep claims on the calling thread until `stop` is set.

    `stored` serves this thread alone. Rows that are made of raw events for a new meter are not
    published, so nothing is read before `built` says that they are there (see `meters_built`). A
    customer is looked at at most once a flush, whatever comes in; one who is refused is told of and
    leaves the others alone. The running minute counts whole, so that its events count at once.
    Raises RuntimeError from StoreError where a store fails; the flow can then be run again.
    """
    told = hooks or ClaimHooks()
    source = LiveUsageSource(feed, stop, on_heartbeat=told.on_heartbeat, built=built, until=until)
    settings = ClaimSettings(clock, flush_every, tick)
    run_main(claims_flow(source, settings, kept, stored, told))
