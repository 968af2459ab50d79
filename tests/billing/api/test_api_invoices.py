"""Invoices over HTTP: previewed, made by hand, read and changed (api.md 4.14, 4.15)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from invoiced import ACME, LINE, TENTH, VAT, at, begin, bill, filled, one_off, prepared, rows

from billing.subscriptions.subscribing import subscribe
from schemas.coupon import CouponAttachment, CouponAttachmentId
from schemas.stored import Status, changed, made
from schemas.subscription import Plan, Subscription
from schemas.tax import (
    TaxAssociation,
    TaxAttachment,
    TaxAttachmentId,
    TaxEntityType,
)


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


def test_a_preview_is_the_usage_so_far_and_the_fee_of_the_next_period(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    start(sold)
    kept.spend("llm", "acme", "1600", at(1, 5))
    before = rows(kept)
    answer = api.post("/v1/invoices/preview", {"subscription_id": sold.id})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    # 500 are included: 1000 at 0.02, 100 at 0.01.
    amounts = {"base": "20", "use": "21"}
    assert [(line["price_id"], line["amount"]) for line in body["line_items"]] == [
        (line.price.id, amounts[line.price.id])
        for line in sorted(sold.lines, key=lambda line: line.id)
    ]
    use = next(line for line in body["line_items"] if line["price_id"] == "use")
    assert (use["quantity"], use["adjusted_entitlement_quantity"]) == ("1100", "500")
    assert use["explanation"]["usage"]["total"] == "1600"
    assert (use["invoice_id"], use["currency"], use["meter_display_name"]) == ("", "usd", "tokens")
    assert (body["subtotal"], body["total"], body["amount_due"]) == ("41", "41", "41")
    assert body["metadata"] == {"is_preview": "true"}
    assert (body["invoice_status"], body["invoice_number"]) == ("DRAFT", None)
    assert (body["period_start"], body["period_end"]) == (
        "2026-01-01T00:00:00Z",
        "2026-02-01T00:00:00Z",
    )
    assert (body["billing_reason"], body["billing_sequence"]) == ("SUBSCRIPTION_CYCLE", 2)
    kept.now = at(1, 9)
    assert api.post("/v1/invoices/preview", {"subscription_id": sold.id}).json() == body
    assert rows(kept) == before


def test_the_preview_is_the_invoice_that_comes(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    taxed = replace(
        sold,
        taxes=(TaxAttachment(TaxAttachmentId("ta_1"), VAT),),
        coupons=(CouponAttachment(CouponAttachmentId("grant"), TENTH, at(1, 2)),),
    )
    start(taxed)
    filled(kept, "5")
    kept.spend("llm", "acme", "1600", at(1, 5))
    kept.now = at(1, 31)
    asked = {"subscription_id": sold.id}
    preview = api.post("/v1/invoices/preview", asked).json()
    (coupon,), (tax,) = preview["coupon_applications"], preview["taxes"]
    assert (coupon["coupon_id"], coupon["discounted_amount"]) == ("tenth", "4.1")
    assert (coupon["original_price"], coupon["final_price"]) == ("41", "36.9")
    assert (tax["tax_rate_id"], tax["tax_rate"]["code"]) == ("vat", "VAT")
    assert (tax["taxable_amount"], tax["tax_amount"]) == ("36.9", "7.38")
    assert (tax["entity_id"], coupon["invoice_id"]) == ("", "")
    amounts = ("subtotal", "total_discount", "total_tax", "total_prepaid_credits_applied", "total")
    assert [preview[name] for name in amounts] == ["41", "4.1", "7.38", "5", "39.28"]
    kept.now = at(2, 1, 3)
    bill(kept)
    found = api.post("/v1/invoices/search", {"subscription_id": sold.id}).json()["items"]
    invoice = next(
        each
        for each in found
        if each["period_start"] == preview["period_start"] and each["billing_sequence"] == 2
    )
    assert invoice["invoice_status"] == "FINALIZED"
    assert [invoice[name] for name in amounts] == [preview[name] for name in amounts]
    mine = ("id", "invoice_id", "created_at", "updated_at")
    shown = [{k: v for k, v in each.items() if k not in mine} for each in invoice["line_items"]]
    assert shown == [
        {k: v for k, v in each.items() if k not in mine} for each in preview["line_items"]
    ]


def test_a_preview_may_leave_out_lines_that_come_to_nothing(
    api: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    start(sold)
    asked = {"subscription_id": sold.id, "hide_zero_charges_line_items": True}
    lines = api.post("/v1/invoices/preview", asked).json()["line_items"]
    assert [line["price_id"] for line in lines] == ["base"]


@pytest.mark.parametrize(
    ("members", "status", "place"),
    [
        ({"subscription_id": "subs_none"}, 404, None),
        ({}, 400, "subscription_id"),
        ({"subscription_id": "acme", "period_start": "2026-01-02T00:00:00Z"}, 400, "period_start"),
        ({"subscription_id": "acme", "period_end": "2026-02-02T00:00:00Z"}, 400, "period_end"),
        ({"subscription_id": "acme", "period_start": "2025-01-01T00:00:00Z"}, 400, "period_start"),
    ],
    ids=["unknown", "unnamed", "inside", "other end", "before"],
)
def test_what_cannot_be_previewed_is_refused(
    api: Any,
    start: Callable[[Subscription], None],
    sold: Subscription,
    members: dict[str, str],
    status: int,
    place: str | None,
) -> None:
    start(sold)
    answer = api.post("/v1/invoices/preview", members)
    assert answer.status_code == status
    if place:
        assert answer.json()["details"]["fields"][0]["field"] == place


def test_another_period_can_be_previewed(
    api: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    start(sold)
    period = {"period_start": "2026-03-01T00:00:00Z", "period_end": "2026-04-01T00:00:00Z"}
    body = api.post("/v1/invoices/preview", {"subscription_id": sold.id, **period}).json()
    assert {name: body[name] for name in period} == period


def test_a_one_off_invoice_is_discounted_taxed_settled_and_numbered_at_once(
    api: Any, kept: Any, own: Any
) -> None:
    filled(kept, "30")
    ours = TaxAssociation(TaxAttachmentId("ta_1"), VAT.id, TaxEntityType.CUSTOMER, ACME)
    own.objects.tax_associations.add(made(ours, at(1)))
    more = {"amount": 40, "quantity": "2", "display_name": "More"}
    body = one_off(line_items=[LINE, more], coupons=[TENTH.id], metadata={"po": 7})
    body |= {"subtotal": "100", "total": "100", "amount_due": "100.00", "description": "Extra"}
    answer = api.post("/v1/invoices", body)
    assert answer.status_code == 201, answer.text
    invoice = answer.json()
    assert (invoice["invoice_type"], invoice["invoice_status"]) == ("ONE_OFF", "FINALIZED")
    assert [line["amount"] for line in invoice["line_items"]] == ["60", "40"]
    # 20 % of 90, before credits of 30.
    assert (invoice["subtotal"], invoice["total_discount"]) == ("100", "10")
    assert (invoice["total_tax"], invoice["total_prepaid_credits_applied"]) == ("18", "30")
    assert (invoice["total"], invoice["amount_remaining"]) == ("78", "78")
    assert (invoice["payment_status"], invoice["invoice_number"]) == (
        "PENDING",
        "INV-202601-00001",
    )
    assert (invoice["metadata"], invoice["description"]) == ({"po": "7"}, "Extra")
    assert (invoice["billing_sequence"], invoice["currency"]) == (0, "usd")
    assert invoice["customer"]["external_id"] == "acme"
    assert invoice["created_at"] == invoice["finalized_at"] == "2026-01-08T12:00:00Z"
    assert "source_type" not in invoice
    read = api.call("GET", f"/v1/invoices/{invoice['id']}")
    assert (read.status_code, read.json()) == (200, invoice)


def test_an_invoice_that_comes_to_nothing_is_paid(api: Any, own: Any) -> None:
    assert own.stores.customer(ACME)
    invoice = api.post("/v1/invoices", one_off("0", line_items=[])).json()
    assert (invoice["invoice_status"], invoice["payment_status"]) == ("FINALIZED", "SUCCEEDED")
    assert (invoice["total"], invoice["line_items"]) == ("0", [])
    assert invoice["paid_at"] == invoice["finalized_at"]


def test_a_repeated_key_answers_as_the_first_time_whatever_has_happened_since(
    api: Any, kept: Any, own: Any
) -> None:
    body = one_off(idempotency_key="k", coupons=[TENTH.id])
    first = api.post("/v1/invoices", body)
    path = f"/v1/invoices/{first.json()['id']}/payment"
    api.call("PUT", path, json={"payment_status": "SUCCEEDED"})
    coupon = own.objects.coupons.get(TENTH.id)
    own.objects.coupons.replace(changed(coupon, TENTH, at(1, 8), status=Status.ARCHIVED))
    before = rows(kept)
    again = api.post("/v1/invoices", {**body, "total": "60.00", "description": None})
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    others: list[dict[str, Any]] = [{"total": "61"}, {"coupons": []}, {"metadata": {"po": "7"}}]
    for other in others:
        refused = api.post("/v1/invoices", {**body, **other})
        assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
        assert refused.json()["details"] == {"reason": "idempotency_key_reused"}
    assert rows(kept) == before


def test_a_number_of_its_own_stands_in_no_series(api: Any, own: Any) -> None:
    mine = api.post("/v1/invoices", one_off(invoice_number="MINE-1")).json()
    next_one = api.post("/v1/invoices", one_off()).json()
    assert (mine["invoice_number"], next_one["invoice_number"]) == ("MINE-1", "INV-202601-00001")
    taken = api.post("/v1/invoices", one_off(invoice_number="MINE-1"))
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")


def test_what_was_paid_already_is_recorded_with_the_invoice(api: Any, own: Any) -> None:
    paid = api.post("/v1/invoices", one_off(payment_status="succeeded")).json()
    assert (paid["payment_status"], paid["amount_paid"]) == ("SUCCEEDED", "60")
    assert paid["paid_at"] == "2026-01-08T12:00:00Z"
    part = api.post("/v1/invoices", one_off(amount_paid="25.50")).json()
    assert (part["payment_status"], part["amount_remaining"]) == ("PENDING", "34.5")


REFUSED = {
    "no customer": ({"customer_id": "cust_none"}, 404, None),
    "other sum": ({"subtotal": "61"}, 400, "subtotal"),
    "other due": ({"amount_due": "59.99"}, 400, "amount_due"),
    "no sum": ({"subtotal": ""}, 400, "subtotal"),
    "no currency": ({"currency": "zzz"}, 400, "currency"),
    "no coupon": ({"coupons": ["coupon_none"]}, 400, "coupons"),
    "no rate": ({"tax_rates": ["taxrate_none"]}, 400, "tax_rates"),
    "no code": (
        {"tax_rate_overrides": [{"tax_rate_code": "none", "currency": "usd"}]},
        400,
        "tax_rate_overrides.0.tax_rate_code",
    ),
    "no subscription": ({"subscription_id": "subs_none"}, 400, "subscription_id"),
    "no price": ({"line_items": [{**LINE, "price_id": "none"}]}, 400, "line_items.0.price_id"),
    "below nothing": ({"line_items": [{**LINE, "amount": "-60"}]}, 400, "line_items"),
    "void": ({"invoice_status": "VOIDED"}, 400, "invoice_status"),
    "paid draft": (
        {"invoice_status": "DRAFT", "payment_status": "SUCCEEDED"},
        400,
        "payment_status",
    ),
    "backwards": (
        {"period_start": "2026-01-02T00:00:00Z", "period_end": "2026-01-01T00:00:00Z"},
        400,
        "period_end",
    ),
    "later": ({"checkout": {"mode": "x"}}, 501, None),
}


@pytest.mark.parametrize(("members", "status", "place"), REFUSED.values(), ids=REFUSED)
def test_an_invoice_that_is_refused_leaves_nothing(
    api: Any, kept: Any, own: Any, members: dict[str, Any], status: int, place: str | None
) -> None:
    before = rows(kept)
    answer = api.post("/v1/invoices", one_off(**members))
    assert answer.status_code == status, answer.text
    if place:
        assert answer.json()["details"]["fields"][0]["field"] == place
    assert rows(kept) == before


def test_a_change_keeps_what_it_does_not_name(api: Any, kept: Any, own: Any) -> None:
    invoice = api.post("/v1/invoices", one_off(metadata={"po": "7"})).json()
    path = f"/v1/invoices/{invoice['id']}"
    changes = {"due_date": "2026-03-01T00:00:00Z", "invoice_pdf_url": "https://a/1.pdf"}
    changed = api.call("PUT", path, json=changes).json()
    assert {name: changed[name] for name in changes} == changes
    assert (changed["metadata"], changed["total"]) == ({"po": "7"}, "60")
    assert changed["version"] == invoice["version"] + 1
    same = api.call("PUT", path, json=changes).json()
    assert same == changed
    cleared = api.call("PUT", path, json={"invoice_pdf_url": "", "metadata": {}}).json()
    assert "invoice_pdf_url" not in cleared
    assert (cleared["metadata"], cleared["due_date"]) == ({}, changes["due_date"])
    api.call("POST", f"{path}/void")
    assert api.call("PUT", path, json=changes).status_code == 400
    assert api.call("PUT", "/v1/invoices/inv_none", json=changes).status_code == 404
    assert api.call("PUT", path, json={"due_date": ""}).status_code == 400


def test_nobody_sees_an_invoice_of_another_environment(api: Any, own: Any) -> None:
    invoice = api.post("/v1/invoices", one_off()).json()
    path = f"/v1/invoices/{invoice['id']}"
    assert api.call("GET", path, key="elsewhere").status_code == 404
    for action in ("finalize", "void", "payment/attempt"):
        assert api.call("POST", f"{path}/{action}", key="elsewhere").status_code == 404
    paid = {"payment_status": "SUCCEEDED"}
    assert api.call("PUT", f"{path}/payment", json=paid, key="elsewhere").status_code == 404
    assert api.post("/v1/invoices/search", {}, key="elsewhere").json()["items"] == []
    assert api.post("/v1/invoices", one_off(), key="elsewhere").status_code == 404


def test_a_read_shows_what_it_is_asked_to(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> None:
    start(sold)
    asked = {"subscription_id": sold.id}
    (opening,) = api.post("/v1/invoices/search", asked).json()["items"]
    assert (opening["billing_sequence"], opening["billing_period"]) == (1, "MONTHLY")
    path = f"/v1/invoices/{opening['id']}"
    assert "subscription" not in api.call("GET", path).json()
    whole = api.call("GET", f"{path}?expand=subscription,customer&expand_by_source=false").json()
    assert whole["subscription"]["id"] == sold.id
    assert api.call("GET", f"{path}?expand=payments").status_code == 400
    assert api.call("GET", f"{path}?expand_by_source=true").status_code == 501
    assert api.call("GET", "/v1/invoices/inv_none").status_code == 404
