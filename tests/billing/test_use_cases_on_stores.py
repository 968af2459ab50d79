"""The same history on every store: what is decided does not depend on where it is kept."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from billing.invoices.one_off import OneOffLine, OneOffRequest
from billing.ports import Changes, Stores, UsageReader
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.one_off import create_one_off
from billing.use_cases.passes import run_pass
from billing.use_cases.payments import (
    attempt_payment,
    create_payment,
    delete_payment,
    record_by_hand,
)
from billing.use_cases.voiding import void_invoice
from billing.use_cases.wallets import (
    WalletChange,
    create_wallet,
    debit,
    terminate,
    top_up,
    update_wallet,
)
from billing.wallets.ledger import Debit, TopUp
from schemas.alert import AlertCondition, AlertSettings, Threshold
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.customer import Customer
from schemas.errors import InvalidOperation
from schemas.ids import CustomerId
from schemas.invoice import PaymentStatus
from schemas.payment import PaymentRequest
from schemas.price import BillingPeriod
from schemas.subscription import Plan, Subscription
from schemas.wallet import Reason, WalletRequest

Daily = Callable[[str, int], UsageReader]
ACME = CustomerId("acme")
LOW = AlertSettings(True, Threshold(Decimal(10), AlertCondition.BELOW))
KINDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_leaves_the_same_on_every_store(
    acme: Subscription,
    pro: Plan,
    daily: Daily,
    fresh_stores: Callable[[str], Stores],
    kind: str,
) -> None:
    sold = _sold(acme, pro)
    stores, measure = fresh_stores(kind), fresh_stores("memory")
    for each in (stores, measure):
        _live(each, sold, daily)
    assert _left(stores) == _left(measure)
    assert len(stores.invoices_for(ACME)) == 6


def _sold(acme: Subscription, pro: Plan) -> Subscription:
    """Return a subscription with credits each month."""
    made = subscribe(acme, pro)
    grant = CreditGrant(
        id=CreditGrantId("monthly"),
        name="Monthly credits",
        scope=GrantScope.SUBSCRIPTION,
        subscription_id=made.id,
        credits=Decimal(30),
        cadence=GrantCadence.RECURRING,
        period=BillingPeriod.MONTHLY,
        expiration_type=ExpirationType.BILLING_CYCLE,
        start_date=made.start_date,
    )
    return replace(made, credit_grants=(grant,))


def _live(stores: Stores, sold: Subscription, daily: Daily) -> None:
    """Do a bit of everything."""
    usage = daily("100", 60)
    stores.commit(
        Changes(customers=(Customer(ACME, "acme"),), subscriptions=(sold,), wake={ACME: at(1)})
    )
    request = WalletRequest.model_validate({"currency": "usd", "wallet_type": "POST_PAID"})
    paying = create_wallet(stores, request, ACME, at(1)).holdings.wallet.id
    top_up(stores, paying, TopUp(Reason.FREE_CREDIT_GRANT, Decimal(15)), at(1))
    _pass(stores, usage, at(2, 1, 3))
    update_wallet(stores, paying, WalletChange(alert_settings=LOW), at(2, 2))
    top_up(
        stores, paying, TopUp(Reason.FREE_CREDIT_GRANT, Decimal(50), idempotency_key="k"), at(2, 3)
    )
    debit(stores, paying, Debit(Decimal(1), Reason.MANUAL_BALANCE_DEBIT, "d"), at(2, 3))
    renewal = stores.invoices_for(ACME)[-1]
    attempt_payment(stores, renewal.id, at(2, 4))
    half = Coupon(CouponId("half"), CouponType.PERCENTAGE, Decimal(50))
    lines = (OneOffLine(Decimal(200), "Setup"),)
    one_off = create_one_off(stores, OneOffRequest(ACME, "usd", lines, coupons=(half,)), at(2, 5))
    card = PaymentRequest.model_validate(
        {
            "destination_id": one_off.id,
            "payment_method_type": "CARD",
            "amount": "1",
            "currency": "usd",
            "process_payment": False,
        }
    )
    delete_payment(stores, create_payment(stores, card, at(2, 6)).id, at(2, 7))
    record_by_hand(stores, one_off.id, PaymentStatus.SUCCEEDED, at(2, 8))
    bought = top_up(stores, paying, TopUp(Reason.PURCHASED_CREDIT_INVOICED, Decimal(9)), at(2, 9))
    assert bought.bought is not None
    record_by_hand(stores, bought.bought.invoice.id, PaymentStatus.SUCCEEDED, at(2, 10))
    void_invoice(stores, renewal.id, at(2, 11))
    with pytest.raises(InvalidOperation):
        void_invoice(stores, renewal.id, at(2, 12))
    _pass(stores, usage, at(3, 1, 3))
    terminate(stores, paying, at(3, 2))
    _pass(stores, usage, at(4, 1, 3))


def _pass(stores: Stores, usage: UsageReader, until: datetime) -> None:
    """Run the passes that are due by an instant, each when it is due."""
    while due := stores.due_customers(until, 1):
        report = run_pass(stores, lambda _: usage, due[0][1])
        assert report.failed == ()


def _left(stores: Stores) -> object:
    """Return all that can be read of a customer."""
    invoices = stores.invoices_for(ACME)
    return (
        stores.subscriptions_of(ACME),
        invoices,
        stores.wallets_of(ACME),
        [stores.payments_of(each.id) for each in invoices],
        [stores.purchases_for(each.id) for each in invoices],
        [stores.taken_for(each.id) for each in invoices],
        stores.last_application(CreditGrantId("monthly")),
        stores.redeemed_by(CouponId("half")),
        stores.due_customers(at(12), 10),
    )
