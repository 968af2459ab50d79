"""Stories of changed subscriptions, which several tests begin with."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from billing.ports import UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.subscription_changes import LineChanged, When, change_quantity
from billing.wallets.holdings import balance
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.invoice import Invoice, InvoiceStatus
from schemas.money import settle, total
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType
from schemas.subscription import Plan, ProrationBehavior, Subscription, SubscriptionLine

PRORATED = ProrationBehavior.CREATE_PRORATIONS
ACME = CustomerId("acme")
NAME = SubscriptionId("s")
USAGE: UsageReader = NothingUsed()
Found = list[tuple[str, str]]


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def fee(name: str, amount: str, **terms: Any) -> Price:
    given = {"invoice_cadence": InvoiceCadence.ADVANCE, "display_name": name} | terms
    return Price(
        name, PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(amount), **given
    )


def sold(*prices: Price, behavior: ProrationBehavior = PRORATED, **facts: Any) -> Subscription:
    plan = Plan(PlanId("p"), "Plan", prices=prices)
    blank = Subscription(NAME, ACME, "acme", "usd", at(1), proration_behavior=behavior, **facts)
    return subscribe(blank, plan)


def opened(subscription: Subscription, by: datetime | None = None) -> MemoryStore:
    """Return a store in which all invoices that are due by an instant have been made."""
    store = MemoryStore([subscription])
    close_due(store, USAGE, by or at(1))
    return store


def line(store: MemoryStore, name: str) -> SubscriptionLine:
    """Return the version of a line that is the last one of its chain."""
    subscription = store.subscription(NAME)
    assert subscription is not None
    return [each for each in subscription.lines if each.display_name == name][-1]


def seats(store: MemoryStore, quantity: int, day: int, when: When | None = None) -> LineChanged:
    return change_quantity(
        store,
        USAGE,
        NAME,
        line(store, "seat").id,
        Decimal(quantity),
        at=at(1, day),
        when=when or When(),
    )


def lines(invoice: Invoice | None) -> Found:
    assert invoice is not None
    return [(each.display_name, f"{each.amount:f}") for each in invoice.lines]


def held(store: MemoryStore) -> Decimal:
    """Return the balance of the customer's wallets."""
    return total(balance(each, at(12)) for each in store.wallets())


def moved(store: MemoryStore) -> Decimal:
    """Return everything that the customer was asked for, less what went to a wallet."""
    asked = total(
        each.subtotal for each in store.invoices() if each.status is not InvoiceStatus.VOIDED
    )
    given = total(
        entry.amount for entry in store.tables.entries if entry.reason.value == "CREDIT_NOTE"
    )
    return asked - given


def repriced(explanation: Mapping[str, Any], currency: str = "usd") -> Decimal:
    """Price a line again from its explanation alone: the rules are those of billing.md 6."""
    cost = sum((Fraction(each["amount"]) for each in explanation["pricing"]), Fraction(0))
    part = explanation["proration"]
    if part is not None:
        cost *= Fraction(part["numerator"]) / Fraction(part["denominator"])
    amount = settle(cost, currency)
    if "change" not in explanation:
        return amount
    known = explanation["change"]
    assert Decimal(known["unused"]) == amount
    left = Decimal(known["charged"]) - Decimal(known["credited_before"])
    return -max(min(amount, left), Decimal(0))
