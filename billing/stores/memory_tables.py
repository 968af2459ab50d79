"""The tables of the memory store: what may be written to them, and how (`billing/stores/memory.py`)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

from billing.invoices.drafting import ServiceKey, service_key
from billing.invoices.numbers import Series
from billing.ports import Changes, OutboxRow
from billing.wallets.holdings import Holdings, Posted
from schemas.alert import Alert, AlertStream
from schemas.coupon import CouponId
from schemas.credit_grant import OPEN, CreditGrantId, GrantApplication, GrantApplicationId
from schemas.customer import Customer
from schemas.errors import AlreadyExists, VersionConflict
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    LotId,
    PaymentId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice, InvoiceStatus, Role
from schemas.payment import InvoicePayment
from schemas.purchase import Purchase, PurchaseId
from schemas.subscription import Subscription
from schemas.wallet import (
    Consumption,
    Entry,
    Lot,
    Posting,
    Wallet,
    WalletStatus,
)


@dataclass(slots=True)
class Tables:
    """All that is kept, by its keys; ledger, alerts and outbox in the order of their commits."""

    customers: dict[CustomerId, Customer] = field(default_factory=dict)
    subscriptions: dict[SubscriptionId, Subscription] = field(default_factory=dict)
    wallets: dict[WalletId, Holdings] = field(default_factory=dict)
    keys: dict[str, Entry] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    lots: dict[LotId, Lot] = field(default_factory=dict)
    consumptions: list[Consumption] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    invoices: dict[InvoiceId, Invoice] = field(default_factory=dict)
    numbers: dict[Series, int] = field(default_factory=dict)
    payments: dict[PaymentId, InvoicePayment] = field(default_factory=dict)
    purchases: dict[PurchaseId, Purchase] = field(default_factory=dict)
    redemptions: dict[CouponId, frozenset[str]] = field(default_factory=dict)
    streams: dict[AlertStreamId, AlertStream] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)
    applications: dict[GrantApplicationId, GrantApplication] = field(default_factory=dict)
    last_applications: dict[CreditGrantId, GrantApplication] = field(default_factory=dict)
    outbox: dict[str, OutboxRow] = field(default_factory=dict)
    due: dict[CustomerId, datetime] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return tables with the same rows, which change on their own."""
        return Tables(*(getattr(self, each.name).copy() for each in fields(self)))


def check(tables: Tables, changes: Changes) -> None:
    """Refuse a commit that rests on a state that is gone, before anything is written."""
    for posted in changes.posted:
        held = tables.wallets.get(posted.holdings.wallet.id)
        if (held.sequence if held else 0) != posted.base:
            raise VersionConflict(f"wallet {posted.holdings.wallet.id} has moved on")
        for entry in posted.entries:
            if entry.idempotency_key is not None and entry.idempotency_key in tables.keys:
                raise VersionConflict(f"key {entry.idempotency_key!r} was used meanwhile")
    _expect_next(tables.subscriptions, changes.subscriptions)
    _expect_next(tables.invoices, changes.invoices)
    _expect_next(tables.payments, changes.payments)
    _expect_next(tables.purchases, changes.purchases)
    _expect_next(tables.streams, changes.streams)
    for row in changes.outbox:
        if row.id in tables.outbox:
            raise VersionConflict(f"{row.id} was told already")
    for application in changes.applications:
        decided = tables.applications.get(application.id)
        if decided is not None and decided.status not in OPEN:
            raise VersionConflict(f"application {application.id} was decided meanwhile")
    for number in changes.numbers:
        last = tables.numbers.get(number.series)
        if last is not None and number.sequence != last + 1:
            raise VersionConflict(f"number {number.text} was taken meanwhile")
    _check_payment_keys(tables, changes)
    _check_one_active_wallet(tables, changes)
    if changes.invoices:
        _check_billed_once(tables, changes)


