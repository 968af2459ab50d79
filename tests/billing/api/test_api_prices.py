"""Prices over HTTP: added, answered as clients read them, changed by successors, and ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.group import Group, GroupEntityType, GroupId
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.scope import Scope
from schemas.stored import made

HERE = Scope("tenant_1", "env_1")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
MAY = "2026-05-01T00:00:00Z"

FEE: dict[str, Any] = {
    "entity_type": "PLAN",
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "currency": "USD",
    "billing_period": "MONTHLY",
    "amount": "20.00",
}
TIERS = [
    {"up_to": 1000, "unit_amount": "0.02"},
    {"up_to": 5000, "unit_amount": 0.005, "flat_amount": "1"},
]


@pytest.fixture
def objects(kept: Any) -> Any:
    """Return stores that have a meter and a group of prices."""
    found = kept.environment(HERE).objects
    meter = Meter(
        "meter_1", *("tenant_1", "env_1"), "Tokens", "llm", Aggregation(AggregationType.COUNT)
    )
    found.meters.add(made(meter, NOW))
    found.groups.add(made(Group(GroupId("group_1"), "AI", GroupEntityType.PRICE, "ai"), NOW))
    found.groups.add(made(Group(GroupId("group_2"), "F", GroupEntityType.FEATURE, "f"), NOW))
    return found


@pytest.fixture
def plan_id(api: Any, objects: Any) -> str:
    """Return the id of a plan without prices."""
    assert objects is not None
    found: str = api.post("/v1/plans", {"name": "Pro"}).json()["id"]
    return found


def price(api: Any, plan_id: str, **members: Any) -> Any:
    """Return a price that was added to a plan; a member of None is left out."""
    body = {**FEE, "entity_id": plan_id, **members}
    answer = api.post("/v1/prices", {k: v for k, v in body.items() if v is not None})
    assert answer.status_code == 201, answer.text
    return answer.json()


def tiered(api: Any, plan_id: str, **members: Any) -> Any:
    """Return a usage price in tiers that was added to a plan."""
    return price(
        api,
        plan_id,
        type="USAGE",
        billing_model="TIERED",
        tier_mode="SLAB",
        tiers=TIERS,
        amount=None,
        meter_id="meter_1",
        **members,
    )


def test_a_fee_is_answered_as_clients_read_it(api: Any, plan_id: str) -> None:
    made_one = price(api, plan_id, min_quantity=5, lookup_key="fee", group_id="group_1")
    expected = {
        "entity_type": "PLAN",
        "entity_id": plan_id,
        "type": "FIXED",
        "billing_model": "FLAT_FEE",
        "billing_cadence": "RECURRING",
        "billing_period": "MONTHLY",
        "billing_period_count": 1,
        "invoice_cadence": "ARREAR",
        "currency": "usd",
        "amount": "20",
        "display_amount": "$20",
        "price_unit_type": "FIAT",
        "transform_quantity": {"divide_by": 1},
        "meter_id": "",
        "min_quantity": "5",
        "trial_period_days": 0,
        "start_date": "2026-01-08T12:00:00Z",
        "lookup_key": "fee",
        "display_name": "Pro",
        "group_id": "group_1",
        "sequence": 1,
        "status": "published",
    }
    assert {name: made_one.get(name) for name in expected} == expected
    assert made_one["group"]["entity_ids"] == [made_one["id"]]
    assert not {"end_date", "tiers", "tier_mode", "meter", "parent_price_id", "plan"} & set(
        made_one
    )
    assert api.call("GET", f"/v1/prices/{made_one['id']}").json() == made_one
    assert api.call("GET", "/v1/prices/lookup/fee").json() == made_one


def test_tiers_are_answered_in_their_order_with_a_word_on_a_finite_last_one(
    api: Any, plan_id: str
) -> None:
    made_one = tiered(api, plan_id)
    assert made_one["amount"] == "0"
    assert made_one["tiers"] == [
        {"up_to": 1000, "unit_amount": "0.02", "flat_amount": "0"},
        {"up_to": 5000, "unit_amount": "0.005", "flat_amount": "1"},
    ]
    assert made_one["warnings"] == ["finite_last_tier"]
    assert made_one["meter"]["name"] == made_one["display_name"] == "Tokens"


def test_an_open_last_tier_has_no_bound(api: Any, plan_id: str) -> None:
    made_one = price(
        api,
        plan_id,
        billing_model="TIERED",
        amount=None,
        tier_mode="volume",
        tiers=[{"up_to": 1, "unit_amount": "2"}, {"unit_amount": "1"}],
    )
    assert made_one["tiers"][-1]["up_to"] is None
    assert made_one["tier_mode"] == "VOLUME"
    assert "warnings" not in made_one


def test_a_package_says_how_large_it_is(api: Any, plan_id: str) -> None:
    size = {"divide_by": 1000}
    made_one = price(api, plan_id, billing_model="PACKAGE", transform_quantity=size)
    assert made_one["transform_quantity"] == {"divide_by": 1000, "round": "up"}


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"type": "USAGE"}, "meter_id"),
        ({"billing_model": "TIERED", "tier_mode": "SLAB"}, "tiers"),
        ({"billing_model": "TIERED", "tiers": [{"unit_amount": "1"}]}, "tier_mode"),
        (
            {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 0}},
            "transform_quantity",
        ),
        ({"billing_model": "PACKAGE"}, "transform_quantity"),
        ({"amount": None}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": ""}, "amount"),
        ({"tiers": list(reversed(TIERS)), "billing_model": "TIERED", "tier_mode": "SLAB"}, "tiers"),
        ({"currency": "zzz"}, "currency"),
        ({"meter_id": "meter_1"}, "meter_id"),
        ({"type": "USAGE", "meter_id": "meter_1", "invoice_cadence": "ADVANCE"}, "invoice_cadence"),
        ({"type": "USAGE", "meter_id": "meter_9"}, "meter_id"),
        ({"entity_id": "plan_9"}, "entity_id"),
        ({"entity_type": "PRICE"}, "entity_type"),
        ({"entity_type": "SUBSCRIPTION", "entity_id": "subs_9"}, "entity_id"),
        ({"group_id": "group_2"}, "group_id"),
        ({"group_id": "group_9"}, "group_id"),
        ({"end_date": "2026-01-01T00:00:00Z"}, "end_date"),
        ({"start_date": "2026-01-01"}, "start_date"),
        ({"billing_period_count": 0}, "billing_period_count"),
    ],
)
def test_a_price_that_cannot_be_is_refused_by_name(
    api: Any, plan_id: str, objects: Any, members: dict[str, Any], field: str
) -> None:
    body = {**FEE, "entity_id": plan_id, **members}
    refused = api.post("/v1/prices", body)
    assert refused.status_code == 400
    assert refused.json()["code"] == "validation_error"
    assert field in [each["field"] for each in refused.json()["details"]["fields"]]
    assert api.post("/v1/prices/search", {}).json()["items"] == []


def test_all_that_is_wrong_with_a_price_is_said_at_once(api: Any, plan_id: str) -> None:
    refused = api.post("/v1/prices", {"entity_id": plan_id, "currency": "zzz", "amount": "1"})
    fields = [each["field"] for each in refused.json()["details"]["fields"]]
    assert fields == ["currency", "type", "billing_model", "billing_period"]


@pytest.mark.parametrize(
    "members",
    [
        {"price_unit_type": "custom"},
        {"bucket_size": "HOUR"},
        {"entity_type": "ADDON", "entity_id": "addon_1"},
    ],
    ids=["units", "buckets", "addons"],
)
def test_what_comes_later_is_said_to_be_not_built(
    api: Any, plan_id: str, members: dict[str, Any]
) -> None:
    refused = api.post("/v1/prices", {**FEE, "entity_id": plan_id, **members})
    assert refused.status_code == 501


def test_an_older_call_names_its_plan_alone(api: Any, plan_id: str) -> None:
    body = {name: value for name, value in FEE.items() if name != "entity_type"}
    answer = api.post("/v1/prices", {**body, "plan_id": plan_id, "price_unit_type": "FIAT"})
    assert answer.status_code == 201
    assert (answer.json()["entity_type"], answer.json()["entity_id"]) == ("PLAN", plan_id)


def test_a_key_belongs_to_one_price(api: Any, plan_id: str) -> None:
    price(api, plan_id, lookup_key="fee")
    second = api.post("/v1/prices", {**FEE, "entity_id": plan_id, "lookup_key": "fee"})
    assert (second.status_code, second.json()["code"]) == (409, "already_exists")


def test_prices_are_added_together_in_the_order_of_the_request(api: Any, plan_id: str) -> None:
    items = [{**FEE, "entity_id": plan_id, "amount": amount} for amount in ("3", "1", "2")]
    answer = api.post("/v1/prices/bulk", {"items": items})
    assert answer.status_code == 201
    assert [each["amount"] for each in answer.json()["items"]] == ["3", "1", "2"]
    assert [each["sequence"] for each in answer.json()["items"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("second", "field"),
    [
        ({"amount": "-1"}, "items.1.amount"),
        ({"entity_id": "plan_9"}, "items.1.entity_id"),
    ],
    ids=["rule", "reference"],
)
def test_prices_are_added_all_or_not_at_all(
    api: Any, plan_id: str, second: dict[str, Any], field: str
) -> None:
    fee = {**FEE, "entity_id": plan_id}
    refused = api.post("/v1/prices/bulk", {"items": [fee, {**fee, **second}]})
    assert refused.status_code == 400
    assert [each["field"] for each in refused.json()["details"]["fields"]] == [field]
    assert api.post("/v1/prices/search", {}).json()["items"] == []


@pytest.mark.parametrize("number", [0, 101])
def test_so_many_prices_are_not_added_together(api: Any, plan_id: str, number: int) -> None:
    items = [{**FEE, "entity_id": plan_id}] * number
    assert api.post("/v1/prices/bulk", {"items": items}).status_code == 400


def test_other_money_terms_start_a_successor_in_the_same_chain(api: Any, plan_id: str) -> None:
    first = price(api, plan_id, lookup_key="fee")
    path = f"/v1/prices/{first['id']}"
    changed = api.call("PUT", path, json={"amount": "25", "effective_from": MAY})
    assert changed.status_code == 200
    second = changed.json()
    assert second["id"] != first["id"]
    assert (second["amount"], second["start_date"]) == ("25", MAY)
    assert second["parent_price_id"] == first["id"]
    assert second["sequence"] > first["sequence"]
    ended = api.call("GET", path).json()
    assert (ended["amount"], ended["end_date"]) == ("20", MAY)
    assert api.call("GET", "/v1/prices/lookup/fee").json()["id"] == second["id"]
    third = api.call("PUT", f"/v1/prices/{second['id']}", json={"amount": "30"}).json()
    assert (third["parent_price_id"], third["start_date"]) == (first["id"], MAY)


def test_a_change_of_money_is_from_now_on_unless_it_says_otherwise(
    api: Any, kept: Any, plan_id: str
) -> None:
    first = price(api, plan_id)
    kept.now = NOW + timedelta(days=1)
    second = api.call("PUT", f"/v1/prices/{first['id']}", json={"amount": "25"}).json()
    assert second["start_date"] == "2026-01-09T12:00:00Z"


def test_other_members_change_in_place(api: Any, plan_id: str) -> None:
    first = price(api, plan_id, description="old", group_id="group_1", metadata={"a": "1"})
    body = {"display_name": "Base", "description": "", "group_id": "", "metadata": {}}
    changed = api.call("PUT", f"/v1/prices/{first['id']}", json=body).json()
    assert changed["id"] == first["id"]
    assert (changed["display_name"], changed["description"]) == ("Base", "")
    assert changed["metadata"] == {}
    assert "group_id" not in changed
    assert "end_date" not in changed


def test_tiers_are_replaced_whole_by_a_successor(api: Any, plan_id: str) -> None:
    first = tiered(api, plan_id)
    body = {"tiers": [{"unit_amount": "0.01"}]}
    second = api.call("PUT", f"/v1/prices/{first['id']}", json=body).json()
    assert second["tiers"] == [{"up_to": None, "unit_amount": "0.01", "flat_amount": "0"}]
    assert second["tier_mode"] == "SLAB"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"effective_from": MAY}, "effective_from"),
        ({"display_name": "x", "effective_from": MAY}, "effective_from"),
        ({"amount": "25", "effective_from": "2026-01-01T00:00:00Z"}, "effective_from"),
        ({"billing_model": "TIERED"}, "tier_mode"),
        ({"amount": "-1"}, "amount"),
        ({"group_id": "group_9"}, "group_id"),
    ],
)
def test_a_change_that_cannot_be_leaves_the_price_as_it_is(
    api: Any, plan_id: str, body: dict[str, Any], field: str
) -> None:
    first = price(api, plan_id)
    refused = api.call("PUT", f"/v1/prices/{first['id']}", json=body)
    assert refused.status_code == 400
    assert [each["field"] for each in refused.json()["details"]["fields"]] == [field]
    assert api.call("GET", f"/v1/prices/{first['id']}").json() == first


def test_the_same_money_terms_change_nothing(api: Any, plan_id: str) -> None:
    first = price(api, plan_id)
    assert api.call("PUT", f"/v1/prices/{first['id']}", json={"amount": "20.0"}).json() == first


def test_a_price_is_ended_once(api: Any, kept: Any, plan_id: str) -> None:
    first = price(api, plan_id)
    kept.now = NOW + timedelta(hours=1)
    path = f"/v1/prices/{first['id']}"
    deleted = api.call("DELETE", path)
    assert deleted.status_code == 200
    assert set(deleted.json()) == {"message"}
    assert api.call("GET", path).json()["end_date"] == "2026-01-08T13:00:00Z"
    again = api.call("DELETE", path)
    assert (again.status_code, again.json()["code"]) == (400, "invalid_operation")
    assert api.call("PUT", path, json={"amount": "1"}).status_code == 400


def test_a_price_ends_when_it_is_told_to(api: Any, plan_id: str) -> None:
    path = f"/v1/prices/{price(api, plan_id)['id']}"
    assert api.call("DELETE", path, json={"end_date": "2025-01-01T00:00:00Z"}).status_code == 400
    assert api.call("DELETE", path, json={"end_date": MAY}).status_code == 200
    assert api.call("GET", path).json()["end_date"] == MAY
    assert api.call("DELETE", path, json={"end_date": MAY}).status_code == 400


def test_an_unknown_price_is_not_found(api: Any, plan_id: str) -> None:
    assert plan_id
    for method, path in (
        ("GET", "/v1/prices/price_9"),
        ("PUT", "/v1/prices/price_9"),
        ("DELETE", "/v1/prices/price_9"),
        ("GET", "/v1/prices/lookup/none"),
    ):
        assert api.call(method, path, json={}).status_code == 404, (method, path)


def test_a_search_leaves_out_prices_that_have_ended(api: Any, kept: Any, plan_id: str) -> None:
    gone, stays = price(api, plan_id), price(api, plan_id, amount="1")
    api.call("DELETE", f"/v1/prices/{gone['id']}")
    kept.now = NOW + timedelta(hours=1)
    found = api.post("/v1/prices/search", {}).json()
    assert [each["id"] for each in found["items"]] == [stays["id"]]
    every = api.post("/v1/prices/search", {"allow_expired_prices": True}).json()
    assert [each["id"] for each in every["items"]] == [stays["id"], gone["id"]]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"entity_type": "plan"}, ["usage", "fee"]),
        ({"entity_type": "SUBSCRIPTION"}, []),
        ({"subscription_id": "subs_1"}, []),
        ({"meter_ids": ["meter_1"]}, ["usage"]),
        ({"billing_periods": ["annual"]}, ["fee"]),
        ({"start_date_lt": "2026-02-01T00:00:00Z"}, ["fee"]),
        ({"updated_after": "2026-01-08T12:00:00Z"}, []),
        ({"sort": "display_name", "order": "asc"}, ["usage", "fee"]),
        (
            {"filters": [{"field": "amount", "operator": "gt", "value": {"number": 5}}]},
            ["fee"],
        ),
        (
            {"filters": [{"field": "start_date", "operator": "after", "value": {"date": MAY}}]},
            [],
        ),
    ],
)
def test_a_search_finds_the_prices_it_is_after(
    api: Any, plan_id: str, asked: dict[str, Any], names: list[str]
) -> None:
    price(api, plan_id, lookup_key="fee", billing_period="ANNUAL", display_name="Z")
    tiered(api, plan_id, lookup_key="usage", start_date=MAY)
    found = api.post("/v1/prices/search", asked)
    assert found.status_code == 200, found.text
    assert [each["lookup_key"] for each in found.json()["items"]] == names


def test_a_search_by_ids_and_plans_takes_all_of_them_together(api: Any, plan_id: str) -> None:
    one, two = price(api, plan_id), price(api, plan_id)
    asked = {"price_ids": [one["id"], two["id"]], "plan_ids": [plan_id], "entity_ids": [plan_id]}
    assert len(api.post("/v1/prices/search", asked).json()["items"]) == 2
    asked["plan_ids"] = ["plan_9"]
    assert api.post("/v1/prices/search", asked).json()["items"] == []


def test_a_search_shows_what_it_expands(api: Any, plan_id: str) -> None:
    tiered(api, plan_id, group_id="group_1")
    bare = api.post("/v1/prices/search", {}).json()["items"][0]
    assert not {"meter", "plan", "group"} & set(bare)
    whole = api.post("/v1/prices/search", {"expand": "meters,plan,groups"}).json()["items"][0]
    assert whole["meter"]["id"] == "meter_1"
    assert whole["plan"]["name"] == "Pro"
    assert whole["group"]["name"] == "AI"
    assert api.post("/v1/prices/search", {"expand": "plans"}).status_code == 400


def test_a_price_of_another_environment_does_not_exist(api: Any, plan_id: str) -> None:
    first = price(api, plan_id, lookup_key="fee")
    for path in (f"/v1/prices/{first['id']}", "/v1/prices/lookup/fee"):
        assert api.call("GET", path, key="elsewhere").status_code == 404
    foreign = api.post("/v1/prices", {**FEE, "entity_id": plan_id}, key="elsewhere")
    assert foreign.status_code == 400
    assert api.post("/v1/prices/search", {}, key="elsewhere").json()["items"] == []
