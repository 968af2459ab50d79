"""Lots: which credits there are at an instant, and in which order they go."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.wallets.lots import claimable, credits_of, drained, draw, live, spendable
from schemas.ids import EntryId, LotId
from schemas.wallet import Lot, Reason

DAY = datetime(2026, 1, 1, tzinfo=UTC)
JANUARY, FEBRUARY, MARCH = (datetime(2027, month, 1, tzinfo=UTC) for month in (1, 2, 3))


def lot(
    name: str, left: str | int, priority: int | None = None, expires_at: datetime | None = None
) -> Lot:
    held = Decimal(left)
    return Lot(
        LotId(name), EntryId(name), held, held, Reason.CREDIT_NOTE, DAY, priority, expires_at
    )


@pytest.mark.parametrize(
    ("lots", "debit", "left"),
    [
        (
            [
                lot("a", 50),
                lot("b", 30, None, JANUARY),
                lot("c", 20, None, FEBRUARY),
                lot("d", 100, None, MARCH),
            ],
            70,
            {"a": 50, "d": 80},
        ),
        (
            [
                lot("a", 50),
                lot("b", 30, 3),
                lot("c", 40, 1),
                lot("d", 20, 2),
                lot("e", 60, 1, MARCH),
            ],
            90,
            {"a": 50, "b": 30, "c": 10, "d": 20},
        ),
        ([lot("big", 90), lot("small", 10)], 50, {"big": 40, "small": 10}),
    ],
)
def test_credits_go_by_priority_then_expiry_then_age(
    lots: list[Lot], debit: int, left: dict[str, int]
) -> None:
    draws, uncovered = draw(spendable(lots, DAY), Decimal(debit))
    assert uncovered == 0
    assert {each.id: each.remaining for each in drained(lots, draws)} == left


def test_a_lot_is_gone_from_the_instant_of_its_expiry_on() -> None:
    dying = lot("a", 5, None, JANUARY)
    assert live(dying, JANUARY - timedelta(microseconds=1))
    assert not live(dying, JANUARY)


@pytest.mark.parametrize(
    ("period_end", "claims"),
    [(JANUARY, True), (JANUARY - timedelta(days=1), True), (JANUARY + timedelta(days=1), False)],
)
def test_an_expired_lot_pays_only_for_periods_that_it_lived_through(
    period_end: datetime, claims: bool
) -> None:
    dead = lot("a", 5, None, JANUARY)
    later = JANUARY + timedelta(days=2)
    assert claimable(dead, later, period_end) is claims
    assert bool(spendable([dead], later, period_end)) is claims


def test_a_period_that_has_not_ended_claims_nothing() -> None:
    dead = lot("a", 5, None, JANUARY)
    assert spendable([dead], JANUARY, JANUARY + timedelta(days=1)) == ()


@pytest.mark.parametrize(
    ("number", "rounded"),
    [("0.0000000005", "0.000000001"), ("-0.0000000005", "-0.000000001"), ("1.2345", "1.2345")],
)
def test_credits_round_a_tie_away_from_zero_at_nine_decimals(number: str, rounded: str) -> None:
    assert credits_of(Decimal(number)) == Decimal(rounded)


amounts = st.integers(0, 10**12).map(lambda units: Decimal(units).scaleb(-9))
lots_of_any_kind = st.lists(
    st.tuples(
        amounts,
        st.none() | st.integers(0, 3),
        st.none() | st.sampled_from([JANUARY, FEBRUARY, MARCH]),
    ),
    max_size=6,
).map(lambda rows: [lot(f"l{i}", str(row[0]), row[1], row[2]) for i, row in enumerate(rows)])


@given(lots_of_any_kind, amounts, st.randoms(use_true_random=False))
def test_consumption_does_not_depend_on_the_order_of_rows(
    lots: list[Lot], wanted: Decimal, random: Random
) -> None:
    shuffled = list(lots)
    random.shuffle(shuffled)
    assert draw(spendable(lots, DAY), wanted) == draw(spendable(shuffled, DAY), wanted)


@given(lots_of_any_kind, amounts)
def test_what_is_drawn_is_what_is_missing_afterwards(lots: list[Lot], wanted: Decimal) -> None:
    draws, uncovered = draw(spendable(lots, DAY), wanted)
    before = sum((each.remaining for each in lots), Decimal(0))
    after = sum((each.remaining for each in drained(lots, draws)), Decimal(0))
    assert sum((part.credits for part in draws), Decimal(0)) + uncovered == wanted
    assert before - after + uncovered == wanted
