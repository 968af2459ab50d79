"""Wallets over HTTP: opened, changed and closed (api.md 4.16)."""

from datetime import timedelta
from typing import Any

import pytest
from walleted import RECORD, debited, entries, new_customer, opened, read, refusal


@pytest.fixture
def acme(api: Any, kept: Any) -> str:
    """Return the id of a customer."""
    del kept
    return new_customer(api, "acme")


def test_a_wallet_opens_with_200_and_its_defaults(api: Any, acme: str) -> None:
    wallet = opened(api, acme)
    assert wallet.keys() >= RECORD
    assert wallet["id"].startswith("wallet_")
    shown = {name: wallet[name] for name in wallet.keys() - RECORD}
    assert shown == {
        "customer_id": acme,
        "name": "Prepaid Wallet - USD",
        "description": "",
        "currency": "usd",
        "wallet_type": "PRE_PAID",
        "wallet_status": "active",
        "balance": "0",
        "credit_balance": "0",
        "conversion_rate": "1",
        "topup_conversion_rate": "1",
        "config": {"allowed_price_types": ["ALL"]},
        "alert_state": "ok",
        "metadata": {},
    }
    assert (wallet["status"], wallet["created_by"]) == ("published", "k1")
    assert wallet["created_at"] == wallet["updated_at"] == "2026-01-08T12:00:00Z"
    assert read(api, wallet) == wallet


def test_everything_that_is_given_of_a_wallet_is_kept(api: Any, acme: str) -> None:
    alerts = {
        "alert_enabled": True,
        "critical": {"threshold": "1.50", "condition": "below"},
        "info": {"threshold": 10, "condition": "BELOW"},
    }
    rule = {
        "enabled": True,
        "threshold": "5",
        "amount": 20.5,
        "invoicing": False,
        "cooldown": {"value": 2, "unit": "hour"},
        "max_per_period": {"count": 3, "unit": "week"},
    }
    wallet = opened(
        api,
        acme,
        wallet_type="post_paid",
        description="for trials",
        conversion_rate="0.01",
        topup_conversion_rate="0.02",
        config={"allowed_price_types": ["usage"], "overdraft_limit": "7"},
        priority=3,
        alert_settings=alerts,
        auto_topup=rule,
        metadata={"team": "a", "seats": 2},
    )
    assert wallet["name"] == "Postpaid Wallet - USD"
    assert wallet["config"] == {"allowed_price_types": ["USAGE"], "overdraft_limit": "7"}
    assert (wallet["conversion_rate"], wallet["topup_conversion_rate"]) == ("0.01", "0.02")
    assert wallet["priority"] == 3
    assert wallet["metadata"] == {"team": "a", "seats": "2"}
    assert wallet["alert_settings"] == {
        "alert_enabled": True,
        "critical": {"threshold": "1.5", "condition": "below"},
        "info": {"threshold": "10", "condition": "below"},
        "hysteresis_percent": "0",
        "unit": "currency",
    }
    assert wallet["auto_topup"] == {**rule, "threshold": 5, "amount": 20.5}
    assert read(api, wallet) == wallet


def test_initial_credits_are_there_at_once(api: Any, acme: str) -> None:
    wallet = opened(
        api,
        acme,
        conversion_rate="0.5",
        initial_credits_to_load="30",
        initial_credits_to_load_expiry_date=20260201,
    )
    assert (wallet["credit_balance"], wallet["balance"]) == ("30", "15")
    [entry] = entries(api, wallet)["items"]
    assert entry["transaction_reason"] == "FREE_CREDIT_GRANT"
    assert entry["expiry_date"] == "2026-02-01T00:00:00Z"
    assert (entry["credit_amount"], entry["amount"]) == ("30", "15")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"currency": "usd"}, 400, "validation_error", "customer_id"),
        ({"customer_id": "", "currency": "usd"}, 400, "validation_error", "customer_id"),
        ({"customer_id": "cust_none", "currency": "usd"}, 404, "not_found", None),
        ({"external_customer_id": "nobody", "currency": "usd"}, 404, "not_found", None),
        ({"external_customer_id": "acme"}, 400, "validation_error", "currency"),
        ({"external_customer_id": "acme", "currency": "xxx"}, 400, "validation_error", "currency"),
        (
            {"external_customer_id": "acme", "currency": "usd", "conversion_rate": "-1"},
            400,
            "validation_error",
            "conversion_rate",
        ),
        (
            {"external_customer_id": "acme", "currency": "usd", "initial_credits_to_load": "-1"},
            400,
            "validation_error",
            "initial_credits_to_load",
        ),
        (
            {"external_customer_id": "acme", "currency": "usd", "wallet_type": "GIFT"},
            400,
            "validation_error",
            "wallet_type",
        ),
        (
            {
                "external_customer_id": "acme",
                "currency": "usd",
                "alert_settings": {"alert_enabled": True},
            },
            400,
            "validation_error",
            "alert_settings",
        ),
        ({"external_customer_id": "acme", "currency": "usd", "price_unit": "t"}, 501, "", None),
    ],
    ids=[
        "no-customer",
        "empty-customer",
        "unknown-customer",
        "unknown-external-id",
        "no-currency",
        "no-such-currency",
        "negative-rate",
        "negative-credits",
        "no-such-type",
        "alerts-without-level",
        "price-unit",
    ],
)
def test_a_wallet_that_cannot_be_is_refused(
    api: Any, acme: str, body: Any, status: int, code: str, field: str | None
) -> None:
    answer = api.post("/v1/wallets", body)
    told = refusal(answer, status, code or "not_implemented")
    if field is not None:
        assert field in [each["field"] for each in told["details"]["fields"]]
    assert api.call("GET", f"/v1/customers/{acme}/wallets").json() == []


