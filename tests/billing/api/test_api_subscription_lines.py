"""Lines of subscriptions are added, change and end inside a period, and are found."""

from typing import Any

import pytest
from conftest import HERE, Api
from kept import Kept
from plan_on_sale import CUSTOMER, OTHER, PLAN, SEAT, USAGE, asked, sell

from billing.use_cases.passes import run_pass

PATH = "/v1/subscriptions"
SEARCH = f"{PATH}/lineitems/search"
SUPPORT = {
    "type": "FIXED",
    "billing_model": "FLAT_FEE",
    "billing_period": "MONTHLY",
    "invoice_cadence": "ADVANCE",
    "amount": "31",
    "display_name": "Support",
    "lookup_key": "support",
}


def create(api: Api, **more: Any) -> dict[str, Any]:
    answer = api.post(PATH, asked(**more))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def send(api: Api, method: str, path: str, body: object = None, status: int = 200) -> Any:
    answer = api.call(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def invoices(api: Api, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = send(
        api, "POST", "/v1/invoices/search", {"subscription_id": name}
    )["items"]
    return found


def bill(kept: Kept) -> None:
    """Do what time has brought."""
    run_pass(kept.environment(HERE).stores, lambda _: kept.usage, kept.now)


def test_a_line_with_a_price_of_its_own_is_added(api: Api, kept: Kept) -> None:
    objects = sell(kept, USAGE)
    name = create(api, proration_behavior="create_prorations")["id"]
    kept.now = kept.now.replace(day=17, hour=0)
    body = {"price": SUPPORT, "quantity": 2, "metadata": {"desk": "one"}}
    line = send(api, "POST", f"{PATH}/{name}/lineitems", body, 201)
    assert line["subscription_id"] == name
    assert line["display_name"] == "Support"
    assert (line["quantity"], line["start_date"]) == ("2", "2026-01-17T00:00:00Z")
    assert line["price"]["amount"] == "31"
    assert (line["entity_type"], line["entity_id"]) == ("subscription", name)
    assert line["metadata"] == {"desk": "one"}
    stored = objects.prices.by_lookup("support")
    assert stored is not None
    assert stored.record.id == line["price_id"]
    # 15 of the 31 days of January, twice.
    assert [each["total"] for each in invoices(api, name)] == ["30"]
    shown = send(api, "GET", f"{PATH}/{name}")["line_items"]
    assert [each["id"] for each in shown][1:] == [line["id"]]


def test_a_line_with_an_existing_price_is_added(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, OTHER)
    name = create(api)["id"]
    body = {"price_id": "price_other", "start_date": "2026-01-20T00:00:00Z"}
    line = send(api, "POST", f"{PATH}/{name}/lineitems", body, 201)
    assert (line["price_id"], line["billing_period"]) == ("price_other", "ANNUAL")
    assert line["start_date"] == "2026-01-20T00:00:00Z"
    assert "end_date" not in line


LINE_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "neither price": ({}, "price_id"),
    "both prices": ({"price_id": "price_other", "price": SUPPORT}, "price_id"),
    "no such price": ({"price_id": "price_none"}, "price_id"),
    "a negative quantity": ({"price_id": "price_other", "quantity": -1}, "quantity"),
    "a quantity of usage": ({"price_id": "price_calls", "quantity": 1}, "quantity"),
    "a start before the period": (
        {"price": SUPPORT, "start_date": "2025-12-20T00:00:00Z"},
        "effective_from",
    ),
    "a price without an amount": ({"price": {**SUPPORT, "amount": None}}, "price.amount"),
    "a commitment of a fee": (
        {"price": SUPPORT, "commitment_type": "amount", "commitment_amount": 5},
        "commitment_type",
    ),
}


@pytest.mark.parametrize("fault", LINE_FAULTS)
def test_a_line_that_cannot_be_is_refused_and_leaves_nothing(
    api: Api, kept: Kept, fault: str
) -> None:
    objects = sell(kept, USAGE, OTHER)
    name = create(api)["id"]
    body, field = LINE_FAULTS[fault]
    error = send(api, "POST", f"{PATH}/{name}/lineitems", body, 400)
    assert error["code"] == "validation_error"
    assert [each["field"] for each in error["details"]["fields"]] == [field]
    assert len(send(api, "GET", f"{PATH}/{name}")["line_items"]) == 1
    assert objects.prices.by_lookup("support") is None


def test_lines_of_nothing_are_not_found(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    line = create(api)["line_items"][0]["id"]
    body = {"price_id": "price_calls"}
    send(api, "POST", f"{PATH}/subs_none/lineitems", body, 404)
    send(api, "PUT", f"{PATH}/lineitems/subs_line_none", {"amount": "1"}, 404)
    send(api, "DELETE", f"{PATH}/lineitems/subs_line_none", None, 404)
    elsewhere = api.call("DELETE", f"{PATH}/lineitems/{line}", key="elsewhere")
    assert elsewhere.status_code == 404


def test_other_money_terms_end_the_line_and_start_a_successor(api: Api, kept: Kept) -> None:
    objects = sell(kept, USAGE)
    made = create(api)
    (before,) = made["line_items"]
    kept.spend("call", "acme", "10")
    kept.now = kept.now.replace(day=15, hour=0)
    path = f"{PATH}/lineitems/{before['id']}"
    after = send(api, "PUT", path, {"amount": "3"})
    assert after["id"] != before["id"]
    assert after["price"]["amount"] == "3"
    assert after["price"]["parent_price_id"] == "price_calls"
    assert after["start_date"] == "2026-01-15T00:00:00Z"
    assert objects.prices.get(after["price_id"]) is not None
    lines = send(api, "GET", f"{PATH}/{made['id']}")["line_items"]
    assert [(each["id"], each.get("end_date")) for each in lines] == [
        (before["id"], "2026-01-15T00:00:00Z"),
        (after["id"], None),
    ]
    same = send(api, "PUT", f"{PATH}/lineitems/{after['id']}", {"amount": "3.00"})
    assert same["id"] == after["id"]
    kept.spend("call", "acme", "2")
    kept.now = kept.now.replace(day=16)
    body = {"subscription_id": made["id"]}
    assert send(api, "POST", f"{PATH}/usage", body)["amount"] == 16


def test_metadata_and_commitment_change_in_place(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, SEAT)
    made = create(api)
    calls, seat = made["line_items"]
    body = {
        "metadata": {"team": "red"},
        "commitment_type": "amount",
        "commitment_amount": "5",
        "commitment_overage_factor": "2",
    }
    after = send(api, "PUT", f"{PATH}/lineitems/{calls['id']}", body)
    assert after["id"] == calls["id"]
    assert after["metadata"] == {"team": "red"}
    assert (after["commitment_type"], after["commitment_amount"]) == ("amount", "5")
    assert after["commitment_overage_factor"] == "2"
    version = send(api, "GET", f"{PATH}/{made['id']}")["version"]
    send(api, "PUT", f"{PATH}/lineitems/{calls['id']}", body)
    assert send(api, "GET", f"{PATH}/{made['id']}")["version"] == version
    kept.spend("call", "acme", "7")
    kept.now = kept.now.replace(day=20)
    assert send(api, "POST", f"{PATH}/usage", {"subscription_id": made["id"]})["amount"] == 9
    part = {"commitment_amount": "6", "commitment_true_up_enabled": True}
    after = send(api, "PUT", f"{PATH}/lineitems/{calls['id']}", part)
    assert (after["commitment_amount"], after["commitment_overage_factor"]) == ("6", "2")
    assert after["commitment_true_up_enabled"] is True
    error = send(api, "PUT", f"{PATH}/lineitems/{seat['id']}", part, 400)
    assert error["details"]["fields"][0]["field"] == "commitment_type"
    error = send(api, "PUT", f"{PATH}/lineitems/{seat['id']}", body, 400)
    assert error["details"]["fields"][0]["field"] == "commitment_type"


def test_another_commitment_leaves_earlier_periods_as_they_are(api: Api, kept: Kept) -> None:
    sell(kept, USAGE)
    made = create(api)
    (line,) = made["line_items"]
    kept.spend("call", "acme", "7", kept.now.replace(day=20))
    kept.now = kept.now.replace(month=2, day=10)
    kept.spend("call", "acme", "7", kept.now.replace(day=5))
    bill(kept)
    body = {
        "commitment_type": "amount",
        "commitment_amount": "5",
        "commitment_overage_factor": "2",
    }
    after = send(api, "PUT", f"{PATH}/lineitems/{line['id']}", body)
    assert after["start_date"] == "2026-02-01T00:00:00Z"
    assert (after["price_id"], after["commitment_amount"]) == ("price_calls", "5")
    kept.now = kept.now.replace(month=3)
    bill(kept)
    assert sorted(each["subtotal"] for each in invoices(api, made["id"])) == ["7", "9"]


def test_a_line_ends_with_and_without_a_body(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, SEAT, OTHER)
    made = create(api, line_items=[{"price_id": "price_other"}])
    by_price = {each["price_id"]: each for each in made["line_items"]}
    kept.now = kept.now.replace(day=11, hour=0)
    path = f"{PATH}/lineitems/{by_price['price_other']['id']}"
    bare = api.call("DELETE", path)
    assert bare.status_code == 200, bare.text
    assert bare.json()["end_date"] == "2026-01-11T00:00:00Z"
    body = {"effective_from": "2026-01-21T00:00:00Z", "proration_behavior": "create_prorations"}
    path = f"{PATH}/lineitems/{by_price['price_seat']['id']}"
    ended = send(api, "DELETE", path, body)
    assert ended["id"] == by_price["price_seat"]["id"]
    assert ended["end_date"] == "2026-01-21T00:00:00Z"
    # 11 of the 31 days of January come back.
    (wallet,) = kept.environment(HERE).stores.wallets_of(CUSTOMER)
    assert sum(each.remaining for each in wallet.lots) == 11
    error = send(api, "DELETE", path, {"effective_from": "2026-01-25T00:00:00Z"}, 400)
    assert error["code"] == "invalid_operation"


LINE_SEARCHES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "active now": ({}, ["price_calls", "price_seat"]),
    "all": ({"active_filter": False}, ["price_calls", "price_other", "price_seat"]),
    "active then": (
        {"current_period_start": "2026-01-02T00:00:00Z"},
        ["price_calls", "price_other", "price_seat"],
    ),
    "meter": ({"meter_ids": ["meter_calls"]}, ["price_calls"]),
    "price": ({"price_ids": ["price_seat", "price_none"]}, ["price_seat"]),
    "customer": ({"customer_ids": [CUSTOMER]}, ["price_calls", "price_seat"]),
    "another customer": ({"customer_ids": ["cust_none"]}, []),
    "plan": ({"entity_type": "plan", "entity_ids": [PLAN]}, ["price_calls", "price_seat"]),
    "own": ({"entity_type": "subscription"}, []),
    "currency": ({"currencies": ["USD"]}, ["price_calls", "price_seat"]),
    "period": (
        {"billing_periods": ["annual"], "active_filter": False},
        ["price_other"],
    ),
    "archived": ({"status": "archived"}, []),
    "name": (
        {
            "filters": [
                {"field": "display_name", "operator": "contains", "value": {"string": "sea"}}
            ]
        },
        ["price_seat"],
    ),
}


@pytest.mark.parametrize("name", LINE_SEARCHES)
def test_a_search_shows_active_lines_unless_it_says_otherwise(
    api: Api, kept: Kept, name: str
) -> None:
    sell(kept, USAGE, SEAT, OTHER)
    made = create(api, line_items=[{"price_id": "price_other"}])
    (line,) = (each for each in made["line_items"] if each["price_id"] == "price_other")
    send(api, "DELETE", f"{PATH}/lineitems/{line['id']}")
    body, prices = LINE_SEARCHES[name]
    found = send(api, "POST", SEARCH, body)
    assert sorted(each["price_id"] for each in found["items"]) == prices
    assert found["pagination"]["total"] == len(prices)


def test_pages_of_lines_never_overlap(api: Api, kept: Kept) -> None:
    sell(kept, USAGE, SEAT)
    for _ in range(3):
        create(api)
    seen = []
    for offset in range(0, 6, 2):
        page = send(api, "POST", SEARCH, {"limit": 2, "offset": offset, "expand": "prices"})
        assert page["pagination"] == {"total": 6, "limit": 2, "offset": offset + 2}
        seen += [each["id"] for each in page["items"]]
        assert all("price" in each for each in page["items"])
    assert len(set(seen)) == 6
    bare = send(api, "POST", SEARCH, {"limit": 1})["items"][0]
    assert "price" not in bare
    assert api.post(SEARCH, {"colour": "red"}).status_code == 400
