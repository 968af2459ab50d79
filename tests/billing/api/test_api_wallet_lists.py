"""Wallets over HTTP: found in lists, with live balances, by whom they belong to (api.md 4.16)."""

from datetime import timedelta
from typing import Any

import pytest
from conftest import HERE
from plan_on_sale import CUSTOMER, USAGE, asked, sell
from walleted import new_customer, opened, read, refusal, topped


@pytest.fixture
def acme(api: Any, kept: Any) -> str:
    """Return the id of a customer."""
    del kept
    return new_customer(api, "acme")


def named(api: Any, query: str) -> Any:
    return api.call("GET", f"/v1/customers/wallets?{query}")


def test_the_wallets_of_a_customer_are_a_bare_array_the_newest_first(
    api: Any, kept: Any, acme: str
) -> None:
    assert api.call("GET", f"/v1/customers/{acme}/wallets").json() == []
    first = opened(api, acme)
    kept.now += timedelta(hours=1)
    second = opened(api, acme, currency="eur")
    opened(api, new_customer(api, "other"))
    for answer in (
        api.call("GET", f"/v1/customers/{acme}/wallets"),
        named(api, f"id={acme}"),
        named(api, "lookup_key=acme&include_real_time_balance=false&from_cache=true"),
    ):
        assert (answer.status_code, answer.json()) == (200, [second, first])
    [_, live] = named(api, f"id={acme}&include_real_time_balance=true").json()
    assert live == {**first, "real_time_balance": "0", "real_time_credit_balance": "0"}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "validation_error"),
        ("id=&lookup_key=", 400, "validation_error"),
        ("id=cust_1&lookup_key=acme", 400, "validation_error"),
        ("lookup_key=acme&include_real_time_balance=perhaps", 400, "validation_error"),
        ("lookup_key=acme&expand=everything", 400, "validation_error"),
        ("lookup_key=acme&limit=5", 400, "validation_error"),
        ("id=cust_none", 404, "not_found"),
        ("lookup_key=nobody", 404, "not_found"),
    ],
    ids=["none", "empty", "both", "no-truth", "expand", "unknown", "no-id", "no-key"],
)
def test_whose_wallets_are_asked_for_must_be_clear(
    api: Any, acme: str, query: str, status: int, code: str
) -> None:
    assert acme
    refusal(named(api, query), status, code)


def test_wallets_are_searched_by_id_state_and_alerts(api: Any, kept: Any, acme: str) -> None:
    def found(**asked: Any) -> list[str]:
        answer = api.post("/v1/wallets/search", asked)
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    alerts = {"alert_enabled": True, "critical": {"threshold": "1", "condition": "below"}}
    made = []
    for currency, settings in (("usd", None), ("eur", alerts), ("gbp", None)):
        kept.now += timedelta(hours=1)
        made.append(opened(api, acme, currency=currency, alert_settings=settings)["id"])
    usd, eur, gbp = made
    assert api.call("POST", f"/v1/wallets/{usd}/terminate").status_code == 200
    assert found() == [gbp, eur, usd]
    assert found(wallet_ids=[usd, gbp, "wallet_none"]) == [gbp, usd]
    assert found(wallet_ids=[]) == [gbp, eur, usd]
    assert found(status="ACTIVE") == [gbp, eur]
    assert found(status="closed") == [usd]
    assert found(alert_enabled=True) == [eur]
    assert found(alert_enabled=False) == [gbp, usd]
    assert found(sort="currency", order="asc") == [eur, gbp, usd]
    assert found(sort=[{"field": "wallet_status"}, {"field": "currency"}]) == [usd, gbp, eur]
    answer = api.post("/v1/wallets/search", {"limit": 2, "offset": 1}).json()
    assert [each["id"] for each in answer["items"]] == [eur, usd]
    assert answer["pagination"] == {"total": 3, "limit": 2, "offset": 3}
    assert found(limit=1000, offset=3) == []


@pytest.mark.parametrize(
    "body",
    [
        {"customer_id": "cust_1"},
        {"start_time": "2026-01-01T00:00:00Z"},
        {"filters": []},
        {"status": "published"},
        {"sort": "name"},
        {"sort": "alert_enabled"},
        {"expand": "customer"},
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
    ],
    ids=lambda body: "-".join(f"{name}-{value}" for name, value in body.items())[:40],
)
def test_a_search_of_wallets_is_strict(api: Any, acme: str, body: Any) -> None:
    opened(api, acme)
    refusal(api.post("/v1/wallets/search", body), 400, "validation_error")


