"""Laws of the live billing flow's parts: what is fed, remembered, judged and due."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pyarrow as pa
import pytest
from claim_world import World, loaded, stock
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ports import Changes, UsageQuantity, UsageReader
from billing.stores.memory import MemoryStore
from billing.use_cases.balances import balance_of
from billing.wallets.claim_facts import facts_of
from billing.wallets.running_charges import running
from flows.billing.batches import NOTHING, UsageBatch
from flows.billing.cumulative import CumulativeUsage
from flows.billing.dues import next_due
from flows.billing.feed import UsageFeed
from flows.billing.reading import end_of_minute
from flows.billing.stored import StoredUsage, meters_of
from flows.billing_usage import MeteredUsage
from flows.catalog import Catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.tables import STORED_EVENTS, STORED_MEMBERS
from operators.columns import compute as pc
from operators.partials import Partials, start
from schemas.errors import StoreError
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, PAIRS, USAGE

CATALOG = """
meters:
  - {name: tokens, event_name: llm, aggregation: {type: SUM, field: tokens}}
  - {name: level, event_name: llm, aggregation: {type: WEIGHTED_SUM, field: tokens},
     reset_usage: NEVER}
  - {name: seats, event_name: llm, aggregation: {type: MAX, field: tokens, bucket_size: DAY}}
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {type: FIXED, billing_model: FLAT_FEE, amount: "3", currency: usd,
         billing_period: MONTHLY, invoice_cadence: ADVANCE}
      - {type: USAGE, meter: tokens, billing_model: FLAT_FEE, amount: "0.5", currency: usd,
         billing_period: MONTHLY}
      - {type: USAGE, meter: seats, billing_model: FLAT_FEE, amount: "1", currency: usd,
         billing_period: MONTHLY}
  - name: Store
    lookup_key: store
    prices:
      - {type: USAGE, meter: level, billing_model: FLAT_FEE, amount: "2", currency: usd,
         billing_period: MONTHLY}
customers: [{external_id: acme}, {external_id: brill}, {external_id: wallet}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}
  - {customer: brill, plan: store, start_date: "2026-01-05T00:00:00Z"}
wallets:
  - {customer: acme, currency: usd, top_ups: [{credits_to_add: 40, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 5, condition: below},
       info: {threshold: 25, condition: below}}}
  - {customer: wallet, currency: usd,
     top_ups: [{credits_to_add: 5, at: "2026-01-03T00:00:00Z",
       expiry_date_utc: "2026-01-20T00:00:00Z"}]}
