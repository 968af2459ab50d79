"""Charging: quantity, allowance, ladder, amount; then an independent pricer of the explanation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods.services import services, windows
from billing.ports import UsageReader
from billing.pricing.charging import Charge, Charging, included
from billing.subscriptions.subscribing import reprice, subscribe
from schemas.ids import EntitlementId, FeatureId, PlanId
from schemas.meter import AggregationType, Meter, WindowSize
from schemas.money import settle
from schemas.price import BillingModel, BillingPeriod, Price, PriceType, Tier, TierMode
from schemas.subscription import (
    Entitlement,
    Plan,
    ProrationBehavior,
    ResetPeriod,
    Subscription,
)

Listed = Callable[[Sequence[tuple[datetime, Decimal]]], UsageReader]
JANUARY, FEBRUARY = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
FOREVER = datetime(2030, 1, 1, tzinfo=UTC)


def day(number: int) -> datetime:
    return JANUARY + timedelta(days=number - 1, hours=12)


def entitlement(limit: int | None, reset: ResetPeriod | None, name: str = "e") -> Entitlement:
    return Entitlement(
        EntitlementId(name),
        FeatureId(name),
        meter_id="tokens",
        usage_limit=limit,
        usage_reset_period=reset,
    )


def slab(unit: str, then: str, name: str = "use", mode: TierMode = TierMode.SLAB) -> Price:
    return Price(
        name,
        PriceType.USAGE,
        BillingModel.TIERED,
        "usd",
        tiers=(Tier(1000, Decimal(unit)), Tier(None, Decimal(then))),
        tier_mode=mode,
        meter_id="tokens",
    )


def metered(
    acme: Subscription, tokens: Meter, price: Price, *includes: Entitlement
) -> Subscription:
    plan = Plan(
        PlanId("plan"),
        "Plan",
        prices=(price,),
        entitlements=includes,
        meters={"tokens": tokens},
    )
    return subscribe(acme, plan)


def charged(subscription: Subscription, usage: UsageReader, period: int = 1) -> list[Charge]:
    """Charge the usage of the period with this number, from 1."""
    window = list(windows(subscription, FOREVER))[period]
    charging = Charging(subscription, usage, FOREVER)
    return [charging.charge(service) for service in services(subscription, window)]


def reprices(explanation: Mapping[str, Any]) -> Decimal:
    """Compute a line's amount from its explanation alone, knowing nothing of this program."""
    rows = explanation.get("pricing") or explanation.get("buckets") or []
    exact = Fraction(0)
    for row in rows:
        part = Fraction(0)
        for term in row["components"]:
            part += Fraction(term["quantity"]) * Fraction(term["unit_amount"])
            part += Fraction(term["flat_amount"])
        numerator, denominator = row.get("share") or ("1", "1")
        exact += part * Fraction(numerator) / Fraction(denominator) * row.get("count", 1)
    if explanation["proration"]:
        part_of = explanation["proration"]
        exact *= Fraction(part_of["numerator"]) / Fraction(part_of["denominator"])
    if explanation["usage"]:
        used = explanation["usage"]
        covered = sum(Fraction(window["covered"]) for window in used["windows"])
        assert Fraction(used["billable"]) == max(Fraction(used["total"]) - covered, Fraction(0))
    return settle(exact, explanation["currency"])


@pytest.mark.parametrize(
    ("limit", "reset", "readings", "covered", "billable", "amount"),
    [
        (100, ResetPeriod.MONTHLY, [(3, 500)], 100, 400, "8"),
        (1000, ResetPeriod.MONTHLY, [(3, 1600)], 1000, 600, "12"),
        (10, ResetPeriod.DAILY, [(1, 15), (2, 3), (3, 12)], 23, 7, "0.14"),
        (None, ResetPeriod.MONTHLY, [(3, 500)], 500, 0, "0"),
        (0, None, [(3, 500)], 0, 500, "10"),
        (700, None, [(3, 500)], 500, 0, "0"),
    ],
)
def test_the_allowance_comes_off_before_the_first_tier(
    acme: Subscription,
    tokens: Meter,
    listed: Listed,
    limit: int | None,
    reset: ResetPeriod | None,
    readings: list[tuple[int, int]],
    covered: int,
    billable: int,
    amount: str,
) -> None:
    subscription = metered(acme, tokens, slab("0.02", "0.005"), entitlement(limit, reset))
    usage = listed([(day(at), Decimal(value)) for at, value in readings])
    (charge,) = charged(subscription, usage)
    assert (charge.covered, charge.quantity) == (Decimal(covered), Decimal(billable))
    assert charge.amount == Decimal(amount) == reprices(charge.explanation)


