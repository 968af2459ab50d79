"""Wallets over HTTP: opened, filled, debited, closed; their balances and their ledger (api.md 4.16)."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

RECORD = {
    "id",
    "tenant_id",
    "environment_id",
    "status",
    "created_at",
    "updated_at",
    "created_by",
    "updated_by",
}


@pytest.fixture
def acme(api: Any, kept: Any) -> str:
    """Return the id of a customer."""
    del kept
    return new_customer(api, "acme")


def new_customer(api: Any, external_id: str) -> str:
    answer = api.post("/v1/customers", {"external_id": external_id})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def opened(api: Any, customer_id: str, **members: Any) -> Any:
    answer = api.post("/v1/wallets", {"customer_id": customer_id, "currency": "USD", **members})
    assert answer.status_code == 200, answer.text
    return answer.json()


def topped(api: Any, wallet: Any, credits_to_add: Any, **members: Any) -> Any:
    body = {
        "credits_to_add": credits_to_add,
        "transaction_reason": "PURCHASED_CREDIT_DIRECT",
        **members,
    }
    answer = api.post(f"/v1/wallets/{wallet['id']}/top-up", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def debited(api: Any, wallet: Any, amount: Any, key: str, **members: Any) -> Any:
    body = {
        "credits": amount,
        "transaction_reason": "MANUAL_BALANCE_DEBIT",
        "idempotency_key": key,
        **members,
    }
    return api.post(f"/v1/wallets/{wallet['id']}/debit", body)


def read(api: Any, wallet: Any, tail: str = "") -> Any:
    answer = api.call("GET", f"/v1/wallets/{wallet['id']}{tail}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def entries(api: Any, wallet: Any, query: str = "") -> Any:
    return read(api, wallet, f"/transactions{query}")


def refusal(answer: Any, status: int, code: str) -> Any:
    body = answer.json()
    assert (answer.status_code, body["code"], body["http_status_code"]) == (status, code, status)
    return body


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


def test_a_top_up_in_credits_or_money_is_in_the_balance_read_next(api: Any, acme: str) -> None:
    wallet = opened(api, acme, conversion_rate="0.5", topup_conversion_rate="0.25")
    told = topped(api, wallet, "10.5", description="first", metadata={"order": 7}, priority=1)
    assert (told["wallet"]["credit_balance"], told["wallet"]["balance"]) == ("10.5", "5.25")
    assert "invoice_id" not in told
    entry = told["wallet_transaction"]
    assert {name: entry[name] for name in entry.keys() - RECORD} == {
        "wallet_id": wallet["id"],
        "customer_id": acme,
        "type": "credit",
        "transaction_status": "completed",
        "transaction_reason": "PURCHASED_CREDIT_DIRECT",
        "credit_amount": "10.5",
        "amount": "5.25",
        "currency": "usd",
        "credit_balance_before": "0",
        "credit_balance_after": "10.5",
        "credits_available": "10.5",
        "expiry_date": None,
        "priority": 1,
        "reference_type": "EXTERNAL",
        "reference_id": entry["id"],
        "idempotency_key": "",
        "description": "first",
        "topup_conversion_rate": "0.25",
        "metadata": {"order": "7"},
    }
    money = {"amount": "1", "transaction_reason": "free_credit_grant"}
    answer = api.post(f"/v1/wallets/{wallet['id']}/top-up", money)
    assert answer.json()["wallet_transaction"]["credit_amount"] == "4"
    now = read(api, wallet, "/balance/real-time")
    assert (now["credit_balance"], now["balance"]) == ("14.5", "7.25")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"credits_to_add": "0"}, 400, "validation_error"),
        ({"credits_to_add": "-1"}, 400, "validation_error"),
        ({"amount": "-1"}, 400, "validation_error"),
        ({"credits_to_add": "0.0000000001"}, 400, "validation_error"),
        ({}, 400, "validation_error"),
        ({"credits_to_add": "1", "transaction_reason": "INVOICE_PAYMENT"}, 400, "validation_error"),
        (
            {"credits_to_add": "1", "transaction_reason": "PURCHASED_CREDIT_BONUS"},
            400,
            "validation_error",
        ),
        ({"credits_to_add": "1", "transaction_reason": "GIFT"}, 400, "validation_error"),
        ({"credits_to_add": "1", "transaction_reason": ""}, 400, "validation_error"),
        ({"credits_to_add": "1", "priority": -1}, 400, "validation_error"),
        (
            {"credits_to_add": "1", "expiry_date_utc": "2026-01-08T12:00:00Z"},
            400,
            "validation_error",
        ),
        ({"credits_to_add": "1", "bonus_credits_to_add": "1"}, 501, "not_implemented"),
        ({"credits_to_add": "1", "checkout": {"url": "x"}}, 501, "not_implemented"),
    ],
    ids=[
        "zero",
        "negative",
        "negative-money",
        "rounds-to-zero",
        "nothing",
        "reason-of-a-debit",
        "bonus-reason",
        "no-such-reason",
        "empty-reason",
        "negative-priority",
        "expired",
        "bonus",
        "checkout",
    ],
)
def test_a_top_up_that_cannot_be_is_refused_and_changes_nothing(
    api: Any, acme: str, body: Any, status: int, code: str
) -> None:
    wallet = opened(api, acme)
    asked = {"transaction_reason": "FREE_CREDIT_GRANT", **body}
    refusal(api.post(f"/v1/wallets/{wallet['id']}/top-up", asked), status, code)
    assert read(api, wallet) == wallet
    assert entries(api, wallet)["items"] == []


def test_a_repeated_top_up_answers_the_same_body_whatever_happened_since(
    api: Any, kept: Any, acme: str
) -> None:
    wallet = opened(api, acme)
    body = {
        "credits_to_add": "10",
        "transaction_reason": "PURCHASED_CREDIT_DIRECT",
        "idempotency_key": "order-1",
        "metadata": {"a": "1", "b": "2"},
    }
    path = f"/v1/wallets/{wallet['id']}/top-up"
    first = api.post(path, body)
    assert first.json()["wallet_transaction"]["reference_id"] == "order-1"
    kept.now += timedelta(days=1)
    assert debited(api, wallet, "4", "debit-1").status_code == 200
    same = {**body, "credits_to_add": 10.0, "metadata": {"b": "2", "a": "1"}, "priority": None}
    again = api.post(path, same)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    for change in ({"credits_to_add": "11"}, {"metadata": {"a": "2"}}, {"priority": 1}):
        refusal(api.post(path, {**body, **change}), 409, "already_exists")
    refusal(debited(api, wallet, "1", "order-1"), 409, "already_exists")
    other = opened(api, acme, currency="eur")
    refusal(api.post(f"/v1/wallets/{other['id']}/top-up", body), 409, "already_exists")
    assert read(api, wallet)["credit_balance"] == "6"


def test_a_refused_request_leaves_its_key_free(api: Any, acme: str) -> None:
    wallet = opened(api, acme)
    refusal(debited(api, wallet, "1", "k"), 400, "invalid_operation")
    topped(api, wallet, "1")
    assert debited(api, wallet, "1", "k").status_code == 200


def test_a_debit_answers_the_wallet_and_never_takes_more_than_there_is(api: Any, acme: str) -> None:
    wallet = opened(api, acme, conversion_rate="0.1")
    topped(api, wallet, "10")
    answer = debited(api, wallet, "2.5", "d1", description="by hand", metadata={"why": "test"})
    assert answer.status_code == 200
    assert (answer.json()["credit_balance"], answer.json()["balance"]) == ("7.5", "0.75")
    assert answer.json()["id"] == wallet["id"]
    again = debited(api, wallet, "2.50", "d1", description="by hand", metadata={"why": "test"})
    assert again.content == answer.content
    refused = refusal(debited(api, wallet, "7.500000001", "d2"), 400, "invalid_operation")
    assert refused["details"] == {
        "reason": "insufficient_balance",
        "available": "7.5",
        "requested": "7.500000001",
    }
    assert read(api, wallet)["credit_balance"] == "7.5"
    assert debited(api, wallet, 7.5, "d2").json()["credit_balance"] == "0"


def test_an_overdraft_goes_down_to_its_limit_and_is_repaid_first(api: Any, acme: str) -> None:
    wallet = opened(api, acme, config={"overdraft_limit": "5"})
    refusal(debited(api, wallet, "5.01", "d1"), 400, "invalid_operation")
    assert debited(api, wallet, "5", "d2").json()["balance"] == "-5"
    told = topped(api, wallet, "8")
    assert told["wallet"]["credit_balance"] == "3"
    assert told["wallet_transaction"]["credits_available"] == "3"
    newest, oldest = entries(api, wallet)["items"]
    assert oldest["consumption_breakdown"] == [
        {"credit_transaction_id": newest["id"], "credits": "5"}
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"credits": "0"}, "credits"),
        ({"credits": "-1"}, "credits"),
        ({"credits": ""}, "credits"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"transaction_reason": "FREE_CREDIT_GRANT"}, "transaction_reason"),
        ({"transaction_reason": "CREDIT_EXPIRED"}, "transaction_reason"),
    ],
    ids=["zero", "negative", "none", "no-key", "long-key", "reason-of-a-credit", "other-debit"],
)
def test_a_malformed_debit_is_refused(api: Any, acme: str, change: Any, field: str) -> None:
    wallet = opened(api, acme, initial_credits_to_load="5")
    body = {"credits": "1", "transaction_reason": "MANUAL_BALANCE_DEBIT", "idempotency_key": "k"}
    answer = api.post(f"/v1/wallets/{wallet['id']}/debit", {**body, **change})
    told = refusal(answer, 400, "validation_error")
    assert [each["field"] for each in told["details"]["fields"]] == [field]
    assert read(api, wallet)["credit_balance"] == "5"


def test_the_ledger_is_newest_first_and_each_entry_follows_from_the_one_before(
    api: Any, kept: Any, acme: str
) -> None:
    wallet = opened(api, acme, initial_credits_to_load="5")
    for key, step in (("a", "10"), ("b", "20")):
        kept.now += timedelta(hours=1)
        topped(api, wallet, step, idempotency_key=key)
    # Two of the same instant as the last top-up stay in the order in which they were written.
    debited(api, wallet, "12", "c")
    debited(api, wallet, "3", "d")
    listed = entries(api, wallet)
    assert listed["pagination"] == {"total": 5, "limit": 50, "offset": 50}
    found = listed["items"]
    assert [each["idempotency_key"] for each in found] == ["d", "c", "b", "a", ""]
    signed = {"credit": 1, "debit": -1}
    running = Decimal(0)
    for each in reversed(found):
        assert Decimal(each["credit_balance_before"]) == running
        running += signed[each["type"]] * Decimal(each["credit_amount"])
        assert Decimal(each["credit_balance_after"]) == running
    assert running == Decimal(read(api, wallet)["credit_balance"])
    first, last = found[-1], found[2]
    debit = found[1]
    assert debit["consumption_breakdown"] == [
        {"credit_transaction_id": first["id"], "credits": "5"},
        {"credit_transaction_id": found[3]["id"], "credits": "7"},
    ]
    assert (debit["credits_available"], debit["conversion_rate"]) == ("0", "1")
    assert "topup_conversion_rate" not in debit
    assert [each["credits_available"] for each in (first, found[3], last)] == ["0", "0", "20"]


def test_pages_of_the_ledger_neither_repeat_nor_miss_an_entry(api: Any, acme: str) -> None:
    wallet = opened(api, acme)
    for number in range(5):
        topped(api, wallet, "1", idempotency_key=f"k{number}")
    seen = []
    for offset in (0, 2, 4):
        page = entries(api, wallet, f"?limit=2&offset={offset}")
        assert page["pagination"] == {"total": 5, "limit": 2, "offset": offset + 2}
        seen += [each["idempotency_key"] for each in page["items"]]
    assert seen == ["k4", "k3", "k2", "k1", "k0"]
    oldest = entries(api, wallet, "?order=asc&limit=2")["items"]
    assert [each["idempotency_key"] for each in oldest] == ["k0", "k1"]


def test_credits_that_have_expired_are_in_no_balance_and_not_available(
    api: Any, kept: Any, acme: str
) -> None:
    wallet = opened(api, acme)
    topped(api, wallet, "4", expiry_date_utc="2026-01-09T00:00:00Z")
    topped(api, wallet, "6")
    assert read(api, wallet)["credit_balance"] == "10"
    kept.now += timedelta(days=1)
    assert read(api, wallet)["credit_balance"] == "6"
    lasting, expired = entries(api, wallet)["items"]
    assert (lasting["credits_available"], expired["credits_available"]) == ("6", "0")
    assert expired["expiry_date"] == "2026-01-09T00:00:00Z"


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


def test_bought_credits_come_when_their_invoice_is_paid(api: Any, acme: str) -> None:
    wallet = opened(api, acme, topup_conversion_rate="0.5")
    body = {
        "credits_to_add": "20",
        "transaction_reason": "PURCHASED_CREDIT_INVOICED",
        "idempotency_key": "buy-1",
        "metadata": {"po": "9"},
    }
    path = f"/v1/wallets/{wallet['id']}/top-up"
    first = api.post(path, body)
    assert first.status_code == 200, first.text
    told = first.json()
    pending = told["wallet_transaction"]
    assert told["wallet"]["credit_balance"] == "0"
    assert (pending["transaction_status"], pending["credit_amount"]) == ("pending", "20")
    assert (pending["credits_available"], pending["credit_balance_after"]) == ("0", "0")
    assert (pending["source_type"], pending["source_id"]) == ("INVOICE", told["invoice_id"])
    assert (pending["reference_id"], pending["metadata"]) == ("buy-1", {"po": "9"})
    assert entries(api, wallet)["items"] == [pending]

    invoice = f"/v1/invoices/{told['invoice_id']}"
    assert api.call("GET", invoice).json()["total"] == "10"
    paid = api.call("PUT", f"{invoice}/payment", json={"payment_status": "SUCCEEDED"})
    assert paid.status_code == 200, paid.text
    [entry] = entries(api, wallet)["items"]
    assert (entry["id"], entry["transaction_status"]) == (pending["id"], "completed")
    assert (entry["credits_available"], entry["credit_balance_after"]) == ("20", "20")
    assert (entry["reference_id"], entry["source_id"]) == ("buy-1", told["invoice_id"])
    assert entry["metadata"] == {"po": "9"}
    assert read(api, wallet)["credit_balance"] == "20"
    again = api.post(path, body)
    assert again.content == first.content
    refusal(api.post(path, {**body, "credits_to_add": "21"}), 409, "already_exists")
    refusal(debited(api, wallet, "1", "buy-1"), 409, "already_exists")


def test_a_purchase_of_a_closed_wallet_has_failed(api: Any, acme: str) -> None:
    wallet = opened(api, acme)
    topped(api, wallet, "20", transaction_reason="PURCHASED_CREDIT_INVOICED")
    assert api.call("POST", f"/v1/wallets/{wallet['id']}/terminate").status_code == 200
    [failed] = entries(api, wallet)["items"]
    assert (failed["transaction_status"], failed["credits_available"]) == ("failed", "0")
