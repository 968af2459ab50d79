"""Committing: commitments on invoices, and an independent pricer of their explanations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.periods.services import Service, services, windows
from billing.ports import UsageReader
from billing.pricing.charging import Charge, Charging
from billing.pricing.commitment_terms import commit_line, commit_subscription
from billing.pricing.committing import charges
from billing.subscriptions.cancelling import ended_at_once
from billing.subscriptions.subscribing import reprice, subscribe
from schemas.commitment import Commitment, CommitmentType
from schemas.errors import ValidationFailed
from schemas.ids import EntitlementId, FeatureId, PlanId
from schemas.invoice import Role
from schemas.meter import Meter, WindowSize
from schemas.money import settle, total
from schemas.price import BillingModel, BillingPeriod, Price, PriceType, Tier, TierMode
from schemas.subscription import Entitlement, Plan, Subscription

Listed = Callable[[Sequence[tuple[datetime, Decimal]]], UsageReader]
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = datetime(2030, 1, 1, tzinfo=UTC)

factors = st.decimals(1, 4, places=2)


def at(day: int) -> datetime:
    """Return noon of a day of 2026, counted from 1."""
    return JANUARY + timedelta(days=day - 1, hours=12)


def promise(
    value: str,
    factor: str = "1",
    *,
    true_up: bool = False,
    quantity: bool = False,
    duration: BillingPeriod | None = None,
) -> Commitment:
    kind = CommitmentType.QUANTITY if quantity else CommitmentType.AMOUNT
    return Commitment(kind, Decimal(value), Decimal(factor), true_up, duration)


def flat(amount: str, name: str = "use") -> Price:
    return Price(
        name,
        PriceType.USAGE,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(amount),
        meter_id="tokens",
    )


def subscribed(subscription: Subscription, meter: Meter, *prices: Price) -> Subscription:
    plan = Plan(PlanId("plan"), "Plan", prices=prices, meters={meter.id: meter})
    return subscribe(subscription, plan)


def billed(subscription: Subscription, usage: UsageReader, number: int = 1) -> list[Charge]:
    """Return the charges of the renewal, or final invoice, with this number from 1."""
    return [charge for _, charge in lines(subscription, usage, number)]


def lines(
    subscription: Subscription, usage: UsageReader, number: int = 1
) -> Sequence[tuple[Service, Charge]]:
    window = list(windows(subscription, FOREVER))[number]
    charging = Charging(subscription, usage, FOREVER)
    return charges(charging, services(subscription, window), window.arrear)


def reprices(explanation: Mapping[str, Any]) -> Decimal:
    """Compute a line's amount from its explanation alone, knowing nothing of this program."""
    currency, role = explanation["currency"], explanation["role"]
    used = Fraction(0)
    for row in explanation.get("pricing") or explanation.get("buckets") or []:
        for term in row["components"]:
            used += Fraction(term["quantity"]) * Fraction(term["unit_amount"])
            used += Fraction(term["flat_amount"])
    told = explanation["commitment"]
    if told is None:
        return settle(used, currency)
    rest = max(Fraction(told["prorated"]) - Fraction(told["used_before"]), Fraction(0))
    factor, exact = Fraction(told["overage_factor"]), used
    if told["level"] == "line":
        exact = rest + (used - rest) * factor if used >= rest else used
        exact = rest if used < rest and told["true_up_enabled"] else exact
    else:
        used = Fraction(settle(used, currency))
        within = min(used, rest)
        exact = {
            "usage": within if factor > 1 else used,
            "overage": (used - within) * factor,
            "true_up": rest,
        }[role]
    return settle(exact, currency)


