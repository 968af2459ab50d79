"""Claim facts: what is stored of a customer, as far as claims and balances need it.

A customer who has been billed for years has many invoices that are closed and paid; no claim rests
on them. What is kept here is bounded by what is open, so that working out the claims anew costs the
same whatever the history (wallets-alerts.md 9).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from billing.alerts.levels import NEVER
from billing.alerts.watching import stream_of
from billing.invoices.closing import CLOSED, unclosed
from billing.periods.services import open_services, services, windows
from billing.ports import Stores
from billing.wallets.holdings import Holdings
from schemas.alert import AlertSettings, AlertStream, AlertType
from schemas.ids import AlertStreamId, CustomerId, InvoiceId, SubscriptionId
from schemas.invoice import Invoice, InvoiceStatus
from schemas.subscription import Subscription
from schemas.tax import TaxBase

STREAMS = (AlertType.LOW_CREDIT_BALANCE, AlertType.LOW_ONGOING_BALANCE)


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """The facts of one customer at an instant; an `AlertStore` of its wallets' streams.

    `closed` says of a subscription up to which date all its invoices are closed. `names` are those
    by which events know whose usage the customer pays, its own first.
    """

    customer_id: CustomerId
    names: tuple[str, ...]
    subscriptions: tuple[Subscription, ...] = ()
    invoices: Mapping[InvoiceId, Invoice] = field(default_factory=dict)
    wallets: tuple[Holdings, ...] = ()
    streams: Mapping[AlertStreamId, AlertStream] = field(default_factory=dict)
    closed: Mapping[SubscriptionId, datetime] = field(default_factory=dict)
    tax_base: TaxBase = TaxBase.BEFORE_CREDITS
    wallet_alerts: AlertSettings = NEVER

    def stream(self, stream_id: AlertStreamId) -> AlertStream | None:
        """Return a stream as it was committed last, None if it was never changed."""
        return self.streams.get(stream_id)


def facts_of(stores: Stores, customer_id: CustomerId, at: datetime) -> ClaimFacts:
    """Read what is stored of a customer at an instant. Raises StoreError."""
    subscriptions = tuple(stores.subscriptions_of(customer_id))
    every = stores.invoices_for(customer_id)
    by_id = {each.id: each for each in every}
    closed: dict[SubscriptionId, datetime] = {}
    for subscription in subscriptions:
        until = closed_until(subscription, by_id, at)
        if until is not None:
            closed[subscription.id] = until
    with_coupons = {each.id for each in subscriptions if each.coupons}
    config = stores.config()
    wallets = tuple(stores.wallets_of(customer_id))
    names = [stores.external_id_of(customer_id)]
    names += [each.external_customer_id for each in subscriptions]
    return ClaimFacts(
        customer_id=customer_id,
        names=tuple(dict.fromkeys(names)),
        subscriptions=subscriptions,
        invoices={
            each.id: each
            for each in every
            if each.subscription_id in with_coupons or _needed(each, closed)
        },
        wallets=wallets,
        streams=_streams(stores, wallets),
        closed=closed,
        tax_base=config.tax_base,
        wallet_alerts=config.wallet_alerts,
    )


def closed_until(
    subscription: Subscription, invoices: Mapping[InvoiceId, Invoice], at: datetime
) -> datetime | None:
    """Return the date up to which all invoices of a subscription are closed, None if none is."""
    first = next(unclosed(subscription, invoices, at), None)
    until = None
    for window in windows(subscription, at):
        if window == first:
            break
        until = window.dated_at
    return until


def usage_since(facts: ClaimFacts, at: datetime) -> datetime | None:
    """Return the start of the earliest period that a claim may rest on, None if there is none."""
    starts: list[datetime] = []
    for subscription in facts.subscriptions:
        since = facts.closed.get(subscription.id)
        for window in unclosed(subscription, facts.invoices, at, since=since):
            if window.arrear is not None:
                starts += [each.period.start for each in services(subscription, window)]
                starts.append(window.arrear.start)
        starts += _open_starts(subscription, at)
    return min(starts, default=None)


def _open_starts(subscription: Subscription, at: datetime) -> Iterable[datetime]:
    """Return the starts of what runs at an instant, and of the billing period that holds it."""
    running, period = open_services(subscription, at)
    return [*(each.period.start for each in running), *([period.start] if period else [])]


def _needed(invoice: Invoice, closed: Mapping[SubscriptionId, datetime]) -> bool:
    """Tell whether a claim may rest on an invoice, beside the counting of coupons.

    It is open, or unpaid; or what it bills reaches into a period that is not closed, and must not be
    billed there again.
    """
    if invoice.status not in CLOSED:
        return True
    if invoice.status is InvoiceStatus.FINALIZED and invoice.amount_remaining > 0:
        return True
    until = None if invoice.subscription_id is None else closed.get(invoice.subscription_id)
    return until is None or any(line.period.end >= until for line in invoice.lines)


def _streams(stores: Stores, wallets: Sequence[Holdings]) -> Mapping[AlertStreamId, AlertStream]:
    """Read the streams of wallets that were ever judged."""
    names = [stream_of(held.wallet, kind).id for held in wallets for kind in STREAMS]
    found = ((name, stores.stream(name)) for name in names)
    return {name: stream for name, stream in found if stream is not None}
