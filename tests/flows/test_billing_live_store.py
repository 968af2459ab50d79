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
from claim_world import World, loaded

from flows.billing.claiming import ClaimStores
from flows.billing.claims_flow import ClaimHooks
from flows.billing.feed import UsageFeed
from flows.billing.live import meters_built, run_billing_live
from flows.billing.stored import StoredUsage, meters_of
from flows.catalog import Catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.clickhouse import Store, open_store
from flows.stores.receipts import earliest_received_since
from flows.stores.registry import Registered, register
from flows.stores.tables import STORED_EVENTS, MeterState
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
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return loaded(tmp_path_factory.mktemp("catalog"), CATALOG)


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


def scope_of(catalog: Catalog) -> Scope:
    meter = meters_of(catalog.subscriptions)[0]
    return Scope(meter.tenant_id, meter.environment_id)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_published_rows_are_claimed_with_the_members_that_are_stored(
    catalog: Catalog, stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    meters, scope = meters_of(catalog.subscriptions), scope_of(catalog)
    counted(writes, meters, [4])
    heard = 0

    def beat() -> None:
        nonlocal heard
        heard += 1

    world = World(catalog)
    feed, stop = UsageFeed(scope), threading.Event()

    def charged() -> Decimal | None:
        known = world.claims.claims_of(world.customer("acme"))
        return None if known is None else world.charged("acme")

    building = True
    thread = threading.Thread(
        target=run_billing_live,
        args=(StoredUsage(reads, scope), ClaimStores(world.stores, world.claims), feed, stop),
        kwargs={
            "hooks": ClaimHooks(on_heartbeat=beat),
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


def test_the_earliest_event_that_was_received_late_is_found(stores: tuple[Store, Store]) -> None:
    writes, reads = stores
    scope = Scope("t", "e")
    rows = [
        {
            "tenant_id": "t",
            "environment_id": "e",
            "event_name": "llm",
            "external_customer_id": name,
            "timestamp": NOON - timedelta(days=days),
            "event_digest": bytes([days]) * 16,
            "event_id": f"e{days}",
            "customer_id": "",
            "source": "",
            "timestamp_given": True,
            "ingested_at": NOON,
            "properties": "{}",
            "partition": 0,
            "offset": days,
            "received_at": NOON + timedelta(hours=hours),
        }
        for name, days, hours in (("acme", 9, 0), ("acme", 3, 2), ("acme", 4, 1), ("brill", 8, 2))
    ]
    writes.insert_events(pa.Table.from_pylist(rows).select(STORED_EVENTS.names).cast(STORED_EVENTS))
    look = partial(earliest_received_since, reads, scope, ["acme"])
    assert look(NOON) == NOON - timedelta(days=9)
    assert look(NOON + timedelta(hours=1)) == NOON - timedelta(days=4)
    assert look(NOON + timedelta(hours=2, microseconds=1)) is None


def test_windows_that_a_feed_missed_are_read_from_the_store(
    catalog: Catalog, stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    meters, scope = meters_of(catalog.subscriptions), scope_of(catalog)
    feed = UsageFeed(scope, rows_max=2)
    for minute in range(4):
        feed.publish(counted(writes, meters, [1, 2], NOON + timedelta(minutes=minute)))
    published = feed.take()
    assert published is not None
    assert published.missed is not None
    batch = StoredUsage(reads, scope).read(
        ["acme"], meters, published.missed.start, published.missed.end
    )
    known = (*published.rows["window_start"].to_pylist(), *batch.rows["window_start"].to_pylist())
    assert set(known) == {NOON + timedelta(minutes=minute) for minute in range(4)}
    assert batch.members.num_rows == batch.rows.num_rows


def test_meters_are_built_when_none_of_those_that_are_billed_is_building(
    catalog: Catalog, stores: tuple[Store, Store]
) -> None:
    writes, reads = stores
    meters, scope = meters_of(catalog.subscriptions), scope_of(catalog)
    look = partial(meters_built, reads, scope, meters)
    assert look()
    mine = Registered(scope, meters[0].id, 1, MeterState.BUILDING, 1)
    register(writes, [mine, replace(mine, meter_id="another")])
    assert not look()
    register(writes, [replace(mine, state=MeterState.LIVE, revision=2)])
    assert look()
