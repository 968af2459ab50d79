"""Late usage: whatever comes when, what is billed for a period is the price of its usage."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing.invoices.adjusting import adjusted_key
from billing.ports import UsageQuantity, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.use_cases.passes import pass_account
from billing.use_cases.voiding import void_invoice
from schemas.commitment import Commitment, CommitmentType
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponId,
    CouponType,
)
from schemas.ids import CustomerId
from schemas.invoice import Invoice, InvoiceKind, InvoiceStatus, Role
from schemas.meter import Meter
from schemas.money import total
from schemas.period import Interval
from schemas.price import BillingPeriod
from schemas.subscription import Entitlement, Plan, ResetPeriod, Subscription

Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]
ACME = CustomerId("acme")


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


class Arriving:
    """Usage that knows when each of its readings came, and tells what came since."""

    def __init__(self, listed: Listed) -> None:
        self._listed = listed
        self._arrived: list[tuple[datetime, Reading]] = []
        self.asked = 0

    def arrive(self, now: datetime, *readings: Reading) -> None:
        """Take in readings at an instant."""
        self._arrived += [(now, reading) for reading in readings]

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return the sum of what has come so far."""
        self.asked += 1
        known = self._listed([reading for _, reading in self._arrived])
        return known.quantities(
            meter,
            external_customer_ids,
            interval,
            timezone=timezone,
            billing_anchor=billing_anchor,
        )

    def arrived_since(self, external_customer_ids: Sequence[str], at: datetime) -> datetime | None:
        """Return the time of the earliest reading that came at or after an instant."""
        del external_customer_ids
        found = (reading[0] for now, reading in self._arrived if now >= at)
        return min(found, default=None)


@pytest.fixture
def metered(acme: Subscription, pro: Plan) -> Subscription:
    """Return usage alone: 500 a month included, 0.02 up to 1000 beyond, then 0.01."""
    return subscribe(acme, replace(pro, prices=pro.prices[1:]))


def adjustments(invoice: Invoice) -> list[tuple[int, Decimal]]:
    return [
        (line.period.start.month, line.amount)
        for line in invoice.lines
        if line.role is Role.ADJUSTMENT
    ]


def billed(store: MemoryStore) -> dict[object, Decimal]:
    """Return what was billed for each service, by originals and adjustments; nothing is left out."""
    found: dict[object, Decimal] = defaultdict(Decimal)
    for invoice in store.invoices():
        for line in invoice.lines:
            found[adjusted_key(line)] += line.amount
    return {key: amount for key, amount in found.items() if amount}


