"""The laws of invoices, each by its name (billing.md 19, wallets-alerts.md 15)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_settings import LAW, MONEY, STORY
from sold_cases import (
    CUSTOMER,
    HOUR,
    STARTS,
    Listed,
    Reading,
    Sold,
    allowed_types,
    cents_held,
    filled,
    purses,
    sold,
    tax,
)

from billing.invoices.adjusting import AdjustedKey, adjusted_key
from billing.invoices.amounts import Terms, with_terms
from billing.invoices.closing import Finalized, finalize
from billing.invoices.drafting import draft, service_key
from billing.periods.services import Window, life_of, open_window, windows
from billing.ports import Changes
from billing.running import as_json, bill
from billing.stores.memory import MemoryStore
from billing.use_cases.closing_periods import close_due, close_late
from billing.wallets.holdings import Posted
from billing.wallets.running_charges import running
from schemas.coupon import (
    Coupon,
    CouponAttachment,
    CouponAttachmentId,
    CouponCadence,
    CouponId,
    CouponType,
)
from schemas.ids import InvoiceId, InvoiceLineId, SubscriptionId, SubscriptionLineId
from schemas.invoice import (
    BillingReason,
    Invoice,
    InvoiceKind,
    InvoiceLine,
    InvoiceStatus,
    PaymentStatus,
    Role,
)
from schemas.money import total
from schemas.period import Interval
from schemas.price import BillingPeriod, InvoiceCadence, PriceType
from schemas.subscription import ProrationBehavior, Subscription
from schemas.wallet import AllowedType, Reason, WalletType

# Ten thousand examples take their time on a machine that others use too.
pytestmark = pytest.mark.timeout(600)

NOTHING = Decimal(0)
CENT = Decimal("0.01")
START = STARTS[1]
JANUARY = Interval(START, datetime(2026, 2, 1, tzinfo=UTC))
FIRST_LINE = SubscriptionLineId("line 0")


def bare_line(number: int, price_type: PriceType, amount: Decimal) -> InvoiceLine:
    """Return a line that costs an amount, however that came about."""
    return InvoiceLine(
        id=InvoiceLineId(f"inv_line {number}"),
        subscription_line_id=SubscriptionLineId(f"line {number}"),
        chain_id=f"line {number}",
        role=Role.USAGE if price_type is PriceType.USAGE else Role.FIXED,
        price_id="price",
        price_type=price_type,
        display_name="Line",
        quantity=Decimal(1),
        amount=amount,
        period=JANUARY,
        explanation={"discounts": [], "credits": []},
    )


def bare_invoice(cents: Sequence[int], terms: Terms) -> Invoice:
    """Return the draft of some lines, usage or fees, with the coupons and taxes that take part."""
    lines = tuple(
        bare_line(number, PriceType.USAGE if amount % 2 else PriceType.FIXED, amount * CENT)
        for number, amount in enumerate(cents)
    )
    subtotal = total(line.amount for line in lines)
    blank = Invoice(
        id=InvoiceId("inv"),
        customer_id=CUSTOMER,
        subscription_id=SubscriptionId("s"),
        kind=InvoiceKind.RENEWAL,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        currency="usd",
        period=JANUARY,
        dated_at=JANUARY.end,
        finalize_at=JANUARY.end,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
    )
    return with_terms(blank, terms)


def coupon(number: int, percent: int | None, amount: Decimal, *, whole: bool) -> CouponAttachment:
    """Return a coupon of so many percent, or of an amount; of the first line unless `whole`."""
    kind = CouponType.FIXED if percent is None else CouponType.PERCENTAGE
    value = Decimal(percent) if percent is not None else amount + CENT
    made = Coupon(
        CouponId(f"coupon {number}"),
        kind,
        value,
        CouponCadence.FOREVER,
        currency="usd" if percent is None else "",
    )
    return CouponAttachment(
        CouponAttachmentId(f"attachment {number}"),
        made,
        START,
        subscription_id=SubscriptionId("s"),
        chain_id=None if whole else FIRST_LINE,
    )


# What costs an odd number of cents is usage: so cheaply is a law tried ten thousand times.
rows = st.lists(st.integers(-2_000, 30_000), max_size=4)
ONE_THIRD, HALF, ALL = (coupon(0, percent, NOTHING, whole=False) for percent in (33, 50, 100))
THREE_OFF, TWENTY_OFF = (coupon(1, None, Decimal(text), whole=True) for text in ("3.32", "19.99"))
SEVENTH, WHOLE = (coupon(2, percent, NOTHING, whole=True) for percent in (7, 100))
agreements = st.sampled_from(
    [
        Terms(coupons, taxed)
        for coupons in (
            (),
            (ONE_THIRD,),
            (ALL,),
            (THREE_OFF, SEVENTH),
            (SEVENTH, TWENTY_OFF),
            (HALF, THREE_OFF),
            (WHOLE,),
        )
        for taxed in ((), tax("8.25"), tax("20", inclusive=True))
    ]
)


@MONEY
@given(rows, agreements, cents_held, allowed_types)
def test_an_invoice_is_the_sum_of_its_lines(
    cents: list[int],
    agreed: Terms,
    held: tuple[int, int],
    allowed: tuple[AllowedType, AllowedType],
) -> None:
    """And all its other amounts follow: no cent is made or lost between lines, wallets and total."""
    made = bare_invoice(cents, agreed)
    check_amounts(finalize(made, purses(held, allowed, START), JANUARY.end))


@LAW
@given(sold())
def test_a_drafted_invoice_is_the_sum_of_its_lines(case: Sold) -> None:
    """The same of whole invoices, from usage to wallets, whatever was agreed."""
    for window in case.windows():
        check_amounts(finalize(drafted(case, window), case.wallets, case.until))


def drafted(case: Sold, window: Window) -> Invoice:
    terms = Terms(case.subscription.coupons, case.subscription.taxes)
    return draft(case.subscription, window, case.usage, case.wallets, as_of=case.until, terms=terms)


def check_amounts(done: Finalized) -> None:
    """Check every equation of billing.md 15.1 and 19, and of wallets-alerts.md 15, "invoice"."""
    made = done.invoice
    assert made.subtotal == total(line.amount for line in made.lines)
    if made.status is InvoiceStatus.SKIPPED:
        assert not any(line.amount for line in made.lines)
        assert done.posted == ()
        return
    shares = [line.line_discount + line.invoice_discount for line in made.lines]
    given_ = [total(part.amount for part in line.credits) for line in made.lines]
    assert made.total_discount == total(shares)
    assert made.total_prepaid_credits_applied == total(given_)
    net = made.subtotal - made.total_discount - made.total_prepaid_credits_applied
    assert made.total - made.carried_credit == net + made.total_tax
    assert made.total == max(net, NOTHING) + made.total_tax
    # Never more than there is.
    for line, share, credit in zip(made.lines, shares, given_, strict=True):
        assert NOTHING <= share <= max(line.amount, NOTHING)
        assert NOTHING <= credit <= max(line.amount - share, NOTHING)
    # What wallets gave is what is on the lines, and what they paid is what counts as paid.
    assert settled(done.posted, Reason.CREDIT_ADJUSTMENT) == total(given_)
    assert settled(done.posted, Reason.INVOICE_PAYMENT) == made.amount_paid
    assert made.amount_paid + made.amount_remaining == made.total
    assert (made.payment_status is PaymentStatus.SUCCEEDED) == (made.amount_remaining == 0)
    back = settled(done.posted, Reason.CREDIT_NOTE)
    assert back == made.carried_credit


def settled(posted: Iterable[Posted], reason: Reason) -> Decimal:
    """Return the amount of all entries of a reason."""
    return total(
        entry.amount for write in posted for entry in write.entries if entry.reason is reason
    )


@LAW
@given(sold(), st.integers(0, 24 * 90))
def test_the_preview_is_the_invoice(case: Sold, hours: int) -> None:
    """The same usage and wallets give the same lines to the byte, the invoice's own id aside."""
    at = case.subscription.start_date + HOUR * hours
    asked = open_window(case.subscription, at)
    if asked is None:
        return
    (due,) = [
        window
        for window in windows(case.subscription, asked.period.end)
        if window.arrear == asked.arrear
    ]
    preview, renewal = drafted(case, asked), drafted(case, due)
    assert unnamed(preview) == unnamed(renewal)
    final = finalize(renewal, case.wallets, case.until).invoice
    if final.status is InvoiceStatus.FINALIZED:
        assert repr(final.lines) == repr(renewal.lines)
        assert final.total == renewal.total


