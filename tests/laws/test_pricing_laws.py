"""The laws of prices, periods, allowances and commitments, each by its name (billing.md 19)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from itertools import islice, pairwise

from hypothesis import given
from hypothesis import strategies as st
from law_settings import LAW
from sold_cases import (
    DAYS,
    HOUR,
    STARTS,
    TOKENS,
    ZONES,
    Listed,
    Reading,
    Sold,
    allowance,
    allowances,
    fees,
    line_of,
    readings_of,
    slab_prices,
    sold,
    usage_prices,
)

from billing.invoices.drafting import draft
from billing.periods.schedules import billing_periods, schedule
from billing.periods.services import schedule_of, services, windows
from billing.pricing.allowances import Allowance, cover_in_order
from billing.pricing.charging import Charge, Charging
from billing.pricing.proration import coefficient
from billing.pricing.rating import Segment, cost, price_segments
from billing.repricing import reprice
from schemas.commitment import Commitment, CommitmentLevel, CommitmentType
from schemas.ids import CustomerId, SubscriptionId
from schemas.money import settle, total
from schemas.period import Interval
from schemas.price import BillingModel, BillingPeriod, Price, PriceType
from schemas.subscription import (
    BillingCycle,
    Entitlement,
    ProrationBehavior,
    ProrationStrategy,
    ResetPeriod,
    Subscription,
)

quantities = st.integers(0, 5_000_000).map(lambda thousandths: Decimal(thousandths).scaleb(-3))


def subscription(start: datetime, zone: str, **fields: object) -> Subscription:
    made = Subscription(
        SubscriptionId("s"), CustomerId("acme"), "acme", "usd", start, timezone=zone
    )
    return replace(made, **fields)  # type: ignore[arg-type]  # any of its members


@LAW
@given(usage_prices, st.integers(-1000, 0).map(Decimal))
def test_nothing_costs_nothing(price: Price, quantity: Decimal) -> None:
    assert cost(price, quantity).amount == 0
    assert cost(price, quantity).components == ()


@LAW
@given(slab_prices, quantities, quantities)
def test_more_usage_never_costs_less_on_slab_prices(
    price: Price, some: Decimal, more: Decimal
) -> None:
    assert cost(price, some).amount <= cost(price, some + more).amount


@LAW
@given(usage_prices, quantities, quantities)
def test_more_usage_costs_less_at_most_where_a_volume_bound_is_crossed(
    price: Price, some: Decimal, more: Decimal
) -> None:
    less = cost(price, some + more).amount < cost(price, some).amount
    assert not less or str(price.tier_mode) == "VOLUME"


@LAW
@given(slab_prices, st.integers(1000, 9000), quantities)
def test_a_finite_last_tier_prices_as_an_open_one(
    price: Price, bound: int, quantity: Decimal
) -> None:
    finite = replace(price, tiers=(*price.tiers[:-1], replace(price.tiers[-1], up_to=bound)))
    assert cost(finite, quantity) == cost(price, quantity)


@LAW
@given(usage_prices, st.lists(quantities, min_size=1, max_size=5), st.integers(0, 4000))
def test_splitting_a_period_never_changes_the_sum(
    price: Price, parts: list[Decimal], limit: int
) -> None:
    """One price in any number of segments costs exactly what it costs in one, by one allowance."""
    allowance = Allowance(limit)
    whole = total(parts)
    covered = cover_in_order(allowance, parts)
    segments = price_segments([Segment(price, part) for part in parts], covered)
    assert total(covered) == min(Decimal(limit), whole)
    expected = cost(price, max(whole - limit, Decimal(0))).amount
    assert sum(segment.amount for segment in segments) == Fraction(expected)


cuts_of = st.lists(st.integers(1, 24 * 60), max_size=3, unique=True).map(sorted)


def split_at(sold_: Subscription, cuts: Sequence[int]) -> Subscription:
    """Return a subscription of one line with versions of it that begin so many hours later."""
    (first,) = sold_.lines
    lines = [first]
    for number, hours in enumerate(cuts):
        at = first.start_date + HOUR * hours
        last = lines[-1]
        lines[-1] = replace(last, end_date=at)
        version = line_of(f"line {number}", first.price, at, meter=first.meter, replaces=last)
        lines.append(replace(version, price=first.price, quantity=first.quantity))
    return replace(sold_, lines=tuple(lines))


def charged(
    sold_: Subscription, usage: Listed, until: datetime
) -> list[tuple[Interval, list[Charge]]]:
    """Return the billing period of each invoice in arrear, and what is charged on it."""
    charging = Charging(sold_, usage, until)
    return [
        (window.arrear, [charging.charge(each) for each in services(sold_, window)])
        for window in windows(sold_, until)
        if window.arrear is not None
    ]


@LAW
@given(usage_prices, readings_of, cuts_of, allowances, st.sampled_from(ZONES))
def test_versions_of_a_line_cost_what_one_line_costs(
    price: Price,
    readings: list[Reading],
    cuts: list[int],
    included: tuple[Entitlement, ...],
    zone: str,
) -> None:
    """Before rounding, in every period: the versions share one ladder and one allowance."""
    start = STARTS[1]
    single = subscription(
        start, zone, entitlements=included, lines=(line_of("line", price, start, meter=TOKENS),)
    )
    # What a version gives is never below nothing, so only what is not negative may be cut anywhere.
    usage = Listed(start, [(name, hours, abs(units)) for name, hours, units in readings])
    until = start + HOUR * 24 * DAYS

    def exact(sold_: Subscription) -> list[tuple[Fraction, Decimal]]:
        return [
            (
                sum((Fraction(charge.exact) for charge in charges), Fraction(0)),
                total(charge.covered for charge in charges),
            )
            for _, charges in charged(sold_, usage, until)
        ]

    assert exact(split_at(single, cuts)) == exact(single)


@LAW
@given(
    st.sampled_from(STARTS),
    st.sampled_from(ZONES),
    st.sampled_from([each for each in BillingPeriod if each is not BillingPeriod.ONETIME]),
    st.integers(1, 3),
    st.sampled_from(BillingCycle),
    st.integers(0, 24 * 400),
)
def test_billing_periods_tile(
    start: datetime,
    zone: str,
    period: BillingPeriod,
    count: int,
    cycle: BillingCycle,
    later: int,
) -> None:
    """Without a gap, none longer than its full period, the nth the same step by step and at once."""
    first = start + HOUR * later
    made = schedule(cycle.value, period.value, count, first, timezone=zone)
    found = list(islice(billing_periods(made), 6))
    assert found[0].period.start == first
    for one, other in pairwise(found):
        assert one.period.end == other.period.start
    for span in found:
        assert span.full.start <= span.period.start < span.period.end == span.full.end
        assert next(billing_periods(made, since=span.period.start)) == span
        assert next(billing_periods(made, since=span.period.end - HOUR / 60)) == span


@LAW
@given(
    fees,
    cuts_of,
    st.sampled_from(STARTS),
    st.sampled_from(ZONES),
    st.sampled_from(BillingCycle),
    st.sampled_from(ProrationStrategy),
    st.integers(1, 5),
)
def test_versions_of_a_fee_cost_together_the_whole(
    fee: Decimal,
    cuts: list[int],
    start: datetime,
    zone: str,
    cycle: BillingCycle,
    strategy: ProrationStrategy,
    seats: int,
) -> None:
    """Within one minor unit each, in every period, also in one that is itself a part."""
    price = Price("fee", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=fee)
    single = subscription(
        start,
        zone,
        billing_cycle=cycle,
        proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
        proration_strategy=strategy,
        lines=(line_of("fee", price, start, quantity=seats),),
    )
    until, nothing = start + HOUR * 24 * DAYS, Listed(start, ())
    one = charged(single, nothing, until)
    for (period, whole), (_, parts) in zip(
        one, charged(split_at(single, cuts), nothing, until), strict=True
    ):
        share = coefficient(period, around(single, period), strategy, zone)
        assert total(each.amount for each in whole) == settle(Fraction(fee * seats) * share, "usd")
        apart = total(each.amount for each in parts) - total(each.amount for each in whole)
        assert abs(apart) <= Decimal("0.01") * len(parts)


def around(sold_: Subscription, period: Interval) -> Interval:
    """Return the full period of a billing period."""
    return schedule_of(sold_).grid.around(period.start)


@LAW
@given(
    usage_prices,
    readings_of,
    fees,
    st.sampled_from([Decimal(1), Decimal("1.5"), Decimal(2)]),
    st.booleans(),
    st.sampled_from(CommitmentLevel),
    st.sampled_from(BillingCycle),
)
def test_with_a_true_up_usage_costs_at_least_its_commitment(
    price: Price,
    readings: list[Reading],
    value: Decimal,
    factor: Decimal,
    true_up: bool,
    level: CommitmentLevel,
    cycle: BillingCycle,
) -> None:
    """In a part of a period, its part; with factor 1 and no true-up it changes nothing at all."""
    start = STARTS[4]
    line = line_of("line", price, start, meter=TOKENS)
    free = subscription(start, "UTC", billing_cycle=cycle, lines=(line,))
    promised = Commitment(CommitmentType.AMOUNT, value, factor, true_up=true_up)
    if level is CommitmentLevel.LINE:
        bound = replace(free, lines=(replace(line, commitment=promised),))
    else:
        bound = replace(free, commitment=promised)
    usage, until = Listed(start, readings), start + HOUR * 24 * DAYS
    for window in windows(free, until):
        if window.arrear is None:
            continue
        plain = draft(free, window, usage, (), as_of=until).subtotal
        made = draft(bound, window, usage, (), as_of=until).subtotal
        share = coefficient(window.arrear, around(free, window.arrear))
        # Nobody pays less for having promised something.
        assert made >= plain
        if true_up:
            assert made >= settle(Fraction(value) * share, "usd")
        elif factor == 1:
            assert made == plain


@LAW
@given(
    usage_prices,
    readings_of,
    cuts_of,
    st.integers(0, 3000),
    st.sampled_from(ResetPeriod),
    st.sampled_from(BillingCycle),
    st.sampled_from(ZONES),
)
def test_an_allowance_is_given_once(
    price: Price,
    readings: list[Reading],
    cuts: list[int],
    limit: int,
    reset: ResetPeriod,
    cycle: BillingCycle,
    zone: str,
) -> None:
    """In each reset window min(limit, usage), over all versions and billing periods of a line."""
    start = STARTS[4]
    readings = [(name, hours, abs(units)) for name, hours, units in readings]
    single = subscription(
        start,
        zone,
        billing_cycle=cycle,
        entitlements=allowance(limit, reset),
        lines=(line_of("line", price, start, meter=TOKENS),),
    )
    usage, until = Listed(start, readings), start + HOUR * 24 * DAYS
    found = charged(split_at(single, cuts), usage, until)
    covered: dict[str, Decimal] = defaultdict(Decimal)
    used: dict[str, Decimal] = defaultdict(Decimal)
    for _, charges in found:
        for charge in charges:
            windows_: list[dict[str, str]] = charge.explanation["usage"]["windows"]  # type: ignore[index]  # data
            for window in windows_:
                covered[window["start"]] += Decimal(window["covered"])
                used[window["start"]] += Decimal(window["usage"])
            assert total(Decimal(each["covered"]) for each in windows_) == charge.covered
    for name, amount in covered.items():
        assert amount == min(Decimal(limit), used[name])
    billed = Interval(start, max(period.end for period, _ in found))
    counted = usage.quantities(TOKENS, ("acme",), billed, timezone=zone, billing_anchor=None)
    assert sum(used.values(), Decimal(0)) == counted.value


@LAW
@given(sold())
def test_an_independent_pricer_agrees(case: Sold) -> None:
    """It sees the explanation of a line and nothing else, and shares no code with rating."""
    for window in case.windows():
        made = draft(case.subscription, window, case.usage, case.wallets, as_of=case.until)
        for line in made.lines:
            assert reprice(line.explanation) == line.amount
