"""Taxes over HTTP: rates, and what they are attached to; a subscription is taxed from then on."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.ports import Changes
from billing.subscriptions.subscribing import subscribe
from schemas.customer import Customer
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.price import BillingModel, Price, PriceType
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Plan, Subscription, SubscriptionStatus

HERE = Scope("tenant_1", "env_1")
NOW = datetime(2026, 1, 8, 12, tzinfo=UTC)
ACME = Customer(CustomerId("cust_1"), "acme")


def subscription(name: str, **members: Any) -> Subscription:
    """Return a subscription to a plan of 100 dollars a month, in arrears."""
    fee = Price("price_1", PriceType.FIXED, BillingModel.FLAT_FEE, "usd", amount=Decimal(100))
    plan = Plan(PlanId("plan_1"), "Pro", prices=(fee,))
    bare = Subscription(
        SubscriptionId(name),
        ACME.id,
        "acme",
        "usd",
        NOW,
        plan_id=plan.id,
        created_at=NOW,
        **members,
    )
    return subscribe(bare, plan)


@pytest.fixture
def stores(kept: Any) -> Any:
    """Return stores that have a customer with a subscription, and one that is cancelled."""
    environment = kept.environment(HERE)
    environment.objects.customers.add(made(ACME, NOW))
    gone = subscription("subs_2", status=SubscriptionStatus.CANCELLED, cancelled_at=NOW)
    environment.stores.commit(Changes(subscriptions=(subscription("subs_1"), gone)))
    return environment.stores


def rate(api: Any, code: str = "vat", **members: Any) -> Any:
    """Return a rate of 19 percent that was added."""
    body = {"name": "VAT", "code": code, "percentage_value": 19, **members}
    answer = api.post("/v1/taxes/rates", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def attached(api: Any, **members: Any) -> Any:
    """Return an attachment that was made, to the subscription unless it says otherwise."""
    body = {"tax_rate_code": "vat", "entity_type": "subscription", "entity_id": "subs_1"}
    answer = api.post("/v1/taxes/associations", {**body, **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(api: Any, query: str) -> list[str]:
    """Return the ids of a list of attachments."""
    answer = api.call("GET", f"/v1/taxes/associations?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json()["pagination"]["total"] == len(answer.json()["items"])
    return [each["id"] for each in answer.json()["items"]]


@pytest.mark.usefixtures("kept")
def test_a_rate_is_answered_with_its_value_as_a_text(api: Any) -> None:
    found = rate(api, scope="external", description="Germany", metadata={"a": 1})
    expected = {
        "name": "VAT",
        "code": "vat",
        "tax_rate_type": "percentage",
        "percentage_value": "19",
        "scope": "EXTERNAL",
        "tax_rate_status": "ACTIVE",
        "description": "Germany",
        "metadata": {"a": "1"},
    }
    assert {name: found.get(name) for name in expected} == expected
    assert found["id"].startswith("taxrate_")
    assert "fixed_value" not in found
    assert api.call("GET", f"/v1/taxes/rates/{found['id']}").json() == found


@pytest.mark.usefixtures("kept")
def test_a_fixed_rate_says_percentage_as_clients_expect(api: Any) -> None:
    found = rate(api, tax_rate_type="fixed", fixed_value="1.50", percentage_value=None)
    assert (found["tax_rate_type"], found["fixed_value"]) == ("percentage", "1.5")
    assert "percentage_value" not in found


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"code": "x", "percentage_value": 1}, "name"),
        ({"name": "x", "percentage_value": 1}, "code"),
        ({"name": "x", "code": "x"}, "percentage_value"),
        ({"name": "x", "code": "x", "percentage_value": 101}, "percentage_value"),
        ({"name": "x", "code": "x", "percentage_value": -1}, "percentage_value"),
        ({"name": "x", "code": "x", "tax_rate_type": "fixed"}, "fixed_value"),
        ({"name": "x", "code": "x", "percentage_value": 1, "scope": "LOCAL"}, "scope"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_a_rate_that_cannot_be_is_refused_by_name(
    api: Any, body: dict[str, Any], field: str
) -> None:
    refused = api.post("/v1/taxes/rates", body)
    assert refused.status_code == 400
    assert [each["field"] for each in refused.json()["details"]["fields"]] == [field]


@pytest.mark.usefixtures("kept")
def test_a_code_belongs_to_one_live_rate(api: Any) -> None:
    first = rate(api)
    second = api.post("/v1/taxes/rates", {"name": "x", "code": "vat", "percentage_value": 1})
    assert (second.status_code, second.json()["code"]) == (409, "already_exists")
    deleted = api.call("DELETE", f"/v1/taxes/rates/{first['id']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-type" not in deleted.headers
    assert api.call("GET", f"/v1/taxes/rates/{first['id']}").status_code == 404
    assert rate(api)["id"] != first["id"]


@pytest.mark.usefixtures("kept")
def test_rates_are_listed_by_ids_codes_and_scope(api: Any) -> None:
    one, two = rate(api, "a"), rate(api, "b", scope="ONETIME")
    for query, expected in (
        ("", [two, one]),
        ("taxrate_codes=a,b&limit=1", [two]),
        ("taxrate_codes=a", [one]),
        (f"taxrate_ids={one['id']}&taxrate_ids={two['id']}", [two, one]),
        ("scope=onetime", [two]),
        ("sort=code&order=asc", [one, two]),
        ("status=deleted", []),
    ):
        found = api.call("GET", f"/v1/taxes/rates?{query}")
        assert found.status_code == 200, found.text
        assert found.json()["items"] == expected, query
    assert api.call("GET", "/v1/taxes/rates?nothing=1").status_code == 400


@pytest.mark.usefixtures("kept")
def test_the_texts_of_a_rate_change_and_its_value_does_not(api: Any) -> None:
    path = f"/v1/taxes/rates/{rate(api)['id']}"
    body = {"name": "MwSt", "code": "mwst", "percentage_value": 7, "tax_rate_status": "inactive"}
    changed = api.call("PUT", path, json=body)
    assert changed.status_code == 200
    assert changed.json()["percentage_value"] == "19"
    assert changed.json()["tax_rate_status"] == "INACTIVE"
    assert (changed.json()["name"], changed.json()["code"]) == ("MwSt", "mwst")
    assert api.call("PUT", path, json={"code": ""}).status_code == 400


@pytest.mark.usefixtures("stores")
def test_an_attachment_to_a_subscription_is_answered_and_listed_with_its_rate(api: Any) -> None:
    of_rate = rate(api)
    found = attached(api, priority=2, currency="USD", metadata={"a": "1"})
    expected = {
        "tax_rate_id": of_rate["id"],
        "tax_rate": of_rate,
        "entity_type": "subscription",
        "entity_id": "subs_1",
        "priority": 2,
        "auto_apply": True,
        "currency": "usd",
        "start_date": "2026-01-08T12:00:00Z",
        "metadata": {"a": "1"},
        "status": "published",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert api.call("GET", f"/v1/taxes/associations/{found['id']}").json() == found
    assert listed(api, "entity_type=subscription&entity_id=subs_1") == [found["id"]]
    assert listed(api, f"tax_rate_id={of_rate['id']}") == [found["id"]]
    assert listed(api, "entity_type=subscription&entity_id=subs_2") == []
    assert listed(api, "entity_type=customer") == []


def test_an_attached_rate_is_on_what_is_billed_next(api: Any, stores: Any) -> None:
    rate(api)
    attached(api)
    taxes = stores.subscription(SubscriptionId("subs_1")).taxes
    assert [(each.rate.code, each.rate.value) for each in taxes] == [("vat", Decimal(19))]


def test_a_rate_out_of_use_is_so_where_it_is_attached(api: Any, stores: Any) -> None:
    path = f"/v1/taxes/rates/{rate(api)['id']}"
    attached(api)
    api.call("PUT", path, json={"tax_rate_status": "INACTIVE", "name": "Old"})
    taxes = stores.subscription(SubscriptionId("subs_1")).taxes
    assert [(each.rate.status.value, each.rate.name) for each in taxes] == [("INACTIVE", "Old")]


@pytest.mark.usefixtures("stores")
def test_a_rate_is_attached_to_customers_by_either_id_and_to_the_tenant(api: Any) -> None:
    rate(api)
    rate(api, "other")
    one = attached(api, entity_type="CUSTOMER", entity_id="cust_1")
    two = attached(
        api, tax_rate_code="other", entity_type=None, entity_id=None, external_customer_id="acme"
    )
    three = attached(api, entity_type="tenant", entity_id=None, tax_behavior="exclusive")
    assert (one["entity_type"], one["entity_id"], one["currency"]) == ("customer", "cust_1", "")
    assert (two["entity_type"], two["entity_id"]) == ("customer", "cust_1")
    assert (three["entity_type"], three["entity_id"]) == ("tenant", "tenant_1")
    assert listed(api, "external_customer_id=acme") == [two["id"], one["id"]]
    assert listed(api, "external_customer_id=acme&order=asc&limit=5") == [one["id"], two["id"]]
    assert listed(api, "external_customer_id=nobody") == []
    assert listed(api, "entity_type=tenant") == [three["id"]]
    assert len(listed(api, "")) == 3


@pytest.mark.parametrize("entity", ["subscription", "customer"])
@pytest.mark.usefixtures("stores")
def test_an_entity_has_a_rate_once(api: Any, entity: str) -> None:
    rate(api)
    name = "subs_1" if entity == "subscription" else "cust_1"
    first = attached(api, entity_type=entity, entity_id=name)
    body = {"tax_rate_code": "vat", "entity_type": entity, "entity_id": name}
    second = api.post("/v1/taxes/associations", body)
    assert (second.status_code, second.json()["code"]) == (409, "already_exists")
    assert listed(api, f"entity_type={entity}") == [first["id"]]


@pytest.mark.parametrize("entity", ["subscription", "customer"])
@pytest.mark.usefixtures("stores")
def test_a_rate_is_deleted_only_when_it_is_detached(api: Any, entity: str) -> None:
    of_rate = rate(api)
    name = "subs_1" if entity == "subscription" else "cust_1"
    found = attached(api, entity_type=entity, entity_id=name)
    path = f"/v1/taxes/rates/{of_rate['id']}"
    refused = api.call("DELETE", path)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    assert refused.json()["details"] == {"reason": "in_use"}
    detached = api.call("DELETE", f"/v1/taxes/associations/{found['id']}")
    assert detached.status_code == 200
    assert detached.json()["id"] == found["id"]
    assert detached.json()["status"] == "deleted"
    assert api.call("GET", f"/v1/taxes/associations/{found['id']}").status_code == 404
    assert api.call("DELETE", f"/v1/taxes/associations/{found['id']}").status_code == 404
    assert api.call("DELETE", path).status_code == 204


@pytest.mark.parametrize("entity", ["subscription", "customer"])
@pytest.mark.usefixtures("stores")
def test_the_terms_of_an_attachment_change(api: Any, entity: str) -> None:
    rate(api)
    name = "subs_1" if entity == "subscription" else "cust_1"
    found = attached(api, entity_type=entity, entity_id=name)
    path = f"/v1/taxes/associations/{found['id']}"
    body = {"priority": 7, "auto_apply": False, "metadata": {"b": "2"}}
    changed = api.call("PUT", path, json=body)
    assert changed.status_code == 200
    assert {name: changed.json()[name] for name in body} == body
    assert api.call("GET", path).json()["priority"] == 7


@pytest.mark.parametrize(
    ("members", "status", "field"),
    [
        ({"tax_rate_code": "none"}, 404, None),
        ({"tax_rate_code": ""}, 400, "tax_rate_code"),
        ({"entity_type": None}, 400, "entity_type"),
        ({"entity_id": None}, 400, "entity_id"),
        ({"entity_id": "subs_9"}, 400, "entity_id"),
        ({"entity_type": "customer", "entity_id": "cust_9"}, 400, "entity_id"),
        ({"entity_type": "invoice"}, 400, "entity_type"),
        ({"external_customer_id": "acme"}, 400, "external_customer_id"),
        ({"external_customer_id": "nobody"}, 400, "external_customer_id"),
        ({"currency": "zzz"}, 400, "currency"),
        ({"end_date": "2026-01-08T12:00:00Z"}, 400, "end_date"),
        ({"tax_behavior": "inclusive"}, 501, None),
    ],
)
@pytest.mark.usefixtures("stores")
def test_an_attachment_that_cannot_be_is_refused(
    api: Any, members: dict[str, Any], status: int, field: str | None
) -> None:
    rate(api)
    body = {"tax_rate_code": "vat", "entity_type": "subscription", "entity_id": "subs_1"}
    refused = api.post("/v1/taxes/associations", {**body, **members})
    assert refused.status_code == status
    if field is not None:
        assert field in [each["field"] for each in refused.json()["details"]["fields"]]
    assert listed(api, "") == []


@pytest.mark.usefixtures("stores")
def test_a_rate_out_of_use_and_a_cancelled_subscription_are_not_put_together(api: Any) -> None:
    of_rate = rate(api)
    body = {"tax_rate_code": "vat", "entity_type": "subscription", "entity_id": "subs_2"}
    refused = api.post("/v1/taxes/associations", body)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    api.call("PUT", f"/v1/taxes/rates/{of_rate['id']}", json={"tax_rate_status": "INACTIVE"})
    refused = api.post("/v1/taxes/associations", {**body, "entity_id": "subs_1"})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


@pytest.mark.usefixtures("stores")
def test_lists_of_attachments_refuse_what_they_do_not_know(api: Any) -> None:
    for query in ("status=published", "entity_type=planet", "nothing=1", "sort=priority"):
        assert api.call("GET", f"/v1/taxes/associations?{query}").status_code == 400, query


@pytest.mark.usefixtures("stores")
def test_taxes_of_another_environment_do_not_exist(api: Any) -> None:
    paths = [f"/v1/taxes/rates/{rate(api)['id']}", f"/v1/taxes/associations/{attached(api)['id']}"]
    for path in paths:
        for method in ("GET", "PUT", "DELETE"):
            assert api.call(method, path, key="elsewhere", json={}).status_code == 404
    for path in ("/v1/taxes/rates", "/v1/taxes/associations"):
        assert api.call("GET", path, key="elsewhere").json()["items"] == []
