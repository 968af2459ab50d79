"""The usage of a subscription is what its period would be billed for, commitment included."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from conftest import Api
from kept import Kept
from plan_on_sale import SEAT, START, USAGE, asked, price, sell

from schemas.price import BillingModel, BillingPeriod, PriceType, Tier, TierMode

PATH = "/v1/subscriptions"
TIERED = price(
    "price_tiered",
    type=PriceType.USAGE,
    billing_model=BillingModel.TIERED,
    meter_id="meter_calls",
    tier_mode=TierMode.SLAB,
    tiers=(Tier(10, Decimal(2)), Tier(None, Decimal(1))),
)
QUARTERLY = price(
    "price_quarter",
    type=PriceType.USAGE,
    meter_id="meter_calls",
    amount=Decimal(3),
    billing_period=BillingPeriod.QUARTERLY,
)


def create(api: Api, **more: Any) -> str:
    answer = api.post(PATH, asked(**more))
    assert answer.status_code == 201, answer.text
    name: str = answer.json()["id"]
    return name


def usage(api: Api, name: str, **more: Any) -> dict[str, Any]:
    answer = api.post(f"{PATH}/usage", {"subscription_id": name, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = msgspec.json.decode(answer.content)
    return found


def test_the_current_period_is_what_is_asked_for_without_times(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, SEAT)
    name = create(api)
    kept.spend("call", "acme", "2.5", START)
    kept.spend("call", "acme", "100", START.replace(month=2))
    kept.spend("call", "other", "100", START)
    found = usage(api, name)
    assert (found["start_time"], found["end_time"]) == (
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
    )
    assert found["amount"] == 2.5
    assert found["currency"] == "usd"
    assert found["display_amount"] == "$2.5"
    assert found["has_overage"] is False
    assert "commitment_amount" not in found
    (charge,) = found["charges"]
    assert charge["price"]["id"] == "price_calls"
    assert (charge["quantity"], charge["amount"]) == (2.5, 2.5)
    assert (charge["is_overage"], charge["filter_values"]) == (False, {})
    assert charge["meter_display_name"] == "Calls"


def test_nothing_used_is_nothing_spent(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    found = usage(api, create(api))
    assert found["amount"] == 0
    assert [each["quantity"] for each in found["charges"]] == [0]


@pytest.mark.parametrize(
    ("factor", "used", "amount", "overage"),
    [
        ("1.5", "7", 8, 3),
        ("1.5", "3", 3, 0),
        ("1.5", "5", 5, 0),
        ("1", "7", 7, 2),
    ],
    ids=["above", "below", "met", "without a factor"],
)
def test_what_lies_above_the_commitment_costs_its_factor(
    api: Api, kept: Kept, factor: str, used: str, amount: int, overage: int
) -> None:
    sell(kept, USAGE)
    name = create(api, commitment_amount="5", overage_factor=factor, enable_true_up=True)
    kept.spend("call", "acme", used, START)
    found = usage(api, name)
    assert found["amount"] == amount
    assert sum(each["amount"] for each in found["charges"]) == amount
    assert sum(each["quantity"] for each in found["charges"]) == int(used)
    assert found["commitment_amount"] == 5
    assert found["commitment_utilized"] == min(int(used), 5)
    assert (found["overage_amount"], found["has_overage"]) == (overage, overage > 0)
    split = factor != "1" and overage > 0
    assert [each["is_overage"] for each in found["charges"]] == [False] + [True] * split


def test_the_commitment_of_a_line_is_in_its_amount_without_its_true_up(
    api: Api, kept: Kept
) -> None:
    sell(kept, USAGE)
    promised = {
        "commitment_type": "amount",
        "commitment_amount": 5,
        "overage_factor": 1.5,
        "enable_true_up": True,
    }
    name = create(api, line_item_commitments={"price_calls": promised})
    kept.spend("call", "acme", "3", START)
    assert usage(api, name)["amount"] == 3
    kept.spend("call", "acme", "4", START)
    assert usage(api, name)["amount"] == 8


def test_an_allowance_costs_nothing_and_is_counted(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, limit=4)
    name = create(api)
    kept.spend("call", "acme", "7", START)
    (charge,) = usage(api, name)["charges"]
    assert (charge["quantity"], charge["amount"]) == (7, 3)


def test_every_billing_period_has_its_own_tiers(api: Api, kept: Kept) -> None:
    sell(kept, TIERED)
    name = create(api)
    kept.now = START.replace(month=2, day=20)
    kept.spend("call", "acme", "12", START.replace(day=5))
    kept.spend("call", "acme", "11", START.replace(month=2, day=5))
    assert usage(api, name)["amount"] == 21
    lifetime = usage(api, name, lifetime_usage=True)
    assert (lifetime["start_time"], lifetime["amount"]) == ("2026-01-01T00:00:00Z", 43)
    assert [each["quantity"] for each in lifetime["charges"]] == [23]
    part = usage(api, name, start_time="2026-01-04T00:00:00Z", end_time="2026-01-06T00:00:00Z")
    assert (part["start_time"], part["amount"]) == ("2026-01-04T00:00:00Z", 22)
    assert (
        usage(api, name, start_time="2026-01-06T00:00:00Z", end_time="2026-01-06T00:00:00Z")[
            "amount"
        ]
        == 0
    )


def test_a_line_of_a_longer_period_shows_what_it_used_in_this_one(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, QUARTERLY)
    name = create(api, line_items=[{"price_id": "price_quarter"}])
    kept.spend("call", "acme", "2", START)
    found = {each["price"]["id"]: each["amount"] for each in usage(api, name)["charges"]}
    assert found == {"price_calls": 2, "price_quarter": 6}


def test_a_trial_costs_nothing(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api, trial_period_days=30)
    kept.spend("call", "acme", "2", START)
    found = usage(api, name)
    assert (found["amount"], found["end_time"]) == (0, "2026-01-31T00:00:00Z")


def test_numbers_keep_all_their_digits(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)
    kept.spend("call", "acme", "1234567890123456789.01", START)
    answer = api.post(f"{PATH}/usage", {"subscription_id": name})
    assert b'"amount":1234567890123456789.01,' in answer.content
    assert b'"quantity":1234567890123456789.01,' in answer.content


def test_usage_of_nothing_is_not_found_and_times_are_in_order(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)
    assert api.post(f"{PATH}/usage", {"subscription_id": "subs_none"}).status_code == 404
    assert api.post(f"{PATH}/usage", {}).status_code == 400
    body = {
        "subscription_id": name,
        "start_time": "2026-01-06T00:00:00Z",
        "end_time": "2026-01-05T00:00:00Z",
    }
    assert api.post(f"{PATH}/usage", body).status_code == 400
    assert api.post(f"{PATH}/usage", {"subscription_id": name}, key="elsewhere").status_code == 404