def test_a_line_with_a_commitment_is_one_line(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    promised = promise("500", "1.5", quantity=True)
    subscription = commit_line(subscribed(acme, tokens, flat("2")), "use", promised)
    (charge,) = billed(subscription, listed([(at(3), Decimal(700))]))
    told: Any = charge.explanation["commitment"]
    assert (charge.amount, charge.quantity) == (Decimal("1600.00"), Decimal(700))
    assert reprices(charge.explanation) == charge.amount
    assert (told["level"], told["type"], told["value"]) == ("line", "quantity", "500")
    assert (told["within"], told["overage"], told["true_up"]) == ("1000.00", "600.00", "0.00")


def test_the_allowance_comes_off_before_the_commitment_is_measured(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    free = Entitlement(EntitlementId("e"), FeatureId("f"), meter_id="tokens", usage_limit=100)
    granted = replace(subscribed(acme, tokens, flat("1")), entitlements=(free,))
    subscription = commit_line(granted, "use", promise("50", "2"))
    (charge,) = billed(subscription, listed([(at(3), Decimal(170))]))
    assert (charge.covered, charge.quantity) == (Decimal(100), Decimal(70))
    assert charge.amount == Decimal("90.00")


def test_buckets_are_summed_before_the_commitment_is_measured(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    daily = replace(tokens, aggregation=replace(tokens.aggregation, bucket_size=WindowSize.DAY))
    subscription = commit_line(subscribed(acme, daily, flat("1")), "use", promise("50", "2"))
    (charge,) = billed(subscription, listed([(at(3), Decimal(40)), (at(4), Decimal(30))]))
    assert charge.amount == Decimal("90.00") == reprices(charge.explanation)


@pytest.mark.parametrize(
    ("promised", "used", "amount"),
    [
        (promise("100", "1.5"), "60", "62.58"),
        (promise("100", true_up=True), "10", "54.84"),
        (promise("100", true_up=True, quantity=True), "10", "54.84"),
    ],
)
def test_in_a_part_of_a_period_a_commitment_counts_in_part(
    acme: Subscription,
    tokens: Meter,
    listed: Listed,
    promised: Commitment,
    used: str,
    amount: str,
) -> None:
    short = replace(acme, end_date=JANUARY + timedelta(days=17))
    subscription = commit_line(subscribed(short, tokens, flat("1")), "use", promised)
    (charge,) = billed(subscription, listed([(at(3), Decimal(used))]))
    assert charge.amount == Decimal(amount) == reprices(charge.explanation)


def test_versions_of_a_line_share_out_the_commitment_by_their_time(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    promised = promise("310", true_up=True)
    subscription = commit_line(subscribed(acme, tokens, flat("1")), "use", promised)
    changed = reprice(
        subscription, subscription.lines[0].id, JANUARY + timedelta(days=10), price=flat("2", "b")
    )
    first, second = billed(changed, listed([(at(3), Decimal(5))]))
    assert (first.amount, second.amount) == (Decimal("100.00"), Decimal("210.00"))


def test_a_cumulative_commitment_of_a_line_is_used_up_over_its_periods(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    promised = promise("60", "2", true_up=True, duration=BillingPeriod.QUARTERLY)
    subscription = commit_line(subscribed(acme, tokens, flat("1")), "use", promised)
    usage = listed([(at(3), Decimal(50)), (at(35), Decimal(12)), (at(95), Decimal(10))])
    found = [billed(subscription, usage, number)[0] for number in range(1, 7)]
    assert [f"{charge.amount}" for charge in found] == [
        "50.00", "14.00", "0.00", "10.00", "0.00", "50.00",
    ]  # fmt: skip
    assert all(reprices(charge.explanation) == charge.amount for charge in found)


@pytest.mark.parametrize(
    ("used", "promised", "expected"),
    [
        ("400", promise("20", "1.5"), [("usage", "20.00")]),
        ("600", promise("20", "1.5"), [("usage", "20.00"), ("overage", "15.00")]),
        ("600", promise("20"), [("usage", "30.00")]),
        ("100", promise("20", true_up=True), [("usage", "5.00"), ("true_up", "15.00")]),
        ("0", promise("100", true_up=True), [("usage", "0.00"), ("true_up", "100.00")]),
        ("100", promise("20", "2"), [("usage", "5.00")]),
    ],
)
def test_a_subscription_is_within_above_or_below_what_it_promised(
    acme: Subscription,
    tokens: Meter,
    listed: Listed,
    used: str,
    promised: Commitment,
    expected: list[tuple[str, str]],
) -> None:
    subscription = commit_subscription(subscribed(acme, tokens, flat("0.05")), promised)
    found = billed(subscription, listed([(at(3), Decimal(used))]))
    assert [(charge.role.value, f"{charge.amount}") for charge in found] == expected
    assert all(reprices(charge.explanation) == charge.amount for charge in found)


def test_overage_and_true_up_say_what_they_are(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    both = subscribed(acme, tokens, flat("0.05"))
    (_, usage), (above, overage) = lines(
        commit_subscription(both, promise("20", "1.5")), listed([(at(3), Decimal(600))])
    )
    assert (usage.quantity, overage.quantity) == (Decimal(400), Decimal(200))
    assert above.line.display_name == "tokens (Overage)"
    assert overage.metadata == {"is_overage": "true", "overage_factor": "1.5"}
    _, (missing, true_up) = lines(
        commit_subscription(both, promise("20", true_up=True)), listed([])
    )
    assert "True Up" in missing.line.display_name
    assert missing.line.price.type is PriceType.FIXED
    assert true_up.metadata == {"is_commitment_trueup": "true"}


def test_an_opening_invoice_has_no_true_up(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    promised = promise("20", true_up=True)
    subscription = commit_subscription(subscribed(acme, tokens, flat("1")), promised)
    assert billed(subscription, listed([]), 0) == []


def test_a_year_that_is_cut_owes_its_part_with_the_last_period(
    acme: Subscription, tokens: Meter, listed: Listed
) -> None:
    # 1 January to 1 July are 181 of 365 days: 1200 × 181 / 365 = 595.07.
    year = promise("1200", true_up=True, duration=BillingPeriod.ANNUAL)
    subscription = commit_subscription(subscribed(acme, tokens, flat("1")), year)
    ended = ended_at_once(subscription, datetime(2026, 7, 1, tzinfo=UTC))
    usage = listed([(at(3), Decimal(300)), (at(160), Decimal(100))])
    by_month = [billed(ended, usage, number) for number in range(1, 7)]
    assert [len(month) for month in by_month] == [1, 1, 1, 1, 1, 2]
    last = by_month[-1][-1]
    assert (last.role, last.amount) == (Role.TRUE_UP, Decimal("195.07"))
    assert reprices(last.explanation) == last.amount


slab = Price(
    "slab",
    PriceType.USAGE,
    BillingModel.TIERED,
    "usd",
    tiers=(Tier(1000, Decimal("0.017"), Decimal("0.3")), Tier(None, Decimal("0.0111"))),
    tier_mode=TierMode.SLAB,
    meter_id="tokens",
)


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 5000)), max_size=6),
    st.decimals(0, 200, places=2),
    factors,
    st.booleans(),
    st.sampled_from([None, BillingPeriod.QUARTERLY]),
    st.booleans(),
)
def test_every_line_can_be_priced_again_from_its_explanation(
    acme: Subscription,
    tokens: Meter,
    listed: Listed,
    readings: list[tuple[int, int]],
    value: Decimal,
    factor: Decimal,
    true_up: bool,
    duration: BillingPeriod | None,
    whole: bool,
) -> None:
    promised = Commitment(CommitmentType.AMOUNT, value, factor, true_up, duration)
    plain = subscribed(acme, tokens, slab, flat("0.0093"))
    agreed = commit_subscription(plain, promised) if whole else commit_line(plain, "slab", promised)
    usage = listed([(at(day), Decimal(units)) for day, units in readings])
    months = [billed(agreed, usage, number) for number in (1, 2, 3)]
    for charge in (charge for month in months for charge in month):
        assert reprices(charge.explanation) == charge.amount
    if true_up:
        spent = total(charge.amount for month in months for charge in month)
        assert spent >= value - Decimal("0.03")


def test_a_subscription_and_its_lines_do_not_both_commit(acme: Subscription, tokens: Meter) -> None:
    subscription = subscribed(acme, tokens, flat("1"))
    by_line = commit_line(subscription, "use", promise("5"))
    with pytest.raises(ValidationFailed, match="exclude"):
        commit_subscription(by_line, promise("5"))
    whole = commit_subscription(subscription, promise("5"))
    with pytest.raises(ValidationFailed, match="exclude"):
        commit_line(whole, "use", promise("5"))


@pytest.mark.parametrize(
    "duration", [BillingPeriod.ONETIME, BillingPeriod.WEEKLY, BillingPeriod.DAILY]
)
def test_a_commitment_spans_whole_periods(
    acme: Subscription, tokens: Meter, duration: BillingPeriod
) -> None:
    subscription = subscribed(acme, tokens, flat("1"))
    promised = promise("5", duration=duration)
    with pytest.raises(ValidationFailed) as refused:
        commit_subscription(subscription, promised)
    assert refused.value.field == "commitment_duration"
    with pytest.raises(ValidationFailed, match="whole number"):
        commit_line(subscription, "use", promised)


def test_only_usage_of_the_subscription_commits(acme: Subscription, pro: Plan) -> None:
    subscription = subscribe(acme, pro)
    for price_id, problem in (("base", "only usage"), ("other", "no line")):
        with pytest.raises(ValidationFailed, match=problem):
            commit_line(subscription, price_id, promise("5"))