def unnamed(made: Invoice) -> str:
    """Return all lines and amounts of an invoice, without the ids that name the invoice."""
    lines = [replace(line, id=InvoiceLineId("")) for line in made.lines]
    return repr((lines, made.total, made.taxes, made.carried_credit))


@LAW
@given(sold(), st.randoms(use_true_random=False))
def test_replaying_a_log_gives_the_same_bytes(case: Sold, random: Random) -> None:
    """In whatever order the same usage was read."""
    mixed = list(case.readings)
    random.shuffle(mixed)
    one, other = (
        as_json(bill([case.subscription], (), usage, as_of=case.until))
        for usage in (case.usage, Listed(case.subscription.start_date, mixed))
    )
    assert repr(one) == repr(other)


@LAW
@given(sold())
def test_a_service_is_billed_once_and_none_is_forgotten(case: Sold) -> None:
    """For each line, service period and role one invoice, and every period that ended is on one."""
    store = MemoryStore([case.subscription])
    close_due(store, case.usage, case.until)
    made = store.invoices_of(case.subscription.id)
    lines = [line for invoice in made for line in invoice.lines]
    billed = Counter(service_key(line) for line in lines)
    assert all(count == 1 for count in billed.values())
    for line in case.subscription.lines:
        mine = sorted(
            {
                (each.period.start, each.period.end)
                for each in lines
                if each.subscription_line_id == line.id and each.role in PERIODIC
            }
        )
        check_none_forgotten(case.subscription, line.id, mine, case.until)


