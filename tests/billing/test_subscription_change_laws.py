"""Changes inside a period: nothing is half-done, and nothing is given back twice."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from change_stories import (
    NAME,
    USAGE,
    at,
    fee,
    line,
    moved,
    opened,
    repriced,
    seats,
    sold,
)
from hypothesis import given
from hypothesis import strategies as st

from billing.ports import Changes
from billing.stores.memory import MemoryStore
from billing.subscriptions.added_lines import LineRequest
from billing.use_cases.closing_periods import close_due
from billing.use_cases.subscription_changes import (
    When,
    add_line,
    change_quantity,
    end_line,
)
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponId, CouponType
from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import SubscriptionId, SubscriptionLineId
from schemas.invoice import (
    InvoiceKind,
    Role,
)
from schemas.subscription import (
    SubscriptionStatus,
)

Ask = Callable[[MemoryStore], object]


@pytest.mark.parametrize(
    ("ask", "error", "field"),
    [
        (lambda s: seats(s, -1, 16), ValidationFailed, "quantity"),
        (
            lambda s: seats(s, 3, 16, When(effective_from=datetime(2025, 12, 31, tzinfo=UTC))),
            ValidationFailed,
            "effective_from",
        ),
        (
            lambda s: end_line(s, USAGE, NAME, SubscriptionLineId("none"), at=at(1, 16)),
            NotFound,
            None,
        ),
        (
            lambda s: end_line(s, USAGE, SubscriptionId("none"), SubscriptionLineId("x"), at=at(1)),
            NotFound,
            None,
        ),
        (
            lambda s: add_line(
                s, USAGE, NAME, LineRequest(replace(fee("x", "1"), currency="eur")), at=at(1, 16)
            ),
            ValidationFailed,
            "price_id",
        ),
        (
            lambda s: add_line(
                s, USAGE, NAME, LineRequest(fee("x", "1"), end_date=at(1, 15)), at=at(1, 16)
            ),
            ValidationFailed,
            "end_date",
        ),
    ],
)
def test_an_impossible_change_is_refused_and_leaves_everything(
    ask: Ask, error: type[Exception], field: str | None
) -> None:
    store = opened(sold(fee("seat", "50")))
    before = store.tables.copy()
    with pytest.raises(error) as refused:
        ask(store)
    assert getattr(refused.value, "field", None) == field
    assert store.tables == before


def test_what_is_over_is_not_changed() -> None:
    subscription = replace(sold(fee("seat", "50")), status=SubscriptionStatus.CANCELLED)
    store = MemoryStore([subscription])
    with pytest.raises(InvalidOperation):
        seats(store, 3, 16)
    store = opened(sold(fee("seat", "50"), end_date=at(1, 10)))
    with pytest.raises(InvalidOperation):
        seats(store, 3, 16)


def test_a_change_that_cannot_be_committed_leaves_nothing() -> None:
    class Failing(MemoryStore):
        def commit(self, changes: Changes) -> None:
            if any(each.kind is InvoiceKind.CHANGE for each in changes.invoices):
                super().commit(replace(changes, subscriptions=(), invoices=()))
                raise OSError("the disk is full")
            super().commit(changes)

    store = Failing([sold(fee("seat", "50"))])
    close_due(store, USAGE, at(1))
    before = store.tables.copy()
    with pytest.raises(OSError, match="full"):
        seats(store, 3, 16)
    assert store.tables == before


@given(
    steps=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 30 * 24)), min_size=1, max_size=6),
    amount=st.decimals("0.01", "500", places=2),
    percent=st.sampled_from([0, 50, 100]),
)
def test_no_line_ever_gives_back_more_than_it_was_charged(
    steps: list[tuple[int, int]], amount: Decimal, percent: int
) -> None:
    base = sold(fee("seat", str(amount)))
    if percent:
        off = Coupon(CouponId("off"), CouponType.PERCENTAGE, Decimal(percent))
        attachment = CouponAttachment(CouponAttachmentId("a"), off, at(1), subscription_id=NAME)
        base = replace(base, coupons=(attachment,))
    store = opened(base)
    hours = sorted(hour for _, hour in steps)
    for (quantity, _), hour in zip(steps, hours, strict=True):
        when = at(1) + timedelta(hours=hour)
        name = line(store, "seat").id
        change_quantity(store, USAGE, NAME, name, Decimal(quantity), at=when)
    subscription = store.subscription(NAME)
    assert subscription is not None
    charged: dict[str, Decimal] = {}
    for invoice in store.invoices():
        for each in invoice.lines:
            name = each.subscription_line_id or ""
            net = each.amount - each.line_discount - each.invoice_discount
            charged[name] = charged.get(name, Decimal(0)) + net
            if each.role is Role.ADJUSTMENT or invoice.kind is InvoiceKind.CHANGE:
                assert repriced(each.explanation) == each.amount
    for change in subscription.changes:
        for part in change.netted:
            charged[part.line_id] = charged.get(part.line_id, Decimal(0)) + part.amount
    assert min(charged.values()) >= 0
    if not percent:
        parts = [*hours, 31 * 24]
        quantities = [1, *(quantity for quantity, _ in steps)]
        spans = [end - start for start, end in zip([0, *hours], parts, strict=True)]
        whole = sum(
            (
                Fraction(amount) * quantity * span / (31 * 24)
                for quantity, span in zip(quantities, spans, strict=True)
            ),
            Fraction(0),
        )
        # Each change rounds two amounts, by half a cent at most, and a bound hides no more.
        assert abs(Fraction(moved(store)) - whole) <= Fraction(len(steps) + 1, 100)
