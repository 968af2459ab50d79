"""Subscriptions are made whole or not at all, found in any state, and end as they were told to."""

from decimal import Decimal
from typing import Any

import pytest
from conftest import HERE, Api
from kept import Kept
from plan_on_sale import (
    CUSTOMER,
    OTHER,
    PLAN,
    SEAT,
    USAGE,
    add_coupon,
    add_tax_rate,
    asked,
    sell,
)

from schemas.ids import SubscriptionId
from schemas.object_query import Query

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


def test_a_customer_subscribes_to_a_plan_by_either_name(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, OTHER)
    made = create(api)
    assert made["id"].startswith("subs_")
    assert made["subscription_status"] == "active"
    assert made["current_period_start"] == "2026-01-01T00:00:00Z"
    assert made["current_period_end"] == "2026-02-01T00:00:00Z"
    assert made["customer"]["external_id"] == "acme"
    assert made["plan"]["name"] == "Pro"
    assert made["billing_cadence"] == "RECURRING"
    assert made["cancel_at"] is None
    assert made["trial_end"] is None
    assert "latest_invoice" not in made
    (line,) = made["line_items"]
    assert (line["price_id"], line["meter_id"], line["quantity"]) == (
        "price_calls",
        "meter_calls",
        "0",
    )
    assert line["price"]["amount"] == "1"
    assert (line["entity_type"], line["entity_id"]) == ("plan", PLAN)
    named = asked(external_customer_id="acme", customer_id="")
    second = api.post(PATH, named)
    assert second.status_code == 201
    assert second.json()["customer_id"] == CUSTOMER
    assert second.json()["warnings"] == ["meter_shared"]
    read = api.call("GET", f"{PATH}/{made['id']}").json()
    assert {**made, "latest_invoice": None} == {**read, "latest_invoice": None}


def test_charges_in_advance_are_on_the_opening_invoice(api: Api, kept: Kept) -> None:
    sell(kept, SEAT)
    made = create(api, override_line_items=[{"price_id": "price_seat", "quantity": "3"}])
    assert made["latest_invoice"]["total"] == "93"
    assert made["latest_invoice"]["billing_reason"] == "SUBSCRIPTION_CREATE"
    assert made["line_items"][0]["quantity"] == "3"


def test_everything_comes_in_one_call(api: Api, kept: Kept) -> None:
    objects = sell(kept, USAGE, SEAT, OTHER)
    add_coupon(objects)
    add_coupon(objects, "coupon_line")
    add_tax_rate(objects)
    made = create(
        api,
        override_line_items=[
            {"price_id": "price_seat", "amount": "20"},
            {"price_id": "price_calls", "amount": 0.5},
        ],
        line_items=[
            {"price_id": "price_other"},
            {
                "price": {
                    "type": "FIXED",
                    "billing_model": "FLAT_FEE",
                    "billing_period": "MONTHLY",
                    "amount": "7",
                    "lookup_key": "support",
                },
                "display_name": "Support",
            },
        ],
        commitment_amount="100",
        overage_factor="1.5",
        enable_true_up=True,
        coupons=["coupon_half"],
        subscription_coupons=[{"coupon_code": "Coupon_Line", "price_id": "price_seat"}],
        tax_rate_overrides=[{"tax_rate_code": "vat", "currency": "usd"}],
        metadata={"team": "blue", "seats": 3},
        line_item_grouping="by_meter",
        lookup_key="mine",
    )
    assert made["metadata"] == {"team": "blue", "seats": "3"}
    assert (made["commitment_amount"], made["overage_factor"]) == ("100", "1.5")
    assert made["enable_true_up"] is True
    assert made["line_item_grouping"] == "by_meter"
    lines = {line["display_name"]: line for line in made["line_items"]}
    assert set(lines) == {"Calls", "Seat", "Support", "price_other"}
    assert lines["Seat"]["price"]["amount"] == "20"
    assert lines["Seat"]["price"]["parent_price_id"] == "price_seat"
    assert lines["Seat"]["entity_type"] == "plan"
    assert lines["Calls"]["price"]["amount"] == "0.5"
    assert lines["Support"]["entity_type"] == "subscription"
    assert lines["price_other"]["billing_period"] == "ANNUAL"
    assert [each["coupon_id"] for each in made["coupon_associations"]] == [
        "coupon_half",
        "coupon_line",
    ]
    assert made["coupon_associations"][1]["subscription_line_item_id"] == lines["Seat"]["id"]
    # 20 less a half for the line, less a half of the rest, and a tenth of tax.
    assert made["latest_invoice"]["total"] == "5.5"
    own = objects.prices.by_lookup("support")
    assert own is not None
    assert own.record.entity_id == made["id"]
    assert objects.prices.get(lines["Seat"]["price_id"]) is not None