PERIODIC = frozenset({Role.USAGE, Role.FIXED})


def check_none_forgotten(
    sold_: Subscription, line_id: str, billed: list[tuple[datetime, datetime]], until: datetime
) -> None:
    """Check that the service periods of a line lie end to end, from its start to the last due."""
    (line,) = [each for each in sold_.lines if each.id == line_id]
    life, price = life_of(sold_, line), line.price
    prorated = sold_.proration_behavior is ProrationBehavior.CREATE_PRORATIONS
    if price.billing_period is BillingPeriod.ONETIME or life is None:
        return
    if price.type is PriceType.FIXED and not prorated:
        # One version of a chain pays for a period, and pays it whole.
        return
    assert all(one[1] == other[0] for one, other in pairwise(billed))
    last = [window for window in windows(sold_, until) if window.arrear is not None]
    advance = price.invoice_cadence is InvoiceCadence.ADVANCE
    if advance:
        assert billed or life[0] >= until
    if billed:
        assert billed[0][0] == life[0]
        # What has ended by the last invoice in arrear is on it or on one before it.
        if not advance and price.billing_period is sold_.billing_period and last:
            assert billed[-1][1] == min(life[1] or last[-1].period.end, last[-1].period.end)


# A meter by its place among those of the subscription, hours, units, and days until it arrives.
late_rows = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 24 * 60),
        st.integers(-300, 2000),
        st.sampled_from([0, 20, 45, 70]),
    ),
    min_size=1,
    max_size=5,
)


