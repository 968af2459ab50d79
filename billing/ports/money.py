"""The money of one scope: what use cases read, and how a decision is committed.

Stores answer what was committed, and commit `Changes` whole or not at all: the entries, lots,
invoices, alert states and outbox rows of one decision are one transaction (wallets-alerts.md 5).
What must not change between reading and committing is read inside `deciding`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from billing.configuration import BillingConfig
from billing.invoices.numbers import InvoiceNumber, Series
from billing.wallets.holdings import Holdings, Posted
from schemas.alert import Alert, AlertStream
from schemas.coupon import CouponId
from schemas.credit_grant import CreditGrantId, GrantApplication
from schemas.customer import Customer
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    OutboxId,
    PaymentId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice
from schemas.payment import InvoicePayment
from schemas.purchase import Purchase
from schemas.subscription import Subscription
from schemas.wallet import Consumption, Entry, Lot


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """What others are told of a fact: finished when it is committed, and never read again.

    `topic` is `invoice_lines` or `alerts`, None for what leaves by webhook alone; `payload` is what
    goes there. `event` is the name of the webhook, None where there is none, and `body` the objects
    at its top level. `key` is the customer that orders the rows, or the entity where there is none.
    """

    id: OutboxId
    topic: str | None
    key: str
    at: datetime
    payload: Mapping[str, object]
    event: str | None = None
    body: Mapping[str, object] = field(default_factory=dict)
    customer_id: CustomerId | None = None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A coupon that a subscription or a one-off invoice has redeemed, once."""

    coupon_id: CouponId
    redeemed_by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What the first accepted request with an idempotency key was answered.

    Keys are one space for each `kind` of thing; who asks judges whether a repeat has the same
    content. Written with the effect itself, so that a crash keeps both or neither (platform.md 6).
    """

    kind: str
    key: str
    body: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one decision writes.

    `posted` also carries a wallet whose configuration changed, without entries. `numbers` are the
    invoice numbers that were taken. `wake` says when a customer is to be looked at by the next pass,
    at the latest. `deleted_payments` are as they were read: one that has moved on is not deleted.
    """

    customers: tuple[Customer, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    posted: tuple[Posted, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    numbers: tuple[InvoiceNumber, ...] = ()
    payments: tuple[InvoicePayment, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    redemptions: tuple[Redemption, ...] = ()
    streams: tuple[AlertStream, ...] = ()
    alerts: tuple[Alert, ...] = ()
    applications: tuple[GrantApplication, ...] = ()
    outbox: tuple[OutboxRow, ...] = ()
    wake: Mapping[CustomerId, datetime] = field(default_factory=dict)
    deleted_payments: tuple[InvoicePayment, ...] = ()
    answers: tuple[FirstAnswer, ...] = ()


@dataclass(frozen=True, slots=True)
class TakenRows:
    """What an invoice took from wallets: its debits, with their consumptions and the lots of those."""

    entries: tuple[Entry, ...] = ()
    consumptions: tuple[Consumption, ...] = ()
    lots: tuple[Lot, ...] = ()


class SubscriptionStore(Protocol):
    """Reads customers and their subscriptions."""

    def config(self) -> BillingConfig:
        """Return the settings of the environment that billing obeys."""
        ...

    def customer(self, customer_id: CustomerId) -> Customer | None:
        """Return a customer, None if there is none."""
        ...

    def external_id_of(self, customer_id: CustomerId) -> str:
        """Return the name by which events and answers know a customer; without one, its id."""
        ...

    def subscription(self, subscription_id: SubscriptionId) -> Subscription | None:
        """Return a subscription, None if there is none."""
        ...

    def live_subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions that are no drafts, in the order of their ids."""
        ...

    def subscriptions_of(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return those of them that a customer is invoiced for, in the order of their ids."""
        ...

    def subscriptions_naming(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return all that name a customer, as theirs or as the payer, by their ids; drafts too."""
        ...

    def redeemed_by(self, coupon_id: CouponId) -> frozenset[str]:
        """Return who has redeemed a coupon; inside `deciding` nobody else can until the end."""
        ...


class WalletStore(Protocol):
    """Reads wallets with what they hold."""

    def holdings(self, wallet_id: WalletId) -> Holdings | None:
        """Return a wallet with what it holds, None if there is none."""
        ...

    def wallets_of(self, customer_id: CustomerId) -> Sequence[Holdings]:
        """Return a customer's wallets, closed ones too, in the order of their ids."""
        ...

    def entry_of(self, idempotency_key: str) -> Entry | None:
        """Return the entry that a key stands for; keys are one space for all wallets."""
        ...

    def purchase_of(self, idempotency_key: str) -> Purchase | None:
        """Return the purchase that a key stands for, in the same space."""
        ...

    def purchases_for(self, invoice_id: InvoiceId) -> Sequence[Purchase]:
        """Return the purchases that an invoice pays, in the order of their ids."""
        ...

    def pending_purchases(self, wallet_id: WalletId) -> Sequence[Purchase]:
        """Return the purchases of a wallet that wait for their invoices, in the order of their ids."""
        ...

    def last_application(self, grant_id: CreditGrantId) -> GrantApplication | None:
        """Return the application of a grant that starts last, None if it has none yet."""
        ...


class InvoiceStore(Protocol):
    """Reads invoices and what was paid of them."""

    def invoice(self, invoice_id: InvoiceId) -> Invoice | None:
        """Return an invoice by its id."""
        ...

    def invoices_of(self, subscription_id: SubscriptionId) -> Sequence[Invoice]:
        """Return a subscription's invoices in the order of their dates, then of their ids."""
        ...

    def invoices_for(self, customer_id: CustomerId) -> Sequence[Invoice]:
        """Return all invoices to a customer in that order, of no subscription too."""
        ...

    def payments_of(self, invoice_id: InvoiceId) -> Sequence[InvoicePayment]:
        """Return the payments of an invoice in the order in which they were made, then of their ids."""
        ...

    def payment(self, payment_id: PaymentId) -> InvoicePayment | None:
        """Return a payment by its id."""
        ...

    def payment_of(self, idempotency_key: str) -> InvoicePayment | None:
        """Return the payment that a key stands for."""
        ...

    def taken_for(self, invoice_id: InvoiceId) -> TakenRows:
        """Return what an invoice took from wallets, on its lines and by CREDITS payments.

        In the order of the wallets' ids, and of what each of them wrote.
        """
        ...

    def last_number(self, series: Series) -> int | None:
        """Return the last sequence of a series, None before the first; to be read in `deciding`.

        There nobody else takes a number of the series until the end.
        """
        ...


class AlertStore(Protocol):
    """Reads the states of alert streams."""

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return a stream as it was committed last, None if it was never changed."""
        ...


class Schedule(Protocol):
    """Knows which customers wait for the next pass."""

    def due_customers(self, at: datetime, limit: int) -> Sequence[tuple[CustomerId, datetime]]:
        """Return customers who are due by an instant and since when, those who wait longest first."""
        ...

    def plan(self, customer_id: CustomerId, since: datetime, due: datetime | None) -> bool:
        """Put off a customer who was due since an instant, None for good; tell whether it was done.

        It is not where somebody has planned otherwise meanwhile.
        """
        ...


class AnswerStore(Protocol):
    """Knows what the first requests with their keys were answered."""

    def answer_of(self, kind: str, idempotency_key: str) -> str | None:
        """Return the body of the answer, None where none was kept."""
        ...


class Stores(
    SubscriptionStore, WalletStore, InvoiceStore, AlertStore, AnswerStore, Schedule, Protocol
):
    """All of them as one, as the use cases take it."""

    def deciding(self, customer_id: CustomerId) -> AbstractContextManager[Self]:
        """Read and commit in one transaction, in which nobody else changes what a customer has.

        What is committed inside stands once the block has ended without an error, else none of it.
        """
        ...

    def commit(self, changes: Changes) -> None:
        """Commit all of it or nothing; raises VersionConflict where another writer was first.

        A wallet must stand at the sequence that a write was decided on; a subscription, an invoice,
        a payment, a purchase and a stream one version behind, or not be there; a number must follow
        the last one of its series; an application of a grant must be open; an idempotency key and
        an outbox id are used once. A service of a line is on one invoice that is not void
        (billing.md 15.6), a customer has one active wallet of a currency and type, an external id
        and an invoice number belong to one: what breaks that is AlreadyExists. What one commit has
        twice is judged in its order. Inside `deciding` a refused commit leaves what was committed
        before it there.
        """
        ...
