"""Credits over HTTP: they come and go once for each key, and never below zero (api.md 4.16)."""

from datetime import timedelta
from typing import Any

import pytest
from walleted import RECORD, debited, entries, new_customer, opened, read, refusal, topped


@pytest.fixture
def acme(api: Any, kept: Any) -> str:
    """Return the id of a customer."""
    del kept
    return new_customer(api, "acme")


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
