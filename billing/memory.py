"""The memory store: everything that billing keeps, in dictionaries of one process.

It is what `tally bill` and the tests use, and the measure for the others: a commit is checked as a
whole before anything of it is written, so a refused one leaves everything as it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from billing.ports import Changes, OutboxRow
from billing.wallets.holdings import Holdings, Posted
from schemas.alert import Alert, AlertStream
from schemas.credit_grant import OPEN, CreditGrantId, GrantApplication, GrantApplicationId
from schemas.errors import VersionConflict
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    LotId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice
from schemas.subscription import Subscription
from schemas.wallet import Consumption, Entry, Lot, Posting


class MemoryStore:
    """All stores of `billing.ports` in one; the ledger is kept whole, for reports and laws."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        customers: Mapping[CustomerId, str] | None = None,
    ) -> None:
        self._subscriptions = {
            subscription.id: subscription
            for subscription in sorted(subscriptions, key=lambda each: each.id)
        }
        self._customers = dict(customers or {})
        for subscription in self._subscriptions.values():
            self._customers[subscription.customer_id] = subscription.external_customer_id
        self._wallets: dict[WalletId, Holdings] = {}
        self._keys: dict[str, Entry] = {}
        self._invoices: dict[InvoiceId, Invoice] = {}
        self._streams: dict[AlertStreamId, AlertStream] = {}
        self._outbox_ids: set[str] = set()
        self._last_applications: dict[CreditGrantId, GrantApplication] = {}
        self.applications: dict[GrantApplicationId, GrantApplication] = {}
        self.entries: list[Entry] = []
        self.lots: dict[LotId, Lot] = {}
        self.consumptions: list[Consumption] = []
        self.postings: list[Posting] = []
        self.alerts: list[Alert] = []
        self.outbox: list[OutboxRow] = []

    def external_id_of(self, customer_id: CustomerId) -> str:
        """Return the name of a customer; one without a name is called by its id."""
        return self._customers.get(customer_id, customer_id)

    def live_subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions, in the order of their ids."""
        return tuple(self._subscriptions.values())

    def subscriptions_of(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return a customer's subscriptions, in the order of their ids."""
        return tuple(
            each for each in self._subscriptions.values() if each.customer_id == customer_id
        )

    def put_subscription(self, subscription: Subscription) -> None:
        """Add a subscription, or replace it by what became of it."""
        every = {**self._subscriptions, subscription.id: subscription}
        self._subscriptions = dict(sorted(every.items()))
        self._customers[subscription.customer_id] = subscription.external_customer_id

    def holdings(self, wallet_id: WalletId) -> Holdings | None:
        """Return a wallet with what it holds."""
        return self._wallets.get(wallet_id)

    def wallets_of(self, customer_id: CustomerId) -> Sequence[Holdings]:
        """Return a customer's wallets, in the order of their ids."""
        return tuple(
            self._wallets[name]
            for name in sorted(self._wallets)
            if self._wallets[name].wallet.customer_id == customer_id
        )

    def wallets(self) -> Sequence[Holdings]:
        """Return all wallets, in the order in which they were opened."""
        return tuple(self._wallets.values())

    def entry_of(self, idempotency_key: str) -> Entry | None:
        """Return the entry that a key stands for."""
        return self._keys.get(idempotency_key)

    def invoice(self, invoice_id: InvoiceId) -> Invoice | None:
        """Return an invoice by its id."""
        return self._invoices.get(invoice_id)

    def invoices_of(self, subscription_id: SubscriptionId) -> Sequence[Invoice]:
        """Return a subscription's invoices, in the order of their dates."""
        mine = (each for each in self._invoices.values() if each.subscription_id == subscription_id)
        return tuple(sorted(mine, key=lambda each: (each.dated_at, each.id)))

    def invoices(self) -> Sequence[Invoice]:
        """Return all invoices, in the order of their dates."""
        return tuple(sorted(self._invoices.values(), key=lambda each: (each.dated_at, each.id)))

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return an alert stream as it was committed last."""
        return self._streams.get(stream_id)

    def last_application(self, grant_id: CreditGrantId) -> GrantApplication | None:
        """Return the application of a grant that starts last."""
        return self._last_applications.get(grant_id)

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing; raises VersionConflict where another writer was first.

        A wallet must stand at the sequence that a write was decided on, an invoice and a stream
        one version behind, an application of a grant must be open, and an idempotency key and an
        outbox id are used once.
        """
        self._check(changes)
        for posted in changes.posted:
            self._append(posted)
        for invoice in changes.invoices:
            self._invoices[invoice.id] = invoice
        for stream in changes.streams:
            self._streams[stream.id] = stream
        for row in changes.applications:
            self.applications[row.id] = row
            self._last_applications[row.grant_id] = row
        self.alerts += changes.alerts
        self.outbox += changes.outbox
        self._outbox_ids |= {row.id for row in changes.outbox}

    def _check(self, changes: Changes) -> None:
        """Refuse a commit that rests on a state that is gone, before anything is written."""
        for posted in changes.posted:
            held = self._wallets.get(posted.holdings.wallet.id)
            if (held.sequence if held else 0) != posted.base:
                raise VersionConflict(f"wallet {posted.holdings.wallet.id} has moved on")
            for entry in posted.entries:
                if entry.idempotency_key is not None and entry.idempotency_key in self._keys:
                    raise VersionConflict(f"key {entry.idempotency_key!r} was used meanwhile")
        for invoice in changes.invoices:
            known = self._invoices.get(invoice.id)
            if known is not None and invoice.version <= known.version:
                raise VersionConflict(f"invoice {invoice.id} has moved on")
        for stream in changes.streams:
            before = self._streams.get(stream.id)
            if before is not None and stream.version <= before.version:
                raise VersionConflict(f"alert stream {stream.id} has moved on")
        for row in changes.outbox:
            if row.id in self._outbox_ids:
                raise VersionConflict(f"{row.id} was told already")
        for application in changes.applications:
            decided = self.applications.get(application.id)
            if decided is not None and decided.status not in OPEN:
                raise VersionConflict(f"application {application.id} was decided meanwhile")

    def _append(self, posted: Posted) -> None:
        """Append one write to the ledger."""
        self._wallets[posted.holdings.wallet.id] = posted.holdings
        self.entries += posted.entries
        self.consumptions += posted.consumptions
        self.postings += posted.postings
        for entry in posted.entries:
            if entry.idempotency_key is not None:
                self._keys[entry.idempotency_key] = entry
        for lot in posted.lots:
            self.lots[lot.id] = lot
        left = {lot.id: lot.remaining for lot in posted.holdings.lots}
        for part in posted.consumptions:
            lot = self.lots[part.lot_id]
            self.lots[part.lot_id] = replace(lot, remaining=left.get(lot.id, Decimal(0)))
