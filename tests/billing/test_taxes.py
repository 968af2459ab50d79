"""Taxes: which take part, what they come to, and the amounts of an invoice in their order."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.amounts import Terms
from billing.invoices.coupons import attach
from billing.invoices.drafting import draft, settled_at
from billing.invoices.taxes import added_tax, agreed, included_tax, taking_part, taxed
from billing.periods.services import windows
from billing.ports import UsageReader
from billing.subscriptions.subscribing import subscribe
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import TopUp, top_up
from schemas.coupon import Coupon, CouponCadence, CouponId, CouponType
from schemas.errors import ValidationFailed
from schemas.ids import CustomerId, WalletId
from schemas.invoice import Invoice, TaxApplied
from schemas.money import MINOR_UNITS, settle, total
from schemas.subscription import Plan, Subscription
from schemas.tax import (
    CreateTaxRateRequest,
    TaxAttachment,
    TaxAttachmentId,
    TaxBase,
    TaxRate,
    TaxRateId,
    TaxRateOverride,
    TaxRateStatus,
    TaxRateType,
    tax_attachment_from,
    tax_rate_from,
)
from schemas.wallet import Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]

MAY = datetime(2026, 5, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def rate(text: str, name: str = "r") -> TaxRate:
    """Return a rate as the tables write it: `10%` or `10`."""
    kind = TaxRateType.PERCENTAGE if text.endswith("%") else TaxRateType.FIXED
    return TaxRate(TaxRateId(name), kind, Decimal(text.rstrip("%")))


def tax(text: str, name: str = "r", **fields: object) -> TaxAttachment:
    made = TaxAttachment(TaxAttachmentId(f"of {name}"), rate(text, name))
    return replace(made, **fields)  # type: ignore[arg-type]  # any of its members


def applied(*texts: str, inclusive: bool = False) -> list[TaxApplied]:
    return [
        TaxApplied(TaxAttachmentId(f"{index}"), rate(text), inclusive)
        for index, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("attachment", "takes_part"),
    [
        (tax("5%"), True),
        (tax("5%", start_date=MAY, end_date=MAY + SECOND), True),
        (tax("5%", start_date=MAY + SECOND), False),
        (tax("5%", end_date=MAY), False),  # Half-open.
        (tax("5%", currency="USD"), True),
        (tax("5%", currency="eur"), False),
        (tax("5%", auto_apply=False), False),
        (tax("5%", rate=replace(rate("5%"), status=TaxRateStatus.INACTIVE)), False),
    ],
)
def test_a_tax_takes_part_where_date_currency_and_status_allow(
    attachment: TaxAttachment, takes_part: bool
) -> None:
    assert bool(taking_part([attachment], MAY, "usd")) is takes_part


def test_a_tax_that_does_not_apply_by_itself_applies_when_named() -> None:
    assert taking_part([tax("5%", auto_apply=False)], MAY, "usd", named=["r"])


def test_the_same_rate_twice_is_settled_after_the_filters() -> None:
    first, second = tax("8%", priority=1, end_date=MAY), tax("5%", priority=2)
    assert taking_part([second, first], MAY - SECOND, "usd") == (first,)
    assert taking_part([second, first], MAY, "usd") == (second,)


def test_own_taxes_replace_the_inherited_and_an_empty_list_is_none() -> None:
    customer = (tax("5%"),)
    assert agreed(None, customer) == customer
    assert agreed([tax("7%")], customer) == (tax("7%"),)
    assert agreed([], customer) == ()


@pytest.mark.parametrize(
    ("texts", "base", "currency", "amounts"),
    [
        (("10.5%",), "999", "jpy", ["105"]),
        (("5%",), "9.995", "kwd", ["0.500"]),
        (("8.875%", "2.125%", "0.5%"), "99.99", "usd", ["8.87", "2.12", "0.50"]),
        (("3", "10%"), "0.01", "usd", ["3.00", "0.00"]),
        (("3", "10%"), "0.00", "usd", ["0.00", "0.00"]),  # On nothing there is no tax,
        (("3", "10%"), "-7.00", "usd", ["0.00", "0.00"]),  # nor on less.
    ],
)
def test_each_tax_is_on_the_same_base_and_rounded_by_itself(
    texts: tuple[str, ...], base: str, currency: str, amounts: list[str]
) -> None:
    made = taxed(applied(*texts), Decimal(base), currency)
    assert [f"{each.tax_amount:f}" for each in made] == amounts


def test_an_inclusive_tax_is_a_part_of_the_base_and_others_are_on_the_rest() -> None:
    other = replace(applied("5%")[0], attachment_id=TaxAttachmentId("other"))
    taxes = [*applied("10%", inclusive=True), other]
    inside, outside = taxed(taxes, Decimal("110.00"), "usd")
    assert (inside.tax_amount, outside.tax_amount) == (Decimal("10.00"), Decimal("5.00"))
    assert (inside.taxable_amount, outside.taxable_amount) == (Decimal(110), Decimal(100))
    assert included_tax([inside, outside]) == Decimal("10.00")
    assert added_tax([inside, outside]) == Decimal("5.00")


def test_a_fixed_tax_cannot_be_inclusive() -> None:
    with pytest.raises(ValidationFailed) as refused:
        tax("3", inclusive=True)
    assert refused.value.field == "tax_behavior"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "percentage_value"),
        ({"percentage_value": "100.01"}, "percentage_value"),
        ({"percentage_value": "-1"}, "percentage_value"),
        ({"tax_rate_type": "fixed", "percentage_value": "5"}, "fixed_value"),
        ({"tax_rate_type": "fixed", "fixed_value": "-0.01"}, "fixed_value"),
    ],
)
def test_a_rate_needs_the_value_of_its_type(body: dict[str, object], field: str) -> None:
    request = CreateTaxRateRequest.model_validate({"name": "VAT", "code": "vat", **body})
    with pytest.raises(ValidationFailed) as refused:
        tax_rate_from(request, id="r")
    assert refused.value.field == field


def test_an_inactive_rate_is_not_attached() -> None:
    request = TaxRateOverride(tax_rate_code="vat", currency="USD")
    assert tax_attachment_from(request, rate("5%"), id="a").currency == "usd"
    inactive = replace(rate("5%"), status=TaxRateStatus.INACTIVE)
    with pytest.raises(ValidationFailed, match="not active"):
        tax_attachment_from(request, inactive, id="a")


percents = st.decimals(0, 100, places=3).map(lambda value: f"{value}%")
currencies = st.sampled_from(["usd", "jpy", "kwd"])


@given(
    st.lists(percents, max_size=4),
    st.lists(percents, max_size=4),
    st.decimals(0, 10**6, places=3),
    currencies,
)
def test_taxes_add_up_and_each_is_within_half_a_minor_unit(
    inside: list[str], outside: list[str], amount: Decimal, currency: str
) -> None:
    base = settle(amount, currency)
    taxes = [*applied(*inside, inclusive=True), *applied(*outside)]
    named = [
        replace(each, attachment_id=TaxAttachmentId(f"{index}")) for index, each in enumerate(taxes)
    ]
    made = taxed(named, base, currency)
    assert added_tax(made) + included_tax(made) == total(each.tax_amount for each in made)
    half = Fraction(1, 2 * 10 ** MINOR_UNITS[currency.upper()])
    left = base - included_tax(made)
    for each in made:
        if not each.inclusive:
            exact = Fraction(left) * Fraction(each.rate.value) / 100
            assert abs(Fraction(each.tax_amount) - exact) <= half


@given(st.permutations([tax("5%", "a"), tax("6%", "b", priority=1), tax("7%", "c"), tax("8%")]))
def test_the_order_of_rows_changes_no_tax(rows: list[TaxAttachment]) -> None:
    found = taking_part(rows, MAY, "usd")
    assert [each.rate.id for each in found] == ["a", "c", "r", "b"]


def funded(amount: str) -> Holdings:
    made = Wallet(
        WalletId("w"),
        CustomerId("acme"),
        "usd",
        WalletType.PRE_PAID,
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    credits_ = TopUp(Reason.CREDIT_NOTE, Decimal(amount))
    return top_up(Holdings(made), credits_, made.created_at).holdings


def drafted(
    subscription: Subscription, usage: UsageReader, credit: str, terms: Terms
) -> list[Invoice]:
    """Return the invoices up to 1 March: 20; 33 and 20; 46 and 20 beyond the allowance."""
    until = datetime(2026, 3, 1, tzinfo=UTC)
    held = [funded(credit)] if credit != "0" else []
    return [
        draft(subscription, window, usage, held, as_of=until, terms=terms)
        for window in windows(subscription, until)
    ]


@pytest.mark.parametrize(
    ("base", "credit", "tax_amount", "whole"),
    [
        (TaxBase.BEFORE_CREDITS, "0", "5.30", "58.30"),
        (TaxBase.BEFORE_CREDITS, "50", "5.30", "8.30"),
        (TaxBase.AFTER_CREDITS, "50", "0.30", "3.30"),
        (TaxBase.BEFORE_CREDITS, "99", "5.30", "5.30"),  # Credits never pay added tax.
        (TaxBase.AFTER_CREDITS, "99", "0.00", "0.00"),
    ],
)
def test_credits_lower_the_tax_only_where_the_setting_says_so(
    acme: Subscription,
    pro: Plan,
    daily: Daily,
    base: TaxBase,
    credit: str,
    tax_amount: str,
    whole: str,
) -> None:
    terms = Terms(taxes=(tax("10%"),), tax_base=base)
    usage = daily("100", 28)
    made = drafted(subscribe(acme, pro), usage, credit, terms)[1]
    assert (made.subtotal, made.total_tax, made.total) == (
        Decimal("53.00"),
        Decimal(tax_amount),
        Decimal(whole),
    )
    # What the wallets hold at finalization decides, and not what they held for the draft.
    again, settled = settled_at(made, [], made.finalize_at)
    assert (again.total_tax, settled.total) == (Decimal("5.30"), Decimal("58.30"))


def test_line_coupons_then_invoice_coupons_then_credits_then_tax(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    subscription = subscribe(acme, pro)
    (metered,) = [each for each in subscription.lines if each.meter]
    quarter = Coupon(CouponId("quarter"), CouponType.PERCENTAGE, Decimal(25))
    ten = Coupon(CouponId("ten"), CouponType.FIXED, Decimal(10), CouponCadence.ONCE, currency="usd")
    terms = Terms(
        (attach(quarter, subscription, chain_id=metered.chain_id), attach(ten, subscription)),
        (tax("8.25%"),),
    )
    made = drafted(subscription, daily("100", 28), "5", terms)[1]
    by_name = {line.display_name: line for line in made.lines}
    use, fee = by_name["tokens"], by_name["Pro"]
    # 33 − 8.25 = 24.75, and 20: 10 off 44.75 is 5.53 and 4.47.
    assert (use.line_discount, use.invoice_discount) == (Decimal("8.25"), Decimal("5.53"))
    assert (fee.line_discount, fee.invoice_discount) == (Decimal(0), Decimal("4.47"))
    assert (made.total_discount, made.total_tax) == (Decimal("18.25"), Decimal("2.87"))
    assert made.total == Decimal("53.00") - Decimal("18.25") - 5 + Decimal("2.87")
    assert use.explanation["discounts"] == [
        {"coupon_id": "quarter", "level": "line", "base": "33.00", "amount": "8.25"},
        {"coupon_id": "ten", "level": "invoice", "base": "24.75", "amount": "5.53"},
    ]
    assert sorted(
        (each.coupon.id, each.original_price, each.discounted_amount)
        for each in made.coupon_applications
    ) == [("quarter", Decimal("33.00"), Decimal("8.25")), ("ten", Decimal("44.75"), Decimal(10))]


@given(
    st.decimals("0.01", 100, places=2),
    st.decimals("0.01", 80, places=2),
    st.integers(0, 60),
    st.lists(percents, max_size=3),
    st.sampled_from(TaxBase),
)
def test_money_is_conserved_on_a_discounted_and_taxed_invoice(
    acme: Subscription,
    pro: Plan,
    daily: Daily,
    part: Decimal,
    amount: Decimal,
    credit: int,
    rates: list[str],
    base: TaxBase,
) -> None:
    subscription = subscribe(acme, pro)
    coupons = (
        Coupon(CouponId("part"), CouponType.PERCENTAGE, part),
        Coupon(CouponId("amount"), CouponType.FIXED, amount, currency="usd"),
    )
    terms = Terms(
        tuple(attach(each, subscription) for each in coupons),
        tuple(tax(text, f"{index}") for index, text in enumerate(rates)),
        tax_base=base,
    )
    for made in drafted(subscription, daily("70", 59), f"{credit}", terms):
        given_credits = [part.amount for line in made.lines for part in line.credits]
        assert made.subtotal == total(line.amount for line in made.lines)
        assert made.total_discount == total(
            each.amount for line in made.lines for each in line.discounts
        )
        assert made.total_discount == total(
            each.discounted_amount for each in made.coupon_applications
        )
        assert made.total_prepaid_credits_applied == total(given_credits)
        assert made.total == (
            made.subtotal
            - made.total_discount
            - made.total_prepaid_credits_applied
            + made.total_tax
            + made.carried_credit
        )
        assert made.total >= 0
