"""Subscriptions are found in any state, by what they say, with what is wanted beside them."""

from typing import Any

import pytest
from conftest import Api
from kept import Kept
from plan_on_sale import CUSTOMER, PLAN, USAGE, add_coupon, asked, sell

PATH = "/v1/subscriptions"


def create(api: Api, **more: Any) -> dict[str, Any]:
    answer = api.post(PATH, asked(**more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def total_of(api: Api, path: str, body: object) -> int:
    answer = api.post(path, body)
    assert answer.status_code == 200, answer.text
    total: int = answer.json()["pagination"]["total"]
    return total


def fault(api: Api, path: str, body: object) -> tuple[int, str, list[str]]:
    """Return status, code and the fields of a refusal."""
    answer = api.post(path, body)
    error = answer.json()
    fields = [each["field"] for each in error.get("details", {}).get("fields", [])]
    return answer.status_code, error["code"], fields


def test_a_search_finds_all_states_newest_first(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    first = create(api)["id"]
    kept.now = kept.now.replace(hour=13)
    second = create(api, subscription_status="draft")["id"]
    kept.now = kept.now.replace(hour=14)
    third = create(api)["id"]
    api.post(f"{PATH}/{third}/cancel", {"cancellation_type": "immediate"})
    found = api.post(f"{PATH}/search", {}).json()
    assert [each["id"] for each in found["items"]] == [third, second, first]
    assert found["pagination"] == {"total": 3, "limit": 50, "offset": 50}
    assert "line_items" not in found["items"][0]
    assert "customer" not in found["items"][0]
    page = api.post(f"{PATH}/search", {"limit": 1, "offset": 1, "with_line_items": True}).json()
    assert [each["id"] for each in page["items"]] == [second]
    assert len(page["items"][0]["line_items"]) == 1
    shown = api.post(f"{PATH}/search", {"expand": "customer,plan", "limit": 1}).json()["items"][0]
    assert (shown["customer"]["id"], shown["plan"]["id"]) == (CUSTOMER, PLAN)


def test_a_search_shows_what_is_to_be_expanded(api: Api, kept: Kept) -> None:
    add_coupon(sell(kept, USAGE, limit=9))
    create(api, coupons=["coupon_half"])
    names = "prices,meters,coupon,entitlements"
    (found,) = api.post(f"{PATH}/search", {"expand": names}).json()["items"]
    (line,) = found["line_items"]
    assert (line["price"]["id"], line["meter"]["event_name"]) == ("price_calls", "call")
    (attached,) = found["coupon_associations"]
    assert attached["coupon"]["total_redemptions"] == 1
    (granted,) = found["entitlements"]
    assert granted["entitlement"]["usage_limit"] == 9


SEARCHES: dict[str, tuple[dict[str, Any], int]] = {
    "status": ({"subscription_status": ["ACTIVE"]}, 1),
    "two states": ({"subscription_status": ["active", "draft"]}, 2),
    "customer": ({"customer_id": CUSTOMER}, 2),
    "another customer": ({"customer_id": "cust_none"}, 0),
    "external id": ({"external_customer_id": "acme"}, 2),
    "unknown external id": ({"external_customer_id": "ACME"}, 0),
    "plan": ({"plan_id": PLAN}, 2),
    "another plan": ({"plan_id": "plan_none"}, 0),
    "type": ({"subscription_type": ["standalone"]}, 2),
    "another type": ({"subscription_type": ["parent"]}, 0),
    "period": ({"billing_period": ["monthly"]}, 2),
    "active then": ({"active_at": "2026-01-02T00:00:00Z"}, 1),
    "not yet active": ({"active_at": "2025-12-31T00:00:00Z"}, 0),
    "made after": ({"start_time": "2026-01-08T13:00:00Z"}, 0),
    "made before": ({"end_time": "2026-01-08T13:00:00Z"}, 2),
    "archived": ({"status": "archived"}, 0),
    "condition": (
        {
            "filters": [
                {"field": "currency", "operator": "eq", "value": {"string": "usd"}},
            ]
        },
        2,
    ),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_asks_what_subscriptions_say(api: Api, kept: Kept, name: str) -> None:
    sell(kept, USAGE)
    create(api)
    create(api, subscription_status="draft")
    body, total = SEARCHES[name]
    assert total_of(api, f"{PATH}/search", body) == total


def test_a_search_refuses_what_it_does_not_know(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    for body, field in (
        ({"colour": "red"}, "colour"),
        ({"expand": "colour"}, "expand"),
        ({"sort": [{"field": "colour"}]}, "sort"),
        ({"limit": 0}, "limit"),
    ):
        assert fault(api, f"{PATH}/search", body) == (400, "validation_error", [field])


def test_a_customer_has_its_subscriptions_by_its_own_name(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    made = create(api)
    found = api.call("GET", "/v1/customers/external/acme/subscriptions?expand=plan").json()
    assert [each["id"] for each in found["items"]] == [made["id"]]
    assert found["items"][0]["plan"]["id"] == PLAN
    assert api.call("GET", "/v1/customers/external/nobody/subscriptions").status_code == 404
