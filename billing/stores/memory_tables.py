"""The tables of the memory store: what may be written to them, and how (`billing/stores/memory.py`)."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Protocol

from billing.invoices.drafting import ServiceKey, service_key
from billing.invoices.numbers import Series
from billing.ports import Changes, OutboxRow
from billing.stores.live_services import is_live
from billing.wallets.holdings import Holdings, Posted
from schemas.alert import Alert, AlertStream
from schemas.coupon import CouponId
from schemas.credit_grant import OPEN, CreditGrantId, GrantApplication, GrantApplicationId
from schemas.customer import Customer
from schemas.errors import AlreadyExists, ValidationFailed, VersionConflict
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    LotId,
    PaymentId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice
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
    answers: dict[tuple[str, str], str] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return tables with the same rows, which change on their own."""
        return Tables(*(getattr(self, each.name).copy() for each in fields(self)))


def check(tables: Tables, changes: Changes) -> None:
    """Refuse a commit that rests on a state that is gone, before anything is written.

    What a commit has twice is judged in its order: the second goes on from the first.
    """
    _check_wallets(tables, changes)
    _expect_next(tables.subscriptions, changes.subscriptions)
    _expect_next(tables.invoices, changes.invoices)
    _expect_next(tables.payments, changes.payments)
    _expect_next(tables.purchases, changes.purchases)
    for payment in changes.deleted_payments:
        if tables.payments.get(payment.id) != payment:
            raise VersionConflict(f"{payment.id} has moved on")
    _expect_next(tables.streams, changes.streams)
    told = {(alert.stream_id, alert.version) for alert in tables.alerts} if changes.alerts else ()
    _expect_new(told, ((alert.stream_id, alert.version) for alert in changes.alerts))
    _expect_new(tables.outbox, (row.id for row in changes.outbox))
    _expect_new(tables.answers, ((each.kind, each.key) for each in changes.answers))
    _check_applications(tables, changes)
    numbers: dict[Series, int] = {}
    for number in changes.numbers:
        last = numbers.get(number.series, tables.numbers.get(number.series))
        if last is not None and number.sequence != last + 1:
            raise VersionConflict(f"number {number.text} was taken meanwhile")
        numbers[number.series] = number.sequence
    _check_payment_keys(tables, changes)
    _check_names(tables, changes)
    _check_one_active_wallet(tables, changes)
    if changes.invoices:
        _check_billed_once(tables, changes)
    _check_references(tables, changes)


def _check_wallets(tables: Tables, changes: Changes) -> None:
    """Refuse a write to a wallet that has moved on, and a key that was used."""
    sequences: dict[WalletId, int] = {}
    keys: set[str] = set()
    for posted in changes.posted:
        name = posted.holdings.wallet.id
        held = tables.wallets.get(name)
        if sequences.get(name, held.sequence if held else 0) != posted.base:
            raise VersionConflict(f"wallet {name} has moved on")
        sequences[name] = posted.holdings.sequence
        for entry in posted.entries:
            key = entry.idempotency_key
            if key is None:
                continue
            if key in tables.keys or key in keys:
                raise VersionConflict(f"key {key!r} was used meanwhile")
            keys.add(key)


def _check_applications(tables: Tables, changes: Changes) -> None:
    """Refuse an application that was decided, or a second one of a period."""
    changed: dict[GrantApplicationId, GrantApplication] = {}
    for application in changes.applications:
        decided = changed.get(application.id, tables.applications.get(application.id))
        if decided is not None and decided.status not in OPEN:
            raise VersionConflict(f"application {application.id} was decided meanwhile")
        changed[application.id] = application
    concerned = {each.grant_id for each in changed.values()}
    owners: dict[tuple[str, datetime], str] = {}
    for each in (tables.applications | changed).values():
        period = each.grant_id, each.period_start
        if each.grant_id in concerned and owners.setdefault(period, each.id) != each.id:
            raise VersionConflict(f"a period of grant {each.grant_id} has an application already")


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
    versions: dict[str, int] = {}
    for each in changed:
        before = known.get(each.id)
        version = versions.get(each.id, before.version if before is not None else None)
        if version is not None and each.version != version + 1:
            raise VersionConflict(f"{each.id} has moved on")
        versions[each.id] = each.version


def _expect_new(known: Container[object], added: Iterable[object]) -> None:
    """Refuse what was told already."""
    seen: set[object] = set()
    for each in added:
        if each in known or each in seen:
            raise VersionConflict(f"{each} was told already")
        seen.add(each)


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


def _check_names(tables: Tables, changes: Changes) -> None:
    """Refuse an external id of another customer, and a number of another invoice."""
    names: dict[str, str] = {}
    customers = {each.id: each for each in changes.customers}
    for customer in (tables.customers | customers).values() if customers else ():
        if names.setdefault(customer.external_id, customer.id) != customer.id:
            raise AlreadyExists("another customer has this external id", reason="unique")
    invoices = {each.id: each for each in changes.invoices}
    if all(each.invoice_number is None for each in invoices.values()):
        return
    numbers: dict[str, str] = {}
    for invoice in (tables.invoices | invoices).values():
        number = invoice.invoice_number
        if number is not None and numbers.setdefault(number, invoice.id) != invoice.id:
            raise AlreadyExists("another invoice has this number", reason="unique")


def _check_references(tables: Tables, changes: Changes) -> None:
    """Refuse a payment of no invoice, and an alert of no stream."""
    invoices = {each.id for each in changes.invoices}
    streams = {each.id for each in changes.streams}
    if any(
        each.invoice_id not in invoices and each.invoice_id not in tables.invoices
        for each in changes.payments
    ) or any(
        each.stream_id not in streams and each.stream_id not in tables.streams
        for each in changes.alerts
    ):
        raise ValidationFailed("this names something that does not exist")


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
    yield from (service_key(line) for line in invoice.lines if is_live(invoice, line))


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
    tables.payments |= {each.id: each for each in changes.payments}
    for payment in changes.deleted_payments:
        del tables.payments[payment.id]
    for purchase in changes.purchases:
        tables.purchases[purchase.id] = purchase
    for each in changes.redemptions:
        known = tables.redemptions.get(each.coupon_id, frozenset())
        tables.redemptions[each.coupon_id] = known | {each.redeemed_by}
    for stream in changes.streams:
        tables.streams[stream.id] = stream
    for row in changes.applications:
        tables.applications[row.id] = row
        last = tables.last_applications.get(row.grant_id, row)
        later = max(row, last, key=lambda each: each.period_start)
        tables.last_applications[row.grant_id] = later
    tables.alerts += changes.alerts
    tables.outbox |= {row.id: row for row in changes.outbox}
    tables.answers |= {(each.kind, each.key): each.body for each in changes.answers}
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
