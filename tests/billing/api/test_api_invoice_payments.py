"""Invoices over HTTP: finalized, paid and voided (api.md 4.15)."""

from collections.abc import Callable
from typing import Any

import pytest
from invoiced import ACME, at, begin, bill, filled, one_off, prepared, rows

from billing.subscriptions.subscribing import subscribe
from billing.wallets.holdings import settled_credits
from schemas.subscription import Plan, Subscription
from schemas.wallet import WalletType


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


@pytest.fixture
def own(kept: Any) -> Any:
    return prepared(kept)


@pytest.fixture
def start(kept: Any, own: Any) -> Callable[[Subscription], None]:
    assert own.stores.customer(ACME)
    return lambda subscription: begin(kept, subscription)


def test_a_draft_waits_until_it_is_finalized_once(api: Any, kept: Any, own: Any) -> None:
    filled(kept, "10")
    draft = api.post("/v1/invoices", one_off(invoice_status="DRAFT")).json()
    assert (draft["invoice_status"], draft["invoice_number"]) == ("DRAFT", None)
    path = f"/v1/invoices/{draft['id']}"
    done = api.call("POST", f"{path}/finalize")
    assert (done.status_code, list(done.json())) == (200, ["message"])
    invoice = api.call("GET", path).json()
    assert (invoice["invoice_status"], invoice["invoice_number"]) == (
        "FINALIZED",
        "INV-202601-00001",
    )
    assert (invoice["total_prepaid_credits_applied"], invoice["total"]) == ("10", "50")
    before = rows(kept)
    again = api.call("POST", f"{path}/finalize")
    assert (again.status_code, again.json()["code"]) == (400, "invalid_operation")
    assert again.json()["details"] == {"reason": "already_finalized"}
    assert rows(kept) == before


def test_a_draft_of_a_subscription_is_computed_last_when_it_is_finalized(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    start(sold)
    kept.spend("llm", "acme", "1500", at(1, 5))
    kept.now = at(2, 1)
    bill(kept)
    asked = {"subscription_id": sold.id, "invoice_status": ["DRAFT"]}
    (draft,) = api.post("/v1/invoices/search", asked).json()["items"]
    assert draft["total"] == "40"
    path = f"/v1/invoices/{draft['id']}"
    assert api.call("PUT", path, json={"metadata": {"po": "7"}}).status_code == 200
    kept.spend("llm", "acme", "100", at(1, 31))
    bill(kept)
    assert api.call("POST", f"{path}/finalize").status_code == 200
    invoice = api.call("GET", path).json()
    assert (invoice["total"], invoice["metadata"]) == ("41", {"po": "7"})
    assert invoice["created_at"] == draft["created_at"]


def test_payments_by_hand_add_up(api: Any, kept: Any, own: Any) -> None:
    path = f"/v1/invoices/{api.post('/v1/invoices', one_off()).json()['id']}"

    def pay(status: str, amount: str | None = None) -> Any:
        return api.call("PUT", f"{path}/payment", json={"payment_status": status, "amount": amount})

    part = pay("PENDING", "25.50").json()
    assert (part["payment_status"], part["amount_remaining"]) == ("PENDING", "34.5")
    failed = pay("failed", "1")
    assert (failed.status_code, failed.json()["amount_paid"]) == (200, "25.5")
    paid = pay("SUCCEEDED").json()
    assert (paid["payment_status"], paid["amount_paid"]) == ("SUCCEEDED", "60")
    before = rows(kept)
    assert pay("SUCCEEDED").json() == paid
    for status in ("PENDING", "FAILED", "REFUNDED", "PROCESSING"):
        refused = pay(status)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    assert pay("PAID").status_code == 400
    assert rows(kept) == before
    over = pay("OVERPAID", "4").json()
    assert (over["payment_status"], over["overpaid_amount"]) == ("OVERPAID", "4")


def test_what_credits_have_paid_already_is_left_as_it_is(api: Any, kept: Any, own: Any) -> None:
    filled(kept, "100")
    invoice = api.post("/v1/invoices", one_off()).json()
    assert (invoice["total"], invoice["payment_status"]) == ("0", "SUCCEEDED")
    path = f"/v1/invoices/{invoice['id']}/payment"
    again = api.call("PUT", path, json={"payment_status": "SUCCEEDED"})
    assert (again.status_code, again.json()) == (200, invoice)


def test_wallets_pay_what_remains_as_far_as_they_reach(api: Any, kept: Any, own: Any) -> None:
    invoice = api.post("/v1/invoices", one_off()).json()
    draft = api.post("/v1/invoices", one_off(invoice_status="DRAFT")).json()
    filled(kept, "45.25", WalletType.POST_PAID)
    answer = api.call("POST", f"/v1/invoices/{invoice['id']}/payment/attempt")
    assert (answer.status_code, list(answer.json())) == (200, ["message"])
    paid = api.call("GET", f"/v1/invoices/{invoice['id']}").json()
    assert (paid["amount_paid"], paid["amount_remaining"]) == ("45.25", "14.75")
    refused = api.call("POST", f"/v1/invoices/{draft['id']}/payment/attempt")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    assert api.call("POST", "/v1/invoices/inv_none/payment/attempt").status_code == 404


def test_void_gives_back_what_was_paid_and_the_credits(api: Any, kept: Any, own: Any) -> None:
    name = filled(kept, "20")
    invoice = api.post("/v1/invoices", one_off()).json()
    path = f"/v1/invoices/{invoice['id']}"
    api.call("PUT", f"{path}/payment", json={"payment_status": "SUCCEEDED"})
    done = api.call("POST", f"{path}/void")
    assert (done.status_code, list(done.json())) == (200, ["message"])
    after = api.call("GET", path).json()
    assert (after["invoice_status"], after["payment_status"]) == ("VOIDED", "REFUNDED")
    assert after["invoice_number"] == invoice["invoice_number"]
    assert settled_credits(own.stores.holdings(name), kept.now) >= 20
    held = [settled_credits(each, kept.now) for each in own.stores.wallets_of(ACME)]
    assert sum(held) == 60
    before = rows(kept)
    again = api.call("POST", f"{path}/void")
    assert (again.status_code, again.json()["code"]) == (400, "invalid_operation")
    assert "already voided" in again.json()["message"]
    assert again.json()["details"] == {"reason": "already_voided"}
    assert rows(kept) == before
