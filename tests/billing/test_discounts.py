"""Discounts: tables for the order of coupons, then laws that hold for any coupons and lines."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.discounts import (
    DiscountedLine,
    GrossLine,
    discounted,
    successive,
)
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponId,
    CouponLevel,
    CouponType,
)
from schemas.ids import SubscriptionLineId
from schemas.invoice import DiscountOnLine, Role
from schemas.money import MINOR_UNITS, settle, total
from schemas.period import Interval

JANUARY = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
FEBRUARY = Interval(JANUARY.end, datetime(2026, 3, 1, tzinfo=UTC))
LINE, INVOICE = CouponLevel.LINE, CouponLevel.INVOICE


def coupon(text: str) -> Coupon:
    """Return a coupon as the tables write it: `10%` or `10`."""
    kind = CouponType.PERCENTAGE if text.endswith("%") else CouponType.FIXED
    currency = "" if text.endswith("%") else "usd"
    return Coupon(CouponId(text), kind, Decimal(text.rstrip("%")), currency=currency)


def attached(text: str, name: str, chain: str | None = None) -> CouponAttachment:
    line = None if chain is None else SubscriptionLineId(chain)
    return CouponAttachment(CouponAttachmentId(name), coupon(text), JANUARY.start, chain_id=line)


def line(
    amount: str, chain: str = "x", role: Role = Role.USAGE, period: Interval = JANUARY
) -> GrossLine:
    return GrossLine(Decimal(amount), SubscriptionLineId(chain), period, role)


def off(lines: tuple[DiscountedLine, ...], level: CouponLevel) -> list[str]:
    return [f"{each.off(level):f}" for each in lines]


@pytest.mark.parametrize(
    ("coupons", "amount", "taken"),
    [
        (["10%", "10"], "100.00", ["10.00", "10.00"]),
        (["10", "10%"], "100.00", ["10.00", "9.00"]),  # Each on what the one before left.
        (["30", "30"], "50.00", ["30.00", "20.00"]),
        (["100%", "5"], "50.00", ["50.00", "0.00"]),
        (["0.005"], "50.00", ["0.01"]),  # An amount is settled like a part.
        (["10%", "5"], "-3.00", ["0.00", "0.00"]),
    ],
)
def test_coupons_of_one_level_follow_each_other(
    coupons: list[str], amount: str, taken: list[str]
) -> None:
    made = successive([coupon(text) for text in coupons], Decimal(amount), "usd")
    assert [f"{each:f}" for each in made] == taken


def test_invoice_coupons_are_on_what_line_coupons_left_whatever_comes_first() -> None:
    lines = [line("80.00", "a"), line("20.00", "b")]
    coupons = [attached("10", "1"), attached("25%", "2", "a"), attached("20", "3", "b")]
    made = discounted(lines, coupons, "usd")
    assert off(made, LINE) == ["20.00", "20.00"]
    assert off(made, INVOICE) == ["10.00", "0"]


def test_the_worked_example_of_the_specification() -> None:
    lines = [line("80.00", "a"), line("20.00", "b", Role.FIXED)]
    made = discounted(lines, [attached("25%", "1", "a"), attached("10", "2")], "usd")
    assert (off(made, LINE), off(made, INVOICE)) == (["20.00", "0"], ["7.50", "2.50"])


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("10", ["6.00", "4.00"]),  # The overage gets what the line left of an amount,
        ("50%", ["3.00", "10.00"]),  # and a part is a part of each.
        ("100", ["6.00", "20.00"]),
    ],
)
def test_a_line_coupon_goes_on_to_the_overage_of_its_line(text: str, taken: list[str]) -> None:
    lines = [line("6.00"), line("20.00", role=Role.OVERAGE)]
    assert off(discounted(lines, [attached(text, "1", "x")], "usd"), LINE) == taken
    backwards = discounted(lines[::-1], [attached(text, "1", "x")], "usd")
    assert off(backwards, LINE) == taken[::-1]


def test_each_service_period_of_a_line_is_discounted_by_itself() -> None:
    lines = [line("6.00"), line("20.00", period=FEBRUARY), line("9.00", role=Role.TRUE_UP)]
    made = discounted(lines, [attached("10", "1", "x")], "usd")
    assert off(made, LINE) == ["6.00", "10.00", "0"]


def test_a_line_of_nothing_or_less_is_not_discounted() -> None:
    lines = [line("30.00", "a"), line("-10.00", "b"), line("0.00", "c")]
    coupons = [attached("50%", "1", "b"), attached("10%", "2")]
    made = discounted(lines, coupons, "usd")
    assert (off(made, LINE), off(made, INVOICE)) == (["0", "0", "0"], ["2.00", "0", "0"])


def test_an_adjustment_keeps_the_discount_of_its_original_and_takes_no_line_coupon() -> None:
    had = DiscountOnLine(
        CouponAttachmentId("1"), CouponId("10%"), LINE, Decimal("2.50"), Decimal("0.25")
    )
    adjustment = replace(line("2.50", role=Role.ADJUSTMENT), discounts=(had,))
    made = discounted([line("10.00"), adjustment], [attached("10%", "1", "x")], "usd")
    assert off(made, LINE) == ["1.00", "0.25"]
    # The coupons of the invoice that it is on hold for it as for the others.
    made = discounted([line("10.00"), adjustment], [attached("1", "2")], "usd")
    assert off(made, INVOICE) == ["0.82", "0.18"]


coupons = st.one_of(
    st.decimals("0.01", 100, places=2).map(lambda part: f"{part}%"),
    st.decimals("0.01", 500, places=3).map(str),
)
currencies = st.sampled_from(["usd", "jpy", "kwd"])
amounts = st.decimals(-200, 1000, places=4)
chains = st.sampled_from(["a", "b", None])


@given(
    currencies,
    st.lists(st.tuples(amounts, st.sampled_from("ab")), max_size=6),
    st.lists(st.tuples(coupons, chains), max_size=5),
)
def test_no_discount_takes_more_than_there_is_and_all_shares_add_up(
    currency: str,
    rows: list[tuple[Decimal, str]],
    given_coupons: list[tuple[str, str | None]],
) -> None:
    lines = [line(f"{settle(amount, currency)}", chain) for amount, chain in rows]
    attachments = [
        attached(text, f"{index}", chain) for index, (text, chain) in enumerate(given_coupons)
    ]
    made = discounted(lines, attachments, currency)
    for gross, left in zip(lines, made, strict=True):
        assert left.left == gross.amount - total(each.amount for each in left.discounts)
        assert left.left >= min(gross.amount, Decimal(0))
        assert all(each.amount > 0 for each in left.discounts)
        assert all(each.amount == settle(each.amount, currency) for each in left.discounts)
    # What the invoice coupons take off is what they take off the sum, whatever the shares.
    rest = total(gross.amount - left.off(LINE) for gross, left in zip(lines, made, strict=True))
    of_invoice = [each for each in attachments if each.level is INVOICE]
    taken = successive([each.coupon for each in of_invoice], rest, currency)
    shares = [
        total(part.amount for left in made for part in left.discounts if part.attachment_id == name)
        for name in (each.id for each in of_invoice)
    ]
    assert shares == taken


@given(
    currencies,
    st.lists(st.decimals("0.01", 1000, places=2), min_size=1, max_size=6),
    st.integers(1, 99),
)
def test_a_share_lies_within_a_minor_unit_of_its_part(
    currency: str, values: list[Decimal], percent: int
) -> None:
    lines = [line(f"{settle(value, currency)}", f"{index}") for index, value in enumerate(values)]
    whole = total(each.amount for each in lines)
    made = discounted(lines, [attached(f"{percent}%", "1")], currency)
    taken = total(each.off(INVOICE) for each in made)
    unit = Decimal(1).scaleb(-MINOR_UNITS[currency.upper()])
    assert taken == settle(whole * percent / 100, currency)
    for gross, left in zip(lines, made, strict=True):
        assert abs(left.off(INVOICE) * whole - taken * gross.amount) < unit * max(whole, unit)


@given(amounts, st.lists(coupons, max_size=3), coupons, currencies)
def test_one_more_coupon_never_makes_an_amount_larger(
    amount: Decimal, several: list[str], more: str, currency: str
) -> None:
    settled = settle(amount, currency)
    before = successive([coupon(text) for text in several], settled, currency)
    after = successive([coupon(text) for text in [*several, more]], settled, currency)
    assert after[:-1] == before
    assert total(after) >= total(before)