"""

FIRST = datetime(2026, 1, 6, tzinfo=UTC)
SCOPE = Scope("t", "e")
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return loaded(tmp_path_factory.mktemp("catalog"), CATALOG)


class Metered:
    """Counted pairs in memory."""

    def __init__(self, pairs: pa.Table):
        self.pairs = pairs

    def usage(self, meter: Meter) -> Partials:
        return start(meter.aggregation.type, self.edges(meter, None))

    def edges(self, meter: Meter, interval: Interval | None) -> pa.Table:
        del interval
        return self.pairs.filter(pc.equal(self.pairs["meter_id"], meter.id))

    def batch(self, meters: Sequence[Meter]) -> UsageBatch:
        """All rows and members, as they are published."""
        by_id = {meter.id: meter for meter in meters}
        found = [usage_rows({m.aggregation.type.value: self.usage(m)}, by_id, {}) for m in meters]
        return UsageBatch(
            pa.concat_tables([rows for rows, _ in found]),
            pa.concat_tables([members for _, members in found]),
        )


def made_up(meters: Sequence[Meter], count: int) -> Metered:
    """Events over forty days from the first on, several in one minute."""
    chance = random.Random(5)  # noqa: S311 - made-up usage, the same each time.
    rows = [
        {
            "meter_id": meter.id,
            "external_customer_id": chance.choice(("acme", "brill")),
            "group": "",
            "timestamp": FIRST + timedelta(hours=chance.randint(0, 40) * 24, minutes=number % 3),
            "event_id": f"e{number}",
            "value": Decimal(chance.randint(1, 9)),
            "member": None,
        }
        for number in range(count)
        for meter in meters
    ]
    return Metered(pa.Table.from_pylist(rows, schema=PAIRS))


@settings(max_examples=20)
@given(
    st.randoms(use_true_random=False),
    st.lists(st.sampled_from(["batch", "flush", "hour", "month", "restart"]), max_size=14),
)
def test_whatever_came_before_the_last_claims_are_those_of_the_pure_rules(
    catalog: Catalog, chance: random.Random, moments: list[str]
) -> None:
    """Order, batches, versions in between, flushes, restarts and the way of the clock change nothing.

    And one number: balances are what settlement of the same claims would leave at that instant.
    """
    world = World(catalog)
    meters = meters_of(catalog.subscriptions)
    whole = made_up(meters, 24)
    batches: list[pa.Table] = []
    for part in (whole.pairs.slice(0, 30), whole.pairs):
        rows = Metered(part).batch(meters).rows
        cuts = sorted({0, rows.num_rows, *(chance.randint(0, rows.num_rows) for _ in range(5))})
        batches += [rows.slice(low, high - low) for low, high in pairwise(cuts)]
    chance.shuffle(batches)
    # What is published was stored before, so that whoever begins late reads it.
    world.shelf.pairs = whole.pairs.to_pylist()
    world.clock.at = FIRST + 4 * HOUR
    for moment in moments:
        if moment == "batch" and batches:
            world.tell(batches.pop())
        elif moment == "flush":
            world.flush()
        elif moment == "restart":
            world.restarted()
        else:
            world.clock.at += HOUR if moment == "hour" else timedelta(days=30)
    for batch in batches:
        world.tell(batch)
    world.flush()

    usage = RunningMinute(MeteredUsage(whole), world.clock.at)
    for customer in catalog.customers:
        pure = running(world.stores, usage, customer.id, world.clock.at)
        row = world.claims.claims_of(customer.id)
        assert row is not None
        assert row.claims == pure.claims
        found = balance_of(world.stores, world.claims, customer.id, world.clock.at)
        assert found.balances == pure.balances


class RunningMinute:
    """The usage that the flow has at an instant: events of the running minute count whole."""

    def __init__(self, usage: UsageReader, at: datetime):
        self.usage, self.at = usage, at

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        end = end_of_minute(interval.end) if interval.end == self.at else interval.end
        return self.usage.quantities(
            meter,
            external_customer_ids,
            Interval(interval.start, end),
            timezone=timezone,
            billing_anchor=billing_anchor,
        )


@given(st.randoms(use_true_random=False))
def test_the_same_usage_gives_the_same_bytes(catalog: Catalog, chance: random.Random) -> None:
    meters = meters_of(catalog.subscriptions)
    rows = made_up(meters, 12).batch(meters).rows

    def payload(pieces: Sequence[pa.Table]) -> tuple[bytes, bytes]:
        usage = CumulativeUsage()
        for piece in pieces:
            usage.add([UsageBatch(piece, NOTHING.members)])
            usage.settle()
        return usage.payload()

    pieces = [rows.slice(number, 1) for number in range(rows.num_rows)]
    chance.shuffle(pieces)
    assert payload(pieces) == payload([rows])


def row(cell: int, version: int) -> dict[str, object]:
    return {
        "tenant_id": SCOPE.tenant_id,
        "environment_id": SCOPE.environment_id,
        "generation": 1,
        "meter_id": "m",
        "external_customer_id": f"c{cell % 3}",
        "group": "",
        "window_start": FIRST + cell * BASE_WINDOW,
        "version": version,
        "counted": version,
    }


def newest_of(rows: Sequence[dict[str, object]]) -> dict[object, object]:
    """The highest version of each cell, worked out one by one."""
    found: dict[object, object] = {}
    for each in sorted(rows, key=lambda known: str(known["version"]).zfill(9)):
        found[each["window_start"]] = each["version"]
    return found


@given(
    st.lists(
        st.one_of(
            st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=6),
            st.just("take"),
        ),
        max_size=12,
    ),
    st.integers(2, 12),
)
def test_a_feed_never_loses_the_newest_version_and_keeps_its_bound(
    moments: list[list[tuple[int, int]] | str], rows_max: int
) -> None:
    """What it hands over, with the store read where it says so, holds the newest of each cell."""
    feed = UsageFeed(SCOPE, rows_max=rows_max)
    stored: list[dict[str, object]] = []
    known: list[dict[str, object]] = []
    for moment in [*moments, "take"]:
        if isinstance(moment, list):
            rows = [row(cell, version) for cell, version in moment]
            stored += rows
            feed.publish(pa.Table.from_pylist(rows, schema=USAGE))
            continue
        published = feed.take()
        if published is None:
            continue
        assert published.rows.num_rows <= rows_max
        known += published.rows.to_pylist()
        if published.missed is not None:
            known += [
                each
                for each in stored
                if published.missed.start <= each["window_start"] < published.missed.end  # type: ignore[operator] # a cell of a row that this test made.
            ]
        assert newest_of(known) == newest_of(stored)


def test_a_feed_takes_only_what_is_of_its_scope_and_customers() -> None:
    feed = UsageFeed(SCOPE, ["c1"])
    rows = [row(0, 1), row(1, 1), row(1, 1) | {"environment_id": "other"}]
    feed.publish(pa.Table.from_pylist(rows, schema=USAGE))
    published = feed.take()
    assert published is not None
    assert published.rows["external_customer_id"].to_pylist() == ["c1"]
    assert feed.take() is None


DUES = [
    ("acme", "2025-12-01T00:00:00", "2026-01-01T00:00:00", "the start"),
    ("acme", "2026-01-01T00:00:00", "2026-02-01T00:00:00", "the end of the period"),
    ("acme", "2026-02-01T00:00:00", "2026-03-01T00:00:00", "the end of the next period"),
    ("brill", "2026-01-05T00:00:00", "2026-01-05T00:01:00", "an average over time drifts"),
    ("wallet", "2026-01-03T00:00:00", "2026-01-20T00:00:00", "the expiry of its lot"),
    ("wallet", "2026-01-20T00:00:00", None, "nothing more"),
]


@pytest.mark.parametrize(("name", "after", "due", "why"), DUES, ids=[each[3] for each in DUES])
def test_time_alone_changes_claims_when_something_begins_or_ends(
    catalog: Catalog, name: str, after: str, due: str | None, why: str
) -> None:
    world = World(catalog)
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = next_due(facts_of(world.stores, world.customer(name), at), at)
    expected = None if due is None else datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert found == expected, why


class FailingStore(MemoryStore):
    """A store that fails at some commits: before anything of them is written, or right after."""

    def __init__(self, fails: Sequence[str]) -> None:
        super().__init__()
        self.fails = list(fails)

    def commit(self, changes: Changes) -> None:
        how = self.fails.pop() if self.fails and changes.streams else ""
        if how == "before":
            raise StoreError("the store is away")
        super().commit(changes)
        if how == "after":
            raise StoreError("the answer did not come")


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=10),
    st.lists(st.sampled_from(["", "before", "after"]), max_size=10),
)
def test_each_change_is_told_once_across_failing_stores_and_restarts(
    catalog: Catalog, tokens: list[int], fails: list[str]
) -> None:
    """Corrections move balances both ways; whatever fails and begins again, alerts are the changes."""
    stores = FailingStore([])
    stock(stores, catalog)
    world = World(catalog, stores)
    world.clock.at = FIRST + HOUR
    world.flush()
    stores.fails = fails
    meter = next(m for m in meters_of(catalog.subscriptions) if m.aggregation.type.value == "SUM")
    levels = ["ok"]
    for version, amount in enumerate(tokens, start=2):
        pair = {
            "meter_id": meter.id,
            "external_customer_id": "acme",
            "group": "",
            "timestamp": FIRST,
            "event_id": "e",
            "value": Decimal(amount),
        }
        world.shelf.pairs = [pair]
        rows = Metered(pa.Table.from_pylist([pair], schema=PAIRS)).batch([meter]).rows
        versions = pa.array([version], pa.int64())
        place = rows.schema.get_field_index("version")
        world.tell(rows.set_column(place, rows.schema.field(place), versions))
        while True:
            try:
                world.flush()
                break
            except StoreError:
                # The flow ends and is begun again, as whoever watches it does.
                world.restarted()
        balance = world.ongoing("acme").real_time_balance
        level = "in_alarm" if balance <= 5 else "info" if balance <= 25 else "ok"
        levels += [] if level == levels[-1] else [level]
    told = [row for row in stores.tables.outbox.values() if row.topic == "alerts"]
    assert len(stores.tables.alerts) == len(told) == len(levels) - 1
    assert [alert.status.value for alert in stores.tables.alerts] == levels[1:]


class Events:
    """A store with raw events only, which counts how often it is read."""

    def __init__(self, events: pa.Table):
        self.events = events
        self.reads = 0

    def read_usage(self, scope: Scope, meter_ids: Sequence[str], **_: object) -> pa.Table:
        del scope, meter_ids
        return USAGE.empty_table()

    def read_members(self, scope: Scope, meter_ids: Sequence[str], **_: object) -> pa.Table:
        del scope, meter_ids
        return STORED_MEMBERS.empty_table()

    def read_events(self, scope: Scope, event_names: Sequence[str], **_: object) -> pa.Table:
        del scope, event_names
        self.reads += 1
        return self.events


def test_a_cut_minute_is_read_again_only_when_a_row_of_it_comes(catalog: Catalog) -> None:
    meter = meters_of(catalog.subscriptions)[0]
    store = Events(STORED_EVENTS.empty_table())
    stored = StoredUsage(store, SCOPE)
    cut = Interval(FIRST + timedelta(seconds=30), FIRST + 4 * HOUR)

    def told(window: datetime) -> pa.Table:
        news = row(0, 1) | {"meter_id": meter.id, "window_start": window}
        return pa.Table.from_pylist([news], schema=USAGE)

    for _ in range(3):
        assert stored.edges(meter, cut, ["acme"]).num_rows == 0
    assert store.reads == 1
    stored.forget(told(FIRST + BASE_WINDOW))
    stored.edges(meter, cut, ["acme"])
    assert store.reads == 1
    stored.forget(told(FIRST))
    stored.edges(meter, cut, ["acme"])
    assert store.reads == 2
    whole = replace(cut, start=FIRST)
    stored.edges(meter, whole, ["brill"])
    assert store.reads == 2
