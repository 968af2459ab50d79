"""The billing dataflow for as long as a process lives: what `tally dev` runs beside metering.

Usage rows that the metering flow publishes become running charges, balances and alerts; periods
that end by the clock become invoices. There is no recovery store: state is built anew from the
table `usage` at each start. Invoices, wallets and alert states are in memory, worked out from the
catalog and all usage, until money is kept in SQL.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from bytewax.testing import run_main

from billing.accounts import Account
from billing.periods.services import FINALIZATION_DELAY
from flows.billing.charging import ChargeSettings
from flows.billing.feed import UsageFeed
from flows.billing.flow import billing_flow
from flows.billing.live_bills import LiveBills, LiveBillsSink
from flows.billing.live_source import LiveUsageSource
from flows.billing.stored import StoredUsage, UsageReads, meters_of
from flows.stores.clickhouse import Store
from flows.stores.registry import registered_meters
from flows.stores.tables import MeterState
from schemas.scope import Scope

FLUSH_EVERY = timedelta(milliseconds=500)
TICK = timedelta(seconds=1)


def now() -> datetime:
    """Return the instant that it is."""
    return datetime.now(UTC)


def meters_built(store: Store, scope: Scope, accounts: Sequence[Account]) -> bool:
    """Tell whether the store has all rows of the meters that accounts are billed by.

    What nobody registered has them. Raises StoreError.
    """
    wanted = {meter.id for meter in meters_of(accounts)}
    found = registered_meters(store, scope).values()
    return not any(each.meter_id in wanted and each.state is MeterState.BUILDING for each in found)


def run_billing_live(
    store: UsageReads,
    scope: Scope,
    accounts: Sequence[Account],
    feed: UsageFeed,
    stop: threading.Event,
    *,
    bills: LiveBills,
    built: Callable[[], bool] = lambda: True,
    clock: Callable[[], datetime] = now,
    flush_every: timedelta = FLUSH_EVERY,
    tick: timedelta = TICK,
    delay: timedelta = FINALIZATION_DELAY,
) -> None:
    """Bill the accounts on the calling thread until `stop` is set; readers look into `bills`.

    `store` serves this thread alone. Rows that are made of raw events for a new meter are not
    published, so nothing is read before `built` says that they are there (see `meters_built`).
    A customer is billed at most once a flush, whatever comes in; one who is refused is told of and
    leaves the others alone. The running minute counts whole, so that its events count at once.
    Raises RuntimeError from StoreError where the store fails; the flow can then be run again with
    the same `feed` and `bills`.
    """
    stored = StoredUsage(store, scope, accounts)
    flow = billing_flow(
        LiveUsageSource(feed, stored, stop, bills.hooks.on_heartbeat, built),
        accounts,
        ChargeSettings(clock, flush_every=flush_every, delay=delay, tick=tick),
        edges=stored.edges,
        bills=LiveBillsSink(bills),
    )
    run_main(flow)
