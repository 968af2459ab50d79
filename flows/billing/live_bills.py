"""Live bills: the newest bill of each customer, for readers, and its alerts, each told once.

All of it is in memory: invoices, wallets and what was told end with the process, and are worked out
anew by the next one. Money in SQL will change that; then an alert is told from its outbox row.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from billing.accounts import Account
from billing.alerts.watching import stream_of, watch
from billing.running import BillingRun
from flows.billing.batches import CustomerBill, RunningCharge
from schemas.alert import Alert, AlertStream, AlertType
from schemas.errors import Refused
from schemas.ids import AlertStreamId, CustomerId

# So many alerts of a customer are kept for readers, the newest.
ALERTS_MAX = 1000


def _ignore(*_: object) -> None:
    """Do nothing with what is told."""


@dataclass(frozen=True, slots=True)
class LiveHooks:
    """Whom the live flow tells, on its own thread; a hook must not raise, or the flow ends.

    `on_alert` gets each new alert once, with the name of the customer; `on_bills` how many bills
    were made; `on_refused` why a customer was not billed; `on_heartbeat` that the flow is alive.
    """

    on_alert: Callable[[str, Alert], None] = _ignore
    on_bills: Callable[[int], None] = _ignore
    on_refused: Callable[[str, Refused], None] = _ignore
    on_heartbeat: Callable[[], None] = _ignore


@dataclass(frozen=True, slots=True)
class LiveBill:
    """What a customer comes to now.

    `run` has invoices and balances, `charges` those of the open lines, `alerts` what happened in
    order of time: the story up to the first bill of this process, then what was told. Refused, the
    last good bill stays, `at` the instant that it is about, with the reason beside it.
    """

    account: Account
    at: datetime
    run: BillingRun | None
    charges: tuple[RunningCharge, ...] = ()
    alerts: tuple[Alert, ...] = ()
    refused: Refused | None = None


@dataclass(slots=True)
class _Streams:
    """The alert streams of a process, as `billing.alerts.watching` reads them."""

    states: dict[AlertStreamId, AlertStream] = field(default_factory=dict)

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return a stream as it was judged last."""
        return self.states.get(stream_id)


class LiveBills:
    """The newest bill of each customer; one thread writes, any number read."""

    def __init__(self, hooks: LiveHooks | None = None) -> None:
        self.hooks = hooks or LiveHooks()
        self._lock = threading.Lock()
        self._latest: dict[CustomerId, LiveBill] = {}
        self._by_name: dict[str, CustomerId] = {}
        self._streams = _Streams()

    def bill_of(self, external_customer_id: str) -> LiveBill | None:
        """Return the newest bill of a customer, None if there is none yet."""
        with self._lock:
            customer = self._by_name.get(external_customer_id)
            return None if customer is None else self._latest[customer]

    def all(self) -> tuple[LiveBill, ...]:
        """Return the newest bills of all customers, in order of their names."""
        with self._lock:
            found = list(self._latest.values())
        return tuple(
            sorted(found, key=lambda each: (each.account.external_id, each.account.customer_id))
        )

    def take(self, bills: Sequence[CustomerBill]) -> None:
        """Put bills in the place of those that there are, then tell what is new."""
        for bill in bills:
            if isinstance(bill.outcome, Refused):
                self._refuse(bill, bill.outcome)
                self.hooks.on_refused(bill.account.external_id, bill.outcome)
            else:
                for alert in self._put(bill, bill.outcome):
                    self.hooks.on_alert(bill.account.external_id, alert)
        self.hooks.on_bills(len(bills))

    def _refuse(self, bill: CustomerBill, why: Refused) -> None:
        """Keep what the customer came to last, and say why it is not newer."""
        before = self._latest.get(bill.account.customer_id)
        blank = LiveBill(bill.account, bill.at, None)
        self._store(replace(before or blank, refused=why))

    def _put(self, bill: CustomerBill, run: BillingRun) -> tuple[Alert, ...]:
        """Keep a bill; return the alerts that are new.

        What the first one of a customer says of the past is known, not new. From then on streams
        go on from state to state with the balances of each bill, so that neither a repeated bill
        nor one that tells the story otherwise tells a change twice.
        """
        before = self._latest.get(bill.account.customer_id)
        first = before is None or before.run is None
        known = run.alerts if before is None or before.run is None else before.alerts
        new: tuple[Alert, ...] = ()
        if first:
            self._begin(run)
        else:
            new = self._judge(run, bill.at)
        alerts = (*known, *new)[-ALERTS_MAX:]
        self._store(LiveBill(bill.account, bill.at, run, bill.charges, alerts))
        return new

    def _begin(self, run: BillingRun) -> None:
        """Take up streams where the story of the first bill leaves them."""
        wallets = {str(each.wallet.id): each.wallet for each in run.wallets}
        for alert in run.alerts:
            wallet = wallets.get(alert.entity_id)
            if wallet is not None:
                fresh = stream_of(wallet, alert.alert_type)
                self._streams.states[fresh.id] = replace(
                    fresh, state=alert.status, version=alert.version
                )

    def _judge(self, run: BillingRun, at: datetime) -> tuple[Alert, ...]:
        """Judge the balances of a bill; return the alerts of what changed."""
        values = []
        for state in run.wallets:
            now = state.ongoing
            values.append((state.wallet, AlertType.LOW_CREDIT_BALANCE, now.balance))
            values.append((state.wallet, AlertType.LOW_ONGOING_BALANCE, now.real_time_balance))
        judged = watch(self._streams, values, at)
        self._streams.states |= {stream.id: stream for stream in judged.streams}
        return judged.alerts

    def _store(self, bill: LiveBill) -> None:
        """Let readers see a bill."""
        with self._lock:
            self._latest[bill.account.customer_id] = bill
            self._by_name[bill.account.external_id] = bill.account.customer_id


class LiveBillsSink(DynamicSink[CustomerBill]):
    """Hands bills to those who read them."""

    def __init__(self, bills: LiveBills):
        self._bills = bills

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "LiveBillsPartition":
        """Return the hand of one worker."""
        return LiveBillsPartition(self._bills)


class LiveBillsPartition(StatelessSinkPartition[CustomerBill]):
    """The hand of one worker."""

    def __init__(self, bills: LiveBills):
        self._bills = bills

    def write_batch(self, items: Sequence[CustomerBill]) -> None:
        """Hand over bills in the order in which they come."""
        self._bills.take(items)