class Versioned(Protocol):
    """What grows by one with every change."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> int:
        """How often it was written."""
        ...


def _expect_next(known: Mapping[Any, Versioned], changed: Iterable[Versioned]) -> None:
    """Refuse what is not the version after the one that is there."""
    for each in changed:
        before = known.get(each.id)
        if before is not None and each.version != before.version + 1:
            raise VersionConflict(f"{each.id} has moved on")


def _check_payment_keys(tables: Tables, changes: Changes) -> None:
    """Refuse a key that another payment or purchase has."""
    for kind in ("payments", "purchases"):
        owners = {
            each.idempotency_key: each.id
            for each in getattr(tables, kind).values()
            if each.idempotency_key is not None
        }
        for each in getattr(changes, kind):
            key = each.idempotency_key
            if key is not None and owners.setdefault(key, each.id) != each.id:
                raise VersionConflict(f"key {key!r} was used meanwhile")


def _check_one_active_wallet(tables: Tables, changes: Changes) -> None:
    """Refuse a second active wallet of one customer, currency and type."""
    if not changes.posted:
        return
    changed = {each.holdings.wallet.id: each.holdings for each in changes.posted}
    owners: dict[tuple[str, str, str], WalletId] = {}
    for held in (tables.wallets | changed).values():
        wallet = held.wallet
        if wallet.wallet_status is not WalletStatus.ACTIVE:
            continue
        if owners.setdefault(unique_key(wallet), wallet.id) != wallet.id:
            raise AlreadyExists("the customer has an active wallet of this kind", reason="unique")


def unique_key(wallet: Wallet) -> tuple[str, str, str]:
    """Return what only one active wallet may have (wallets-alerts.md 4)."""
    return wallet.customer_id, wallet.currency.lower(), wallet.wallet_type.value


def billed_services(invoice: Invoice) -> Iterator[ServiceKey]:
    """Yield the services that no other invoice may bill as long as this one is not void."""
    if invoice.status is not InvoiceStatus.VOIDED:
        yield from (
            service_key(line)
            for line in invoice.lines
            if line.role is not Role.ADJUSTMENT and line.subscription_line_id is not None
        )


def _check_billed_once(tables: Tables, changes: Changes) -> None:
    """Refuse a service of a line that another invoice bills."""
    changed = {each.id: each for each in changes.invoices}
    concerned = {each.subscription_id for each in changes.invoices}
    services = sorted(
        (key, invoice.id)
        for invoice in (tables.invoices | changed).values()
        if invoice.subscription_id in concerned
        for key in billed_services(invoice)
    )
    for (key, _), (following, other) in pairwise(services):
        if key == following:
            raise AlreadyExists(f"a service of invoice {other} is billed already", reason="unique")


def write(tables: Tables, changes: Changes) -> None:
    """Write what was checked."""
    for customer in changes.customers:
        tables.customers[customer.id] = customer
    for subscription in changes.subscriptions:
        tables.subscriptions[subscription.id] = subscription
    for posted in changes.posted:
        _append(tables, posted)
    for invoice in changes.invoices:
        tables.invoices[invoice.id] = invoice
    for number in changes.numbers:
        tables.numbers[number.series] = number.sequence
    for payment in changes.payments:
        tables.payments[payment.id] = payment
    for purchase in changes.purchases:
        tables.purchases[purchase.id] = purchase
    for each in changes.redemptions:
        known = tables.redemptions.get(each.coupon_id, frozenset())
        tables.redemptions[each.coupon_id] = known | {each.redeemed_by}
    for stream in changes.streams:
        tables.streams[stream.id] = stream
    for row in changes.applications:
        tables.applications[row.id] = row
        tables.last_applications[row.grant_id] = row
    tables.alerts += changes.alerts
    tables.outbox |= {row.id: row for row in changes.outbox}
    for name, at in changes.wake.items():
        tables.due[name] = min(at, tables.due.get(name, at))


def _append(tables: Tables, posted: Posted) -> None:
    """Append one write to the ledger."""
    tables.wallets[posted.holdings.wallet.id] = posted.holdings
    tables.entries += posted.entries
    tables.consumptions += posted.consumptions
    tables.postings += posted.postings
    for entry in posted.entries:
        if entry.idempotency_key is not None:
            tables.keys[entry.idempotency_key] = entry
    for lot in posted.lots:
        tables.lots[lot.id] = lot
    left = {lot.id: lot.remaining for lot in posted.holdings.lots}
    for part in posted.consumptions:
        lot = tables.lots[part.lot_id]
        tables.lots[part.lot_id] = replace(lot, remaining=left.get(lot.id, Decimal(0)))
