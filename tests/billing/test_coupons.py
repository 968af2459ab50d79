"""Coupons: what may be created, who may redeem, and on which invoices they take part."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.coupons import applications_for, applies, attach, redeem, taking_part
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponCadence,
    CouponId,
    CouponType,
    CreateCouponRequest,
    coupon_faults,
    coupon_from,
)
from schemas.errors import ValidationFailed
from schemas.ids import InvoiceId, SubscriptionLineId
from schemas.invoice import BillingReason, CouponApplied, Invoice, InvoiceKind, InvoiceStatus
from schemas.period import Interval
from schemas.subscription import Subscription

TENTH = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10), coupon_code="TENTH")
FIVE = Coupon(CouponId("five"), CouponType.FIXED, Decimal(5), currency="usd")


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


FEBRUARY = Interval(at(2), at(3))
NEW_YEAR = at(1)


def attached(coupon: Coupon, name: str = "a", start: datetime = NEW_YEAR) -> CouponAttachment:
    return CouponAttachment(CouponAttachmentId(name), coupon, start)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"type": "percentage", "percentage_off": "0", "cadence": "once"}, ["percentage_off"]),
        ({"type": "percentage", "percentage_off": 0.5, "cadence": "once"}, ["percentage_off"]),
        ({"type": "percentage", "amount_off": "5", "cadence": "once"}, ["percentage_off"]),
        ({"type": "fixed", "amount_off": "5", "cadence": "once"}, ["currency"]),
        ({"type": "fixed", "amount_off": "5", "currency": "XAU", "cadence": "once"}, ["currency"]),
        (
            {
                "type": "percentage",
                "percentage_off": "5",
                "cadence": "once",
                "duration_in_periods": 2,
            },
            ["duration_in_periods"],
        ),
        (
            {
                "type": "PERCENTAGE",
                "percentage_off": "5",
                "cadence": "Once",
                "redeem_after": "2026-02-01T00:00:00Z",
                "redeem_before": "2026-01-31T23:59:59Z",
            },
            ["redeem_before"],
        ),
        (
            {
                "type": "percentage",
                "percentage_off": "5",
                "cadence": "once",
                "redeem_after": "2026-02-01T00:00:00Z",
                "redeem_before": "2026-02-01T00:00:00Z",
            },
            [],
        ),
        ({}, ["type", "cadence"]),
    ],
)
def test_a_refusal_names_every_member_that_is_wrong(
    body: dict[str, object], fields: list[str]
) -> None:
    assert [fault.field for fault in coupon_faults(body)] == fields


def test_members_of_the_other_type_are_dropped() -> None:
    body = {
        "name": "Five",
        "type": "fixed",
        "amount_off": "5",
        "percentage_off": "50",
        "currency": "USD",
        "cadence": "forever",
    }
    made = coupon_from(CreateCouponRequest.model_validate(body), id="five")
    assert (made.value, made.currency) == (Decimal(5), "usd")
    percentage = body | {"type": "percentage"}
    assert coupon_from(CreateCouponRequest.model_validate(percentage), id="half").currency == ""


def test_what_is_granted_stays_granted() -> None:
    limited = replace(TENTH, max_redemptions=1, redeem_before=at(2))
    known = redeem(limited, (), "subs_1", at(1))
    assert redeem(limited, known, "subs_1", at(6)) == known
    with pytest.raises(ValidationFailed, match="any more"):
        redeem(limited, (), "subs_1", at(2))
    with pytest.raises(ValidationFailed, match="no redemption left"):
        redeem(limited, known, "subs_2", at(1))


def test_a_coupon_whose_time_ends_as_it_begins_cannot_be_used() -> None:
    never = replace(TENTH, redeem_after=at(2), redeem_before=at(2))
    with pytest.raises(ValidationFailed) as refused:
        redeem(never, (), "subs_1", at(2))
    assert refused.value.field == "coupon_code"


def test_attaching_twice_is_attaching_once(acme: Subscription) -> None:
    line = SubscriptionLineId("line")
    assert attach(TENTH, acme).id == attach(TENTH, acme, start_date=acme.start_date).id
    assert attach(TENTH, acme).id != attach(TENTH, acme, chain_id=line).id
    assert taking_part((attach(TENTH, acme),) * 2, {}, FEBRUARY, "usd") == (attach(TENTH, acme),)


def test_an_attachment_that_cannot_work_is_refused(acme: Subscription) -> None:
    with pytest.raises(ValidationFailed, match="in eur") as refused:
        attach(FIVE, replace(acme, currency="eur"))
    assert refused.value.field == "coupon_code"
    with pytest.raises(ValidationFailed, match="after the start"):
        attach(TENTH, acme, end_date=acme.start_date)


@pytest.mark.parametrize(
    ("start", "end", "period", "takes_part"),
    [
        (at(2, 28), None, FEBRUARY, True),  # The last day of the period is enough,
        (at(3), None, FEBRUARY, False),  # and its end lies beyond it.
        (at(1), at(2), FEBRUARY, False),
        (at(1), at(2) + timedelta(seconds=1), FEBRUARY, True),
        (at(2), None, Interval(at(2), at(2)), True),  # An empty period is its instant.
        (at(1), at(2), Interval(at(2), at(2)), False),
    ],
)
def test_an_attachment_takes_part_where_it_overlaps_the_period(
    start: datetime, end: datetime | None, period: Interval, takes_part: bool
) -> None:
    made = CouponAttachment(CouponAttachmentId("a"), TENTH, start, end)
    assert applies(made, 0, period) is takes_part


def test_an_amount_of_another_currency_takes_no_part() -> None:
    both = (attached(FIVE, "b"), attached(TENTH, "a"))
    assert [each.id for each in taking_part(both, {}, FEBRUARY, "USD")] == ["a", "b"]
    assert [each.id for each in taking_part(both, {}, FEBRUARY, "eur")] == ["a"]


def invoice(month: int, *names: str, status: InvoiceStatus = InvoiceStatus.FINALIZED) -> Invoice:
    one = Decimal(1)
    taken = [CouponApplied(attached(TENTH, name).id, TENTH, one, one) for name in names]
    blank = attached(TENTH)
    return Invoice(
        id=InvoiceId(f"inv {month}"),
        customer_id="customer",  # type: ignore[arg-type]  # any name
        subscription_id="subscription",  # type: ignore[arg-type]  # any name
        kind=InvoiceKind.RENEWAL,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        currency="usd",
        period=Interval(at(month - 1), at(month)),
        dated_at=at(month),
        finalize_at=at(month),
        lines=(),
        subtotal=blank.coupon.value,
        total=blank.coupon.value,
        status=status,
        coupon_applications=tuple(taken),
    )


def test_a_coupon_is_used_up_by_invoices_on_which_it_took_something_off() -> None:
    others = [
        invoice(2, "a", "a"),  # Two lines of one invoice are one application.
        invoice(3),
        invoice(4, "a", status=InvoiceStatus.VOIDED),
        invoice(5, "a", "b", status=InvoiceStatus.DRAFT),
        invoice(7, "a", status=InvoiceStatus.DRAFT),
    ]
    assert applications_for(InvoiceId("inv 6"), at(6), others) == {"a": 2, "b": 1}
    # The draft itself does not count, nor does a draft after it.
    assert applications_for(others[3].id, others[3].dated_at, others) == {"a": 1}


@given(st.permutations(range(6)), st.integers(1, 4))
def test_the_order_of_attachments_is_theirs_and_not_that_of_rows(
    order: list[int], periods: int
) -> None:
    repeated = replace(TENTH, cadence=CouponCadence.REPEATED, duration_in_periods=periods)
    rows = [attached(repeated, f"{index % 3}", at(1 + index // 3)) for index in range(6)]
    rows = [replace(row, id=CouponAttachmentId(f"{row.id}{row.start_date.month}")) for row in rows]
    uses = {row.id: index for index, row in enumerate(rows)}
    found = taking_part([rows[index] for index in order], uses, FEBRUARY, "usd")
    assert list(found) == rows[:periods]