def test_a_second_active_wallet_of_its_kind_is_409_and_another_kind_is_not(
    api: Any, acme: str
) -> None:
    first = opened(api, acme)
    body = {"customer_id": acme, "currency": "usd"}
    refusal(api.post("/v1/wallets", body), 409, "already_exists")
    opened(api, acme, wallet_type="POST_PAID")
    opened(api, acme, currency="eur")
    assert api.call("POST", f"/v1/wallets/{first['id']}/terminate").status_code == 200
    opened(api, acme)


def test_closing_forfeits_what_is_left_and_is_final(api: Any, acme: str) -> None:
    wallet = opened(api, acme, initial_credits_to_load="5")
    path = f"/v1/wallets/{wallet['id']}/terminate"
    closed = api.call("POST", path)
    assert closed.status_code == 200
    told = closed.json()
    assert (told["wallet_status"], told["credit_balance"], told["balance"]) == ("closed", "0", "0")
    newest = entries(api, wallet)["items"][0]
    assert (newest["transaction_reason"], newest["credit_amount"]) == ("WALLET_TERMINATION", "5")
    assert (newest["reference_type"], newest["reference_id"]) == ("REQUEST", wallet["id"])
    again = refusal(api.call("POST", path), 400, "invalid_operation")
    assert "already closed" in again["message"]
    assert again["details"] == {"reason": "wallet_closed"}
    body = {"credits_to_add": "1", "transaction_reason": "FREE_CREDIT_GRANT"}
    refusal(api.post(f"/v1/wallets/{wallet['id']}/top-up", body), 400, "invalid_operation")
    refusal(debited(api, wallet, "1", "k"), 400, "invalid_operation")
    change = api.call("PUT", f"/v1/wallets/{wallet['id']}", json={"name": "n"})
    refusal(change, 400, "invalid_operation")
    live = read(api, wallet, "/balance/real-time")
    assert (live["real_time_balance"], live["balance"], live["credit_balance"]) == ("0", "0", "0")


def test_an_overdrawn_wallet_is_not_closed(api: Any, acme: str) -> None:
    wallet = opened(api, acme, config={"overdraft_limit": "5"})
    debited(api, wallet, "5", "d")
    answer = api.call("POST", f"/v1/wallets/{wallet['id']}/terminate")
    told = refusal(answer, 400, "invalid_operation")
    assert told["details"] == {"reason": "negative_balance"}


def test_only_what_is_given_of_a_wallet_changes(api: Any, kept: Any, acme: str) -> None:
    wallet = opened(
        api,
        acme,
        description="old",
        metadata={"a": "1"},
        config={"allowed_price_types": ["USAGE"], "overdraft_limit": "5"},
        auto_topup={"threshold": "1", "cooldown": {"value": 5, "unit": "minute"}},
    )
    kept.now += timedelta(hours=1)
    path = f"/v1/wallets/{wallet['id']}"
    told = api.call("PUT", path, json={"name": "Main", "metadata": {"b": "2"}, "priority": 2})
    assert told.status_code == 200
    expected = {
        **wallet,
        "name": "Main",
        "metadata": {"b": "2"},
        "priority": 2,
        "updated_at": "2026-01-08T13:00:00Z",
        "updated_by": "k1",
    }
    assert told.json() == expected
    told = api.call("PUT", path, json={"description": "", "config": {}, "priority": None}).json()
    assert told == {**expected, "description": "", "config": {"allowed_price_types": ["ALL"]}}
    rule = {"enabled": True, "amount": "3", "invoicing": True, "cooldown": {"value": 0}}
    told = api.call("PUT", path, json={"auto_topup": rule}).json()
    assert told["auto_topup"] == {"enabled": True, "threshold": 1, "amount": 3, "invoicing": True}
    assert read(api, wallet) == told


@pytest.mark.parametrize(
    "body",
    [
        {"conversion_rate": "2"},
        {"topup_conversion_rate": "2"},
        {"currency": "eur"},
        {"wallet_type": "POST_PAID"},
        {"priority": -1},
        {"config": {"overdraft_limit": "-1"}},
        {"alert_settings": {"alert_enabled": True}},
        {"auto_topup": {"enabled": True}},
        {"auto_topup": {"amount": "0"}},
        {"name": 5},
    ],
    ids=[
        "rate",
        "top-up-rate",
        "currency",
        "type",
        "priority",
        "overdraft",
        "alerts",
        "rule",
        "rule-amount",
        "name",
    ],
)
def test_a_change_that_cannot_be_is_refused(api: Any, acme: str, body: Any) -> None:
    wallet = opened(api, acme)
    answer = api.call("PUT", f"/v1/wallets/{wallet['id']}", json=body)
    refusal(answer, 400, "validation_error")
    assert read(api, wallet) == wallet
