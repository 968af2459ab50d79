"""Watching: the alert streams of a customer's wallets, judged by what the stores say of them.

The state of a stream is compared and set where it is committed, so that one change is told once,
also when two writers see it or the same usage is replayed (wallets-alerts.md 11).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.alerts.levels import NEVER, observe, watched
from billing.invoices.reports import alert_fact
from billing.ports import AlertStore, OutboxRow
from billing.wallets.balances import Ongoing
from billing.wallets.holdings import Holdings, balance
from schemas.alert import Alert, AlertStream, AlertType
from schemas.ids import AlertStreamId, OutboxId, derived
from schemas.wallet import Wallet, WalletStatus


@dataclass(frozen=True, slots=True)
class Watched:
    """The streams that changed, and the alerts that tell of it; silent changes have none."""

    streams: tuple[AlertStream, ...] = ()
    alerts: tuple[Alert, ...] = ()

    def outbox(self, customer: str) -> tuple[OutboxRow, ...]:
        """Return what is told of the alerts, to those who know the customer by this name."""
        return tuple(
            OutboxRow(
                id=OutboxId(derived("msg", alert.stream_id, alert.version)),
                topic="alerts",
                key=alert.customer_id,
                at=alert.at,
                payload=alert_fact(alert, customer),
            )
            for alert in self.alerts
            if alert.event is not None
        )


def stream_of(wallet: Wallet, alert_type: AlertType) -> AlertStream:
    """Return the stream of a wallet as it is before anything was observed."""
    return AlertStream(
        id=AlertStreamId(derived("alert", wallet.id, alert_type.value)),
        alert_type=alert_type,
        entity_type="wallet",
        entity_id=wallet.id,
        customer_id=wallet.customer_id,
    )


def watch(
    store: AlertStore, values: Iterable[tuple[Wallet, AlertType, Decimal]], at: datetime
) -> Watched:
    """Judge values of wallets, each in currency, against the settings of its wallet.

    Streams of a closed wallet end in silence.
    """
    streams, alerts = [], []
    for wallet, alert_type, value in values:
        if wallet.wallet_status is WalletStatus.CLOSED:
            continue
        settings = wallet.alert_settings or NEVER
        fresh = stream_of(wallet, alert_type)
        before = store.stream(fresh.id) or fresh
        judged = watched(settings, value, wallet.conversion_rate)
        after, alert = observe(before, settings, judged, at)
        if after != before:
            streams.append(after)
        if alert is not None:
            alerts.append(alert)
    return Watched(tuple(streams), tuple(alerts))


def watch_settled(store: AlertStore, wallets: Iterable[Holdings], at: datetime) -> Watched:
    """Judge the settled balances: on every ledger write, inside its transaction."""
    return watch(
        store,
        [(held.wallet, AlertType.LOW_CREDIT_BALANCE, balance(held, at)) for held in wallets],
        at,
    )


def watch_balances(
    store: AlertStore, wallets: Sequence[Holdings], ongoing: Sequence[Ongoing], at: datetime
) -> Watched:
    """Judge settled and ongoing balances of a customer's wallets, in the order given."""
    values = []
    for held, now in zip(wallets, ongoing, strict=True):
        values.append((held.wallet, AlertType.LOW_CREDIT_BALANCE, now.balance))
        values.append((held.wallet, AlertType.LOW_ONGOING_BALANCE, now.real_time_balance))
    return watch(store, values, at)


def is_watched(held: Holdings) -> bool:
    """Tell whether anything could be told of a wallet, or has to be taken back in silence."""
    return held.wallet.alert_settings is not None
