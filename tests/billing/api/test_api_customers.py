"""Customers over HTTP: made, found to the letter, changed, deleted when nothing lives (api.md 4.6)."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from billing.ports import Changes
from billing.use_cases.wallets import create_wallet
from schemas.ids import CustomerId, SubscriptionId
from schemas.scope import Scope
from schemas.subscription import Subscription, SubscriptionStatus
from schemas.wallet import WalletRequest

HERE = Scope("tenant_1", "env_1")
ACME = {"external_id": "acme"}
TEXTS = {
    "name": "Acme",
    "email": "billing@acme.example",
    "contact": "+49 30 1234",
    "address_line1": "Main Street 1",
    "address_line2": "2nd floor",
    "address_city": "Berlin",
    "address_state": "BE",
    "address_postal_code": "10115",
    "address_country": "DE",
    "timezone": "Europe/Berlin",
}


def customer(api: Any, **members: Any) -> Any:
    answer = api.post("/v1/customers", {**ACME, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def told(kept: Any) -> list[tuple[str, str]]:
    with kept.database.reading() as session:
        rows = session.execute(text("SELECT event, customer_id FROM outbox ORDER BY sequence"))
        return [(row.event, row.customer_id) for row in rows]


def subscription(kept: Any, owner: str, status: SubscriptionStatus, **members: Any) -> None:
    record = Subscription(
        SubscriptionId("subs_1"),
        CustomerId(owner),
        "acme",
        "usd",
        kept.now,
        status=status,
        version=1,
        **members,
    )
    kept.environment(HERE).stores.commit(Changes(subscriptions=(record,)))


def test_a_customer_of_an_external_id_alone_has_every_field_at_its_default(
    api: Any, kept: Any
) -> None:
    found = customer(api)
    assert found == {
        "id": found["id"],
        "tenant_id": "tenant_1",
        "environment_id": "env_1",
        "status": "published",
        "created_at": "2026-01-08T12:00:00Z",
        "updated_at": "2026-01-08T12:00:00Z",
        "created_by": "k1",
        "updated_by": "k1",
        "external_id": "acme",
        **dict.fromkeys(TEXTS.keys() - {"contact", "timezone"}, ""),
        "timezone": "UTC",
        "metadata": {},
    }
    assert found["id"].startswith("cust_")
    assert api.call("GET", f"/v1/customers/{found['id']}").json() == found
    assert api.call("GET", "/v1/customers/external/acme").json() == found


def test_all_that_a_customer_says_is_shown(api: Any, kept: Any) -> None:
    found = customer(
        api,
        **TEXTS,
        metadata={"tier": "gold", "seats": 3, "paid": True},
        billing_currency="EUR",
        tax_treatment="reverse",
        contact_persons=[{"first_name": "Ann", "last_name": "", "is_primary": True, "id": "x"}],
    )
    assert {name: found[name] for name in TEXTS} == TEXTS
    assert found["metadata"] == {"tier": "gold", "seats": "3", "paid": "true"}
    assert found["billing_currency"] == "eur"
    assert found["tax_treatment"] == "reverse"
    assert found["contact_persons"] == [{"first_name": "Ann", "is_primary": True}]
    assert api.call("GET", "/v1/customers/external/acme").json() == found


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"external_id": None}, ["external_id"]),
        ({"external_id": ""}, ["external_id"]),
        ({"external_id": 5}, ["external_id"]),
        ({"external_id": "é" * 513}, ["external_id"]),
        ({"name": "x" * 256}, ["name"]),
        ({"email": "acme"}, ["email"]),
        ({"contact": "1" * 21}, ["contact"]),
        ({"address_city": "x" * 101}, ["address_city"]),
        ({"address_postal_code": "1" * 21}, ["address_postal_code"]),
        ({"address_country": "Germany"}, ["address_country"]),
        ({"timezone": "Mars/Olympus"}, ["timezone"]),
        ({"metadata": {"a": {"b": "c"}}}, ["metadata.a"]),
        ({"contact_persons": [{"last_name": "Ann"}]}, ["contact_persons.0.first_name"]),
        ({"billing_currency": "dollar"}, ["billing_currency"]),
        ({"email": "acme", "timezone": "X"}, ["email", "timezone"]),
    ],
)
def test_a_refused_customer_names_all_that_is_wrong(
    api: Any, kept: Any, change: dict[str, Any], fields: list[str]
) -> None:
    answer = api.post("/v1/customers", {**ACME, **change})
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    assert [each["field"] for each in answer.json()["details"]["fields"]] == fields
    assert api.post("/v1/customers/search", {}).json()["items"] == []
    assert told(kept) == []


@pytest.mark.parametrize(
    "later",
    [
        {"integration_entity_mapping": [{"provider": "x"}]},
        {"onboarding_workflow_name": "w"},
        {"skip_onboarding_workflow": True},
    ],
)
def test_what_comes_later_is_refused_as_that(api: Any, kept: Any, later: dict[str, Any]) -> None:
    assert api.post("/v1/customers", {**ACME, **later}).status_code == 501


def test_an_external_id_is_taken_to_the_letter_until_its_customer_is_deleted(
    api: Any, kept: Any
) -> None:
    first = customer(api)
    again = api.post("/v1/customers", ACME)
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    assert again.json()["details"] == {"reason": "unique"}
    assert customer(api, external_id="ACME")["id"] != first["id"]
    assert api.call("DELETE", f"/v1/customers/{first['id']}").status_code == 204
    assert customer(api)["id"] != first["id"]


@pytest.mark.parametrize("name", ["Acme", "acm", "acme ", "cust_none"])
def test_an_external_id_is_found_to_the_letter(api: Any, kept: Any, name: str) -> None:
    customer(api)
    assert api.call("GET", f"/v1/customers/external/{name}").status_code == 404
    assert api.call("GET", f"/v1/customers/{name}").status_code == 404


def test_an_external_id_may_hold_what_paths_escape(api: Any, kept: Any) -> None:
    found = customer(api, external_id="a b%é")
    assert api.call("GET", "/v1/customers/external/a%20b%25%C3%A9").json() == found


def test_an_update_changes_what_it_names_and_nothing_else(api: Any, kept: Any) -> None:
    before = customer(api, **TEXTS, metadata={"a": "1"}, tax_treatment="reverse")
    kept.now += timedelta(hours=1)
    change = {
        "name": "Acme Ltd",
        "address_line2": "",
        "email": None,
        "timezone": "",
        "metadata": {"b": "2"},
        "tax_treatment": "",
        "contact_persons": [{"first_name": "Ann"}],
    }
    after = api.call("PUT", f"/v1/customers?id={before['id']}", json=change)
    assert after.status_code == 200
    expected = {
        **before,
        "name": "Acme Ltd",
        "address_line2": "",
        "timezone": "UTC",
        "metadata": {"b": "2"},
        "contact_persons": [{"first_name": "Ann", "is_primary": False}],
        "updated_at": "2026-01-08T13:00:00Z",
    }
    del expected["tax_treatment"]
    assert after.json() == expected
    assert api.call("GET", f"/v1/customers/{before['id']}").json() == expected


def test_a_customer_may_be_named_by_its_own_id_and_get_another(api: Any, kept: Any) -> None:
    before = customer(api)
    change = {"external_id": "Acme/2"}
    after = api.call("PUT", "/v1/customers?external_customer_id=acme", json=change)
    assert (after.status_code, after.json()["external_id"]) == (200, "Acme/2")
    assert after.json()["id"] == before["id"]
    assert api.call("GET", "/v1/customers/external/acme").status_code == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("id=", 400),
        ("id=ID&external_customer_id=acme", 400),
        ("id=ID&id=ID", 400),
        ("id=acme", 404),
        ("external_customer_id=Acme", 404),
        ("external_customer_id=ID", 404),
        ("id=ID&external_customer_id=", 200),
    ],
)
def test_an_update_names_its_customer_in_exactly_one_way(
    api: Any, kept: Any, query: str, status: int
) -> None:
    found = customer(api)
    path = f"/v1/customers?{query.replace('ID', found['id'])}"
    assert api.call("PUT", path, json={"name": "x"}).status_code == status


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"external_id": "other"}, 409),
        ({"external_id": ""}, 400),
        ({"timezone": "Mars/Olympus"}, 400),
        ({"metadata": "x"}, 400),
    ],
)
def test_a_refused_update_changes_nothing(
    api: Any, kept: Any, change: dict[str, Any], status: int
) -> None:
    customer(api, external_id="other")
    before = customer(api)
    path = f"/v1/customers?id={before['id']}"
    assert api.call("PUT", path, json={"name": "x", **change}).status_code == status
    assert api.call("GET", f"/v1/customers/{before['id']}").json() == before
    assert [event for event, _ in told(kept)] == ["customer.created"] * 2


def test_an_external_id_stays_while_usage_is_billed_under_it(api: Any, kept: Any) -> None:
    before = customer(api)
    subscription(kept, before["id"], SubscriptionStatus.ACTIVE)
    path = f"/v1/customers?id={before['id']}"
    answer = api.call("PUT", path, json={"external_id": "other"})
    assert (answer.status_code, answer.json()["details"]) == (400, {"reason": "in_use"})
    assert api.call("PUT", path, json={"name": "Other", "external_id": "acme"}).status_code == 200


def test_a_deleted_customer_is_found_by_no_read(api: Any, kept: Any) -> None:
    found = customer(api)
    path = f"/v1/customers/{found['id']}"
    answer = api.call("DELETE", path)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers
    assert api.call("GET", path).status_code == 404
    assert api.call("GET", "/v1/customers/external/acme").status_code == 404
    assert api.post("/v1/customers/search", {}).json()["items"] == []
    assert api.call("PUT", f"/v1/customers?id={found['id']}", json={}).status_code == 404
    assert api.call("DELETE", path).status_code == 404
    deleted = api.post("/v1/customers/search", {"status": "deleted"}).json()["items"]
    assert [each["id"] for each in deleted] == [found["id"]]


@pytest.mark.parametrize(
    ("status", "answered"),
    [(each, 204 if each is SubscriptionStatus.CANCELLED else 400) for each in SubscriptionStatus],
)
@pytest.mark.parametrize("pays", [False, True])
def test_only_a_cancelled_subscription_lets_its_customer_go(
    api: Any, kept: Any, status: SubscriptionStatus, answered: int, *, pays: bool
) -> None:
    found = customer(api)
    owner = "cust_other" if pays else found["id"]
    payer = {"invoicing_customer_id": CustomerId(found["id"])} if pays else {}
    subscription(kept, owner, status, **payer)
    answer = api.call("DELETE", f"/v1/customers/{found['id']}")
    assert answer.status_code == answered
    if answered == 400:
        assert answer.json()["code"] == "invalid_operation"
        assert answer.json()["details"] == {"reason": "in_use"}
        assert api.call("GET", f"/v1/customers/{found['id']}").json() == found
        assert [event for event, _ in told(kept)] == ["customer.created"]


def test_an_active_wallet_keeps_its_customer(api: Any, kept: Any) -> None:
    found = customer(api)
    request = WalletRequest(currency="usd")
    create_wallet(kept.environment(HERE).stores, request, CustomerId(found["id"]), kept.now)
    answer = api.call("DELETE", f"/v1/customers/{found['id']}")
    assert (answer.status_code, answer.json()["details"]) == (400, {"reason": "in_use"})
    assert api.call("GET", f"/v1/customers/{found['id']}").status_code == 200


def test_each_fact_is_told_once_and_a_change_of_nothing_is_none(api: Any, kept: Any) -> None:
    found = customer(api)
    path = f"/v1/customers?id={found['id']}"
    for name in ("Other", "Other"):
        assert api.call("PUT", path, json={"name": name}).status_code == 200
    assert api.call("DELETE", f"/v1/customers/{found['id']}").status_code == 204
    events = ["customer.created", "customer.updated", "customer.deleted"]
    assert told(kept) == [(event, found["id"]) for event in events]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, ["b", "a"]),
        ({"external_id": "a"}, ["a"]),
        ({"external_id": "A"}, []),
        ({"external_ids": ["a", "c"]}, ["a"]),
        ({"external_ids": ["a"], "external_id": "b"}, []),
        ({"customer_ids": ["cust_none"]}, []),
        ({"email": "a@acme.example"}, ["a"]),
        ({"metadata": {"tier": "gold"}}, ["b"]),
        ({"metadata": {"tier": "gold", "n": "1"}}, []),
        ({"sort": "external_id", "order": "asc"}, ["a", "b"]),
        ({"limit": 1, "offset": 1}, ["a"]),
        ({"start_time": "2026-01-08T12:00:01Z"}, ["b"]),
        (
            {
                "filters": [
                    {
                        "field": "name",
                        "operator": "contains",
                        "data_type": "string",
                        "value": {"string": "LTD"},
                    }
                ]
            },
            ["b"],
        ),
        (
            {
                "filters": [
                    {"field": "external_id", "operator": "in", "value": {"array": ["a", "b"]}},
                    {
                        "field": "created_at",
                        "operator": "before",
                        "value": {"date": "2026-01-08T12:30:00Z"},
                    },
                ]
            },
            ["a"],
        ),
    ],
)
def test_a_search_finds_what_it_names(
    api: Any, kept: Any, body: dict[str, Any], found: list[str]
) -> None:
    customer(api, external_id="a", email="a@acme.example")
    kept.now += timedelta(hours=1)
    customer(api, external_id="b", name="B Ltd", metadata={"tier": "gold"})
    answer = api.post("/v1/customers/search", body)
    assert answer.status_code == 200, answer.text
    assert [each["external_id"] for each in answer.json()["items"]] == found


def test_pages_give_each_customer_once_and_total_is_their_number(api: Any, kept: Any) -> None:
    names = [f"c{number}" for number in range(5)]
    for name in names:
        customer(api, external_id=name)
    seen = []
    for offset in (0, 2, 4):
        page = api.post("/v1/customers/search", {"limit": 2, "offset": offset}).json()
        assert page["pagination"] == {"total": 5, "limit": 2, "offset": offset + 2}
        seen += [each["external_id"] for each in page["items"]]
    assert seen == names[::-1]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"expand": "wallets"},
        {"sort": "balance"},
        {"limit": 0},
        {"filters": [{"field": "name", "operator": "gte", "value": {"string": "a"}}]},
        {"filters": [{"field": "name", "operator": "eq", "value": {"number": 5}}]},
    ],
)
def test_a_search_for_what_customers_do_not_have_is_refused(
    api: Any, kept: Any, body: dict[str, Any]
) -> None:
    assert api.post("/v1/customers/search", body).status_code == 400


def test_customers_of_another_environment_are_not_there(api: Any, kept: Any) -> None:
    found = customer(api)
    path = f"/v1/customers/{found['id']}"
    assert api.call("GET", path, key="elsewhere").status_code == 404
    assert api.call("DELETE", path, key="elsewhere").status_code == 404
    assert api.call("GET", "/v1/customers/external/acme", key="elsewhere").status_code == 404
    named = f"/v1/customers?id={found['id']}"
    assert api.call("PUT", named, json={"name": "x"}, key="elsewhere").status_code == 404
    assert api.post("/v1/customers/search", {}, key="elsewhere").json()["items"] == []
    assert api.post("/v1/customers", ACME, key="elsewhere").status_code == 201
    assert api.call("GET", path).json() == found
