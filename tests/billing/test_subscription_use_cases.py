"""Subscriptions as they are made: what is agreed, invoiced and granted, all or nothing."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.invoices.closing import CLOSED
from billing.ports import UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.agreeing import (
    CouponGrant,
    LineOverride,
    SubscriptionTerms,
    agree,
)
from billing.subscriptions.overrides import PriceTerms
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.passes import pass_account
from billing.use_cases.subscriptions import (
    Created,
    activate_subscription,
    create_subscription,
)
from billing.wallets.holdings import balance
from schemas.collection import CollectionMethod, PaymentBehavior
from schemas.commitment import Commitment, CommitmentType
from schemas.coupon import Coupon, CouponCadence, CouponId, CouponType
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.customer import Customer
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, ValidationFailed
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId, SubscriptionId
from schemas.invoice import BillingReason, InvoiceStatus, PaymentStatus
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.money import total
from schemas.price import BillingModel, BillingPeriod, InvoiceCadence, Price, PriceType
from schemas.subscription import (
    BillingCycle,
    Entitlement,
    Plan,
    Subscription,
    SubscriptionStatus,
)

ACME = Customer(CustomerId("acme"), "acme", timezone="UTC")
USAGE: UsageReader = NothingUsed()
METER = Meter("m", "t", "e", "units", "used", Aggregation(AggregationType.SUM, "units"))


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def fee(name: str, amount: str, **terms: Any) -> Price:
    given = {"invoice_cadence": InvoiceCadence.ADVANCE, "display_name": name} | terms
    return Price(
        name, PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(amount), **given
    )


def usage(name: str, **terms: Any) -> Price:
    price = fee(name, "1", invoice_cadence=InvoiceCadence.ARREAR, meter_id="m", **terms)
    return replace(price, type=PriceType.USAGE)


def plan(*prices: Price, **facts: Any) -> Plan:
    return Plan(PlanId("p"), "Plan", prices=prices, meters={"m": METER}, **facts)


def made(terms: SubscriptionTerms, *prices: Price, name: str = "s", **facts: Any) -> Subscription:
    return agree(SubscriptionId(name), terms, ACME, plan(*prices, **facts))


def asked(start: datetime, **terms: Any) -> SubscriptionTerms:
    return SubscriptionTerms(start, "usd", **terms)


def store_of() -> MemoryStore:
    return MemoryStore([], {ACME.id: "acme"})


def create(store: MemoryStore, record: Subscription, now: datetime, **how: Any) -> Created:
    return create_subscription(store, record, at=now, **how)


def test_a_subscription_goes_live_with_its_opening_invoice() -> None:
    store = store_of()
    done = create(store, made(asked(at(1)), fee("base", "20"), usage("use")), at(1, 1, 9))
    assert (done.subscription.status, done.warnings) == (SubscriptionStatus.ACTIVE, ())
    assert done.invoice is not None
    assert (done.invoice.total, done.invoice.status) == (Decimal(20), InvoiceStatus.FINALIZED)
    assert done.invoice.billing_reason is BillingReason.SUBSCRIPTION_CREATE
    assert done.invoice.invoice_number == "INV-202601-00001"
    assert store.subscription(SubscriptionId("s")) == done.subscription
    events = [row.event for row in store.tables.outbox.values() if row.event]
    assert events[-1] == "subscription.created"
    assert "invoice.update.finalized" in events
    assert store.due_customers(at(1, 1, 9), 5) == ((ACME.id, at(1, 1, 9)),)


def test_one_that_charges_nothing_in_advance_has_no_invoice() -> None:
    store = store_of()
    assert create(store, made(asked(at(1)), usage("use")), at(1)).invoice is None
    assert store.invoices() == ()


def test_one_that_begins_later_is_invoiced_later() -> None:
    store = store_of()
    done = create(store, made(asked(at(2)), fee("base", "20")), at(1))
    assert (done.subscription.status, done.invoice) == (SubscriptionStatus.ACTIVE, None)
    pass_account(store, USAGE, ACME.id, at(2))
    assert [each.dated_at for each in store.invoices()] == [at(2)]


def test_a_start_in_the_past_bills_each_period_in_order() -> None:
    store = store_of()
    create(store, made(asked(at(1)), fee("base", "20")), at(3, 15))
    pass_account(store, USAGE, ACME.id, at(3, 15))
    found = [(each.dated_at, each.total, each.status in CLOSED) for each in store.invoices()]
    assert found == [(at(month), Decimal(20), True) for month in (1, 2, 3)]


def test_a_draft_is_not_invoiced_before_it_is_activated() -> None:
    store = store_of()
    record = made(asked(at(1), trial_period_days=None), fee("base", "31"))
    draft = create(store, record, at(1), draft=True)
    assert (draft.subscription.status, store.invoices()) == (SubscriptionStatus.DRAFT, ())
    pass_account(store, USAGE, ACME.id, at(1, 5))
    assert store.invoices() == ()
    done = activate_subscription(store, record.id, at=at(1, 10), start_date=at(1, 10))
    assert done.subscription.status is SubscriptionStatus.ACTIVE
    assert done.invoice is not None
    assert done.invoice.period.start == done.subscription.lines[0].start_date == at(1, 10)
    with pytest.raises(InvalidOperation):
        activate_subscription(store, record.id, at=at(1, 11))
    with pytest.raises(NotFound):
        activate_subscription(store, SubscriptionId("none"), at=at(1, 11))


def test_a_draft_with_a_trial_has_as_long_a_trial_from_its_new_start_on() -> None:
    store = store_of()
    record = made(asked(at(1), trial_period_days=14), fee("base", "31"))
    create(store, record, at(1), draft=True)
    done = activate_subscription(store, record.id, at=at(2), start_date=at(2))
    assert done.subscription.status is SubscriptionStatus.TRIALING
    assert done.subscription.trial_end == done.subscription.lines[0].start_date == at(2, 15)


AUTOMATIC = CollectionMethod.CHARGE_AUTOMATICALLY
SENT = CollectionMethod.SEND_INVOICE


@pytest.mark.parametrize(
    ("method", "behavior", "amount", "status"),
    [
        (AUTOMATIC, PaymentBehavior.ALLOW_INCOMPLETE, "20", SubscriptionStatus.INCOMPLETE),
        (AUTOMATIC, PaymentBehavior.ALLOW_INCOMPLETE, "0", SubscriptionStatus.ACTIVE),
        (AUTOMATIC, PaymentBehavior.DEFAULT_ACTIVE, "20", SubscriptionStatus.ACTIVE),
        (SENT, PaymentBehavior.DEFAULT_INCOMPLETE, "20", SubscriptionStatus.INCOMPLETE),
        (SENT, PaymentBehavior.DEFAULT_ACTIVE, "20", SubscriptionStatus.ACTIVE),
    ],
)
def test_the_opening_invoice_says_whether_it_waits(
    method: CollectionMethod, behavior: PaymentBehavior, amount: str, status: SubscriptionStatus
) -> None:
    terms = asked(at(1), collection_method=method, payment_behavior=behavior)
    done = create(store_of(), made(terms, fee("base", amount)), at(1))
    assert done.subscription.status is status


def test_one_that_must_be_paid_and_is_not_leaves_nothing() -> None:
    store = store_of()
    terms = asked(at(1), payment_behavior=PaymentBehavior.ERROR_IF_INCOMPLETE)
    before = store.tables.copy()
    with pytest.raises(ValidationFailed) as refused:
        create(store, made(terms, fee("base", "20")), at(1))
    assert refused.value.field == "payment_behavior"
    assert store.tables == before
    assert create(store, made(terms), at(1)).subscription.status is SubscriptionStatus.ACTIVE


def test_an_id_is_used_once() -> None:
    store = store_of()
    create(store, made(asked(at(1)), fee("base", "20")), at(1))
    before = store.tables.copy()
    with pytest.raises(AlreadyExists):
        create(store, made(asked(at(1)), fee("base", "20")), at(1))
    assert store.tables == before


def test_credits_of_the_plan_pay_the_opening_invoice() -> None:
    grant = CreditGrant(
        CreditGrantId("g"),
        GrantScope.PLAN,
        Decimal(15),
        GrantCadence.ONETIME,
        ExpirationType.NEVER,
    )
    store = store_of()
    done = create(store, made(asked(at(1)), fee("base", "20"), credit_grants=(grant,)), at(1))
    assert done.invoice is not None
    assert done.invoice.total_prepaid_credits_applied == Decimal(15)
    assert total(balance(each, at(2)) for each in store.wallets()) == 0


def test_credits_come_once_a_subscription_that_waited_is_active() -> None:
    grant = CreditGrant(
        CreditGrantId("g"),
        GrantScope.PLAN,
        Decimal(15),
        GrantCadence.ONETIME,
        ExpirationType.NEVER,
    )
    terms = asked(at(1), payment_behavior=PaymentBehavior.ALLOW_INCOMPLETE)
    store = store_of()
    done = create(store, made(terms, fee("base", "20"), credit_grants=(grant,)), at(1))
    assert done.subscription.status is SubscriptionStatus.INCOMPLETE
    assert (store.wallets(), done.invoice and done.invoice.payment_status) == (
        (),
        PaymentStatus.PENDING,
    )


def test_a_coupon_is_redeemed_with_the_subscription_or_nothing_is_made() -> None:
    once = Coupon(
        CouponId("c"), CouponType.PERCENTAGE, Decimal(50), CouponCadence.ONCE, max_redemptions=1
    )
    store = store_of()
    terms = asked(at(1), coupons=(CouponGrant(once), CouponGrant(once)))
    done = create(store, made(terms, fee("base", "20")), at(1))
    assert done.invoice is not None
    assert done.invoice.total == Decimal("10.00")
    assert store.redeemed_by(once.id) == {"s"}
    before = store.tables.copy()
    with pytest.raises(ValidationFailed) as refused:
        create(store, made(terms, fee("base", "20"), name="second"), at(1))
    assert refused.value.field == "coupon_code"
    assert store.tables == before


def test_a_second_subscription_to_a_meter_is_worth_a_word() -> None:
    store = store_of()
    create(store, made(asked(at(1)), usage("use")), at(1))
    second = create(store, made(asked(at(1)), usage("use"), name="second"), at(1))
    assert second.warnings == ("meter_shared",)


def test_terms_of_its_own_make_a_price_of_the_subscription() -> None:
    overrides = (
        LineOverride("base", PriceTerms(amount=Decimal(15))),
        LineOverride("seat", quantity=Decimal(3)),
    )
    record = made(asked(at(1), overrides=overrides), fee("base", "20"), fee("seat", "10"))
    base, seat = record.lines
    assert (base.price.amount, base.price.parent_price_id) == (Decimal(15), "base")
    assert (base.price.entity_id, seat.price.id, seat.quantity) == ("s", "seat", Decimal(3))
    assert create(store_of(), record, at(1)).invoice is not None


def test_lines_of_its_own_come_beside_those_of_the_plan() -> None:
    quarterly = fee("support", "90", billing_period=BillingPeriod.QUARTERLY)
    record = made(
        asked(at(1), lines=(LineRequest(quarterly), LineRequest(usage("use"), meter=METER))),
        fee("base", "20"),
    )
    assert [each.display_name for each in record.lines] == ["base", "support", "use"]
    done = create(store_of(), record, at(1))
    assert done.invoice is not None
    assert done.invoice.total == Decimal("110.00")


def test_only_the_prices_that_are_asked_for_are_taken_over() -> None:
    terms = asked(at(1), include_price_ids=("base",))
    record = made(terms, fee("base", "20"), fee("seat", "10"))
    assert [each.display_name for each in record.lines] == ["base"]


def test_a_limit_of_its_own_takes_the_place_of_the_plans() -> None:
    granted = Entitlement(EntitlementId("e"), FeatureId("f"), meter_id="m", usage_limit=10)
    own = replace(
        granted,
        id=EntitlementId("own"),
        usage_limit=50,
        parent_entitlement_id=granted.id,
    )
    record = made(asked(at(1), entitlements=(own,)), usage("use"), entitlements=(granted,))
    assert record.entitlements == (own,)


PROMISED = Commitment(CommitmentType.AMOUNT, Decimal(100))


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"currency": "xau"}, "currency"),
        ({"end_date": at(1)}, "end_date"),
        ({"billing_anchor": at(1) - timedelta(days=1)}, "billing_anchor"),
        ({"billing_anchor": at(1), "billing_cycle": BillingCycle.CALENDAR}, "billing_anchor"),
        ({"billing_period": BillingPeriod.ONETIME}, "billing_period"),
        ({"billing_period_count": -1}, "billing_period_count"),
        ({"payment_behavior": PaymentBehavior.DEFAULT_INCOMPLETE}, "payment_behavior"),
        ({"trial_period_days": -1}, "trial_period_days"),
        ({"include_price_ids": ("none",)}, "include_price_ids"),
        ({"overrides": (LineOverride("none", quantity=Decimal(1)),)}, "override_line_items"),
        ({"overrides": (LineOverride("base"),)}, "override_line_items"),
        ({"overrides": (LineOverride("base", quantity=Decimal(2)),) * 2}, "override_line_items"),
        ({"overrides": (LineOverride("base", quantity=Decimal(-2)),)}, "quantity"),
        ({"overrides": (LineOverride("base", PriceTerms(amount=Decimal(-2))),)}, "amount"),
        ({"entitlements": (Entitlement(EntitlementId("e"), FeatureId("f")),)}, "override_entitlements"),
        ({"commitment": PROMISED, "line_commitments": {"use": PROMISED}}, "commitment_amount"),
        ({"lines": (LineRequest(replace(fee("x", "1"), currency="eur")),)}, "price_id"),
        ({"lines": (LineRequest(fee("x", "1"), commitment=PROMISED),)}, "commitment_type"),
        (
            {"coupons": (CouponGrant(Coupon(CouponId("c"), CouponType.PERCENTAGE, Decimal(5)), "x"),)},
            "line_item_coupons",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_agreed_names_its_field(terms: dict[str, Any], field: str) -> None:
    asked_for = replace(asked(at(1)), **terms)
    with pytest.raises(ValidationFailed) as refused:
        made(asked_for, fee("base", "20"), usage("use"))
    assert refused.value.field == field
