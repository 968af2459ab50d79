"""Adjusting: originals and adjustments together are the price of the correct usage, always."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.adjusting import adjusted_key, adjustment_amount, adjustments
from billing.invoices.drafting import draft
from billing.periods.services import Window, windows
from billing.ports import UsageReader
from billing.subscriptions.subscribing import reprice, subscribe
from schemas.coupon import CouponAttachmentId, CouponId, CouponLevel
from schemas.ids import InvoiceId, InvoiceLineId
from schemas.invoice import DiscountOnLine, Invoice, InvoiceKind, InvoiceLine, Role
from schemas.money import settle, total
from schemas.price import PriceType
from schemas.subscription import Plan, Subscription

Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("correct", "billed", "amount"),
    [
        ("22.50", ["20.00"], "2.50"),
        ("22.50", ["20.00", "2.50"], "0"),
        ("22.00", ["50.00"], "-28.00"),  # One more unit by volume, and the whole is cheaper.
        ("5.00", [], "5.00"),  # A first period with no usage line has 0 billed.
        ("0", ["20.00", "-20.00"], "0"),
    ],
)
def test_an_adjustment_is_what_is_missing(correct: str, billed: list[str], amount: str) -> None:
    found = adjustment_amount(Decimal(correct), [Decimal(each) for each in billed])
    assert found == Decimal(amount)


def january(subscription: Subscription) -> Window:
    every = windows(subscription, MARCH)
    return next(window for window in every if window.kind is InvoiceKind.RENEWAL)


def drafted(subscription: Subscription, usage: UsageReader) -> Invoice:
    return draft(subscription, january(subscription), usage, (), as_of=MARCH)


@pytest.fixture
def metered(acme: Subscription, pro: Plan) -> Subscription:
    """Return a subscription of usage alone: 500 included, 0.02 up to 1000 beyond, then 0.01."""
    return subscribe(acme, replace(pro, prices=pro.prices[1:]))


def noon(day: int, value: str | int) -> Reading:
    return START + timedelta(days=day - 1, hours=12), Decimal(value)


def test_an_adjustment_is_the_line_it_corrects_with_the_difference(
    metered: Subscription, listed: Listed
) -> None:
    original = drafted(metered, listed([noon(2, 1500)]))
    correct = drafted(metered, listed([noon(2, 1500), noon(3, 500)]))
    (line,) = original.lines
    (found,) = adjustments(InvoiceId("next"), original, correct, original.lines)
    # 1500 − 500 at 0.02 were 20.00; 500 more at 0.01 are 5.00.
    assert (found.amount, found.quantity, found.covered_quantity) == (
        Decimal("5.00"),
        Decimal(500),
        Decimal(0),
    )
    assert (found.role, found.price_id, found.period) == (
        Role.ADJUSTMENT,
        line.price_id,
        line.period,
    )
    assert found.metadata["adjusts_line_id"] == line.id
    assert found.explanation["adjusts"] == {
        "line_id": line.id,
        "role": "usage",
        "correct": "25.00",
        "billed": ["20.00"],
    }
    assert found.id != line.id
    assert adjusted_key(found) == adjusted_key(line)


def test_what_is_right_is_not_adjusted(metered: Subscription, listed: Listed) -> None:
    original = drafted(metered, listed([noon(2, 1500)]))
    assert adjustments(InvoiceId("next"), original, original, original.lines) == ()
    # Late units that still fit into the allowance cost nothing.
    small = drafted(metered, listed([noon(2, 100)]))
    more = drafted(metered, listed([noon(2, 100), noon(5, 300)]))
    assert adjustments(InvoiceId("next"), small, more, small.lines) == ()


def test_each_adjustment_builds_on_those_before_it(metered: Subscription, listed: Listed) -> None:
    original = drafted(metered, listed([noon(2, 1500)]))
    known: list[InvoiceLine] = list(original.lines)
    amounts = []
    for number, late in enumerate((500, 600, -100)):
        usage = listed([noon(2, 1500), noon(9, late)])
        made = adjustments(InvoiceId(f"next {number}"), original, drafted(metered, usage), known)
        amounts += [line.amount for line in made]
        known += made
    # 25.00, 26.00 and 18.00 for 2000, 2100 and 1400 units.
    assert amounts == [Decimal("5.00"), Decimal("1.00"), Decimal("-8.00")]
    assert len({line.id for line in known}) == 4
    assert total(line.quantity for line in known) == 900


def test_fees_are_left_alone(acme: Subscription, pro: Plan, listed: Listed) -> None:
    sold = subscribe(acme, pro)
    original = drafted(sold, listed([]))
    fee = next(line for line in original.lines if line.price_type is PriceType.FIXED)
    changed = replace(original, lines=(replace(fee, amount=Decimal(99)),))
    assert adjustments(InvoiceId("next"), original, changed, original.lines) == ()


def test_an_overage_that_turns_out_to_be_none_is_taken_back(
    metered: Subscription, listed: Listed
) -> None:
    original = drafted(metered, listed([noon(2, 1500)]))
    (usage,) = original.lines
    overage = replace(usage, id=usage.id, role=Role.OVERAGE, amount=Decimal(7))
    with_overage = replace(original, lines=(usage, overage))
    (found,) = adjustments(InvoiceId("next"), with_overage, original, with_overage.lines)
    assert (found.amount, found.quantity) == (Decimal(-7), -overage.quantity)
    assert (found.metadata["adjusts_role"], found.explanation["exact"]) == ("overage", "0")
    # Both lines of one service may change on one invoice, and each keeps its id.
    less = drafted(metered, listed([noon(2, 1000)]))
    both = adjustments(InvoiceId("next"), with_overage, less, with_overage.lines)
    assert len({line.id for line in both}) == 2


def test_an_overage_that_only_an_adjustment_has_billed_is_taken_back(
    metered: Subscription, listed: Listed
) -> None:
    """Late usage used a commitment up, and later usage took that back."""
    original = drafted(metered, listed([noon(2, 1500)]))
    (usage,) = original.lines
    overage = replace(usage, id=InvoiceLineId("over"), role=Role.OVERAGE, amount=Decimal(7))
    with_overage = replace(original, lines=(usage, overage))
    (brought,) = adjustments(InvoiceId("next"), original, with_overage, original.lines)
    known = (*original.lines, brought)
    (found,) = adjustments(InvoiceId("later"), original, original, known)
    assert (brought.amount, found.amount) == (Decimal(7), Decimal(-7))
    assert found.metadata["adjusts_role"] == "overage"
    assert found.metadata["adjusts_line_id"] == "over"
    assert adjustments(InvoiceId("last"), original, original, (*known, found)) == ()


def test_a_line_coupon_of_the_original_holds_for_the_adjustment(
    metered: Subscription, listed: Listed
) -> None:
    def ten_percent_off(invoice: Invoice) -> Invoice:
        (line,) = invoice.lines
        off = settle(line.amount / 10, "usd")
        part = DiscountOnLine(
            CouponAttachmentId("a"), CouponId("c"), CouponLevel.LINE, line.amount, off
        )
        return replace(invoice, lines=(replace(line, line_discount=off, discounts=(part,)),))

    original = ten_percent_off(drafted(metered, listed([noon(2, 1500)])))
    correct = ten_percent_off(drafted(metered, listed([noon(2, 2000)])))
    (found,) = adjustments(InvoiceId("next"), original, correct, original.lines)
    assert (found.amount, found.line_discount) == (Decimal("5.00"), Decimal("0.50"))
    (part,) = found.discounts
    assert (part.base, part.amount) == (Decimal("5.00"), Decimal("0.50"))
    (back,) = adjustments(InvoiceId("later"), original, original, [*original.lines, found])
    assert (back.amount, back.line_discount) == (Decimal("-5.00"), Decimal("-0.50"))


def test_a_line_of_a_recalculated_invoice_is_found_under_the_same_key(
    metered: Subscription, listed: Listed
) -> None:
    few, many = listed([noon(2, 1500)]), listed([noon(2, 2000)])
    original = drafted(metered, few)
    (late,) = adjustments(InvoiceId("next"), original, drafted(metered, many), original.lines)
    # The original is voided and made again with the late usage: the adjustment is one too many.
    again = draft(metered, january(metered), many, (), as_of=MARCH, generation=1)
    (found,) = adjustments(InvoiceId("later"), again, again, [*again.lines, late])
    assert found.amount == -late.amount


late_readings = st.lists(
    st.tuples(st.integers(1, 31), st.decimals(-500, 900, places=3)), min_size=1, max_size=8
)


@given(late_readings, st.data(), st.integers(1, 4), st.booleans())
def test_originals_and_adjustments_are_the_price_of_the_correct_usage(
    acme: Subscription,
    pro: Plan,
    listed: Listed,
    readings: list[tuple[int, Decimal]],
    data: st.DataObject,
    batches: int,
    changes: bool,
) -> None:
    """In any order and number of arrivals, with or without a price that changes in the period."""
    metered = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    if changes:
        (item,) = metered.lines
        doubled = replace(
            item.price,
            id="new",
            tiers=tuple(
                replace(tier, unit_amount=tier.unit_amount * 2) for tier in item.price.tiers
            ),
        )
        metered = reprice(metered, item.id, START + timedelta(days=10), price=doubled)
    arrived = data.draw(st.permutations([noon(day, str(value)) for day, value in readings]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arrived)), max_size=batches)))
    original = drafted(metered, listed(arrived[: cuts[0] if cuts else 0]))
    known = list(original.lines)
    for number, cut in enumerate([*cuts[1:], len(arrived)]):
        correct = drafted(metered, listed(arrived[:cut]))
        known += adjustments(InvoiceId(f"next {number}"), original, correct, known)
    early = drafted(metered, listed(sorted(arrived)))
    for line in early.lines:
        parts = [each for each in known if adjusted_key(each) == adjusted_key(line)]
        assert total(part.amount for part in parts) == line.amount
    assert total(line.amount for line in known) == early.subtotal
    ids = [line.id for line in known]
    assert len(ids) == len(set(ids))