def test_what_comes_late_goes_onto_the_next_invoice(metered: Subscription, listed: Listed) -> None:
    store, usage = MemoryStore([metered]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    close_due(store, usage, at(2, 1, 2))
    usage.arrive(at(2, 9), (at(1, 9), Decimal(500)))
    (march,) = close_due(store, usage, at(3, 1, 2))
    # 1500 − 500 at 0.02 were 20.00; 500 more at 0.01 are 5.00.
    assert adjustments(march) == [(1, Decimal("5.00"))]
    assert (march.subtotal, march.total) == (Decimal("5.00"), Decimal("5.00"))
    assert close_due(store, usage, at(3, 1, 3)) == ()
    (april,) = close_due(store, usage, at(4, 1, 2))
    assert adjustments(april) == []


def test_too_much_is_given_back_as_credit(metered: Subscription, listed: Listed) -> None:
    store, usage = MemoryStore([metered]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    close_due(store, usage, at(2, 1, 2))
    usage.arrive(at(2, 9), (at(1, 9), Decimal(-1000)))
    (march,) = close_due(store, usage, at(3, 1, 2))
    assert (march.total, march.carried_credit) == (Decimal(0), Decimal("20.00"))
    (held,) = store.wallets_of(ACME)
    assert held.running == Decimal(20)


def test_nothing_is_read_again_where_nothing_came(metered: Subscription, listed: Listed) -> None:
    store, usage = MemoryStore([metered]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    counts = []
    for month in (2, 3, 4, 5):
        before = usage.asked
        close_due(store, usage, at(month, 1, 2))
        counts.append(usage.asked - before)
    # The second month asks for the first again, because its end and its invoice are one day.
    assert counts == [counts[0]] * 4


def test_a_reader_that_does_not_know_is_asked_for_everything(
    metered: Subscription, listed: Listed
) -> None:
    store = MemoryStore([metered])
    early, late = [(at(1, 5), Decimal(1500))], [(at(1, 9), Decimal(500))]
    close_due(store, listed(early), at(3, 1, 2))
    (april,) = close_due(store, listed([*early, *late]), at(4, 1, 2))
    assert adjustments(april) == [(1, Decimal("5.00"))]


def test_of_several_drafts_the_first_carries_what_was_late(
    acme: Subscription, pro: Plan, listed: Listed
) -> None:
    days = [replace(price, billing_period=BillingPeriod.DAILY) for price in pro.prices[1:]]
    daily = subscribe(
        replace(acme, billing_period=BillingPeriod.DAILY),
        replace(pro, prices=tuple(days), entitlements=()),
    )
    store, usage = MemoryStore([daily]), Arriving(listed)
    usage.arrive(at(1, 1, 5), (at(1, 1, 5), Decimal(100)))
    two_days = timedelta(days=2)
    close_due(store, usage, at(1, 4), delay=two_days)
    usage.arrive(at(1, 4, 1), (at(1, 1, 6), Decimal(50)))
    close_due(store, usage, at(1, 4, 12), delay=two_days)
    found = {each.dated_at.day: adjustments(each) for each in store.invoices()}
    assert found == {2: [], 3: [(1, Decimal("1.00"))], 4: []}
    close_due(store, usage, at(1, 9), delay=two_days)
    assert [a for each in store.invoices() for a in adjustments(each)] == [(1, Decimal("1.00"))]


def test_what_comes_after_the_end_gets_an_invoice_of_its_own(
    metered: Subscription, listed: Listed
) -> None:
    ended = replace(metered, end_date=at(2))
    store, usage = MemoryStore([ended]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    pass_account(store, usage, ACME, at(2, 1, 2))
    usage.arrive(at(2, 9), (at(1, 9), Decimal(500)))
    (late,) = pass_account(store, usage, ACME, at(2, 10)).invoices
    assert (late.kind, late.status, late.dated_at) == (
        InvoiceKind.LATE,
        InvoiceStatus.FINALIZED,
        at(2, 10),
    )
    assert (adjustments(late), late.total) == ([(1, Decimal("5.00"))], Decimal("5.00"))
    assert late.invoice_number == "INV-202602-00002"
    assert pass_account(store, usage, ACME, at(2, 11)).invoices == ()
    usage.arrive(at(2, 12), (at(1, 10), Decimal(-500)))
    (back,) = pass_account(store, usage, ACME, at(2, 13)).invoices
    assert (back.id != late.id, back.carried_credit) == (True, Decimal("5.00"))


def test_a_void_invoice_of_what_was_late_is_not_made_again(
    metered: Subscription, listed: Listed
) -> None:
    ended = replace(metered, end_date=at(2))
    store, usage = MemoryStore([ended]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    pass_account(store, usage, ACME, at(2, 1, 2))
    usage.arrive(at(2, 9), (at(1, 9), Decimal(500)))
    (late,) = pass_account(store, usage, ACME, at(2, 10)).invoices
    void_invoice(store, late.id, at(2, 11))
    assert pass_account(store, usage, ACME, at(2, 12)).invoices == ()
    usage.arrive(at(2, 13), (at(1, 10), Decimal(100)))
    (more,) = pass_account(store, usage, ACME, at(2, 14)).invoices
    assert adjustments(more) == [(1, Decimal("1.00"))]


def test_a_line_coupon_of_the_original_discounts_its_adjustment(
    metered: Subscription, listed: Listed
) -> None:
    (line,) = metered.lines
    tenth = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10))
    attached = CouponAttachment(
        CouponAttachmentId("a"), tenth, at(1), None, metered.id, line.chain_id
    )
    store, usage = MemoryStore([replace(metered, coupons=(attached,))]), Arriving(listed)
    usage.arrive(at(1, 5), (at(1, 5), Decimal(1500)))
    usage.arrive(at(2, 5), (at(2, 5), Decimal(1500)))
    close_due(store, usage, at(2, 1, 2))
    usage.arrive(at(2, 9), (at(1, 9), Decimal(500)))
    (march,) = close_due(store, usage, at(3, 1, 2))
    original, adjustment = march.lines
    assert (original.amount, original.line_discount) == (Decimal("20.00"), Decimal("2.00"))
    assert (adjustment.amount, adjustment.line_discount) == (Decimal("5.00"), Decimal("0.50"))
    assert march.total_discount == Decimal("2.50")


arrivals = st.lists(
    st.tuples(st.integers(0, 89), st.integers(0, 149), st.decimals(-400, 900, places=1)),
    min_size=1,
    max_size=7,
)


@given(
    arrivals,
    st.lists(st.integers(0, 149), max_size=5),
    st.sampled_from(["monthly", "annual", "commitment", "coupon"]),
    st.booleans(),
)
# An overage that only a correction has billed, and that the next one takes back.
@example(
    events=[(0, 90, Decimal("875.3")), (0, 91, Decimal("-0.1")), (31, 59, Decimal("874.8"))],
    extra=[],
    kind="commitment",
    knows=False,
)
# One whose original carries the correction of another.
@example(
    events=[(0, 31, Decimal(0)), (0, 59, Decimal("502.8")), (31, 60, Decimal("502.3"))],
    extra=[],
    kind="coupon",
    knows=False,
)
# A coupon that rounded to nothing on the original.
@example(
    events=[(0, 31, Decimal("500.3")), (0, 32, Decimal("2.0"))],
    extra=[],
    kind="coupon",
    knows=False,
)
def test_late_is_the_same_as_early(
    acme: Subscription,
    pro: Plan,
    listed: Listed,
    events: list[tuple[int, int, Decimal]],
    extra: list[int],
    kind: str,
    knows: bool,
) -> None:
    """In any order and time of arrival, with any number of passes in between, also after the end."""
    agreed = _agreed(acme, pro, kind)
    store, usage = MemoryStore([agreed]), Arriving(listed)
    arrived = [
        (at(1) + timedelta(days=max(day, come)), (at(1, 1, 12) + timedelta(days=day), value))
        for day, come, value in events
    ]
    runs = {at(1) + timedelta(days=day, hours=13) for day in extra}
    runs |= {now + timedelta(hours=13) for now, _ in arrived} | {at(9)}
    for run in sorted(runs):
        for now, reading in arrived:
            if now <= run and (now, reading) not in usage._arrived:
                usage.arrive(now, reading)
        reader = usage if knows else listed([reading for _, reading in usage._arrived])
        pass_account(store, reader, ACME, run)
    assert len(usage._arrived) == len(set(arrived))
    early = MemoryStore([agreed])
    pass_account(early, listed([reading for _, reading in set(arrived)]), ACME, at(9))
    assert billed(store) == billed(early)
    lines = [line for each in store.invoices() for line in each.lines]
    assert len({line.id for line in lines}) == len(lines)
    if kind == "coupon":
        assert total(line.line_discount for line in lines) == total(
            line.line_discount for each in early.invoices() for line in each.lines
        )


def _agreed(acme: Subscription, pro: Plan, kind: str) -> Subscription:
    """Return what ends after three months, with something that late usage may carry on."""
    plan = replace(pro, prices=pro.prices[1:])
    if kind == "annual":
        yearly: Entitlement = replace(pro.entitlements[0], usage_reset_period=ResetPeriod.ANNUAL)
        plan = replace(plan, entitlements=(yearly,))
    agreed = subscribe(replace(acme, end_date=at(4)), plan)
    if kind == "commitment":
        promised = Commitment(
            CommitmentType.AMOUNT,
            Decimal(15),
            overage_factor=Decimal("1.5"),
            true_up=True,
            duration=BillingPeriod.QUARTERLY,
        )
        return replace(agreed, commitment=promised)
    if kind == "coupon":
        (line,) = agreed.lines
        tenth = Coupon(CouponId("tenth"), CouponType.PERCENTAGE, Decimal(10))
        attached = CouponAttachment(
            CouponAttachmentId("a"), tenth, at(1), None, agreed.id, line.chain_id
        )
        return replace(agreed, coupons=(attached,))
    return agreed
