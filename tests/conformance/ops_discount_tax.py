"""Adapters for discount_tax.json: coupons, taxes, and the amounts of an invoice in their order."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.invoices.amounts import Terms, with_terms
from billing.invoices.coupons import applies, redeem
from billing.invoices.discounts import successive
from billing.invoices.drafting import with_settlement
from billing.invoices.taxes import added_tax, included_tax, taking_part, taxed
from billing.wallets.holdings import Holdings
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponCadence,
    CouponId,
    CouponType,
    coupon_faults,
)
from schemas.decimals import plain
from schemas.errors import ValidationFailed
from schemas.ids import (
    CustomerId,
    EntryId,
    InvoiceId,
    InvoiceLineId,
    LotId,
    SubscriptionId,
    SubscriptionLineId,
    WalletId,
)
from schemas.invoice import BillingReason, Invoice, InvoiceKind, InvoiceLine, Role, TaxApplied
from schemas.money import settle, total
from schemas.period import Interval
from schemas.price import PriceType
from schemas.tax import TaxAttachment, TaxAttachmentId, TaxBase, TaxRate, TaxRateId, TaxRateType
from schemas.wallet import AllowedType, Lot, Reason, Wallet, WalletType

FILES = ("discount_tax.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _coupon(body: Body, currency: str) -> Coupon:
    kind = CouponType(body["type"])
    fixed = kind is CouponType.FIXED
    return Coupon(CouponId("c"), kind, Decimal(body["value"]), currency=currency if fixed else "")


def _discounts(body: Body) -> Answer:
    currency, amount = body["currency"], Decimal(body["amount"])
    coupons = [_coupon(each, currency) for each in body["coupons"]]
    taken = successive(coupons, amount, currency)
    return {"discounts": [plain(each) for each in taken], "net": plain(amount - sum(taken))}


def _tax(body: Body, name: str) -> TaxAttachment:
    rate = TaxRate(
        TaxRateId(body.get("rate_id", name)), TaxRateType(body["type"]), Decimal(body["value"])
    )
    return TaxAttachment(
        TaxAttachmentId(name),
        rate,
        priority=int(body.get("priority", 0)),
        currency=body.get("currency"),
        start_date=_instant(body.get("valid_from")),
        end_date=_instant(body.get("valid_until")),
        inclusive=body["inclusive"],
    )


def _taxes(body: Body) -> Answer:
    attached = [_tax(each, f"{index:02}") for index, each in enumerate(body["taxes"])]
    chosen = taking_part(attached, datetime.fromisoformat(body["invoice_date"]), body["currency"])
    applied = [TaxApplied(each.id, each.rate, each.inclusive) for each in chosen]
    found = taxed(applied, Decimal(body["base"]), body["currency"])
    return {
        "taxes": [{"rate_id": tax.rate.id, "amount": plain(tax.tax_amount)} for tax in found],
        "total_tax": plain(added_tax(found)),
        "included_tax": plain(included_tax(found)),
    }


def _wallet(body: Body, index: int) -> Holdings:
    balance = Decimal(body["balance"])
    wallet = Wallet(
        id=WalletId(f"{index:02}"),
        customer_id=CustomerId("customer"),
        currency=body["currency"],
        wallet_type=WalletType.PRE_PAID,
        created_at=START,
        allowed_price_types=tuple(AllowedType(word) for word in body["price_types"]),
        priority=index,
    )
    lot = Lot(LotId("lot"), EntryId("entry"), balance, balance, Reason.FREE_CREDIT_GRANT, START)
    return Holdings(wallet, lots=(lot,))


def _attachment(body: Body, currency: str, name: str, chain: str | None) -> CouponAttachment:
    return CouponAttachment(
        CouponAttachmentId(name),
        _coupon(body, currency),
        START,
        chain_id=None if chain is None else SubscriptionLineId(chain),
    )


def _line(body: Body, name: str, currency: str) -> InvoiceLine:
    return InvoiceLine(
        id=InvoiceLineId(name),
        subscription_line_id=SubscriptionLineId(name),
        chain_id=SubscriptionLineId(name),
        role=Role.USAGE if body["price_type"] == "USAGE" else Role.FIXED,
        price_id=name,
        price_type=PriceType(body["price_type"]),
        display_name=name,
        quantity=Decimal(1),
        amount=settle(Decimal(body["amount"]), currency),
        period=Interval(START, END),
        explanation={},
    )


def _invoice_amounts(body: Body) -> Answer:
    currency = body["currency"]
    lines = tuple(
        _line(each, f"line {index}", currency) for index, each in enumerate(body["lines"])
    )
    coupons = [
        _attachment(coupon, currency, f"{index} {number:02}", f"line {index}")
        for index, line in enumerate(body["lines"])
        for number, coupon in enumerate(line["coupons"])
    ]
    coupons += [
        _attachment(coupon, currency, f"{number:02}", None)
        for number, coupon in enumerate(body["coupons"])
    ]
    taxes = tuple(_tax(each, f"{index:02}") for index, each in enumerate(body["taxes"]))
    wallets = [
        _wallet({**each, "currency": currency}, index) for index, each in enumerate(body["credits"])
    ]
    subtotal = total(line.amount for line in lines)
    blank = Invoice(
        id=InvoiceId("invoice"),
        customer_id=CustomerId("customer"),
        subscription_id=SubscriptionId("subscription"),
        kind=InvoiceKind.RENEWAL,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        currency=currency,
        period=Interval(START, END),
        dated_at=END,
        finalize_at=END,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
    )
    terms = Terms(tuple(coupons), taxes, tax_base=TaxBase(body["tax_base"]))
    made = with_settlement(with_terms(blank, terms), wallets, END)
    return {
        "subtotal": plain(made.subtotal),
        "total_discount": plain(made.total_discount),
        "total_credits": plain(made.total_prepaid_credits_applied),
        "taxes": [plain(tax.tax_amount) for tax in made.taxes],
        "total_tax": plain(made.total_tax),
        "included_tax": plain(made.included_tax),
        "total": plain(made.total),
        "carried_credit": plain(made.carried_credit),
        "lines": [
            {
                "line_discount": plain(line.line_discount),
                "invoice_discount": plain(line.invoice_discount),
                "credits": plain(total(part.amount for part in line.credits)),
            }
            for line in made.lines
        ],
    }


def _coupon_applies(body: Body) -> Answer:
    length = body["duration_in_periods"]
    coupon = Coupon(
        CouponId("c"),
        CouponType.PERCENTAGE,
        Decimal(10),
        CouponCadence(body["cadence"]),
        duration_in_periods=None if length is None else int(length),
    )
    start, end = (_instant(text) for text in body["association"])
    assert start is not None
    attached = CouponAttachment(CouponAttachmentId("a"), coupon, start, end)
    period = Interval(*(datetime.fromisoformat(text) for text in body["invoice_period"]))
    return {"applies": applies(attached, int(body["applications"]), period)}


def _redemptions(body: Body) -> Answer:
    limit = body["max_redemptions"]
    coupon = Coupon(
        CouponId("c"),
        CouponType.PERCENTAGE,
        Decimal(10),
        max_redemptions=None if limit is None else int(limit),
        redeem_after=_instant(body["redeem_after"]),
        redeem_before=_instant(body["redeem_before"]),
    )
    known: frozenset[str] = frozenset()
    granted = []
    for use in body["uses"]:
        try:
            known = redeem(coupon, known, use["key"], datetime.fromisoformat(use["at"]))
        except ValidationFailed:
            granted.append(False)
        else:
            granted.append(True)
    return {"granted": granted, "total": len(known)}


def _validate(body: Body) -> Answer:
    assert body["kind"] == "coupon", "this file has no other kind"
    first = next(iter(coupon_faults(body["body"])), None)
    return {"valid": first is None, "field": first and first.field, "warnings": []}


OPS = {
    "coupon_applies": _coupon_applies,
    "discounts": _discounts,
    "invoice_amounts": _invoice_amounts,
    "redemptions": _redemptions,
    "taxes": _taxes,
    "validate": _validate,
}
