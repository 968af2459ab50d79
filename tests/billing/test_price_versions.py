"""A change of money terms ends a price and starts its successor, or is refused (billing.md 3.3)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing.versions import MoneyTerms, change_price, changes_money, end_price, with_terms
from billing.subscriptions.subscribing import chains
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.price import (
    BillingModel,
    BillingPeriod,
    InvoiceCadence,
    Price,
    PriceType,
    Rounding,
    Tier,
    TierMode,
    TransformQuantity,
)

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)

FEE = Price(
    "price_fee",
    PriceType.FIXED,
    BillingModel.FLAT_FEE,
    "usd",
    amount=Decimal(20),
    billing_period=BillingPeriod.QUARTERLY,
    invoice_cadence=InvoiceCadence.ADVANCE,
    min_quantity=3,
    trial_period_days=7,
    start_date=MARCH,
    display_name="Seat",
    entity_id="plan_pro",
    lookup_key="seat",
    metadata={"team": "a"},
    sequence=4,
)
SLAB = Price(
    "price_slab",
    PriceType.USAGE,
    BillingModel.TIERED,
    "jpy",
    tiers=(Tier(10, Decimal("0.02"), Decimal(1)), Tier(None, Decimal("0.01"))),
    tier_mode=TierMode.SLAB,
    meter_id="meter_1",
)
PACKS = replace(
    FEE,
    billing_model=BillingModel.PACKAGE,
    transform_quantity=TransformQuantity(100, Rounding.DOWN),
)
DEAR = (Tier(10, Decimal("0.2")), Tier(None, Decimal("0.1")))


@pytest.mark.parametrize(
    ("old", "changes", "expected"),
    [
        (FEE, MoneyTerms(Decimal(25)), {"amount": Decimal(25)}),
        (FEE, MoneyTerms(Decimal(0)), {"amount": Decimal(0)}),
        (SLAB, MoneyTerms(tiers=DEAR), {"tiers": DEAR}),
        (SLAB, MoneyTerms(tier_mode=TierMode.VOLUME), {"tier_mode": TierMode.VOLUME}),
        (
            SLAB,
            MoneyTerms(Decimal(2), BillingModel.FLAT_FEE),
            {
                "billing_model": BillingModel.FLAT_FEE,
                "amount": Decimal(2),
                "tiers": (),
                "tier_mode": None,
            },
        ),
        (
            FEE,
            MoneyTerms(billing_model=BillingModel.TIERED, tier_mode=TierMode.SLAB, tiers=DEAR),
            {
                "billing_model": BillingModel.TIERED,
                "amount": Decimal(0),
                "tiers": DEAR,
                "tier_mode": TierMode.SLAB,
            },
        ),
        (
            PACKS,
            MoneyTerms(transform_quantity=TransformQuantity(50)),
            {"transform_quantity": TransformQuantity(50)},
        ),
        (
            PACKS,
            MoneyTerms(billing_model=BillingModel.FLAT_FEE),
            {"billing_model": BillingModel.FLAT_FEE, "transform_quantity": None},
        ),
        (
            SLAB,
            MoneyTerms(tiers=(Tier(10, Decimal(1)),)),
            {"tiers": (Tier(10, Decimal(1)),), "warnings": ("finite_last_tier",)},
        ),
    ],
    ids=["amount", "nothing", "tiers", "mode", "flat", "tiered", "size", "unpacked", "finite"],
)
def test_the_successor_has_the_new_terms_and_all_else_of_its_predecessor(
    old: Price, changes: MoneyTerms, expected: dict[str, Any]
) -> None:
    assert changes_money(old, changes)
    ended, successor = change_price(old, changes, MAY, successor_id="price_new")
    assert ended == replace(old, end_date=MAY, replaced_by="price_new")
    wanted = replace(old, id="price_new", start_date=MAY, parent_price_id=old.id)
    assert successor == replace(wanted, **expected)


def test_a_chain_of_changes_names_its_first_price() -> None:
    _, second = change_price(FEE, MoneyTerms(Decimal(25)), MAY, successor_id="price_2")
    later = MAY + timedelta(days=1)
    ended, third = change_price(second, MoneyTerms(Decimal(30)), later, successor_id="price_3")
    assert (third.parent_price_id, third.amount) == (FEE.id, Decimal(30))
    assert [each.id for each in chains([FEE, ended, third])[0]] == [FEE.id, "price_2", "price_3"]


def test_the_successor_ends_when_the_price_would_have() -> None:
    ending = replace(FEE, end_date=MAY + timedelta(days=9))
    ended, successor = change_price(ending, MoneyTerms(Decimal(1)), MAY, successor_id="n")
    assert (ended.end_date, successor.end_date) == (MAY, MAY + timedelta(days=9))


@pytest.mark.parametrize(
    ("old", "changes", "at", "error", "field"),
    [
        (replace(FEE, replaced_by="x"), MoneyTerms(Decimal(1)), MAY, InvalidOperation, None),
        (replace(FEE, end_date=MAY), MoneyTerms(Decimal(1)), MAY, InvalidOperation, None),
        (FEE, MoneyTerms(Decimal(1)), MARCH - timedelta(1), ValidationFailed, "effective_from"),
        (FEE, MoneyTerms(Decimal(-1)), MAY, ValidationFailed, "amount"),
        (FEE, MoneyTerms(billing_model=BillingModel.PACKAGE), MAY, ValidationFailed, None),
        (FEE, MoneyTerms(billing_model=BillingModel.TIERED), MAY, ValidationFailed, "tier_mode"),
        (SLAB, MoneyTerms(billing_model=BillingModel.FLAT_FEE), MAY, ValidationFailed, "amount"),
        (SLAB, MoneyTerms(tiers=(DEAR[1], DEAR[0])), MAY, ValidationFailed, "tiers"),
    ],
    ids=["replaced", "ended", "early", "negative", "size", "mode", "amount", "order"],
)
def test_what_cannot_be_changed_is_refused(
    old: Price,
    changes: MoneyTerms,
    at: datetime,
    error: type[InvalidOperation] | type[ValidationFailed],
    field: str | None,
) -> None:
    with pytest.raises(error) as refused:
        change_price(old, changes, at, successor_id="price_new")
    if field is not None:
        assert refused.value.field == field


def test_a_change_at_the_very_start_leaves_no_gap() -> None:
    ended, successor = change_price(FEE, MoneyTerms(Decimal(1)), MARCH, successor_id="n")
    assert ended.start_date == ended.end_date == successor.start_date


def test_a_price_ends_once() -> None:
    ended = end_price(FEE, MAY)
    assert ended == replace(FEE, end_date=MAY)
    with pytest.raises(InvalidOperation):
        end_price(ended, MAY)
    with pytest.raises(InvalidOperation):
        end_price(replace(FEE, replaced_by="x"), MAY)
    with pytest.raises(ValidationFailed):
        end_price(FEE, MARCH - timedelta(1))
    # One that ends later may end earlier.
    assert end_price(ended, MARCH).end_date == MARCH


@given(amount=st.integers(0, 10**18).map(lambda units: Decimal(units).scaleb(-9)))
def test_the_same_values_change_nothing(amount: Decimal) -> None:
    price = replace(FEE, amount=amount)
    again = MoneyTerms(amount + Decimal("0E-12"), BillingModel.FLAT_FEE)
    assert not changes_money(price, again)
    assert not changes_money(SLAB, MoneyTerms(amount=amount))
    assert with_terms(price, MoneyTerms()) == price
    assert with_terms(SLAB, MoneyTerms()) == SLAB