def test_an_allowance_that_never_resets_is_used_up_once(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    never = entitlement(100, ResetPeriod.NEVER)
    subscription = metered(acme, tokens, slab("0.02", "0.005"), never)
    usage = listed([(day(3), Decimal(100)), (day(40), Decimal(80))])
    assert [charged(subscription, usage, period)[0].amount for period in (1, 2)] == [
        Decimal("0.00"),
        Decimal("1.60"),
    ]


def test_a_quarter_has_the_allowance_of_its_three_months(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    quarterly = replace(acme, billing_period=BillingPeriod.QUARTERLY)
    price = replace(slab("0.02", "0.005"), billing_period=BillingPeriod.QUARTERLY)
    subscription = metered(quarterly, tokens, price, entitlement(1000, ResetPeriod.MONTHLY))
    usage = listed([(day(3), Decimal(2100)), (day(35), Decimal(200)), (day(65), Decimal(200))])
    (charge,) = charged(subscription, usage)
    assert (charge.covered, charge.quantity, charge.amount) == (
        Decimal(1400),
        Decimal(1100),
        Decimal("20.50"),
    )


def test_a_price_that_changes_keeps_one_ladder_and_one_allowance(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    subscription = metered(acme, tokens, slab("0.02", "0.01"), entitlement(100, None))
    (line,) = subscription.lines
    changed = reprice(subscription, line.id, day(15), price=slab("0.04", "0.02", "dearer"))
    usage = listed([(day(3), Decimal(900)), (day(20), Decimal(500))])
    first, second = charged(changed, usage)
    assert (first.amount, second.amount) == (Decimal("16.00"), Decimal("14.00"))
    assert [reprices(each.explanation) for each in (first, second)] == [first.amount, second.amount]


def test_each_bucket_is_priced_on_its_own(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    bucketed = replace(tokens, aggregation=replace(tokens.aggregation, bucket_size=WindowSize.DAY))
    price = replace(slab("1", "0.5"), tiers=(Tier(10, Decimal(1)), Tier(None, Decimal("0.5"))))
    subscription = metered(acme, bucketed, price, entitlement(5, None))
    usage = listed([(day(1), Decimal(15)), (day(2), Decimal(20)), (day(2), Decimal(2))])
    (charge,) = charged(subscription, usage)
    assert (charge.covered, charge.quantity, charge.amount) == (
        Decimal(5),
        Decimal(32),
        Decimal("26.00"),
    )
    assert reprices(charge.explanation) == charge.amount


def test_a_maximum_has_its_allowance_in_the_period(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    highest = replace(tokens, aggregation=replace(tokens.aggregation, type=AggregationType.MAX))
    never = entitlement(100, ResetPeriod.NEVER)
    subscription = metered(acme, highest, slab("0.02", "0.005"), never)
    usage = listed([(day(3), Decimal(100)), (day(40), Decimal(180))])
    assert [charged(subscription, usage, period)[0].quantity for period in (1, 2)] == [0, 80]


def test_allowances_add_up_and_the_longest_reset_wins(acme: Subscription, tokens: Meter) -> None:
    more = entitlement(250, ResetPeriod.ANNUAL, "addon")
    subscription = metered(acme, tokens, slab("1", "1"), entitlement(100, None), more)
    found = included(subscription, tokens)
    assert found is not None
    assert (found.limit, found.reset) == (350, ResetPeriod.ANNUAL)


def test_a_fee_in_part_is_explained_by_its_seconds(acme: Subscription, listed: Listed) -> None:
    fee = Price("fee", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(31))
    prorated = replace(
        acme,
        proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
        end_date=JANUARY + timedelta(days=17),
    )
    subscription = subscribe(prorated, Plan(PlanId("p"), "P", prices=(fee,)))
    charging = Charging(subscription, listed([]), FOREVER)
    window = list(windows(subscription, FOREVER))[-1]
    (charge,) = [charging.charge(each) for each in services(subscription, window)]
    assert charge.amount == Decimal("17.00") == reprices(charge.explanation)


quantities = st.integers(0, 4000).map(Decimal)
instants = st.integers(0, 31 * 24 - 1).map(lambda hours: JANUARY + timedelta(hours=hours))


@given(
    st.lists(st.tuples(instants, quantities), max_size=8),
    st.lists(instants, max_size=3, unique=True).map(sorted),
    st.none() | st.integers(0, 3000),
    st.sampled_from(list(TierMode)),
)
def test_one_price_in_any_number_of_versions_costs_what_it_costs_in_one(
    acme: Subscription,
    tokens: Meter,
    listed: Listed,
    readings: list[tuple[datetime, Decimal]],
    cuts: list[datetime],
    limit: int | None,
    mode: TierMode,
) -> None:
    whole = metered(acme, tokens, slab("0.02", "0.01", mode=mode), entitlement(limit, None))
    split = whole
    for number, cut in enumerate(cuts):
        if cut == JANUARY:
            continue
        last = split.lines[-1]
        same = slab("0.02", "0.01", f"v{number}", mode)
        split = reprice(split, last.id, cut, price=same)
    usage = listed(readings)
    (one,) = charged(whole, usage)
    many = charged(split, usage)
    assert sum((Fraction(each.exact) for each in many), Fraction(0)) == Fraction(one.exact)
    assert sum((each.covered for each in many), Decimal(0)) == one.covered
    assert all(reprices(each.explanation) == each.amount for each in many)
