"""The memory store: everything that billing keeps, in dictionaries of one process.

It is what `tally bill` and the tests use, and the measure for the others: a commit is checked as a
whole before anything of it is written, so a refused one leaves everything as it was.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Self

from billing.configuration import BillingConfig
from billing.invoices.numbers import Series
from billing.ports import Changes, TakenRows
from billing.stores.memory_tables import Tables, check, write
from billing.wallets.holdings import Holdings
from schemas.alert import AlertStream
from schemas.coupon import CouponId
from schemas.credit_grant import CreditGrantId, GrantApplication
from schemas.customer import Customer
from schemas.ids import (
    AlertStreamId,
    CustomerId,
    InvoiceId,
    PaymentId,
    SubscriptionId,
    WalletId,
)
from schemas.invoice import Invoice
from schemas.payment import InvoicePayment
from schemas.purchase import Purchase, PurchaseStatus
from schemas.subscription import Subscription, SubscriptionStatus
from schemas.wallet import (
    Entry,
    EntryType,
    ReferenceType,
)


class MemoryStore:
    """All stores of `billing.ports` in one; `tables` are open to reports and laws."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription] = (),
        customers: Mapping[CustomerId, str] | None = None,
        config: BillingConfig | None = None,
    ) -> None:
        self.tables = Tables()
        self._config = config or BillingConfig()
        self._lock = threading.RLock()
        self._decides = False
        self._names = dict(customers or {})
        for subscription in subscriptions:
            self.put_subscription(subscription)

    @contextmanager
    def deciding(self, customer_id: CustomerId) -> Iterator[Self]:
        """Let nobody else in until the end; what was committed is undone if anything is raised."""
        del customer_id
        with self._lock:
            assert not self._decides, "a decision inside a decision"
            self._decides = True
            before = self.tables.copy()
            try:
                yield self
            except BaseException:
                self.tables = before
                raise
            finally:
                self._decides = False

    def config(self) -> BillingConfig:
        """Return the settings that billing obeys."""
        return self._config

    def customer(self, customer_id: CustomerId) -> Customer | None:
        """Return a customer, None if there is none."""
        return self.tables.customers.get(customer_id)

    def external_id_of(self, customer_id: CustomerId) -> str:
        """Return the name of a customer; one without a name is called by its id."""
        known = self.tables.customers.get(customer_id)
        return known.external_id if known else self._names.get(customer_id, customer_id)

    def subscription(self, subscription_id: SubscriptionId) -> Subscription | None:
        """Return a subscription, None if there is none."""
        return self.tables.subscriptions.get(subscription_id)

    def live_subscriptions(self) -> Sequence[Subscription]:
        """Return all subscriptions that are no drafts, in the order of their ids."""
        every = self.tables.subscriptions
        found = (every[name] for name in sorted(every))
        return tuple(each for each in found if each.status is not SubscriptionStatus.DRAFT)

    def subscriptions_of(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return those that a customer is invoiced for, in the order of their ids."""
        return tuple(each for each in self.live_subscriptions() if each.payer_id == customer_id)

    def subscriptions_naming(self, customer_id: CustomerId) -> Sequence[Subscription]:
        """Return all that name a customer, in the order of their ids."""
        every = self.tables.subscriptions
        found = (every[name] for name in sorted(every))
        return tuple(each for each in found if customer_id in (each.customer_id, each.payer_id))

    def put_subscription(self, subscription: Subscription) -> None:
        """Add a subscription, or replace it by what became of it, whatever its version."""
        self.tables.subscriptions[subscription.id] = subscription
        self._names[subscription.customer_id] = subscription.external_customer_id

    def redeemed_by(self, coupon_id: CouponId) -> frozenset[str]:
        """Return who has redeemed a coupon."""
        return self.tables.redemptions.get(coupon_id, frozenset())

    def holdings(self, wallet_id: WalletId) -> Holdings | None:
        """Return a wallet with what it holds."""
        return self.tables.wallets.get(wallet_id)

    def wallets_of(self, customer_id: CustomerId) -> Sequence[Holdings]:
        """Return a customer's wallets, in the order of their ids."""
        every = self.tables.wallets
        found = (every[name] for name in sorted(every))
        return tuple(held for held in found if held.wallet.customer_id == customer_id)

    def wallets(self) -> Sequence[Holdings]:
        """Return all wallets, in the order in which they were opened."""
        return tuple(self.tables.wallets.values())

    def entry_of(self, idempotency_key: str) -> Entry | None:
        """Return the entry that a key stands for."""
        return self.tables.keys.get(idempotency_key)

    def purchase_of(self, idempotency_key: str) -> Purchase | None:
        """Return the purchase that a key stands for."""
        found = self.tables.purchases.values()
        return next((each for each in found if each.idempotency_key == idempotency_key), None)

    def purchases_for(self, invoice_id: InvoiceId) -> Sequence[Purchase]:
        """Return the purchases that an invoice pays, in the order of their ids."""
        mine = (each for each in self.tables.purchases.values() if each.invoice_id == invoice_id)
        return tuple(sorted(mine, key=lambda each: each.id))

    def pending_purchases(self, wallet_id: WalletId) -> Sequence[Purchase]:
        """Return the purchases of a wallet that wait for their invoices, in the order of their ids."""
        mine = (
            each
            for each in self.tables.purchases.values()
            if each.wallet_id == wallet_id and each.status is PurchaseStatus.PENDING
        )
        return tuple(sorted(mine, key=lambda each: each.id))

    def last_application(self, grant_id: CreditGrantId) -> GrantApplication | None:
        """Return the application of a grant that starts last."""
        return self.tables.last_applications.get(grant_id)

    def invoice(self, invoice_id: InvoiceId) -> Invoice | None:
        """Return an invoice by its id."""
        return self.tables.invoices.get(invoice_id)

    def invoices_of(self, subscription_id: SubscriptionId) -> Sequence[Invoice]:
        """Return a subscription's invoices, in the order of their dates."""
        return tuple(each for each in self.invoices() if each.subscription_id == subscription_id)

    def invoices_for(self, customer_id: CustomerId) -> Sequence[Invoice]:
        """Return all invoices to a customer, in the order of their dates."""
        return tuple(each for each in self.invoices() if each.customer_id == customer_id)

    def invoices(self) -> Sequence[Invoice]:
        """Return all invoices, in the order of their dates."""
        every = self.tables.invoices.values()
        return tuple(sorted(every, key=lambda each: (each.dated_at, each.id)))

    def payments_of(self, invoice_id: InvoiceId) -> Sequence[InvoicePayment]:
        """Return the payments of an invoice in the order in which they were made, then of their ids."""
        mine = (each for each in self.tables.payments.values() if each.invoice_id == invoice_id)
        return tuple(sorted(mine, key=lambda each: (each.created_at, each.id)))

    def payment(self, payment_id: PaymentId) -> InvoicePayment | None:
        """Return a payment by its id."""
        return self.tables.payments.get(payment_id)

    def payment_of(self, idempotency_key: str) -> InvoicePayment | None:
        """Return the payment that a key stands for."""
        found = self.tables.payments.values()
        return next((each for each in found if each.idempotency_key == idempotency_key), None)

    def taken_for(self, invoice_id: InvoiceId) -> TakenRows:
        """Return what an invoice took from wallets, on its lines and by CREDITS payments.

        In the order of the wallets, and of what each of them wrote.
        """
        payments = {each.id for each in self.payments_of(invoice_id)}
        found = (
            each
            for each in self.tables.entries
            if each.type is EntryType.DEBIT
            and (
                (each.reference_type is ReferenceType.INVOICE and each.reference_id == invoice_id)
                or (each.reference_type is ReferenceType.PAYMENT and each.reference_id in payments)
            )
        )
        entries = tuple(sorted(found, key=lambda each: (each.wallet_id, each.sequence)))
        order = {each.id: place for place, each in enumerate(entries)}
        mine = (each for each in self.tables.consumptions if each.entry_id in order)
        parts = tuple(sorted(mine, key=lambda each: order[each.entry_id]))
        lots = {each.lot_id: self.tables.lots[each.lot_id] for each in parts}
        return TakenRows(entries, parts, tuple(lots.values()))

    def last_number(self, series: Series) -> int | None:
        """Return the last sequence of a series, None before the first."""
        return self.tables.numbers.get(series)

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return an alert stream as it was committed last."""
        return self.tables.streams.get(stream_id)

    def answer_of(self, kind: str, idempotency_key: str) -> str | None:
        """Return what the first request with a key was answered."""
        return self.tables.answers.get((kind, idempotency_key))

    def due_customers(self, at: datetime, limit: int) -> Sequence[tuple[CustomerId, datetime]]:
        """Return customers who are due by an instant, those who wait longest first."""
        found = sorted((since, name) for name, since in self.tables.due.items() if since <= at)
        return tuple((name, since) for since, name in found[:limit])

    def plan(self, customer_id: CustomerId, since: datetime, due: datetime | None) -> bool:
        """Put off a customer who was due since an instant, unless somebody planned otherwise."""
        with self._lock:
            if self.tables.due.get(customer_id) != since:
                return False
            if due is None:
                del self.tables.due[customer_id]
            else:
                self.tables.due[customer_id] = due
            return True

    def commit(self, changes: Changes) -> None:
        """Write everything or nothing; raises as `billing.ports.Stores` has it."""
        with self._lock:
            check(self.tables, changes)
            write(self.tables, changes)
