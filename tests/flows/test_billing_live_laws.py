"""Laws of the live billing flow's parts: what is fed, remembered, judged and due."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.accounts import Account, accounts_of
from billing.running import BillingRun, bill_account
from flows.billing.batches import NOTHING, CustomerBill, ShardedUsage, UsageBatch
from flows.billing.charging import ChargeLogic, ChargeSettings
from flows.billing.cumulative import CumulativeUsage
from flows.billing.dues import next_due
from flows.billing.feed import UsageFeed
from flows.billing.live_bills import LiveBills, LiveHooks
from flows.billing.stored import StoredUsage, meters_of
from flows.billing_usage import MeteredUsage
from flows.catalog import load_catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.tables import STORED_EVENTS, STORED_MEMBERS
from operators.columns import compute as pc
from operators.partials import Partials, start
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
def accounts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Account, ...]:
    path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    Path(path).write_text(CATALOG)
    catalog = load_catalog(str(path))
    names = {each.id: each.external_id for each in catalog.customers}
    return accounts_of(catalog.subscriptions, catalog.wallets, names)


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
    st.lists(st.sampled_from(["batch", "flush", "hour", "month"]), max_size=14),
)
def test_whatever_came_before_the_last_bills_are_those_of_the_pure_rules(
    accounts: tuple[Account, ...], chance: random.Random, moments: list[str]
) -> None:
    """Order, batches, versions in between, flushes and the way of the clock change nothing."""
    meters = meters_of(accounts)
    whole = made_up(meters, 24)
    batches: list[UsageBatch] = []
    for part in (whole.pairs.slice(0, 30), whole.pairs):
        rows = Metered(part).batch(meters).rows
        cuts = sorted({0, rows.num_rows, *(chance.randint(0, rows.num_rows) for _ in range(5))})
        for low, high in pairwise(cuts):
            batches.append(UsageBatch(rows.slice(low, high - low), NOTHING.members))
    chance.shuffle(batches)
    now = [FIRST + 4 * HOUR]
    logic = ChargeLogic(
        ChargeSettings(lambda: now[0], flush_every=timedelta(0), tick=timedelta(0)),
        lambda _: accounts,
        lambda meter, interval, customers: PAIRS.empty_table(),
        None,
    )
    latest: dict[str, CustomerBill] = {}

    def flush() -> None:
        latest.update({bill.account.external_id: bill for bill in logic.on_notify()[0]})

    logic.on_batch([ShardedUsage(0, NOTHING)])
    for moment in moments:
        if moment == "batch" and batches:
            logic.on_batch([ShardedUsage(0, batches.pop())])
        elif moment == "flush":
            flush()
        else:
            now[0] += HOUR if moment == "hour" else timedelta(days=30)
    logic.on_batch([ShardedUsage(0, batch) for batch in batches])
    for _ in accounts:
        flush()

    usage = MeteredUsage(whole)
    for account in accounts:
        found = latest[account.external_id]
        assert isinstance(found.outcome, BillingRun)
        pure = bill_account(account, usage, as_of=now[0])
        assert found.outcome.invoices == pure.invoices
        assert [each.ongoing for each in found.outcome.wallets] == [
            each.ongoing for each in pure.wallets
        ]


@given(st.randoms(use_true_random=False))
def test_the_same_usage_gives_the_same_bytes(
    accounts: tuple[Account, ...], chance: random.Random
) -> None:
    rows = made_up(meters_of(accounts), 12).batch(meters_of(accounts)).rows

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
    ("acme", "2025-12-01T00:00:00", "2026-01-01T00:00:00", "the wallet and the start"),
    ("acme", "2026-01-01T00:00:00", "2026-02-01T00:00:00", "the end of the period"),
    ("acme", "2026-02-01T00:00:00", "2026-02-01T02:00:00", "the end of the delay"),
    ("acme", "2026-02-01T02:00:00", "2026-03-01T00:00:00", "the end of the next period"),
    ("brill", "2026-01-05T00:00:00", "2026-01-05T00:01:00", "an average over time drifts"),
    ("wallet", "2026-01-02T00:00:00", "2026-01-03T00:00:00", "the top-up"),
    ("wallet", "2026-01-03T00:00:00", "2026-01-20T00:00:00", "the expiry of its lot"),
    ("wallet", "2026-01-20T00:00:00", None, "nothing more"),
]


@pytest.mark.parametrize(("name", "after", "due", "why"), DUES, ids=[each[3] for each in DUES])
def test_time_alone_bills_when_something_begins_or_ends(
    accounts: tuple[Account, ...], name: str, after: str, due: str | None, why: str
) -> None:
    account = next(each for each in accounts if each.external_id == name)
    found = next_due(account, datetime.fromisoformat(after).replace(tzinfo=UTC), 2 * HOUR)
    expected = None if due is None else datetime.fromisoformat(due).replace(tzinfo=UTC)
    assert found == expected, why


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(0, 3))
def test_an_alert_id_is_told_once_however_balances_go_and_bills_repeat(
    accounts: tuple[Account, ...], tokens: list[int], repeats: int
) -> None:
    """Corrections move balances both ways; each change of state is told, with an id of its own."""
    acme = next(each for each in accounts if each.external_id == "acme")
    meter = next(each for each in meters_of(accounts) if each.aggregation.type.value == "SUM")
    told: list[tuple[str, int]] = []
    bills = LiveBills(
        LiveHooks(on_alert=lambda _, alert: told.append((alert.stream_id, alert.version)))
    )

    def billed(amount: int, at: datetime) -> CustomerBill:
        pair = {
            "meter_id": meter.id,
            "external_customer_id": "acme",
            "group": "",
            "timestamp": FIRST,
            "event_id": "e",
            "value": Decimal(amount),
        }
        usage = MeteredUsage(Metered(pa.Table.from_pylist([pair], schema=PAIRS)))
        return CustomerBill(acme, at, bill_account(acme, usage, as_of=at))

    bills.take([billed(0, FIRST + HOUR)])
    assert told == []
    levels = ["ok"]
    for number, amount in enumerate(tokens):
        bill = billed(amount, FIRST + HOUR * (2 + number))
        bills.take([bill] * (1 + repeats))
        assert isinstance(bill.outcome, BillingRun)
        balance = bill.outcome.wallets[0].ongoing.real_time_balance
        level = "in_alarm" if balance <= 5 else "info" if balance <= 25 else "ok"
        levels += [] if level == levels[-1] else [level]
    assert len(told) == len(set(told)) == len(levels) - 1


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


def test_a_cut_minute_is_read_again_only_when_a_row_of_it_comes(
    accounts: tuple[Account, ...],
) -> None:
    meter = meters_of(accounts)[0]
    store = Events(STORED_EVENTS.empty_table())
    stored = StoredUsage(store, SCOPE, accounts)
    cut = Interval(FIRST + timedelta(seconds=30), FIRST + 4 * HOUR)

    def told(window: datetime) -> pa.Table:
        news = row(0, 1) | {"meter_id": meter.id, "window_start": window}
        return pa.Table.from_pylist([news], schema=USAGE)

    for _ in range(3):
        assert stored.edges(meter, cut, ["acme"]).num_rows == 0
    assert store.reads == 1
    stored.with_members(told(FIRST + BASE_WINDOW))
    stored.edges(meter, cut, ["acme"])
    assert store.reads == 1
    stored.with_members(told(FIRST))
    stored.edges(meter, cut, ["acme"])
    assert store.reads == 2
    whole = replace(cut, start=FIRST)
    stored.edges(meter, whole, ["brill"])
    assert store.reads == 2