def test_unknown_subjects_are_not_found(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    for body in (
        asked(customer_id="cust_none"),
        asked(customer_id=None, external_customer_id="nobody"),
        asked(plan_id="plan_none"),
    ):
        assert fault(api, PATH, body)[:2] == (404, "not_found")
    assert fault(api, PATH, asked(customer_id=None)) == (400, "validation_error", ["customer_id"])
    assert api.call("GET", f"{PATH}/subs_none").status_code == 404
    assert total_of(api, f"{PATH}/search", {}) == 0


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no coupon of the id": ({"coupons": ["coupon_none"]}, "coupons"),
    "no coupon of the code": (
        {"subscription_coupons": [{"coupon_code": "NONE"}]},
        "subscription_coupons.0.coupon_code",
    ),
    "a coupon that is used up": ({"coupons": ["coupon_over"]}, "coupon_code"),
    "no tax rate of the code": (
        {"tax_rate_overrides": [{"tax_rate_code": "none", "currency": "usd"}]},
        "tax_rate_overrides.0.tax_rate_code",
    ),
    "no price of the plan": (
        {"override_line_items": [{"price_id": "price_none", "amount": "1"}]},
        "override_line_items",
    ),
    "an override of nothing": (
        {"override_line_items": [{"price_id": "price_calls"}]},
        "override_line_items",
    ),
    "a line without a price": ({"line_items": [{}]}, "line_items.0.price_id"),
    "no price for a line": (
        {"line_items": [{"price_id": "price_none"}]},
        "line_items.0.price_id",
    ),
    "a price that cannot be": (
        {
            "line_items": [
                {
                    "price": {
                        "type": "USAGE",
                        "billing_model": "FLAT_FEE",
                        "billing_period": "MONTHLY",
                        "amount": "1",
                    }
                }
            ]
        },
        "line_items.0.price.meter_id",
    ),
    "no entitlement of the plan": (
        {"override_entitlements": [{"entitlement_id": "ent_none"}]},
        "override_entitlements",
    ),
    "a negative commitment": ({"commitment_amount": "-1"}, "commitment_amount"),
    "a factor below one": ({"commitment_amount": 1, "overage_factor": "0.5"}, "overage_factor"),
    "a status of its own": ({"subscription_status": "paused"}, "subscription_status"),
    "an end before the start": ({"end_date": "2025-12-31T00:00:00Z"}, "end_date"),
    "an unknown word": ({"billing_cycle": "lunar"}, "billing_cycle"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_is_refused_by_its_field_and_leaves_nothing(
    api: Api, kept: Kept, name: str
) -> None:
    objects = sell(kept, USAGE)
    add_coupon(objects, "coupon_over", redeem_before=kept.now.replace(year=2025))
    more, field = FAULTS[name]
    support = {
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "billing_period": "MONTHLY",
        "amount": "7",
        "lookup_key": "support",
    }
    body = asked(**{"line_items": [{"price": support}], **more})
    assert fault(api, PATH, body) == (400, "validation_error", [field])
    assert total_of(api, f"{PATH}/search", {}) == 0
    assert objects.prices.by_lookup("support") is None


def test_an_override_of_an_entitlement_takes_its_place(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, limit=100)
    override = {"entitlement_id": "ent_calls", "usage_limit": 250}
    made = create(api, override_entitlements=[override])
    kept_one = kept.environment(HERE).stores.subscription(SubscriptionId(made["id"]))
    assert kept_one is not None
    assert [each.usage_limit for each in kept_one.entitlements] == [250]


def test_a_draft_invoices_nothing_until_it_is_activated(api: Api, kept: Kept) -> None:
    sell(kept, SEAT)
    draft = create(api, subscription_status="draft")
    assert draft["subscription_status"] == "draft"
    assert "latest_invoice" not in draft
    path = f"{PATH}/{draft['id']}/activate"
    done = api.post(path, {"start_date": "2026-01-05T00:00:00Z"})
    assert done.status_code == 200, done.text
    assert done.json()["subscription_status"] == "active"
    assert done.json()["current_period_start"] == "2026-01-05T00:00:00Z"
    assert done.json()["latest_invoice"]["total"] == "31"
    again = api.post(path, {"start_date": "2026-01-05T00:00:00Z"})
    assert (again.status_code, again.json()["code"]) == (400, "invalid_operation")
    assert (
        fault(api, f"{PATH}/subs_none/activate", {"start_date": "2026-01-05T00:00:00Z"})[0] == 404
    )


def test_nobody_sees_the_subscriptions_of_another_environment(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    assert api.call("GET", f"{PATH}/{name}", key="elsewhere").status_code == 404
    found = api.post(f"{PATH}/search", {}, key="elsewhere").json()
    assert found["pagination"]["total"] == 0
    body = {"cancellation_type": "immediate"}
    assert api.post(f"{PATH}/{name}/cancel", body, key="elsewhere").status_code == 404


def test_cancelled_at_once_it_bills_what_was_used_until_then(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    kept.spend("call", "acme", "7")
    kept.now = kept.now.replace(day=10)
    done = api.post(f"{PATH}/{name}/cancel", {"cancellation_type": "immediate", "reason": "dear"})
    assert done.status_code == 200, done.text
    body = done.json()
    assert (body["subscription_id"], body["status"]) == (name, "cancelled")
    assert body["effective_date"] == "2026-01-10T12:00:00Z"
    assert body["reason"] == "dear"
    assert body["proration_details"] == []
    assert body["total_credit_amount"] == "0"
    assert body["proration_invoice"]["subtotal"] == "7"
    assert body["proration_invoice"]["billing_reason"] == "PRORATION"
    read = api.call("GET", f"{PATH}/{name}").json()
    assert read["subscription_status"] == "cancelled"
    assert read["cancelled_at"] == "2026-01-10T12:00:00Z"
    again = api.post(f"{PATH}/{name}/cancel", {"cancellation_type": "immediate"})
    assert (again.status_code, again.json()["code"]) == (400, "invalid_operation")
    assert fault(api, f"{PATH}/subs_none/cancel", {"cancellation_type": "immediate"})[0] == 404


def test_a_final_invoice_is_there_even_when_it_is_zero(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    done = api.post(f"{PATH}/{name}/cancel", {"cancellation_type": "immediate"}).json()
    assert done["proration_invoice"]["total"] == "0"
    found = api.post("/v1/invoices/search", {"subscription_id": name}).json()["items"]
    assert [each["id"] for each in found] == [done["proration_invoice"]["id"]]


@pytest.mark.parametrize(
    "member", ["cancel_immediately_invoice_policy", "cancel_immediately_inovice_policy"]
)
def test_the_policy_skip_makes_no_invoice_in_either_spelling(
    api: Api, kept: Kept, member: str
) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    kept.spend("call", "acme", "7")
    body = {"cancellation_type": "immediate", member: "skip"}
    done = api.post(f"{PATH}/{name}/cancel", body).json()
    assert "proration_invoice" not in done
    assert total_of(api, "/v1/invoices/search", {"subscription_id": name}) == 0


def test_what_was_paid_in_advance_comes_back_where_it_is_asked_for(api: Api, kept: Kept) -> None:
    sell(kept, SEAT)
    name = create(api)["id"]
    kept.now = kept.now.replace(day=11, hour=0)
    body = {"cancellation_type": "immediate", "proration_behavior": "create_prorations"}
    done = api.post(f"{PATH}/{name}/cancel", body).json()
    assert done["total_credit_amount"] == "21"
    (detail,) = done["proration_details"]
    assert detail["price_id"] == "price_seat"
    assert (detail["original_amount"], detail["credit_amount"]) == ("31", "21")
    assert (detail["charge_amount"], detail["proration_days"]) == ("0", 21)


def test_a_planned_cancellation_leaves_the_status_and_can_be_dropped(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    done = api.post(f"{PATH}/{name}/cancel", {"cancellation_type": "end_of_period"}).json()
    assert (done["status"], done["effective_date"]) == ("active", "2026-02-01T00:00:00Z")
    assert "proration_invoice" not in done
    read = api.call("GET", f"{PATH}/{name}").json()
    assert read["cancel_at"] == "2026-02-01T00:00:00Z"
    assert read["cancel_at_period_end"] is True
    dropped = api.call("PUT", f"{PATH}/{name}", json={"cancel_at_period_end": False})
    assert dropped.status_code == 200, dropped.text
    assert dropped.json()["cancel_at"] is None
    assert dropped.json()["cancel_at_period_end"] is False
    planned = api.call("PUT", f"{PATH}/{name}", json={"cancel_at": "2026-01-20T00:00:00Z"}).json()
    assert planned["cancel_at"] == "2026-01-20T00:00:00Z"
    assert planned["cancel_at_period_end"] is False
    assert planned["subscription_status"] == "active"
    body = {"cancellation_type": "scheduled_date"}
    assert fault(api, f"{PATH}/{name}/cancel", body) == (400, "validation_error", ["cancel_at"])


def test_a_status_is_taken_only_where_it_lawfully_follows(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    name = create(api)["id"]
    same = api.call("PUT", f"{PATH}/{name}", json={"status": "active"})
    assert same.json()["subscription_status"] == "active"
    refused = api.call("PUT", f"{PATH}/{name}", json={"status": "trialing"})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    over = api.call("PUT", f"{PATH}/{name}", json={"status": "cancelled"})
    assert over.json()["subscription_status"] == "cancelled"


def test_a_subscription_may_begin_in_the_past(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    kept.now = kept.now.replace(month=3)
    kept.spend("call", "acme", "4", kept.now.replace(month=1))
    made = create(api)
    assert made["current_period_start"] == "2026-03-01T00:00:00Z"
    kept.flow(HERE)
    found = api.post("/v1/invoices/search", {"subscription_id": made["id"]}).json()["items"]
    # That of February is of nothing, so it is skipped and not shown.
    assert [(each["period_start"], each["subtotal"]) for each in found] == [
        ("2026-01-01T00:00:00Z", "4")
    ]


def test_the_taxes_of_a_customer_come_along_unless_others_are_named(api: Api, kept: Kept) -> None:
    objects = sell(kept, SEAT)
    add_tax_rate(objects)
    taxed = api.post(
        "/v1/customers",
        {
            "external_id": "taxed",
            "tax_rate_overrides": [{"tax_rate_code": "vat", "currency": "usd"}],
        },
    )
    assert taxed.status_code == 201, taxed.text
    name = taxed.json()["id"]
    assert create(api, customer_id=name)["latest_invoice"]["total"] == "34.1"
    bare = create(api, customer_id=name, tax_rate_overrides=[])
    assert bare["latest_invoice"]["total"] == "31"
    assert Decimal(bare["latest_invoice"]["total_tax"]) == 0


def test_the_stores_hold_nothing_beside_what_was_made(api: Api, kept: Kept) -> None:
    objects = sell(kept, USAGE)
    create(api)
    assert objects.prices.page(Query()).total == 1
