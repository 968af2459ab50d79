"""What the tests of invoices over HTTP share: a customer with what it may be given, and requests."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from billing.ports import Changes
from billing.use_cases.passes import run_pass
from billing.wallets import ledger
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import TopUp
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.customer import Customer
from schemas.ids import CustomerId, WalletId
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Subscription
from schemas.tax import (
    TaxRate,
    TaxRateId,
    TaxRateType,
)
from schemas.wallet import Reason, Wallet, WalletType

HERE = Scope("tenant_1", "env_1")
ACME = CustomerId("acme")
VAT = TaxRate(TaxRateId("vat"), TaxRateType.PERCENTAGE, Decimal(20), "VAT", "Value added")
TENTH = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10), coupon_code="TENTH")
LINE = {"amount": "60.004", "quantity": "1", "display_name": "Work"}
TABLES = ("invoices", "payments", "ledger_entries", "redemptions", "outbox", "invoice_series")


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def one_off(amount: str = "60", **members: Any) -> dict[str, Any]:
    line = {"amount": amount, "quantity": "1", "display_name": "Work"}
    body = {"customer_id": ACME, "currency": "USD", "line_items": [line]}
    return {**body, "subtotal": amount, "total": amount, "amount_due": amount, **members}


def filled(kept: Any, amount: str, kind: WalletType = WalletType.PRE_PAID) -> WalletId:
    """Put a wallet with credits into the store."""
    kept_wallet = Wallet(WalletId(f"wallet_{kind.value}"), ACME, "usd", kind, at(1))
    request = TopUp(Reason.CREDIT_NOTE, Decimal(amount))
    stores = kept.environment(HERE).stores
    stores.commit(Changes(posted=(ledger.top_up(Holdings(kept_wallet), request, at(1)),)))
    return kept_wallet.id


def bill(kept: Any) -> None:
    """Do what is due, as the billing dataflow does."""
    report = run_pass(kept.environment(HERE).stores, lambda _: kept.usage, kept.now)
    assert not report.failed


def rows(kept: Any) -> dict[str, int]:
    """Return how much there is of what money leaves behind."""
    with kept.database.reading() as session:
        counted = {}
        for name in session.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")):
            counted[name] = session.scalar(text(f"SELECT count(*) FROM {name}"))
        return counted


def prepared(kept: Any) -> Any:
    """Return what is kept of an environment with a customer, a coupon and a tax rate."""
    environment = kept.environment(HERE)
    environment.objects.customers.add(made(Customer(ACME, "acme", "Acme"), at(1)))
    environment.objects.coupons.add(made(TENTH, at(1)))
    environment.objects.tax_rates.add(made(VAT, at(1)))
    return environment


def begin(kept: Any, subscription: Subscription) -> None:
    """Put a subscription into the store, and let the dataflow bill it."""
    stores = kept.environment(HERE).stores
    stores.commit(Changes(subscriptions=(subscription,), wake={subscription.payer_id: at(1)}))
    bill(kept)
