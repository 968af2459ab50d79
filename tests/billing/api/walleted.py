"""What the tests of wallets over HTTP share: a customer, and requests that succeed."""

from typing import Any

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
