"""The ledger over HTTP: newest first, paged, filtered strictly (api.md 1.11, 4.16)."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from walleted import debited, entries, new_customer, opened, read, refusal, topped


@pytest.fixture
def acme(api: Any, kept: Any) -> str:
    """Return the id of a customer."""
    del kept
    return new_customer(api, "acme")


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


def search(api: Any, **asked: Any) -> Any:
    answer = api.post("/v1/wallets/transactions/search", asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_transactions_of_all_wallets_are_searched_by_what_they_are(
    api: Any, kept: Any, acme: str
) -> None:
    usd, eur = opened(api, acme), opened(api, acme, currency="eur")
    kept.now += timedelta(hours=1)
    topped(api, usd, "10", idempotency_key="a", priority=2)
    kept.now += timedelta(hours=1)
    topped(
        api,
        eur,
        "20",
        idempotency_key="b",
        transaction_reason="FREE_CREDIT_GRANT",
        expiry_date_utc="2026-03-01T00:00:00Z",
    )
    kept.now += timedelta(hours=1)
    debited(api, usd, "9", "c")
    kept.now += timedelta(hours=1)
    bought = topped(
        api,
        eur,
        "100",
        idempotency_key="d",
        transaction_reason="PURCHASED_CREDIT_INVOICED",
        expiry_date_utc="2026-04-01T00:00:00Z",
        priority=7,
    )["wallet_transaction"]

    def found(**asked: Any) -> list[str]:
        return [each["idempotency_key"] for each in search(api, **asked)["items"]]

    def among(name: str, operator: str, **value: Any) -> list[str]:
        return found(filters=[{"field": name, "operator": operator, "value": value}])

    assert found() == ["d", "c", "b", "a"]
    assert found(order="asc") == ["a", "b", "c", "d"]
    assert found(sort=[{"field": "updated_at", "direction": "asc"}]) == ["a", "b", "c", "d"]
    assert sorted(found(sort="id")) == ["a", "b", "c", "d"]
    assert found(id=bought["id"]) == ["d"]
    assert found(type="DEBIT") == ["c"]
    assert found(transaction_status="pending") == ["d"]
    assert found(transaction_status="completed", type="credit") == ["b", "a"]
    assert found(transaction_status="failed") == []
    assert found(transaction_reason="free_credit_grant") == ["b"]
    assert found(reference_id="a") == ["a"]
    assert found(reference_id="d", reference_type="EXTERNAL") == ["d"]
    assert found(reference_id="a", reference_type="INVOICE") == []
    assert found(created_by="k1") == ["d", "c", "b", "a"]
    assert found(created_by="k2") == []
    assert found(priority=2) == ["a"]
    assert found(priority=7) == ["d"]
    assert found(credits_available_gt=0.5) == ["b", "a"]
    assert found(credits_available_gt="1") == ["b"]
    assert found(expiry_date_before="2026-03-02T00:00:00Z") == ["b"]
    assert found(expiry_date_after="2026-03-01T00:00:00Z") == ["d"]
    assert found(start_time="2026-01-08T14:00:00Z", end_time="2026-01-08T15:00:00Z") == ["b"]
    assert found(status="deleted") == []
    assert among("wallet_id", "in", array=[usd["id"]]) == ["c", "a"]
    assert among("customer_id", "eq", string=acme) == ["d", "c", "b", "a"]
    assert among("credit_amount", "gte", number="10") == ["d", "b", "a"]
    assert among("credit_amount", "lt", number=9.5) == ["c"]
    assert among("idempotency_key", "contains", string="B") == ["b"]
    assert among("expiry_date", "after", date="2026-02-01T00:00:00Z") == ["d", "b"]
    assert among("created_at", "before", date="2026-01-08T14:00:00Z") == ["a"]
    page = search(api, limit=2, offset=1, type="credit")
    assert [each["idempotency_key"] for each in page["items"]] == ["b", "a"]
    assert page["pagination"] == {"total": 3, "limit": 2, "offset": 3}
    query = "?type=credit&priority=2&credits_available_gt=0.5&created_by=k1&order=desc"
    assert [each["idempotency_key"] for each in entries(api, usd, query)["items"]] == ["a"]


def test_wallet_and_customer_are_shown_beside_a_transaction(api: Any, acme: str) -> None:
    wallet = opened(api, acme, initial_credits_to_load="5")
    [plain] = search(api)["items"]
    assert not {"wallet", "customer"} & plain.keys()
    [shown] = search(api, expand="wallet,customer,created_by_user")["items"]
    assert shown["wallet"] == wallet
    assert shown["customer"]["external_id"] == "acme"
    [listed] = entries(api, wallet, "?expand=wallet,customer")["items"]
    assert listed == shown


def test_credits_on_an_invoice_name_it_as_their_source(api: Any, kept: Any, acme: str) -> None:
    wallet = opened(api, acme, conversion_rate="0.5", initial_credits_to_load="30")
    line = {"amount": "10", "quantity": "1", "display_name": "Work"}
    body = {
        "customer_id": acme,
        "currency": "usd",
        "line_items": [line],
        "subtotal": "10",
        "total": "10",
        "amount_due": "10",
    }
    answer = api.post("/v1/invoices", body)
    assert answer.status_code == 201, answer.text
    invoice = answer.json()
    kept.now += timedelta(hours=1)
    if invoice["invoice_status"] == "DRAFT":
        api.call("POST", f"/v1/invoices/{invoice['id']}/finalize")
    taken = search(api, type="debit")["items"][0]
    assert taken["transaction_reason"] == "CREDIT_ADJUSTMENT"
    assert (taken["credit_amount"], taken["amount"]) == ("20", "10")
    assert (taken["reference_type"], taken["reference_id"]) == ("INVOICE", invoice["id"])
    assert (taken["source_type"], taken["source_id"]) == ("INVOICE", invoice["id"])
    assert read(api, wallet)["balance"] == "5"


@pytest.mark.parametrize(
    "asked",
    [
        {"wallet_id": "wallet_1"},
        {"type": "sideways"},
        {"transaction_reason": "GIFT"},
        {"sort": "credit_amount"},
        {"sort": "nothing"},
        {"expand": "invoice"},
        {"priority": "high"},
        {"credits_available_gt": "NaN"},
        {"expiry_date_before": "2026-03-01"},
        {"filters": [{"field": "amount", "operator": "eq", "value": {"number": 1}}]},
        {"filters": [{"field": "priority", "operator": "contains", "value": {"string": "1"}}]},
        {"filters": [{"field": "type", "operator": "eq", "value": {"number": 1}}]},
    ],
    ids=[
        "member",
        "type",
        "reason",
        "sort",
        "unknown-sort",
        "expand",
        "priority",
        "not-a-number",
        "date-alone",
        "field",
        "operator",
        "value",
    ],
)
def test_a_search_of_transactions_is_strict(api: Any, acme: str, asked: Any) -> None:
    opened(api, acme, initial_credits_to_load="5")
    refusal(api.post("/v1/wallets/transactions/search", asked), 400, "validation_error")


def test_the_ledger_of_no_wallet_is_not_found(api: Any, acme: str) -> None:
    assert acme
    answer = api.call("GET", "/v1/wallets/wallet_none/transactions")
    refusal(answer, 404, "not_found")
    answer = api.call("GET", "/v1/wallets/wallet_none/transactions?colour=red")
    refusal(answer, 400, "validation_error")
