"""Invoices over HTTP: previewed, made, found, finalized, paid and voided (api.md 4.14, 4.15)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from billing.ports import Changes
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.passes import run_pass
from billing.wallets import ledger
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponId, CouponType
from schemas.customer import Customer
from schemas.ids import CustomerId, WalletId
from schemas.scope import Scope
from schemas.stored import Status, made
from schemas.subscription import Plan, Subscription
from schemas.tax import (
    TaxAssociation,
    TaxAttachment,
    TaxAttachmentId,
    TaxEntityType,
    TaxRate,
    TaxRateId,
    TaxRateType,
)
from schemas.wallet import Reason, Wallet, WalletType

HERE = Scope("tenant_1", "env_1")
ACME = CustomerId("acme")
VAT = TaxRate(TaxRateId("vat"), TaxRateType.PERCENTAGE, Decimal(20), "VAT", "Value added")
TENTH = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10), coupon_code="TENTH")
LINE = {"amount": "60.004", "quantity": "1", "display_name": "Work"}
TABLES = ("invoices", "payments", "ledger_entries", "redemptions", "outbox", "invoice_series")


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def one_off(amount: str = "60", **members: Any) -> dict[str, Any]:
    line = {"amount": amount, "quantity": "1", "display_name": "Work"}
    body = {"customer_id": ACME, "currency": "USD", "line_items": [line]}
    return {**body, "subtotal": amount, "total": amount, "amount_due": amount, **members}


def wallet(kept: Any, amount: str, kind: WalletType = WalletType.PRE_PAID) -> WalletId:
    """Put a wallet with credits into the store."""
    kept_wallet = Wallet(WalletId(f"wallet_{kind.value}"), ACME, "usd", kind, at(1))
    request = TopUp(Reason.CREDIT_NOTE, Decimal(amount))
    stores = kept.environment(HERE).stores
    stores.commit(Changes(posted=(ledger.top_up(Holdings(kept_wallet), request, at(1)),)))
    return kept_wallet.id


def bill(kept: Any) -> None:
    """Do what is due, as the billing dataflow does."""
    report = run_pass(kept.environment(HERE).stores, lambda _: kept.usage, kept.now)
    assert not report.failed


def rows(kept: Any) -> dict[str, int]:
    """Return how much there is of what money leaves behind."""
    with kept.database.reading() as session:
        counted = {}
        for name in session.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")):
            counted[name] = session.scalar(text(f"SELECT count(*) FROM {name}"))
        return counted


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


@pytest.fixture
def own(kept: Any) -> Any:
    """Return what is kept of an environment with a customer, a coupon and a tax rate."""
    environment = kept.environment(HERE)
    environment.objects.customers.add(made(Customer(ACME, "acme", "Acme"), at(1)))
    environment.objects.coupons.add(made(TENTH, at(1)))
    environment.objects.tax_rates.add(made(VAT, at(1)))
    return environment


@pytest.fixture
def start(kept: Any, own: Any) -> Callable[[Subscription], None]:
    """Return what puts a subscription into the store and lets the dataflow bill it."""

    def begin(subscription: Subscription) -> None:
        own.stores.commit(
            Changes(subscriptions=(subscription,), wake={subscription.payer_id: at(1)})
        )
        bill(kept)

    return begin


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
    wallet(kept, "5")
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
    wallet(kept, "30")
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


def test_a_repeated_key_is_one_invoice(api: Any, kept: Any, own: Any) -> None:
    first = api.post("/v1/invoices", one_off(idempotency_key="k"))
    before = rows(kept)
    again = api.post("/v1/invoices", one_off("60.00", idempotency_key="k"))
    assert (again.status_code, again.json()) == (201, first.json())
    other = api.post("/v1/invoices", one_off("61", idempotency_key="k"))
    assert (other.status_code, other.json()["code"]) == (409, "already_exists")
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


def test_a_draft_waits_until_it_is_finalized_once(api: Any, kept: Any, own: Any) -> None:
    wallet(kept, "10")
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
    wallet(kept, "100")
    invoice = api.post("/v1/invoices", one_off()).json()
    assert (invoice["total"], invoice["payment_status"]) == ("0", "SUCCEEDED")
    path = f"/v1/invoices/{invoice['id']}/payment"
    again = api.call("PUT", path, json={"payment_status": "SUCCEEDED"})
    assert (again.status_code, again.json()) == (200, invoice)


def test_wallets_pay_what_remains_as_far_as_they_reach(api: Any, kept: Any, own: Any) -> None:
    invoice = api.post("/v1/invoices", one_off()).json()
    draft = api.post("/v1/invoices", one_off(invoice_status="DRAFT")).json()
    wallet(kept, "45.25", WalletType.POST_PAID)
    answer = api.call("POST", f"/v1/invoices/{invoice['id']}/payment/attempt")
    assert (answer.status_code, list(answer.json())) == (200, ["message"])
    paid = api.call("GET", f"/v1/invoices/{invoice['id']}").json()
    assert (paid["amount_paid"], paid["amount_remaining"]) == ("45.25", "14.75")
    refused = api.call("POST", f"/v1/invoices/{draft['id']}/payment/attempt")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_operation")
    assert api.call("POST", "/v1/invoices/inv_none/payment/attempt").status_code == 404


def test_void_gives_back_what_was_paid_and_the_credits(api: Any, kept: Any, own: Any) -> None:
    name = wallet(kept, "20")
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


@pytest.fixture
def several(
    api: Any, kept: Any, start: Callable[[Subscription], None], sold: Subscription
) -> list[str]:
    """Make an opening, a skipped one, a draft and a paid one-off; return their ids."""
    free = tuple(line for line in sold.lines if line.price.id == "use")
    start(sold)
    other = replace(sold, id="free", lines=free)
    start(other)
    kept.now = at(2, 1, 3)
    bill(kept)
    draft = api.post("/v1/invoices", one_off("7", invoice_status="DRAFT")).json()["id"]
    paid = api.post("/v1/invoices", one_off("9", payment_status="SUCCEEDED")).json()["id"]
    return [draft, paid]


def test_a_search_finds_what_is_asked_for_and_no_skipped_ones(
    api: Any, several: list[str], sold: Subscription
) -> None:
    draft, paid = several

    def totals(**asked: Any) -> list[str]:
        answer = api.post("/v1/invoices/search", asked)
        assert answer.status_code == 200, answer.text
        return sorted(each["total"] for each in answer.json()["items"])

    assert totals() == ["20", "20", "7", "9"]
    assert totals(invoice_status=["SKIPPED"]) == ["0"]
    assert totals(subscription_id="free") == []
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
