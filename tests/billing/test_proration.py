"""Which part of a period is charged, and what a change settles (billing.md 6 and 19)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing.proration import ClosedLine, coefficient, fixed_charge, prorate, settle_change
from schemas.errors import ValidationFailed
from schemas.money import settle, total
from schemas.period import Interval
from schemas.subscription import ProrationBehavior, ProrationStrategy

D = Decimal
SECONDS, DAYS = ProrationStrategy
PRORATED, WHOLE = ProrationBehavior


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def between(start: str, end: str) -> Interval:
    return Interval(at(start), at(end))


JANUARY = between("2026-01-01", "2026-02-01")
APRIL = between("2026-04-01", "2026-05-01")
NEW_YORK_MARCH = between("2026-03-01T05:00", "2026-04-01T04:00")

costs = st.decimals(0, 10**6, places=4)
cuts = st.lists(st.integers(1, 30 * 86400 - 1), max_size=5, unique=True)


@pytest.mark.parametrize(
    ("service", "full", "strategy", "zone", "part"),
    [
        (between("2026-01-15", "2026-02-01"), JANUARY, SECONDS, "UTC", Fraction(17, 31)),
        (between("2026-01-15T12:00", "2026-02-01"), JANUARY, SECONDS, "UTC", Fraction(33, 62)),
        (between("2026-01-15T12:00", "2026-02-01"), JANUARY, DAYS, "UTC", Fraction(17, 31)),
        (between("2025-12-01", "2026-03-01"), JANUARY, SECONDS, "UTC", Fraction(1)),
        (between("2026-02-01", "2026-03-01"), JANUARY, SECONDS, "UTC", Fraction(0)),
        (
            between("2026-03-08T05:00", "2026-04-01T04:00"),
            NEW_YORK_MARCH,
            DAYS,
            "America/New_York",
            Fraction(24, 31),
        ),
        (
            between("2026-03-08T05:00", "2026-04-01T04:00"),
            NEW_YORK_MARCH,
            SECONDS,
            "America/New_York",
            Fraction(575, 743),
        ),
        (
            between("2026-01-01T01:00", "2026-01-01T02:00"),
            between("2026-01-01T01:00", "2026-01-01T05:00"),
            DAYS,
            "UTC",
            Fraction(1, 4),
        ),
        (
            between("2026-01-01T00:00:00.25", "2026-01-01T00:00:00.5"),
            between("2026-01-01T00:00", "2026-01-01T00:00:01"),
            SECONDS,
            "UTC",
            Fraction(1, 4),
        ),
    ],
)
def test_a_part_is_measured_against_the_full_period(
    service: Interval, full: Interval, strategy: ProrationStrategy, zone: str, part: Fraction
) -> None:
    assert coefficient(service, full, strategy, zone) == part


def test_a_full_period_that_does_not_end_after_its_start_is_refused() -> None:
    with pytest.raises(ValidationFailed):
        coefficient(JANUARY, Interval(JANUARY.start, JANUARY.start))


def test_an_explanation_counts_seconds_or_days() -> None:
    rest = between("2026-01-15", "2026-02-01")
    by_seconds, by_days = prorate(rest, JANUARY), prorate(rest, JANUARY, DAYS)
    assert (by_seconds.numerator, by_seconds.denominator) == (D(1468800), D(2678400))
    assert (by_days.numerator, by_days.denominator) == (D(17), D(31))


@pytest.mark.parametrize(
    ("line", "behavior", "amount"),
    [
        (("2026-04-16", None), PRORATED, "300"),
        (("2026-04-16", None), WHOLE, "600"),
        (("2026-03-01", "2026-04-06"), PRORATED, "100"),
        (("2026-03-01", "2026-04-06"), WHOLE, "600"),
        (("2026-04-10", "2026-04-10"), WHOLE, None),
        (("2026-05-01", None), WHOLE, None),
        (("2026-06-01", None), PRORATED, None),
        (("2026-03-01", "2026-04-01"), WHOLE, None),
    ],
)
def test_a_fee_is_charged_in_part_only_where_that_is_agreed(
    line: tuple[str, str | None], behavior: ProrationBehavior, amount: str | None
) -> None:
    start, end = line
    life = at(start), None if end is None else at(end)
    charge = fixed_charge(D(600), APRIL, APRIL, life, behavior=behavior)
    assert (None if charge is None else charge.exact) == (None if amount is None else D(amount))


def test_a_whole_period_is_not_called_a_part() -> None:
    charge = fixed_charge(D(9), APRIL, APRIL, (at("2026-01-01"), None), behavior=PRORATED)
    assert charge is not None
    assert charge.proration is None


@pytest.mark.parametrize(
    ("closed", "opened", "part", "net", "meaning"),
    [
        ([("600", "600")], [], Fraction(1, 2), "-300", "credit downgrade"),
        ([("20", "10")], [], Fraction(2, 3), "-10", "credit downgrade"),
        ([("50", "50")], ["150"], Fraction(16, 31), "51.61", "invoice upgrade"),
        ([("150", "150")], ["150"], Fraction(1, 3), "0", "none lateral"),
        ([("20", "0")], ["30"], Fraction(2, 3), "20", "invoice upgrade"),
        ([], ["20", "35"], Fraction(2, 3), "36.66", "invoice upgrade"),
    ],
)
def test_credits_and_charges_of_one_change_are_netted(
    closed: list[tuple[str, str]],
    opened: list[str],
    part: Fraction,
    net: str,
    meaning: str,
) -> None:
    lines = [ClosedLine(D(cost), D(charged)) for cost, charged in closed]
    change = settle_change(lines, [D(cost) for cost in opened], part, "usd")
    assert change.net == D(net)
    assert f"{change.outcome} {change.direction}" == meaning


def test_a_credit_never_exceeds_what_was_charged_and_not_credited() -> None:
    lines = [ClosedLine(D(300), D(200), D(50)), ClosedLine(D(100), D(200), D(250))]
    assert settle_change(lines, [], Fraction(1), "usd").credits == (D(150), D(0))


@given(costs, cuts, st.sampled_from(ProrationStrategy))
def test_versions_that_cover_a_period_cost_together_the_whole(
    cost: Decimal, offsets: list[int], strategy: ProrationStrategy
) -> None:
    bounds = [
        APRIL.start,
        *(APRIL.start + timedelta(seconds=offset) for offset in sorted(offsets)),
        APRIL.end,
    ]
    charges = [
        fixed_charge(cost, APRIL, APRIL, life, behavior=PRORATED, strategy=strategy)
        for life in pairwise(bounds)
    ]
    exact = [charge.exact for charge in charges if charge is not None]
    assert sum(exact) == Fraction(cost)
    settled = total(settle(part, "usd") for part in exact)
    assert abs(settled - settle(cost, "usd")) <= D("0.01") * len(exact)


@given(costs, costs, st.fractions(0, 1))
def test_an_undiscounted_change_undone_at_once_nets_to_nothing(
    cost: Decimal, other: Decimal, part: Fraction
) -> None:
    charged = settle(cost, "usd")
    there = settle_change([ClosedLine(cost, charged)], [other], part, "usd")
    back = settle_change([ClosedLine(other, there.charges[0])], [cost], part, "usd")
    assert there.net + back.net == 0