@LAW
@given(sold(agreed=False), late_rows)
def test_originals_and_adjustments_are_the_price_of_the_correct_usage(
    case: Sold, rows_: list[tuple[int, int, int, int]]
) -> None:
    """For any order and time of arrival: late usage comes to what the same usage costs in time."""
    sold_, start = case.subscription, case.subscription.start_date
    meters = [line.meter.id for line in sold_.lines if line.meter] or ["tokens"]
    arrivals: list[tuple[datetime, Reading]] = [
        (start + HOUR * at + timedelta(days=days), (meters[place % len(meters)], at, units))
        for place, at, units, days in rows_
    ]
    usage = Listed(start, ())
    store, early = MemoryStore([sold_]), MemoryStore([sold_])
    # Invoices are finalized while usage is still on its way; the last ones carry what was late.
    for days in range(10, 190, 15):
        now = start + timedelta(days=days)
        usage.readings = [row for arrived, row in arrivals if arrived <= now]
        close_due(store, usage, now)
        close_late(store, usage, sold_, now)
    close_due(early, Listed(start, [row for _, row in arrivals]), now)
    assert by_service(store, sold_) == by_service(early, sold_)


def by_service(store: MemoryStore, sold_: Subscription) -> dict[AdjustedKey, Decimal]:
    """Return what each service has been billed for, with all that was adjusted of it."""
    found: dict[AdjustedKey, Decimal] = defaultdict(Decimal)
    for invoice in store.invoices_of(sold_.id):
        for line in invoice.lines:
            found[adjusted_key(line)] += line.amount
    return {key: amount for key, amount in found.items() if amount}


@LAW
@given(sold(agreed=False), cents_held, st.sampled_from(["1", "0.37"]))
def test_settling_the_claims_leaves_the_ongoing_balance(
    case: Sold, purse: tuple[int, int], rate: str
) -> None:
    """One number: what a balance shows while an invoice is a draft is what settling it leaves."""
    sold_ = case.subscription
    first = next((each for each in case.windows() if each.kind is InvoiceKind.RENEWAL), None)
    if first is None:
        return
    at = first.dated_at + HOUR
    # Usage of the period that has ended alone: what is running is settled by no invoice yet.
    usage = Listed(
        sold_.start_date,
        [row for row in case.readings if sold_.start_date + HOUR * row[1] < first.dated_at],
    )
    store = MemoryStore([sold_])
    held = tuple(
        filled(kind.value, kind, cents, AllowedType.ALL, sold_.start_date, rate=rate)
        for kind, cents in zip(WalletType, purse, strict=True)
        if cents
    )
    store.commit(Changes(posted=held))
    close_due(store, usage, at)
    shown = {each.wallet_id: each for each in running(store, usage, CUSTOMER, at).balances}
    close_due(store, usage, at, delay=timedelta(0))
    for each in running(store, usage, CUSTOMER, at).balances:
        left = max(shown[each.wallet_id].real_time_balance, NOTHING)
        assert abs(each.balance - left) <= CENT


@STORY
@given(
    st.lists(sold(agreed=False), min_size=1, max_size=2),
    st.lists(st.integers(0, 24 * 100), max_size=4).map(sorted),
)
def test_numbers_of_a_series_have_no_gap_and_no_repetition(
    cases: list[Sold], hours: list[int]
) -> None:
    """Whenever and however often periods are closed; what is skipped or a draft takes none."""
    sold_ = [
        replace(case.subscription, id=SubscriptionId(f"s{number}"))
        for number, case in enumerate(cases)
    ]
    store = MemoryStore(sold_)
    for hour in hours:
        close_due(store, cases[0].usage, START + HOUR * hour)
    numbered: dict[str, list[int]] = defaultdict(list)
    for made in store.invoices():
        assert (made.invoice_number is not None) == (made.status is InvoiceStatus.FINALIZED)
        if made.invoice_number is not None:
            series, _, sequence = made.invoice_number.rpartition("-")
            assert series == f"INV-{made.dated_at:%Y%m}"
            numbered[series].append(int(sequence))
    for sequences in numbered.values():
        assert sorted(sequences) == list(range(1, len(sequences) + 1))
