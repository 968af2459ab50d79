"""Commitments: what is promised, what is above it, what is missing to it."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing.commitments import commit, commit_lines, shares, worth
from schemas.commitment import (
    Commitment,
    CommitmentType,
    LineItemCommitmentConfig,
    line_commitment_of,
)
from schemas.errors import ValidationFailed
from schemas.money import settle, total
from schemas.price import BillingModel, Price, PriceType, Tier, TierMode

amounts = st.decimals(0, 5000, places=2)
factors = st.decimals(1, 4, places=2)


@pytest.mark.parametrize(
    ("used", "true_up", "amount", "parts"),
    [
        ("1400", False, "1600", ("1000", "600", "0")),
        ("600", True, "1000", ("600", "0", "400")),
        ("600", False, "600", ("600", "0", "0")),
        ("1000", True, "1000", ("1000", "0", "0")),
        ("0", True, "1000", ("0", "0", "1000")),
        ("0", False, "0", ("0", "0", "0")),
    ],
)
def test_a_line_is_within_above_or_below_what_it_promised(
    used: str, true_up: bool, amount: str, parts: tuple[str, str, str]
) -> None:
    found = commit(Decimal(used), Decimal(1000), Decimal("1.5"), true_up=true_up)
    assert found.exact == Fraction(amount)
    spread = shares(settle(found.exact, "usd"), found, "usd")
    assert (spread.within, spread.overage, spread.true_up) == tuple(map(Decimal, parts))


@given(amounts, amounts, factors)
def test_a_true_up_never_lets_a_line_fall_below_its_commitment(
    used: Decimal, committed: Decimal, factor: Decimal
) -> None:
    assert commit(used, committed, factor, true_up=True).exact >= committed


@given(amounts, amounts, amounts, factors, st.booleans())
def test_more_usage_never_costs_less(
    used: Decimal, more: Decimal, committed: Decimal, factor: Decimal, true_up: bool
) -> None:
    less = commit(used, committed, factor, true_up=true_up).exact
    assert commit(used + more, committed, factor, true_up=true_up).exact >= less


@given(amounts, amounts, factors, st.booleans())
def test_below_a_commitment_nothing_is_overage(
    used: Decimal, committed: Decimal, factor: Decimal, true_up: bool
) -> None:
    parts = commit(used, committed, factor, true_up=true_up)
    assert (parts.overage > 0) == (used > committed)
    assert not (parts.overage and parts.true_up)
    assert parts.within == min(used, committed)


@given(amounts, amounts)
def test_factor_one_without_true_up_changes_nothing(used: Decimal, committed: Decimal) -> None:
    assert commit(used, committed, Decimal(1), true_up=False).exact == used
    split = commit_lines([used], committed, Decimal(1), true_up=False, currency="usd")
    assert split.total == used


@given(
    st.fractions(0, 1000),
    st.fractions(0, 1000),
    factors,
    st.booleans(),
    st.sampled_from(["usd", "jpy", "kwd"]),
)
def test_the_parts_of_a_line_sum_to_its_amount(
    used: Fraction, committed: Fraction, factor: Decimal, true_up: bool, currency: str
) -> None:
    parts = commit(used, committed, factor, true_up=true_up)
    amount = settle(parts.exact, currency)
    spread = shares(amount, parts, currency)
    assert total([spread.within, spread.overage, spread.true_up]) == amount


lists = st.lists(amounts, max_size=5)


@given(lists, amounts, amounts, factors, st.booleans())
def test_what_is_within_adds_up_to_what_was_left_of_the_commitment(
    used: list[Decimal], committed: Decimal, prior: Decimal, factor: Decimal, true_up: bool
) -> None:
    split = commit_lines(used, committed, factor, true_up=true_up, currency="usd", prior=prior)
    left = max(committed - prior, Decimal(0))
    assert total(line.within for line in split.lines) == min(total(used), left)
    if true_up:
        assert split.total >= left
    if total(used) <= left:
        assert not any(line.overage for line in split.lines)
    again = [*used, Decimal(7)]
    more = commit_lines(again, committed, factor, true_up=true_up, currency="usd", prior=prior)
    assert more.total >= split.total


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"commitment_type": "amount", "commitment_quantity": "5"}, "commitment_amount"),
        ({"commitment_type": "quantity"}, "commitment_quantity"),
        (
            {"commitment_type": "amount", "commitment_amount": 5, "commitment_quantity": 6},
            "commitment_quantity",
        ),
    ],
)
def test_a_commitment_has_the_value_of_its_type_and_no_other(
    body: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        line_commitment_of(LineItemCommitmentConfig.model_validate(body))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        {"commitment_type": "amount", "commitment_amount": "-1"},
        {"commitment_type": "amount", "commitment_amount": "5", "overage_factor": "0.99"},
        {"commitment_type": "money", "commitment_amount": "5"},
        {"commitment_type": "amount", "commitment_amount": 5.5},
    ],
)
def test_the_door_refuses_what_no_commitment_can_be(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        LineItemCommitmentConfig.model_validate(body)


def test_a_commitment_of_units_is_worth_what_they_cost() -> None:
    tiers = (Tier(1000, Decimal("0.017"), Decimal("0.3")), Tier(None, Decimal("0.0111")))
    slab = Price(
        "slab", PriceType.USAGE, BillingModel.TIERED, "usd", tiers=tiers, tier_mode=TierMode.SLAB
    )
    assert worth(slab, Commitment(CommitmentType.QUANTITY, Decimal(2000))) == Decimal("28.4")
    assert worth(slab, Commitment(CommitmentType.AMOUNT, Decimal(2000))) == Decimal(2000)
