"""The live billing flow: what is published moves the bills, and so does the clock alone."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest

from billing.accounts import Account, accounts_of
from billing.running import bill_account
from billing.wallets.ledger import TopUp
from billing.wallets.opening import TopUpAt, WalletOpening
from flows.billing.feed import UsageFeed
from flows.billing.live import run_billing_live
from flows.billing.live_bills import LiveBill, LiveBills, LiveHooks
from flows.billing.stored import meters_of
from flows.billing_usage import MeteredUsage
from flows.catalog import load_catalog
from flows.metering.usage_rows import usage_rows
from flows.stores.tables import STORED_EVENTS, STORED_MEMBERS
from operators.columns import compute as pc
from operators.partials import Partials, start
from schemas.alert import Alert, AlertState
from schemas.ids import CustomerId, WalletId
from schemas.invoice import InvoiceKind, InvoiceStatus
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.usage import BASE_WINDOW, PAIRS
from schemas.wallet import Reason, WalletRequest

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
customers: [{external_id: acme}, {external_id: brill}, {external_id: lapse}]
subscriptions:
  - {customer: acme, plan: pro, start_date: "2026-01-01T00:00:00Z"}
  - {customer: brill, plan: pro, start_date: "2026-01-01T10:00:30Z"}
wallets:
  - {customer: acme, currency: usd, top_ups: [{credits_to_add: 30, at: "2026-01-01T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 9, condition: below}}}
  - {customer: lapse, currency: usd,
     top_ups: [{credits_to_add: 5, at: "2026-01-01T00:00:00Z", expiry_date_utc: "2026-01-20T00:00:00Z"}],
     alert_settings: {alert_enabled: true, critical: {threshold: 1, condition: below}}}
"""

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
MONTH_END = datetime(2026, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SOON = timedelta(milliseconds=10)
PATIENCE_SECONDS = 20


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, at: datetime):
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Shelf:
    """Counted pairs in the place of a store: what was counted so far, as rows and members."""

    def __init__(self, meters: Sequence[Meter]):
        self._meters = {meter.id: meter for meter in meters}
        self._pairs: list[dict[str, object]] = []
        self._lock = threading.Lock()

    def count(self, customer: str, at: datetime, tokens: int, user: int = 1) -> pa.Table:
        """Count one event for both meters; return the rows that changed."""
        with self._lock:
            event = f"e{len(self._pairs)}"
            for meter in self._meters.values():
                counting = meter.aggregation.type.value == "COUNT_UNIQUE"
                pair = {
                    "meter_id": meter.id,
                    "external_customer_id": customer,
                    "group": "",
                    "timestamp": at,
                    "event_id": event,
                    "value": None if counting else Decimal(tokens),
                    "member": bytes([user]) * 16 if counting else None,
                }
                self._pairs.append(pair)
        minute = at.replace(second=0, microsecond=0)
        return self.read_usage(
            Scope("", ""), list(self._meters), start=minute, end=minute + BASE_WINDOW
        )

    def read_usage(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        del scope
        return between(self._stored(meter_ids)[0], start, end, customers)

    def read_members(
        self,
        scope: Scope,
        meter_ids: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        del scope
        return between(self._stored(meter_ids)[1], start, end, customers)

    def read_events(
        self,
        scope: Scope,
        event_names: Sequence[str],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        customers: Sequence[str] | None = None,
    ) -> pa.Table:
        """Raw events of a minute: here nobody has any in the minutes that periods cut."""
        del scope, event_names, start, end, customers
        return STORED_EVENTS.empty_table()

    def usage(self, meter: Meter) -> Partials:
        """All rows of a meter, for the pure rules."""
        with self._lock:
            pairs = pa.Table.from_pylist(self._pairs, schema=PAIRS)
        return start(meter.aggregation.type, pairs.filter(pc.equal(pairs["meter_id"], meter.id)))

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        del meter, interval
        return PAIRS.empty_table()

    def _stored(self, meter_ids: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        rows, members = [], [STORED_MEMBERS.empty_table()]
        for name in meter_ids:
            meter = self._meters[name]
            found = usage_rows({meter.aggregation.type.value: self.usage(meter)}, self._meters, {})
            rows.append(found[0])
            members.append(found[1])
        return pa.concat_tables(rows), pa.concat_tables(members)


def between(
    table: pa.Table, start: datetime | None, end: datetime | None, customers: Sequence[str] | None
) -> pa.Table:
    if start is not None:
        table = table.filter(pc.greater_equal(table["window_start"], pa.scalar(start)))
    if end is not None:
        table = table.filter(pc.less(table["window_start"], pa.scalar(end)))
    if customers is not None:
        wanted = pa.array(customers, pa.string())
        table = table.filter(pc.is_in(table["external_customer_id"], value_set=wanted))
    return table


class Running:
    """The live flow on a thread of its own, over a shelf and with a clock that tests set."""

    def __init__(self, accounts: Sequence[Account], at: datetime = NOON):
        meters = meters_of(accounts)
        self.accounts = accounts
        self.meters = [meter.id for meter in meters]
        self.clock = Clock(at)
        self.shelf = Shelf(meters)
        self.scope = scope_of(meters)
        self.feed = UsageFeed(self.scope)
        self.alerts: list[tuple[str, Alert]] = []
        self.refused: list[tuple[str, str]] = []
        self.beats = 0
        self.bills = LiveBills(
            LiveHooks(
                on_alert=lambda name, alert: self.alerts.append((name, alert)),
                on_refused=lambda name, why: self.refused.append((name, str(why))),
                on_heartbeat=self._beat,
            )
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        for account in self.accounts:
            self.until(partial(self.has_bill, account.external_id))
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        run_billing_live(
            self.shelf,
            self.scope,
            self.accounts,
            self.feed,
            self.stop,
            bills=self.bills,
            clock=self.clock,
            flush_every=SOON,
            tick=SOON,
        )

    def _beat(self) -> None:
        self.beats += 1

    def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something to become true; what does not become true in time has failed."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.002)

    def event(self, customer: str, tokens: int, at: datetime | None = None, user: int = 1) -> None:
        """Count an event and publish what changed, as the metering flow does."""
        self.feed.publish(self.shelf.count(customer, at or self.clock.at - SECOND, tokens, user))

    def bill(self, name: str) -> LiveBill:
        found = self.bills.bill_of(name)
        assert found is not None
        return found

    def charged(self, name: str) -> Decimal:
        """What the open lines of a customer come to."""
        return sum((each.amount for each in self.bill(name).charges), Decimal(0))

    def ongoing(self, name: str) -> Decimal:
        run = self.bill(name).run
        assert run is not None
        return run.wallets[0].ongoing.real_time_balance

    def has_bill(self, name: str) -> bool:
        return self.bills.bill_of(name) is not None

    def fence(self) -> None:
        """Wait until what was published so far is billed."""
        before = self.charged("brill")
        self.event("brill", 2)
        self.until(lambda: self.charged("brill") > before)


def scope_of(meters: Sequence[Meter]) -> Scope:
    return Scope(meters[0].tenant_id, meters[0].environment_id)


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Account, ...]:
    path = tmp_path_factory.mktemp("catalog") / "catalog.yaml"
    Path(path).write_text(CATALOG)
    catalog = load_catalog(str(path))
    names = {each.id: each.external_id for each in catalog.customers}
    return accounts_of(catalog.subscriptions, catalog.wallets, names)


@pytest.fixture
def running(accounts: tuple[Account, ...]) -> Iterator[Running]:
    with Running(accounts) as flow:
        yield flow


def test_an_event_moves_the_charge_and_the_balance(running: Running) -> None:
    assert (running.charged("acme"), running.ongoing("acme")) == (Decimal(0), Decimal(30))

    running.event("acme", 4)
    running.until(lambda: running.charged("acme") == Decimal(4))
    assert running.ongoing("acme") == Decimal(26)
    found = {each.display_name: each.quantity for each in running.bill("acme").charges}
    assert sorted(found.values()) == [Decimal(1), Decimal(4)]

    running.event("acme", 1, user=2)
    running.until(lambda: running.charged("acme") == Decimal("6.5"))


def test_an_event_of_the_running_minute_counts_at_once(running: Running) -> None:
    running.clock.at = NOON + timedelta(seconds=20, microseconds=5)
    running.event("acme", 4, NOON + timedelta(seconds=20))
    running.until(lambda: running.charged("acme") == Decimal(4))


def test_the_same_rows_again_change_nothing(running: Running) -> None:
    running.event("acme", 4)
    running.fence()
    before = running.bill("acme")
    for _ in range(3):
        running.feed.publish(running.shelf.read_usage(running.scope, running.meters))
        running.fence()
    assert running.bill("acme") == before


def test_an_alert_is_told_once(running: Running) -> None:
    for tokens in (44, 2, 2):
        running.event("acme", tokens)
        running.fence()
    ((name, alert),) = running.alerts
    assert (name, alert.status, alert.value) == ("acme", AlertState.IN_ALARM, Decimal(6))
    assert running.bill("acme").alerts[-1] == alert


def test_alerts_of_the_past_are_not_told_at_the_start(accounts: tuple[Account, ...]) -> None:
    flow = Running(accounts)
    flow.shelf.count("acme", NOON - SECOND, 100)
    with flow:
        assert [each.status for each in flow.bill("acme").alerts] == [AlertState.IN_ALARM]
        flow.event("acme", 1)
        flow.fence()
        assert flow.alerts == []


def test_a_lot_that_expires_alarms_by_the_clock_alone(running: Running) -> None:
    running.clock.at = datetime(2026, 1, 20, tzinfo=UTC)
    running.until(lambda: len(running.alerts) == 2)
    assert {(name, alert.status) for name, alert in running.alerts} == {
        ("lapse", AlertState.IN_ALARM)
    }
    assert {alert.at for _, alert in running.alerts} == {running.clock.at}


def test_a_period_that_ends_by_the_clock_gives_its_invoice_without_usage(running: Running) -> None:
    running.event("acme", 4)
    running.until(lambda: running.charged("acme") == Decimal(4))

    def renewals() -> list[tuple[InvoiceStatus, Decimal]]:
        run = running.bill("acme").run
        assert run is not None
        return [(i.status, i.subtotal) for i in run.invoices if i.kind is InvoiceKind.RENEWAL]

    running.clock.at = MONTH_END
    running.until(lambda: renewals() == [(InvoiceStatus.DRAFT, Decimal(4))])
    assert running.charged("acme") == Decimal(0)
    running.clock.at = MONTH_END + timedelta(hours=2)
    running.until(lambda: renewals() == [(InvoiceStatus.FINALIZED, Decimal(4))])
    assert running.ongoing("acme") == Decimal(26)


def test_an_event_from_a_clock_that_is_ahead_counts_when_its_time_has_come(
    running: Running,
) -> None:
    running.event("acme", 4, NOON + timedelta(hours=1))
    running.fence()
    assert running.charged("acme") == Decimal(0)
    running.clock.at = NOON + timedelta(hours=1, seconds=1)
    running.until(lambda: running.charged("acme") == Decimal(4))


def test_who_is_refused_is_told_of_and_leaves_the_others_alone(
    accounts: tuple[Account, ...],
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    twice = [
        TopUpAt(at, TopUp(Reason.PURCHASED_CREDIT_DIRECT, Decimal(amount), idempotency_key="same"))
        for amount in (1, 2)
    ]
    request = WalletRequest.model_validate({"currency": "usd"})
    opening = WalletOpening(WalletId("w"), CustomerId("c"), at, request, tuple(twice))
    wrong = Account(CustomerId("c"), "wrong", (), (opening,))
    with Running((wrong, *accounts)) as flow:
        assert flow.bill("wrong").run is None
        assert flow.refused == [("wrong", "idempotency key 'same' was used for another request")]
        flow.event("acme", 4)
        flow.until(lambda: flow.charged("acme") == Decimal(4))


def test_what_is_stored_before_the_start_is_billed(accounts: tuple[Account, ...]) -> None:
    flow = Running(accounts)
    flow.shelf.count("acme", NOON - SECOND, 4)
    flow.shelf.count("acme", NOON - SECOND, 1, user=7)
    with flow:
        assert flow.charged("acme") == Decimal("6.5")


def test_a_bill_is_what_the_pure_rules_say(running: Running) -> None:
    for number in range(20):
        at = NOON - timedelta(minutes=37 * (number % 7))
        running.event("acme", number, at - SECOND, user=number % 3)
    running.fence()
    acme = next(each for each in running.accounts if each.external_id == "acme")
    pure = bill_account(acme, MeteredUsage(running.shelf), as_of=NOON)
    found = running.bill("acme").run
    assert found is not None
    assert (found.invoices, found.wallets) == (pure.invoices, pure.wallets)


def test_stop_ends_the_thread_and_the_flow_can_be_run_again(accounts: tuple[Account, ...]) -> None:
    flow = Running(accounts)
    with flow:
        flow.event("acme", 44)
        flow.until(lambda: len(flow.alerts) == 1)
        assert flow.beats > 0
    flow.stop.clear()
    flow.thread = threading.Thread(target=flow._run, daemon=True)
    with flow:
        flow.fence()
        assert len(flow.alerts) == 1
