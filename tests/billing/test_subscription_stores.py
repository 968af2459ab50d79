"""The life of a subscription is the same in every store, from its creation to what is left of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from change_stories import fee

from billing.ports import Changes, Stores, UsageReader
from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.agreeing import CouponGrant, SubscriptionTerms, agree
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.passes import pass_account
from billing.use_cases.subscription_cancellations import cancel_subscription, drop_cancellation
from billing.use_cases.subscription_changes import When, add_line, change_quantity, end_line
from billing.use_cases.subscriptions import create_subscription
from billing.wallets.holdings import balance
from schemas.cancellation import CancellationRequest, CancellationType
from schemas.collection import PaymentBehavior
from schemas.coupon import Coupon, CouponCadence, CouponId, CouponType
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.customer import Customer
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.money import total
from schemas.subscription import Plan, ProrationBehavior, SubscriptionStatus

Snapshot = Callable[[Stores], object]
KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]
ACME = Customer(CustomerId("acme"), "acme")
NAME = SubscriptionId("s")
USAGE: UsageReader = NothingUsed()
ONCE = Coupon(CouponId("c"), CouponType.FIXED, Decimal(1), CouponCadence.ONCE, currency="usd")
GRANT = CreditGrant(
    CreditGrantId("g"), GrantScope.PLAN, Decimal(5), GrantCadence.ONETIME, ExpirationType.NEVER
)
TERMS = SubscriptionTerms(
    datetime(2026, 1, 1, tzinfo=UTC),
    "usd",
    proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
    coupons=(CouponGrant(ONCE),),
)
PLAN = Plan(PlanId("p"), "Plan", prices=(fee("seat", "31"),), credit_grants=(GRANT,))


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, fresh_stores: Callable[[str], Stores]) -> Stores:
    """Return a store that knows the customer."""
    made = fresh_stores(request.param)
    made.commit(Changes(customers=(ACME,)))
    return made


def test_a_whole_life_comes_to_the_same_figures(stores: Stores) -> None:
    create_subscription(stores, agree(NAME, TERMS, ACME, PLAN), at=at(1, 1, 1))
    for key in ("seats", "seats"):
        found = stores.subscription(NAME)
        assert found is not None
        seat = found.lines[-1].id
        when = When(key=key)
        change_quantity(stores, USAGE, NAME, seat, Decimal(3), at=at(1, 16), when=when)
    extra = LineRequest(fee("extra", "62"))
    added = add_line(stores, USAGE, NAME, extra, at=at(1, 16), when=When(key="extra"))
    end_line(stores, USAGE, NAME, added.line.id, at=at(1, 24), when=When(key="gone"))
    planned = CancellationRequest(CancellationType.END_OF_PERIOD)
    cancel_subscription(stores, USAGE, NAME, planned, at=at(1, 25))
    drop_cancellation(stores, USAGE, NAME, at=at(1, 26))
    pass_account(stores, USAGE, ACME.id, at(2, 2))
    scheduled = CancellationRequest(CancellationType.SCHEDULED_DATE, at(2, 15))
    cancel_subscription(stores, USAGE, NAME, scheduled, at=at(2, 3))
    pass_account(stores, USAGE, ACME.id, at(2, 16))

    told = [
        (each.kind.value, each.subtotal, each.total_discount, each.status.value)
        for each in stores.invoices_of(NAME)
    ]
    assert told == [
        ("opening", Decimal(31), Decimal(1), "FINALIZED"),
        ("change", Decimal(32), Decimal(0), "FINALIZED"),
        ("change", Decimal(32), Decimal(0), "FINALIZED"),
        ("renewal", Decimal(93), Decimal(0), "FINALIZED"),
        ("final", Decimal(0), Decimal(0), "SKIPPED"),
    ]
    numbers = {each.invoice_number for each in stores.invoices_of(NAME)} - {None}
    assert numbers == {
        "INV-202601-00001",
        "INV-202601-00002",
        "INV-202601-00003",
        "INV-202602-00001",
    }
    # 62 × 8 / 31 = 16 came back in January and paid in February, 93 × 14 / 28 = 46.50 on the 15th.
    held = total(balance(each, at(3)) for each in stores.wallets_of(ACME.id))
    assert held == Decimal("46.50")
    found = stores.subscription(NAME)
    assert found is not None
    assert found.status is SubscriptionStatus.CANCELLED
    assert [each.effective_at for each in found.changes] == [
        at(1, 16),
        at(1, 16),
        at(1, 24),
        at(2),
        at(1, 26),
        at(2, 15),
        at(2, 15),
    ]
    assert stores.redeemed_by(ONCE.id) == {NAME}


def test_what_must_be_paid_and_is_not_leaves_nothing(stores: Stores, everything: Snapshot) -> None:
    unpaid = replace(TERMS, payment_behavior=PaymentBehavior.ERROR_IF_INCOMPLETE, coupons=())
    before = everything(stores)
    with pytest.raises(ValidationFailed):
        create_subscription(stores, agree(NAME, unpaid, ACME, PLAN), at=at(1, 1, 1))
    assert everything(stores) == before
