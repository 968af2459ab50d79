"""Analytics over HTTP: items as clients parse them (api.md 4.4)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.ids import CustomerId, FeatureId, PlanId, SubscriptionId, SubscriptionLineId
from schemas.price import BillingModel, Price, PriceType
from schemas.subscription import Feature, FeatureType, Subscription, SubscriptionLine

DIGITS = "1234567890.1234567890123456789012345678901234567891"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def sold(api: Any) -> Any:
    """Return the application with a customer that pays for tokens, and one that does not."""
    name = SubscriptionLineId("line_1")
    price = Price("price_1", PriceType.USAGE, BillingModel.FLAT_FEE, "usd", meter_id="meter_1")
    line = SubscriptionLine(name, name, price, "Tokens", START, START)
    subscription = Subscription(
        SubscriptionId("subs_1"),
        CustomerId("cust_1"),
        "acme",
        "usd",
        START,
        plan_id=PlanId("plan_1"),
        lines=(line,),
    )
    api.catalog.known_features = [
        Feature(FeatureId("feat_1"), "Tokens", FeatureType.METERED, "tokens", "meter_1")
    ]
    api.catalog.known_subscriptions = {"acme": [subscription], "free": []}
    return api


def test_an_item_has_what_its_clients_look_for(sold: Any) -> None:
    sent = {"external_customer_id": "acme", "window_size": "DAY", "expand": ["price"]}
    body = sold.post("/v1/events/analytics", sent).json()
    assert body == {
        "items": [
            {
                "feature_id": "feat_1",
                "name": "Tokens",
                "event_name": "llm",
                "meter_id": "meter_1",
                "aggregation_type": "SUM",
                "total_usage": DIGITS,
                "quantity_signed": "-0.1",
                "total_usage_display": DIGITS,
                "subtotal": "0",
                "total_discount": "0",
                "total_cost": "0",
                "event_count": 3,
                "price_id": "price_1",
                "plan_id": "plan_1",
                "subscription_id": "subs_1",
                "sub_line_item_id": "line_1",
                "external_customer_id": "acme",
                "window_size": "DAY",
                "points": [
                    {
                        "timestamp": "2026-01-02T00:00:00Z",
                        "usage": "2.5",
                        "subtotal": "0",
                        "discount": "0",
                        "cost": "0",
                        "event_count": 3,
                    }
                ],
            }
        ],
        "currency": "",
        "subtotal": "0",
        "total_discount": "0",
        "total_cost": "0",
    }


@pytest.mark.parametrize(
    ("sent", "items"),
    [
        ({}, 1),
        ({"external_customer_id": "free"}, 1),
        ({"external_customer_id": "nobody"}, 0),
        ({"feature_ids": []}, 1),
        ({"feature_ids": ["feat_9"]}, 0),
        ({"include_children": True, "unknown": 1}, 1),
    ],
)
def test_usage_without_a_line_has_no_cost_and_a_stranger_no_items(
    sold: Any, sent: dict[str, object], items: int
) -> None:
    body = sold.post("/v1/events/analytics", sent).json()
    assert len(body["items"]) == items
    assert body["currency"] == ""
    assert all("price_id" not in item and "points" not in item for item in body["items"])


def test_expanded_records_come_along(sold: Any) -> None:
    sent = {"expand": ["meter", "feature", "source"]}
    (item,) = sold.post("/v1/events/analytics", sent).json()["items"]
    assert item["meter"]["id"] == "meter_1"
    assert item["feature"]["lookup_key"] == "tokens"
    assert item["sources"] == []


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"group_by": ["model"]}, "group_by"),
        ({"group_by": ["customer_id"]}, "group_by"),
        ({"expand": ["invoice"]}, "expand"),
        ({"window_size": "day"}, "window_size"),
        ({"feature_ids": "feat_1"}, "feature_ids"),
        ({"feature_ids": [1]}, "feature_ids.0"),
        ({"sources": {}}, "sources"),
        ({"include_children": "yes"}, "include_children"),
        ({"property_filters": {"model": []}}, "property_filters"),
    ],
)
def test_what_means_nothing_is_refused_by_name(
    sold: Any, sent: dict[str, object], field: str
) -> None:
    response = sold.post("/v1/events/analytics", sent)
    assert response.status_code == 400
    assert [each["field"] for each in response.json()["details"]["fields"]] == [field]


def test_a_breakdown_by_bucket_is_not_built_yet(sold: Any) -> None:
    assert sold.post("/v1/events/analytics", {"breakdown_bucket": True}).status_code == 501