def test_the_breakdown_of_credits_is_shown_where_it_is_asked_for(api: Any, acme: str) -> None:
    wallet = opened(api, acme, initial_credits_to_load="4")
    topped(api, wallet, "6")
    topped(api, wallet, "1", transaction_reason="SUBSCRIPTION_CREDIT_GRANT")
    expected = {"purchased": "6", "free": "5"}
    query = "?expand=credits_available_breakdown"
    assert read(api, wallet, query)["credits_available_breakdown"] == expected
    live = read(api, wallet, f"/balance/real-time{query}")
    assert live["credits_available_breakdown"] == expected
    search = api.post("/v1/wallets/search", {"expand": "credits_available_breakdown"}).json()
    assert search["items"][0]["credits_available_breakdown"] == expected
    assert "credits_available_breakdown" not in read(api, wallet)
    refused = api.call("GET", f"/v1/wallets/{wallet['id']}/balance/real-time?expand=wallet")
    refusal(refused, 400, "validation_error")


def test_the_live_balance_is_the_settled_one_less_what_is_used(api: Any, kept: Any) -> None:
    sell(kept, USAGE)
    assert api.post("/v1/subscriptions", asked()).status_code == 201
    wallet = opened(api, CUSTOMER, conversion_rate="0.5", initial_credits_to_load="200")
    kept.flow(HERE)
    live = read(api, wallet, "/balance/real-time")
    figures = {
        "balance": "100",
        "credit_balance": "200",
        "real_time_balance": "100",
        "real_time_credit_balance": "200",
        "current_period_usage": "0",
        "unpaid_invoices_amount": "0",
        "balance_updated_at": "2026-01-08T12:00:00Z",
        "is_cached_fallback": False,
    }
    assert live == {**wallet, **figures}

    kept.now += timedelta(minutes=5)
    kept.spend("call", "acme", "61.5", at=kept.now - timedelta(minutes=1))
    assert read(api, wallet, "/balance/real-time")["is_cached_fallback"] is True
    kept.flow(HERE)
    used = {
        "real_time_balance": "38.5",
        "real_time_credit_balance": "77",
        "current_period_usage": "61.5",
        "balance_updated_at": "2026-01-08T12:05:00Z",
    }
    assert read(api, wallet, "/balance/real-time") == {**live, **used}
    [listed] = named(api, "lookup_key=acme&include_real_time_balance=true").json()
    assert (listed["balance"], listed["real_time_balance"]) == ("100", "38.5")


def test_a_balance_without_any_usage_yet_says_that_it_is_not_up_to_date(
    api: Any, acme: str
) -> None:
    wallet = opened(api, acme, initial_credits_to_load="3")
    live = read(api, wallet, "/balance/real-time")
    assert (live["real_time_balance"], live["is_cached_fallback"]) == ("3", True)
    assert "balance_updated_at" not in live


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"name": "mine"}),
        (
            "POST",
            "/top-up",
            {"credits_to_add": "1", "transaction_reason": "FREE_CREDIT_GRANT"},
        ),
        (
            "POST",
            "/debit",
            {
                "credits": "1",
                "transaction_reason": "MANUAL_BALANCE_DEBIT",
                "idempotency_key": "k",
            },
        ),
        ("POST", "/terminate", None),
        ("GET", "/balance/real-time", None),
        ("GET", "/transactions", None),
    ],
    ids=["read", "change", "top-up", "debit", "close", "balance", "transactions"],
)
def test_a_wallet_of_another_environment_does_not_exist(
    api: Any, acme: str, method: str, tail: str, body: Any
) -> None:
    wallet = opened(api, acme, initial_credits_to_load="5")
    path = f"/v1/wallets/{wallet['id']}{tail}"
    refusal(api.call(method, path, json=body, key="elsewhere"), 404, "not_found")
    assert read(api, wallet) == wallet


def test_lists_of_another_environment_hold_nothing_of_this_one(api: Any, acme: str) -> None:
    opened(api, acme, initial_credits_to_load="5")
    for path in ("/v1/wallets/search", "/v1/wallets/transactions/search", "/v1/alerts/search"):
        listed = api.post(path, {}, key="elsewhere").json()
        assert (listed["items"], listed["pagination"]["total"]) == ([], 0)
    for path in (f"/v1/customers/{acme}/wallets", "/v1/customers/wallets?lookup_key=acme"):
        refusal(api.call("GET", path, key="elsewhere"), 404, "not_found")
    body = {"customer_id": acme, "currency": "usd"}
    refusal(api.post("/v1/wallets", body, key="elsewhere"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/wallets", "all_reader"),
        ("/v1/wallets/search", "event_reader"),
        ("/v1/alerts/search", "event_ingestor"),
    ],
)
def test_a_key_without_the_permission_is_refused(api: Any, acme: str, path: str, key: str) -> None:
    body = {"customer_id": acme, "currency": "usd"}
    refusal(api.post(path, body, key=key), 403, "permission_denied")
