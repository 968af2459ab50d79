"""Invoices over HTTP: searched and summarized (api.md 4.15)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from invoiced import ACME, at, begin, bill, one_off, prepared

from billing.subscriptions.subscribing import subscribe
from schemas.ids import SubscriptionId
from schemas.subscription import Plan, Subscription


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


@pytest.fixture
def several(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> list[str]:
    """Make an opening, a skipped one, a draft and a paid one-off; return their ids."""
    free = tuple(line for line in sold.lines if line.price.id == "use")
    start(sold)
    other = replace(sold, id=SubscriptionId("free"), lines=free)
    start(other)
    kept.now = at(2, 1, 3)
    bill(kept)
    draft = api.post("/v1/invoices", one_off("7", invoice_status="DRAFT")).json()["id"]
    paid = api.post("/v1/invoices", one_off("9", payment_status="SUCCEEDED")).json()["id"]
    return [draft, paid]


def test_a_search_finds_what_is_asked_for_and_no_skipped_ones(
    api: Any, several: list[str], sold: Subscription
) -> None:
    draft = several[0]

    def totals(**asked: Any) -> list[str]:
        answer = api.post("/v1/invoices/search", asked)
        assert answer.status_code == 200, answer.text
        return sorted(each["total"] for each in answer.json()["items"])

    assert totals() == ["20", "20", "7", "9"]
    assert totals(invoice_status=["SKIPPED"]) == ["0"]
    assert totals(subscription_id=SubscriptionId("free")) == []
    assert totals(subscription_id=sold.id) == ["20", "20"]
    assert totals(customer_id=ACME) == totals(external_customer_id="acme") == totals()
    assert totals(customer_id="acm") == totals(external_customer_id="nobody") == []
    assert totals(subscription_customer_id=[ACME]) == ["20", "20"]
    assert totals(invoice_ids=[draft]) == totals(invoice_status=["draft"]) == ["7"]
    assert totals(invoice_type="one_off") == ["7", "9"]
    assert totals(payment_status=["SUCCEEDED"]) == ["9"]
    assert totals(billing_reason="SUBSCRIPTION_CREATE") == ["20"]
    assert totals(currency="USD", amount_due_gt=9) == ["20", "20"]
    assert totals(amount_remaining_gt="0") == ["20", "20", "7"]
    assert totals(period_start_gte="2026-01-15T00:00:00Z") == ["7", "9"]
    assert totals(period_end_lte="2026-02-01T00:00:00Z") == ["20", "20"]
    assert totals(finalized_at_gte="2026-02-01T00:00:00Z") == ["20", "9"]
    assert totals(voided_at_gte="2026-01-01T00:00:00Z") == []
    assert totals(start_time="2026-02-01T03:00:00Z") == ["20", "7", "9"]
    assert totals(end_time="2026-02-01T03:00:00Z") == ["20"]
    assert totals(status="archived") == []
    condition = {"field": "total", "operator": "gt", "value": {"number": 8}}
    assert totals(filters=[condition]) == ["20", "20", "9"]


def test_pages_tell_how_many_there_are_and_never_overlap(api: Any, several: list[str]) -> None:
    names = []
    for offset in range(0, 4, 2):
        asked = {"limit": 2, "offset": offset, "sort": [{"field": "total", "direction": "asc"}]}
        page = api.post("/v1/invoices/search", asked).json()
        assert page["pagination"] == {"total": 4, "limit": 2, "offset": offset + 2}
        names += [each["id"] for each in page["items"]]
    assert names[:2] == several
    assert len(set(names)) == 4
    newest = api.post("/v1/invoices/search", {}).json()["items"]
    assert [each["created_at"] for each in newest] == sorted(
        (each["created_at"] for each in newest), reverse=True
    )


def test_items_carry_lines_unless_they_are_not_wanted(api: Any, several: list[str]) -> None:
    asked = {"invoice_ids": several, "expand": "customer"}
    for invoice in api.post("/v1/invoices/search", asked).json()["items"]:
        assert len(invoice["line_items"]) == 1
        assert (invoice["taxes"], invoice["coupon_applications"]) == ([], [])
        assert invoice["customer"]["id"] == ACME
    bare = api.post("/v1/invoices/search", {"skip_line_items": True}).json()["items"]
    assert [each["line_items"] for each in bare] == [[]] * 4


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"colour": "red"}, "colour"),
        ({"expand": "payments"}, "expand"),
        ({"sort": "colour"}, "sort"),
        ({"invoice_status": ["OPEN"]}, "invoice_status.0"),
        ({"limit": 0}, "limit"),
        (
            {"filters": [{"field": "total", "operator": "contains", "value": {"string": "1"}}]},
            "filters.0.operator",
        ),
    ],
    ids=["member", "expand", "sort", "word", "limit", "operator"],
)
def test_a_search_drops_nothing_in_silence(
    api: Any, own: Any, asked: dict[str, Any], place: str
) -> None:
    answer = api.post("/v1/invoices/search", asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "validation_error")
    assert answer.json()["details"]["fields"][0]["field"] == place


def test_a_summary_tells_what_is_open_and_overdue(api: Any, kept: Any, own: Any) -> None:
    usage = {"amount": "30", "quantity": 1, "price_type": "USAGE"}
    fixed = {"amount": "10", "quantity": 1, "price_type": "FIXED"}
    mixed = one_off("40", line_items=[usage, fixed], due_date="2026-01-10T00:00:00Z")
    api.post("/v1/invoices", {**mixed, "amount_paid": "20"})
    api.post("/v1/invoices", one_off("5", due_date="2026-03-01T00:00:00Z"))
    api.post("/v1/invoices", one_off("8", payment_status="SUCCEEDED"))
    api.post("/v1/invoices", one_off("3", currency="eur"))
    api.post("/v1/invoices", one_off("99", invoice_status="DRAFT"))
    kept.now = at(1, 11)
    body = api.call("GET", f"/v1/customers/{ACME}/invoices/summary").json()
    assert (body["customer_id"], body["default_currency"]) == (ACME, "eur")
    assert body["summaries"][1] == {
        "customer_id": ACME,
        "currency": "usd",
        "total_revenue_amount": "53",
        "total_unpaid_amount": "25",
        "total_overdue_amount": "20",
        "total_invoice_count": 3,
        "unpaid_invoice_count": 2,
        "overdue_invoice_count": 1,
        "unpaid_usage_charges": "15",
        "unpaid_fixed_charges": "10",
    }
    assert api.call("GET", "/v1/customers/cust_none/invoices/summary").status_code == 404
