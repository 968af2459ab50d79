"""A customer and a plan as tests of subscriptions sell it, put into the stores of an application."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from conftest import HERE
from kept import Kept

from billing.ports.objects import Objects
from schemas.coupon import Coupon, CouponId, CouponType
from schemas.customer import Customer
from schemas.ids import CustomerId, EntitlementId, FeatureId, PlanId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.price import BillingModel, BillingPeriod, InvoiceCadence, Price, PriceType
from schemas.stored import made
from schemas.subscription import Entitlement, Feature, FeatureType, Plan
from schemas.tax import TaxRate, TaxRateId, TaxRateType

START = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER, PLAN = CustomerId("cust_acme"), PlanId("plan_pro")

Body = dict[str, Any]

CALLS = Meter(
    "meter_calls",
    HERE.tenant_id,
    HERE.environment_id,
    "Calls",
    "call",
    Aggregation(AggregationType.SUM, "n"),
)


def price(name: str, **terms: Any) -> Price:
    """Return a price of the plan, a monthly flat fee in arrear unless it says otherwise."""
    given: dict[str, Any] = {
        "type": PriceType.FIXED,
        "billing_model": BillingModel.FLAT_FEE,
        "currency": "usd",
        "entity_id": PLAN,
        "start_date": START,
        **terms,
    }
    return Price(id=name, **given)


USAGE = price(
    "price_calls", type=PriceType.USAGE, meter_id="meter_calls", amount=Decimal(1), sequence=1
)
SEAT = price(
    "price_seat",
    amount=Decimal(31),
    invoice_cadence=InvoiceCadence.ADVANCE,
    display_name="Seat",
    sequence=2,
)
OTHER = price("price_other", amount=Decimal(5), billing_period=BillingPeriod.ANNUAL, sequence=3)


def sell(kept: Kept, *prices: Price, limit: int | None = None) -> Objects:
    """Put the customer, the meter and the plan with these prices into the environment."""
    objects = kept.environment(HERE).objects
    objects.customers.add(made(Customer(CUSTOMER, "acme", "Acme"), START))
    objects.meters.add(made(CALLS, START))
    feature = Feature(
        FeatureId("feat_calls"), "Calls", FeatureType.METERED, "calls", meter_id="meter_calls"
    )
    objects.features.add(made(feature, START))
    objects.plans.add(made(Plan(PLAN, "Pro", "pro"), START))
    for each in prices:
        objects.prices.add(made(each, START))
    if limit is not None:
        grant(objects, "ent_calls", limit)
    return objects


def grant(objects: Objects, name: str, limit: int | None, **terms: Any) -> None:
    """Let the plan grant the calls, or what else is said."""
    given: Body = {
        "feature_id": FeatureId("feat_calls"),
        "meter_id": "meter_calls",
        "entity_id": PLAN,
        **terms,
    }
    entitlement = Entitlement(EntitlementId(name), usage_limit=limit, **given)
    objects.entitlements.add(made(entitlement, START))


def add_coupon(objects: Objects, name: str = "coupon_half", **terms: Any) -> None:
    """Add a coupon that takes off a half."""
    coupon = Coupon(
        CouponId(name), CouponType.PERCENTAGE, Decimal(50), coupon_code=name.upper(), **terms
    )
    objects.coupons.add(made(coupon, START))


def add_tax_rate(objects: Objects) -> None:
    """Add a tax rate of ten per cent."""
    rate = TaxRate(TaxRateId("taxrate_vat"), TaxRateType.PERCENTAGE, Decimal(10), code="vat")
    objects.tax_rates.add(made(rate, START))


def asked(**more: Any) -> Body:
    """Return the body that subscribes the customer to the plan from the first of January on."""
    return {
        "customer_id": CUSTOMER,
        "plan_id": PLAN,
        "currency": "usd",
        "start_date": "2026-01-01T00:00:00Z",
        **more,
    }
