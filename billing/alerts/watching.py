"""Watching: the alert streams of a customer's wallets, judged by what the stores say of them.

The state of a stream is compared and set where it is committed, so that one change is told once,
also when two writers see it or the same usage is replayed (wallets-alerts.md 11).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from billing.alerts.levels import NEVER, observe, watched
from billing.invoices.reports import alert_fact
from billing.ports import AlertStore, OutboxRow
from billing.wallets.balances import Ongoing
from billing.wallets.holdings import Holdings, balance
from schemas.alert import Alert, AlertSettings, AlertStream, AlertType
from schemas.decimals import plain
from schemas.ids import AlertStreamId, CustomerId, OutboxId, derived
from schemas.wallet import Wallet, WalletStatus


@dataclass(frozen=True, slots=True)
class Watched:
    """The streams that changed, and the alerts that tell of it; silent changes have none."""

    streams: tuple[AlertStream, ...] = ()
    alerts: tuple[Alert, ...] = ()
    wallets: Mapping[str, Wallet] = field(default_factory=dict)

    def outbox(self, customer: str) -> tuple[OutboxRow, ...]:
        """Return what is told of the alerts, to those who know the customer by this name."""
        return tuple(
            OutboxRow(
                id=OutboxId(derived("msg", alert.stream_id, alert.version)),
                topic="alerts",
                key=alert.customer_id,
                at=alert.at,
                payload=alert_fact(alert, customer),
                event=alert.event,
                body=self._body(alert),
                customer_id=CustomerId(alert.customer_id),
            )
            for alert in self.alerts
            if alert.event is not None
        )

    def _body(self, alert: Alert) -> Mapping[str, object]:
        """Return the objects of a webhook: the wallet, and which of its numbers did what."""
        wallet = self.wallets.get(alert.entity_id)
        shown = {"id": alert.entity_id, "customer_id": alert.customer_id}
        if wallet is not None:
            shown |= {"name": wallet.name, "currency": wallet.currency}
        return {
            "wallet": shown,
            "alert": {
                "state": alert.status.value,
                "previous_state": alert.previous.value,
                "alert_type": alert.alert_type.value,
                "current_balance": plain(alert.value),
            },
        }


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
    store: AlertStore,
    values: Iterable[tuple[Wallet, AlertType, Decimal]],
    at: datetime,
    *,
    default: AlertSettings = NEVER,
) -> Watched:
    """Judge values of wallets, each in currency, against the settings of its wallet.

    `default` are those of the environment, for wallets without settings of their own. Streams of a
    closed wallet end in silence.
    """
    streams, alerts = [], []
    wallets: dict[str, Wallet] = {}
    for wallet, alert_type, value in values:
        if wallet.wallet_status is WalletStatus.CLOSED:
            continue
        settings = wallet.alert_settings or default
        wallets[wallet.id] = wallet
        fresh = stream_of(wallet, alert_type)
        before = store.stream(fresh.id) or fresh
        judged = watched(settings, value, wallet.conversion_rate)
        after, alert = observe(before, settings, judged, at)
        if after != before:
            streams.append(after)
        if alert is not None:
            alerts.append(alert)
    return Watched(tuple(streams), tuple(alerts), wallets if alerts else {})


def watch_settled(
    store: AlertStore,
    wallets: Iterable[Holdings],
    at: datetime,
    *,
    default: AlertSettings = NEVER,
) -> Watched:
    """Judge the settled balances: on every ledger write, inside its transaction."""
    return watch(
        store,
        [(held.wallet, AlertType.LOW_CREDIT_BALANCE, balance(held, at)) for held in wallets],
        at,
        default=default,
    )


def watch_balances(
    store: AlertStore,
    wallets: Sequence[Holdings],
    ongoing: Sequence[Ongoing],
    at: datetime,
    *,
    default: AlertSettings = NEVER,
) -> Watched:
    """Judge settled and ongoing balances of a customer's wallets, in the order given."""
    values = []
    for held, now in zip(wallets, ongoing, strict=True):
        values.append((held.wallet, AlertType.LOW_CREDIT_BALANCE, now.balance))
        values.append((held.wallet, AlertType.LOW_ONGOING_BALANCE, now.real_time_balance))
    return watch(store, values, at, default=default)


def is_watched(held: Holdings, default: AlertSettings = NEVER) -> bool:
    """Tell whether anything could be told of a wallet, or has to be taken back in silence."""
    return held.wallet.alert_settings is not None or default.alert_enabled
