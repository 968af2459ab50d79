"""Records of money for the tests of its stores: as plain as they can be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from billing.alerts.levels import observe
from billing.alerts.watching import stream_of
from billing.invoices.numbers import InvoiceNumber, Series
from billing.ports import Changes, OutboxRow
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import TopUp, top_up
from schemas.alert import AlertCondition, AlertSettings, AlertType, Threshold
from schemas.credit_grant import (
    ApplicationReason,
    ApplicationStatus,
    CreditGrantId,
    GrantApplication,
    GrantApplicationId,
)
from schemas.ids import (
    CustomerId,
    InvoiceId,
    InvoiceLineId,
    OutboxId,
    PaymentId,
    SubscriptionId,
    SubscriptionLineId,
    WalletId,
)
from schemas.invoice import BillingReason, Invoice, InvoiceKind, InvoiceLine, Role
from schemas.payment import InvoicePayment, PaymentMethod
from schemas.period import Interval
from schemas.price import PriceType
from schemas.purchase import Purchase, PurchaseId
from schemas.subscription import Subscription
from schemas.wallet import Reason, Wallet, WalletType

DAY = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY = Interval(DAY, datetime(2026, 2, 1, tzinfo=UTC))
ACME = CustomerId("acme")
WALLET = Wallet(WalletId("w"), ACME, "usd", WalletType.PRE_PAID, DAY)
SERIES = Series("INV", "202601")


def filled(wallet: Wallet | Holdings = WALLET, key: str | None = None, amount: int = 5) -> Posted:
    held = wallet if isinstance(wallet, Holdings) else Holdings(wallet)
    return top_up(held, TopUp(Reason.CREDIT_NOTE, Decimal(amount), idempotency_key=key), DAY)


def line(
    name: str, chain: str = "chain", role: Role = Role.FIXED, own: str | None = "sl"
) -> InvoiceLine:
    return InvoiceLine(
        InvoiceLineId(name),
        own and SubscriptionLineId(own),
        chain,
        role,
        "price",
        PriceType.FIXED,
        "Base",
        Decimal(1),
        Decimal("20.00"),
        JANUARY,
        {"pricing": {"amount": "20"}},
    )


def invoice(name: str = "i", *lines: InvoiceLine, version: int = 1, **values: object) -> Invoice:
    made = Invoice(
        InvoiceId(name),
        ACME,
        SubscriptionId("s"),
        InvoiceKind.RENEWAL,
        BillingReason.SUBSCRIPTION_CYCLE,
        "usd",
        JANUARY,
        JANUARY.end,
        JANUARY.end,
        lines,
        Decimal(20),
        Decimal(20),
        version=version,
    )
    return replace(made, **values)


def number(sequence: int) -> InvoiceNumber:
    return InvoiceNumber(SERIES, sequence, f"INV-202601-{sequence:05}")


def payment(name: str, key: str | None = None, of: str = "i", version: int = 1) -> InvoicePayment:
    return InvoicePayment(
        PaymentId(name),
        InvoiceId(of),
        PaymentMethod.OFFLINE,
        Decimal(20),
        "usd",
        DAY,
        idempotency_key=key,
        version=version,
    )


def purchase(name: str, key: str | None = None, version: int = 1) -> Purchase:
    return Purchase(
        PurchaseId(name),
        WALLET.id,
        ACME,
        InvoiceId("i"),
        Decimal(5),
        DAY,
        idempotency_key=key,
        version=version,
    )


def application(
    name: str, status: ApplicationStatus = ApplicationStatus.PENDING, day: int = 0
) -> GrantApplication:
    return GrantApplication(
        GrantApplicationId(name),
        CreditGrantId("g"),
        SubscriptionId("s"),
        DAY + timedelta(days=day),
        None,
        ApplicationReason.ONETIME,
        Decimal(5),
        status=status,
    )


def row(name: str) -> OutboxRow:
    return OutboxRow(OutboxId(name), "invoice_lines", "acme", DAY, {"amount": "1"})


SOLD = Subscription(SubscriptionId("s"), ACME, "acme", "usd", DAY)
STREAM, ALERT = observe(
    stream_of(WALLET, AlertType.LOW_CREDIT_BALANCE),
    AlertSettings(True, Threshold(Decimal(5), AlertCondition.BELOW)),
    Decimal(1),
    DAY,
)
assert ALERT is not None

SECOND_WALLET = replace(WALLET, id=WalletId("other"), currency="USD")
BILLED = Changes(invoices=(invoice("i", line("a")),))
DECIDED = Changes(applications=(application("a", ApplicationStatus.APPLIED),))


def both(one: Changes, other: Changes) -> Changes:
    return Changes(
        customers=one.customers + other.customers,
        subscriptions=one.subscriptions + other.subscriptions,
        posted=one.posted + other.posted,
        invoices=one.invoices + other.invoices,
        numbers=one.numbers + other.numbers,
        payments=one.payments + other.payments,
        purchases=one.purchases + other.purchases,
        redemptions=one.redemptions + other.redemptions,
        streams=one.streams + other.streams,
        alerts=one.alerts + other.alerts,
        applications=one.applications + other.applications,
        outbox=one.outbox + other.outbox,
        wake={**one.wake, **other.wake},
        deleted_payments=one.deleted_payments + other.deleted_payments,
    )
