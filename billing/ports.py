"""What billing needs from outside, as small protocols; `billing/memory.py` is the plainest of them.

Stores answer what was committed, and commit `Changes` whole or not at all: the entries, lots,
invoices, alert states and outbox rows of one decision are one transaction (wallets-alerts.md 5).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from billing.wallets.holdings import Holdings, Posted
from schemas.access import ApiKey
from schemas.alert import Alert, AlertStream
from schemas.answer import Answer
from schemas.credit_grant import GrantApplication
from schemas.event_query import EventPage, EventQuery, UsageQuery
from schemas.ids import AlertStreamId, CustomerId, InvoiceId, OutboxId, SubscriptionId, WalletId
from schemas.intake import IntakeReceipt, IntakeRequest
from schemas.invoice import Invoice
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope
from schemas.subscription import Feature, Subscription
from schemas.wallet import Entry


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """One bucket, or one group of it, of a bucketed meter."""

    start: datetime
    group: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class UsageQuantity:
    """What a meter gives for an interval: the value that is billed, never below 0, and its parts.

    `buckets` are in order of start and group, and only there for bucketed meters.
    """

    value: Decimal
    signed: Decimal
    counted: int
    buckets: tuple[UsageBucket, ...] = ()


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """What others are told of a fact: finished when it is committed, and never read again.

    `topic` is `invoice_lines` or `alerts`, `key` the customer that orders the rows.
    """

    id: OutboxId
    topic: str
    key: str
    at: datetime
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one decision writes."""

    posted: tuple[Posted, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    streams: tuple[AlertStream, ...] = ()
    alerts: tuple[Alert, ...] = ()
    outbox: tuple[OutboxRow, ...] = ()
    applications: tuple[GrantApplication, ...] = ()


class UsageReader(Protocol):
    """Reads quantities of meters, as the metering stage has them."""

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return what the meter gives for these customers together over the interval."""
        ...


class SubscriptionStore(Protocol):
    """Reads subscriptions and who has them."""

    def external_id_of(self, customer_id: CustomerId) -> str:
        """Return the name by which events and answers know a customer."""
        ...

    def live_subscriptions(self) -> Sequence[Subscription]:
        """Return the subscriptions that may still be billed, in the order of their ids."""
        ...

    def subscriptions_of(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return a customer's subscriptions that may still be billed, in the order of their ids."""
        ...


class WalletStore(Protocol):
    """Reads wallets with what they hold."""

    def holdings(self, wallet_id: WalletId) -> Holdings | None:
        """Return a wallet with what it holds, None if there is none."""
        ...

    def wallets_of(self, customer_id: CustomerId) -> Sequence[Holdings]:
        """Return a customer's wallets, in the order of their ids, which is that of locking."""
        ...

    def entry_of(self, idempotency_key: str) -> Entry | None:
        """Return the entry that a key stands for; keys are one space for all wallets."""
        ...


class InvoiceStore(Protocol):
    """Reads invoices."""

    def invoice(self, invoice_id: InvoiceId) -> Invoice | None:
        """Return an invoice by its derived id."""
        ...

    def invoices_of(self, subscription_id: SubscriptionId) -> Sequence[Invoice]:
        """Return a subscription's invoices in the order of their dates."""
        ...


class AlertStore(Protocol):
    """Reads the states of alert streams."""

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return a stream as it was committed last, None if it was never changed."""
        ...


class Outbox(Protocol):
    """Writes decisions, with what is to be told of them."""

    def commit(self, changes: Changes) -> None:
        """Commit all of it or nothing; raises VersionConflict where another writer was first."""
        ...


class Stores(SubscriptionStore, WalletStore, InvoiceStore, AlertStore, Outbox, Protocol):
    """All of them as one, as the use cases take it."""


class EventDoor(Protocol):
    """Takes events in: judged as a batch, durable in the log, only then answered (metering.md 2.4)."""

    def take(self, request: IntakeRequest) -> IntakeReceipt:
        """Return what became of a request whose valid events are in the log.

        Raises ValidationFailed, with `details`, where nothing was appended, and StoreError where the
        log did not take the events: they may or may not be there, and must be sent again.
        """
        ...


class UsageAnswers(Protocol):
    """Answers questions about usage and stored events, all by the same operators on the same rows."""

    def answer(self, query: UsageQuery) -> Answer:
        """Return what a meter gives for a period. Raises ValidationFailed and StoreError."""
        ...

    def events(self, query: EventQuery) -> EventPage:
        """Return a page of accepted events. Raises ValidationFailed (a cursor) and StoreError."""
        ...


class CatalogReader(Protocol):
    """Reads what is metered and sold in one scope."""

    def meters(self, scope: Scope) -> Sequence[Meter]:
        """Return all live meters, in the order of their ids."""
        ...

    def features(self, scope: Scope) -> Sequence[Feature]:
        """Return all live features, in the order of their ids."""
        ...

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        """Return the subscriptions of a customer, in the order of their ids."""
        ...

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        """Tell whether there is a customer of this external id."""
        ...


class KeyStore(Protocol):
    """Keeps API keys by the digests that they are looked up with."""

    def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with a digest, revoked and expired ones too."""
        ...

    def keys(self, scope: Scope) -> Sequence[ApiKey]:
        """Return the keys of a scope, in the order in which they were made."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Add a key. Raises AlreadyExists if there is one with its digest."""
        ...

    def revoke_key(self, scope: Scope, key_id: str, at: datetime) -> ApiKey:
        """Revoke a key; doing it twice keeps the first instant. Raises NotFound."""
        ...

    def note_use(self, key_id: str, at: datetime) -> None:
        """Remember when a key was used last."""
        ...
