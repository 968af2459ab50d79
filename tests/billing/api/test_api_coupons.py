"""Coupons over HTTP: made, found by code in any case, archived, and where they are attached."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.invoices.coupons import attach
from billing.ports import Changes, Redemption
from billing.subscriptions.subscribing import reprice, subscribe
from schemas.customer import Customer
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.price import BillingModel, Price, PriceType
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Plan, Subscription, SubscriptionStatus

HERE = Scope("tenant_1", "env_1")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
FEBRUARY = datetime(2026, 2, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)


def coupon(api: Any, code: str | None = "TEN", **members: Any) -> Any:
    """Return a coupon of 10 percent for ever that was added."""
    body = {
        "name": "Ten",
        "type": "percentage",
        "percentage_off": "10.0",
        "cadence": "forever",
        "coupon_code": code,
        **members,
    }
    answer = api.post("/v1/coupons", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def attachments(api: Any, kept: Any) -> dict[str, Any]:
    """Return coupons that are attached: to a subscription, to a line, and to a cancelled one."""
    environment = kept.environment(HERE)
    one, two = coupon(api, "ONE"), coupon(api, "TWO")
    first, second = (environment.objects.coupons.get(each["id"]).record for each in (one, two))
    fee = Price("price_1", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(100))
    plan = Plan(PlanId("plan_1"), "Pro", prices=(fee,))
    acme = Customer(CustomerId("cust_1"), "acme")
    environment.objects.customers.add(made(acme, NOW))

    def subscription(name: str, **members: Any) -> Subscription:
        bare = Subscription(
            SubscriptionId(name), acme.id, "acme", "usd", NOW, created_at=NOW, **members
        )
        return subscribe(bare, plan)

    live = subscription("subs_1")
    whole = attach(first, live, end_date=MARCH)
    line = attach(second, live, chain_id=live.lines[0].chain_id)
    live = replace(live, coupons=(whole, line))
    changed = reprice(live, live.lines[0].id, FEBRUARY, quantity=Decimal(2))
    gone = subscription("subs_2", status=SubscriptionStatus.CANCELLED, cancelled_at=NOW)
    over = attach(first, gone)
    gone = replace(gone, coupons=(over,))
    redeemed = [(first.id, "subs_1"), (second.id, "subs_1"), (first.id, "subs_2")]
    environment.stores.commit(
        Changes(
            subscriptions=(changed, gone),
            redemptions=tuple(Redemption(name, by, NOW) for name, by in redeemed),
        )
    )
    return {
        "one": one["id"],
        "two": two["id"],
        "whole": whole.id,
        "line": line.id,
        "over": over.id,
        "lines": [each.id for each in changed.lines],
    }


def listed(api: Any, query: str) -> set[str]:
    """Return the ids of a list of attachments."""
    answer = api.call("GET", f"/v1/coupons/associations?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["pagination"]["total"] == len(answer.json()["items"])
    return {each["id"] for each in answer.json()["items"]}


@pytest.mark.usefixtures("kept")
def test_a_coupon_is_answered_as_clients_read_it(api: Any) -> None:
    found = coupon(api, max_redemptions=5, rules={"min": 1}, metadata={"a": 1})
    expected = {
        "name": "Ten",
        "coupon_code": "TEN",
        "type": "percentage",
        "cadence": "forever",
        "amount_off": None,
        "percentage_off": "10",
        "currency": "",
        "duration_in_periods": None,
        "max_redemptions": 5,
        "total_redemptions": 0,
        "redeem_after": None,
        "redeem_before": None,
        "rules": {"min": 1},
        "metadata": {"a": "1"},
        "status": "published",
    }
    assert {name: found.get(name, "missing") for name in expected} == expected
    assert found["id"].startswith("coupon_")
    assert api.call("GET", f"/v1/coupons/{found['id']}").json() == found


@pytest.mark.usefixtures("kept")
def test_a_coupon_takes_off_an_amount_in_its_currency(api: Any) -> None:
    found = coupon(
        api,
        None,
        type="FIXED",
        percentage_off=None,
        amount_off=5.50,
        currency="USD",
        cadence="repeated",
        duration_in_periods=3,
    )
    assert (found["amount_off"], found["percentage_off"], found["currency"]) == ("5.5", None, "usd")
    assert found["duration_in_periods"] == 3
    assert "coupon_code" not in found


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({"name": ""}, ["name"]),
        ({"name": 5}, ["name"]),
        ({"percentage_off": 101}, ["percentage_off"]),
        ({"percentage_off": 0}, ["percentage_off"]),
        ({"type": "fixed"}, ["amount_off", "currency"]),
        ({"cadence": "repeated"}, ["duration_in_periods"]),
        ({"duration_in_periods": 1}, ["duration_in_periods"]),
        ({"max_redemptions": 0}, ["max_redemptions"]),
        ({"max_redemptions": 1_000_001}, ["max_redemptions"]),
        ({"name": None, "cadence": "never"}, ["name", "cadence"]),
        (
            {"redeem_after": "2026-02-01T00:00:00Z", "redeem_before": "2026-01-01T00:00:00Z"},
            ["redeem_before"],
        ),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_coupon_that_cannot_be_is_refused_by_name(
    api: Any, members: dict[str, Any], fields: list[str]
) -> None:
    body = {"name": "x", "type": "percentage", "percentage_off": 10, "cadence": "once"}
    refused = api.post("/v1/coupons", {**body, **members})
    assert refused.status_code == 400
    assert [each["field"] for each in refused.json()["details"]["fields"]] == fields
    assert api.post("/v1/coupons/search", {}).json()["items"] == []


@pytest.mark.usefixtures("kept")
def test_a_code_is_found_in_any_case_and_is_taken_in_any_case(api: Any) -> None:
    found = coupon(api, "Summer")
    for code in ("Summer", "SUMMER", "summer"):
        assert api.call("GET", f"/v1/coupons/code/{code}").json() == found
    assert api.call("GET", "/v1/coupons/code/winter").status_code == 404
    body = {"name": "x", "type": "percentage", "percentage_off": 1, "cadence": "once"}
    second = api.post("/v1/coupons", {**body, "coupon_code": "sUMMER"})
    assert (second.status_code, second.json()["code"]) == (409, "already_exists")


@pytest.mark.usefixtures("kept")
def test_an_archived_coupon_gives_up_its_code(api: Any) -> None:
    found = coupon(api, "SUMMER")
    path = f"/v1/coupons/{found['id']}"
    deleted = api.call("DELETE", path)
    assert deleted.status_code == 200
    assert all(isinstance(each, str) for each in deleted.json().values())
    assert api.call("GET", "/v1/coupons/code/SUMMER").status_code == 404
    assert api.call("DELETE", path).status_code == 404
    archived = api.post("/v1/coupons/search", {"status": "archived"}).json()
    assert [each["id"] for each in archived["items"]] == [found["id"]]
    assert coupon(api, "SUMMER")["id"] != found["id"]


@pytest.mark.usefixtures("kept")
def test_only_how_a_coupon_is_called_changes(api: Any) -> None:
    path = f"/v1/coupons/{coupon(api, metadata={'a': '1'})['id']}"
    changed = api.call("PUT", path, json={"name": "X", "metadata": {}, "percentage_off": 99})
    assert changed.status_code == 200
    assert (changed.json()["name"], changed.json()["metadata"]) == ("X", {})
    assert changed.json()["percentage_off"] == "10"
    assert api.call("PUT", path, json={"name": ""}).status_code == 400
    assert api.call("PUT", path, json={"name": None}).json() == changed.json()


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ({}, ["Two", "ONE"]),
        ({"coupon_codes": ["TWO"]}, ["Two"]),
        ({"coupon_codes": ["one", "two", "three"]}, ["Two", "ONE"]),
        ({"coupon_ids": ["coupon_9"]}, []),
        ({"sort": [{"field": "coupon_code", "direction": "asc"}]}, ["ONE", "Two"]),
        ({"limit": 1}, ["Two"]),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_search_finds_the_coupons_it_is_after(
    api: Any, asked: dict[str, Any], codes: list[str]
) -> None:
    coupon(api, "ONE")
    coupon(api, "Two")
    found = api.post("/v1/coupons/search", asked)
    assert found.status_code == 200, found.text
    assert [each["coupon_code"] for each in found.json()["items"]] == codes


@pytest.mark.usefixtures("kept")
def test_a_search_for_coupons_knows_no_range_of_times(api: Any) -> None:
    for name in ("start_time", "end_time"):
        refused = api.post("/v1/coupons/search", {name: "2026-01-01T00:00:00Z"})
        assert refused.status_code == 400
        assert [each["field"] for each in refused.json()["details"]["fields"]] == [name]


def test_a_coupon_tells_how_often_it_was_redeemed(api: Any, attachments: dict[str, Any]) -> None:
    read = api.call("GET", f"/v1/coupons/{attachments['one']}").json()
    assert read["total_redemptions"] == 2
    found = api.post("/v1/coupons/search", {"coupon_ids": [attachments["two"]]}).json()
    assert [each["total_redemptions"] for each in found["items"]] == [1]


def test_attachments_are_listed_by_subscription_and_by_coupon(
    api: Any, attachments: dict[str, Any]
) -> None:
    whole, line, over = (attachments[name] for name in ("whole", "line", "over"))
    for query, expected in (
        ("", {whole, line, over}),
        ("subscription_ids=subs_1", {whole, line}),
        ("subscription_ids=subs_1,subs_2", {whole, line, over}),
        (f"coupon_ids={attachments['one']}", {whole, over}),
        (f"coupon_ids={attachments['one']}&subscription_ids=subs_2", {over}),
        ("coupon_ids=coupon_9", set()),
        ("active_only=true", {whole, line}),
        ("active_only=false", {whole, line, over}),
    ):
        assert listed(api, query) == expected, query
    page = api.call("GET", "/v1/coupons/associations?limit=2&offset=2").json()
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 4}
    assert len(page["items"]) == 1


def test_an_attachment_that_has_ended_is_not_active(
    api: Any, kept: Any, attachments: dict[str, Any]
) -> None:
    kept.now = MARCH
    assert listed(api, "active_only=true") == {attachments["line"]}


def test_an_attachment_is_answered_with_its_coupon_where_it_expands_it(
    api: Any, attachments: dict[str, Any]
) -> None:
    found = api.call("GET", f"/v1/coupons/associations/{attachments['whole']}")
    assert found.status_code == 200
    expected = {
        "id": attachments["whole"],
        "coupon_id": attachments["one"],
        "subscription_id": "subs_1",
        "start_date": "2026-01-08T12:00:00Z",
        "end_date": "2026-03-01T00:00:00Z",
    }
    assert {name: found.json().get(name) for name in expected} == expected
    assert not {"coupon", "subscription_line_item_id"} & set(found.json())
    items = api.call("GET", "/v1/coupons/associations?expand=coupon").json()["items"]
    assert {each["coupon"]["coupon_code"] for each in items} == {"ONE", "TWO"}
    assert api.call("GET", "/v1/coupons/associations/coupon_assoc_9").status_code == 404
    assert api.call("GET", "/v1/coupons/associations?expand=customer").status_code == 400
    assert api.call("GET", "/v1/coupons/associations?sort=name").status_code == 400


def test_an_attachment_to_a_line_names_the_version_that_is_in_force(
    api: Any, kept: Any, attachments: dict[str, Any]
) -> None:
    path = f"/v1/coupons/associations/{attachments['line']}"
    before, after = attachments["lines"]
    assert api.call("GET", path).json()["subscription_line_item_id"] == before
    kept.now = FEBRUARY
    whole = api.call("GET", f"{path}?expand=subscription_line_items").json()
    assert whole["subscription_line_item_id"] == after
    assert (whole["subscription_line_item"]["id"], whole["subscription_line_item"]["quantity"]) == (
        after,
        "2",
    )


def test_what_was_attached_goes_on_when_a_coupon_is_archived(
    api: Any, attachments: dict[str, Any]
) -> None:
    assert api.call("DELETE", f"/v1/coupons/{attachments['one']}").status_code == 200
    items = api.call("GET", "/v1/coupons/associations?expand=coupon").json()["items"]
    assert len(items) == 3
    assert {each["coupon"]["status"] for each in items} == {"published", "archived"}


def test_coupons_of_another_environment_do_not_exist(api: Any, attachments: dict[str, Any]) -> None:
    path = f"/v1/coupons/{attachments['one']}"
    for method in ("GET", "PUT", "DELETE"):
        assert api.call(method, path, key="elsewhere", json={}).status_code == 404
    for path in ("/v1/coupons/code/ONE", f"/v1/coupons/associations/{attachments['whole']}"):
        assert api.call("GET", path, key="elsewhere").status_code == 404
    assert api.post("/v1/coupons/search", {}, key="elsewhere").json()["items"] == []
    assert api.call("GET", "/v1/coupons/associations", key="elsewhere").json()["items"] == []
