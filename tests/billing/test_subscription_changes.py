"""Changes inside a period: what is given back and charged, and how often."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from change_stories import (
    NAME,
    PRORATED,
    USAGE,
    at,
    fee,
    held,
    line,
    lines,
    moved,
    opened,
    repriced,
    seats,
    sold,
)

from billing.stores.memory import MemoryStore
from billing.subscriptions.added_lines import LineRequest
from billing.subscriptions.overrides import PriceTerms
from billing.use_cases.closing_periods import close_due
from billing.use_cases.subscription_changes import (
    When,
    add_line,
    change_price,
    change_quantity,
    end_line,
)
from schemas.coupon import Coupon, CouponAttachment, CouponAttachmentId, CouponId, CouponType
from schemas.errors import ValidationFailed
from schemas.invoice import (
    BillingReason,
    InvoiceKind,
    InvoiceStatus,
    InvoiceType,
    Role,
)
from schemas.price import BillingModel, BillingPeriod, InvoiceCadence
from schemas.subscription import (
    ProrationBehavior,
    SubscriptionStatus,
)


def test_seats_are_netted_into_one_invoice() -> None:
    store = opened(sold(fee("seat", "50")))
    done = seats(store, 3, 16)
    invoice = done.invoice
    assert invoice is not None
    assert lines(invoice) == [("seat", "-25.81"), ("seat", "77.42")]
    assert (invoice.subtotal, invoice.total) == (Decimal("51.61"), Decimal("51.61"))
    assert (invoice.kind, invoice.invoice_type, invoice.billing_reason) == (
        InvoiceKind.CHANGE,
        InvoiceType.ONE_OFF,
        BillingReason.SUBSCRIPTION_UPDATE,
    )
    assert (invoice.status, invoice.dated_at) == (InvoiceStatus.FINALIZED, at(1, 16))
    assert invoice.invoice_number == "INV-202601-00002"
    assert [repriced(each.explanation) for each in invoice.lines] == [
        each.amount for each in invoice.lines
    ]
    assert [each.quantity for each in invoice.lines] == [Decimal(-1), Decimal(3)]
    assert store.wallets() == ()


def test_fewer_seats_go_to_a_wallet() -> None:
    store = opened(sold(fee("seat", "50")))
    seats(store, 3, 1)
    done = seats(store, 1, 16)
    # 150 × 16 / 31 = 77.42 come back, 50 × 16 / 31 = 25.81 are charged.
    assert (done.invoice, done.credit) == (None, Decimal("51.61"))
    assert held(store) == Decimal("51.61")


def test_two_changes_in_one_period_charge_each_part_once() -> None:
    store = opened(sold(fee("seat", "50")))
    seats(store, 3, 16)
    done = seats(store, 2, 24)
    # 8 of 31 days are left: 150 × 8 / 31 = 38.71 back, 100 × 8 / 31 = 25.81 charged.
    assert done.credit == Decimal("12.90")
    whole = Fraction(50 * 15 + 150 * 8 + 100 * 8, 31)
    assert abs(Fraction(moved(store)) - whole) < Fraction(3, 100)


@pytest.mark.parametrize(("first", "day"), [(3, 16), (3, 1), (1, 16)])
def test_a_change_that_is_undone_at_once_nets_to_nothing(first: int, day: int) -> None:
    store = opened(sold(fee("seat", "50")))
    seats(store, 2, 1)
    before = moved(store)
    seats(store, first, day)
    seats(store, 2, day)
    assert moved(store) == before


def test_changing_twice_at_one_instant_charges_the_last_version_alone() -> None:
    store = opened(sold(fee("seat", "50")))
    seats(store, 3, 16)
    done = seats(store, 5, 16)
    # 50 − 25.81 + 77.42, and then 77.42 back for 250 × 16 / 31.
    assert moved(store) == Decimal("153.22")
    # No two invoices have the same service of a line.
    assert done.invoice is not None
    assert [each.role for each in done.invoice.lines] == [Role.ADJUSTMENT] * 2


def test_the_renewal_bills_the_new_version_and_the_final_invoice_nothing_again() -> None:
    store = opened(sold(fee("seat", "50")))
    seats(store, 3, 16)
    close_due(store, USAGE, at(2, 2))
    renewal = store.invoices()[-1]
    assert (renewal.kind, lines(renewal)) == (InvoiceKind.RENEWAL, [("seat", "150.00")])


def test_the_same_values_change_nothing() -> None:
    store = opened(sold(fee("seat", "50")))
    before = store.subscription(NAME)
    assert seats(store, 1, 16).subscription is before
    name = line(store, "seat").id
    same = change_price(store, USAGE, NAME, name, PriceTerms(amount=Decimal("50.00")), at=at(1, 16))
    assert same.subscription is before
    assert len(store.invoices()) == 1


def test_a_repeated_request_does_nothing_twice() -> None:
    store = opened(sold(fee("seat", "50"), fee("extra", "31")))
    first = seats(store, 3, 16, When(key="k"))
    again = seats(store, 3, 17, When(key="k"))
    assert (again.line, again.settled) == (first.line, None)
    request = LineRequest(fee("more", "31"))
    added = add_line(store, USAGE, NAME, request, at=at(1, 16), when=When(key="a"))
    assert (
        add_line(store, USAGE, NAME, request, at=at(1, 18), when=When(key="a")).line == added.line
    )
    end_line(store, USAGE, NAME, line(store, "extra").id, at=at(1, 16))
    end_line(store, USAGE, NAME, line(store, "extra").id, at=at(1, 16))
    assert held(store) == Decimal("16.00")
    assert len(store.invoices()) == 3


def test_a_line_that_is_added_pays_for_the_rest_and_one_that_ends_gets_it_back() -> None:
    store = opened(sold(fee("base", "20")))
    added = add_line(store, USAGE, NAME, LineRequest(fee("extra", "31")), at=at(1, 16))
    assert lines(added.invoice) == [("extra", "16.00")]
    ended = end_line(store, USAGE, NAME, line(store, "extra").id, at=at(1, 24))
    assert (ended.invoice, ended.credit) == (None, Decimal("8.00"))
    close_due(store, USAGE, at(2, 2))
    assert lines(store.invoices()[-1]) == [("base", "20.00")]


def test_without_proration_nothing_is_settled_and_the_next_period_has_the_new_terms() -> None:
    store = opened(sold(fee("seat", "50"), behavior=ProrationBehavior.NONE))
    done = seats(store, 3, 16)
    assert (done.invoice, done.credit) == (None, Decimal(0))
    close_due(store, USAGE, at(2, 2))
    assert [lines(each) for each in store.invoices()] == [
        [("seat", "50.00")],
        [("seat", "150.00")],
    ]


def test_a_request_says_whether_it_is_prorated() -> None:
    store = opened(sold(fee("base", "31"), behavior=ProrationBehavior.NONE))
    request = LineRequest(fee("extra", "31"))
    done = add_line(store, USAGE, NAME, request, at=at(1, 16), when=When(behavior=PRORATED))
    assert lines(done.invoice) == [("extra", "16.00")]
    store = opened(sold(fee("base", "31")))
    when = When(behavior=ProrationBehavior.NONE)
    assert end_line(store, USAGE, NAME, line(store, "base").id, at=at(1, 16), when=when).credit == 0


def test_fees_in_arrear_are_billed_in_parts_when_the_period_ends() -> None:
    store = opened(sold(fee("seat", "31", invoice_cadence=InvoiceCadence.ARREAR)))
    done = seats(store, 3, 16)
    assert (done.invoice, done.credit) == (None, Decimal(0))
    close_due(store, USAGE, at(2, 2))
    assert lines(store.invoices()[-1]) == [("seat", "15.00"), ("seat", "48.00")]


def test_no_more_comes_back_than_was_charged_after_discounts() -> None:
    half = Coupon(CouponId("half"), CouponType.PERCENTAGE, Decimal(50))
    attachment = CouponAttachment(CouponAttachmentId("a"), half, at(1), subscription_id=NAME)
    store = MemoryStore([replace(sold(fee("seat", "20")), coupons=(attachment,))])
    close_due(store, USAGE, at(1))
    done = end_line(store, USAGE, NAME, line(store, "seat").id, at=at(1, 11))
    # 20 × 21 / 31 = 13.55 are unused, 10 were charged.
    assert done.credit == Decimal("10.00")


def test_what_was_never_charged_never_comes_back() -> None:
    store = opened(sold(fee("base", "20")))
    request = LineRequest(fee("extra", "31"))
    free = When(behavior=ProrationBehavior.NONE)
    add_line(store, USAGE, NAME, request, at=at(1, 10), when=free)
    assert end_line(store, USAGE, NAME, line(store, "extra").id, at=at(1, 16)).credit == 0


def test_a_change_before_the_renewal_is_final_counts_once() -> None:
    store = opened(sold(fee("seat", "28")), at(2, 1))
    # The draft of 1 February has one seat for the whole month, and keeps it.
    done = change_quantity(store, USAGE, NAME, line(store, "seat").id, Decimal(3), at=at(2, 1, 12))
    assert lines(done.invoice) == [("seat", "-27.50"), ("seat", "82.50")]
    close_due(store, USAGE, at(2, 2))
    renewal = next(each for each in store.invoices() if each.kind is InvoiceKind.RENEWAL)
    assert (renewal.status, lines(renewal)) == (InvoiceStatus.FINALIZED, [("seat", "28.00")])


def test_a_late_pass_makes_no_difference() -> None:
    late = opened(sold(fee("seat", "28")))
    done = change_quantity(late, USAGE, NAME, line(late, "seat").id, Decimal(3), at=at(2, 15))
    assert lines(done.invoice) == [("seat", "-14.00"), ("seat", "42.00")]
    assert [each.kind for each in late.invoices()] == [
        InvoiceKind.OPENING,
        InvoiceKind.RENEWAL,
        InvoiceKind.CHANGE,
    ]


def test_a_change_at_the_start_of_a_period_is_on_its_invoice() -> None:
    store = opened(sold(fee("seat", "28")), at(1, 31))
    done = change_quantity(store, USAGE, NAME, line(store, "seat").id, Decimal(3), at=at(2, 1))
    assert (done.invoice, done.credit) == (None, Decimal(0))
    close_due(store, USAGE, at(2, 2))
    assert lines(store.invoices()[-1]) == [("seat", "84.00")]


def test_a_fee_of_a_shorter_grid_comes_back_for_every_period_that_was_charged() -> None:
    weekly = fee("week", "7", billing_period=BillingPeriod.WEEKLY)
    store = opened(sold(fee("base", "20")))
    add_line(store, USAGE, NAME, LineRequest(weekly), at=at(1, 2))
    # Weeks from 2 January on: five of them begin before 1 February.
    assert lines(store.invoices()[-1]) == [("week", "7.00")] * 5
    done = end_line(store, USAGE, NAME, line(store, "week").id, at=at(1, 19))
    # 4 of 7 days, and the two weeks after them.
    assert done.credit == Decimal("18.00")


def test_a_one_time_fee_that_is_added_is_charged_once_with_the_next_renewal() -> None:
    store = opened(sold(fee("base", "20")))
    setup = fee("setup", "99", billing_period=BillingPeriod.ONETIME)
    done = add_line(store, USAGE, NAME, LineRequest(setup), at=at(1, 16))
    assert done.invoice is None
    close_due(store, USAGE, at(3, 2))
    assert [lines(each) for each in store.invoices()] == [
        [("base", "20.00")],
        [("base", "20.00"), ("setup", "99.00")],
        [("base", "20.00")],
    ]


def test_a_line_in_a_trial_changes_from_its_beginning() -> None:
    trial = replace(
        sold(fee("seat", "31"), trial_end=at(1, 15)), status=SubscriptionStatus.TRIALING
    )
    store = MemoryStore([trial])
    done = seats(store, 3, 5)
    assert (done.settled, done.line.quantity) == (None, Decimal(3))
    assert len(done.subscription.lines) == 1


def test_a_price_of_its_own_is_settled_like_a_quantity() -> None:
    store = opened(sold(fee("seat", "50")))
    terms = PriceTerms(amount=Decimal(100))
    name = line(store, "seat").id
    done = change_price(store, USAGE, NAME, name, terms, at=at(1, 16))
    assert lines(done.invoice) == [("seat", "-25.81"), ("seat", "51.61")]
    price = done.line.price
    assert (price.parent_price_id, price.entity_id, price.amount) == ("seat", NAME, Decimal(100))
    terms = PriceTerms(billing_model=BillingModel.PACKAGE)
    with pytest.raises(ValidationFailed) as refused:
        change_price(store, USAGE, NAME, done.line.id, terms, at=at(1, 17))
    assert refused.value.field == "amount"
