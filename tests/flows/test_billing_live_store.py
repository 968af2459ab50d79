"""The live billing flow over a real store: what metering writes and publishes is what is billed."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa
import pytest

from billing.accounts import Account, accounts_of
from flows.billing.feed import UsageFeed
from flows.billing.live import meters_built, run_billing_live
from flows.billing.live_bills import LiveBills, LiveHooks
from flows.billing.stored import StoredUsage, meters_of
from flows.catalog import load_catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.clickhouse import Store, open_store
from flows.stores.registry import Registered, register
from flows.stores.tables import MeterState
from operators.partials import start
from schemas.meter import Meter
from schemas.scope import Scope
from schemas.usage import PAIRS

pytestmark = pytest.mark.requires("embedded")

CATALOG = """
meters:
  - {name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}
  - {name: users, event_name: llm, aggregation: {type: COUNT_UNIQUE, field: user}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {type: USAGE, meter: tokens, billing_model: FLAT_FEE, amount: "0.5", currency: usd,
         billing_period: MONTHLY}
      - {type: USAGE, meter: users, billing_model: FLAT_FEE, amount: "2", currency: usd,
         billing_period: MONTHLY}
customers: [{external_id: acme}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}
"""

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
PATIENCE_SECONDS = 30
DATABASES = count(1)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Account, ...]:
    path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    path.write_text(CATALOG)
    catalog = load_catalog(str(path))
    names = {each.id: each.external_id for each in catalog.customers}
    return accounts_of(catalog.subscriptions, catalog.wallets, names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def stores(folder: Path) -> Iterator[tuple[Store, Store]]:
    """What the metering flow writes to, and what the billing flow reads from."""
    database = f"billing_live_{next(DATABASES)}"
    with open_store(str(folder), database) as writes, open_store(str(folder), database) as reads:
        yield writes, reads


def counted(
    store: Store, meters: tuple[Meter, ...], tokens: list[int], at: datetime = NOON
) -> pa.Table:
    """Store the rows of one minute that holds these events, each by a user of its own."""
    by_id = {meter.id: meter for meter in meters}
    cells = {}
    for meter in meters:
        counting = meter.aggregation.type.value == "COUNT_UNIQUE"
        pairs = [
            {
                "meter_id": meter.id,
                "external_customer_id": "acme",
                "group": "",
                "timestamp": at,
                "event_id": f"e{number}",
                "value": None if counting else Decimal(amount),
                "member": bytes([number]) * 16 if counting else None,
            }
            for number, amount in enumerate(tokens)
        ]
        kind = meter.aggregation.type.value
        cells[kind] = start(kind, pa.Table.from_pylist(pairs, schema=PAIRS))
    rows, members = usage_rows(cells, by_id, {})
    store.insert_usage(rows, members)
    return rows


def scope_of(accounts: tuple[Account, ...]) -> Scope:
    meter = meters_of(accounts)[0]
    return Scope(meter.tenant_id, meter.environment_id)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_published_rows_are_billed_with_the_members_that_are_stored(
    accounts: tuple[Account, ...], stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    meters, scope = meters_of(accounts), scope_of(accounts)
    counted(writes, meters, [4])
    heard = 0

    def beat() -> None:
        nonlocal heard
        heard += 1

    bills = LiveBills(LiveHooks(on_heartbeat=beat))
    feed, stop = UsageFeed(scope, ["acme"]), threading.Event()

    def charged() -> Decimal | None:
        found = bills.bill_of("acme")
        return None if found is None else sum((c.amount for c in found.charges), Decimal(0))

    building = True
    thread = threading.Thread(
        target=run_billing_live,
        args=(reads, scope, accounts, feed, stop),
        kwargs={
            "bills": bills,
            "clock": lambda: NOON + timedelta(seconds=40),
            "built": lambda: not building,
        },
        daemon=True,
    )
    thread.start()
    try:
        until(lambda: heard > 2)
        assert charged() is None
        building = False
        until(lambda: charged() == Decimal(4))
        feed.publish(counted(writes, meters, [4, 6]))
        until(lambda: charged() == Decimal(9))
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def test_windows_that_a_feed_missed_are_read_from_the_store(
    accounts: tuple[Account, ...], stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    meters, scope = meters_of(accounts), scope_of(accounts)
    feed = UsageFeed(scope, rows_max=2)
    for minute in range(4):
        feed.publish(counted(writes, meters, [1, 2], NOON + timedelta(minutes=minute)))
    published = feed.take()
    assert published is not None
    assert published.missed is not None
    batch = StoredUsage(reads, scope, accounts).read(published.missed)
    known = (*published.rows["window_start"].to_pylist(), *batch.rows["window_start"].to_pylist())
    assert set(known) == {NOON + timedelta(minutes=minute) for minute in range(4)}
    assert batch.members.num_rows == batch.rows.num_rows


def test_meters_are_built_when_none_of_those_that_are_billed_is_building(
    accounts: tuple[Account, ...], stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    scope = scope_of(accounts)
    look = partial(meters_built, reads, scope, accounts)
    assert look()
    mine = Registered(scope, meters_of(accounts)[0].id, 1, MeterState.BUILDING, 1)
    register(writes, [mine, replace(mine, meter_id="another")])
    assert not look()
    register(writes, [replace(mine, state=MeterState.LIVE, revision=2)])
    assert look()
