"""Drafting: which lines are on which invoice, and that drafting twice gives the same bytes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.drafting import draft, service_key
from billing.periods.services import open_services, open_window, windows
from billing.ports import UsageReader
from billing.subscriptions.cancelling import ended_at_once
from billing.subscriptions.subscribing import subscribe
from billing.wallets.holdings import Holdings
from billing.wallets.ledger import TopUp, top_up
from schemas.ids import CustomerId, PlanId, WalletId
from schemas.invoice import InvoiceKind
from schemas.money import total
from schemas.price import BillingModel, BillingPeriod, InvoiceCadence, Price, PriceType
from schemas.subscription import BillingCycle, Plan, ProrationBehavior, Subscription
from schemas.wallet import Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]
Listed = Callable[[Sequence[tuple[datetime, Decimal]]], UsageReader]


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def fee(name: str, amount: str, cadence: InvoiceCadence, **fields: object) -> Price:
    price = Price(
        name,
        PriceType.FIXED,
        BillingModel.FLAT_FEE,
        "usd",
        amount=Decimal(amount),
        invoice_cadence=cadence,
    )
    return replace(price, **fields)  # type: ignore[arg-type]  # any of its members


def funded(amount: str) -> Holdings:
    made = Wallet(WalletId("w"), CustomerId("acme"), "usd", WalletType.PRE_PAID, at(1))
    return top_up(Holdings(made), TopUp(Reason.CREDIT_NOTE, Decimal(amount)), at(1)).holdings


def amounts(subscription: Subscription, usage: UsageReader, until: datetime) -> list[list[str]]:
    return [
        [f"{line.amount}" for line in draft(subscription, each, usage, (), as_of=until).lines]
        for each in windows(subscription, until)
    ]


def test_what_is_due_in_advance_and_in_arrear_comes_on_one_renewal(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    # 28 days of 100 tokens: 2,300 beyond the allowance, 20.00 and 13.00.
    subscription = subscribe(acme, pro)
    first, second = [
        draft(subscription, each, daily("100", 28), (), as_of=at(2))
        for each in windows(subscription, at(2))
    ]
    assert (first.kind, first.subtotal) == (InvoiceKind.OPENING, Decimal("20.00"))
    assert (second.kind, second.subtotal) == (InvoiceKind.RENEWAL, Decimal("53.00"))
    assert {line.display_name: line.amount for line in second.lines} == {
        "Pro": Decimal("20.00"),
        "tokens": Decimal("33.00"),
    }
    assert (second.period.start, second.period.end) == (at(1), at(2))


def test_a_calendar_subscription_pays_its_first_part_in_part(
    acme: Subscription, daily: Daily
) -> None:
    plan = Plan(
        PlanId("plan"),
        "Plan",
        prices=(
            fee("advance", "31", InvoiceCadence.ADVANCE),
            fee("arrear", "62", InvoiceCadence.ARREAR),
        ),
    )
    calendar = replace(
        acme,
        start_date=at(1, 15),
        billing_cycle=BillingCycle.CALENDAR,
        proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
    )
    subscription = subscribe(calendar, plan)
    assert [sorted(each) for each in amounts(subscription, daily("0", 0), at(3))] == [
        ["17.00"],
        ["31.00", "34.00"],
        ["31.00", "62.00"],
    ]


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (BillingPeriod.MONTHLY, [["5.00"], ["5.00"], ["5.00"], ["5.00"]]),
        (BillingPeriod.ONETIME, [["5.00"], [], [], []]),
    ],
)
def test_a_one_time_price_is_charged_once(
    acme: Subscription,
    daily: Daily,
    period: BillingPeriod,
    expected: list[list[str]],
) -> None:
    price = fee("setup", "5", InvoiceCadence.ADVANCE, billing_period=period)
    subscription = subscribe(acme, Plan(PlanId("plan"), "Plan", prices=(price,)))
    assert amounts(subscription, daily("0", 0), at(4)) == expected


def test_a_cancellation_bills_what_was_used_and_leaves_earlier_invoices_alone(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    subscription = subscribe(acme, pro)
    usage = daily("100", 60)
    before = [
        draft(subscription, each, usage, (), as_of=at(2)) for each in windows(subscription, at(2))
    ]
    gone = ended_at_once(subscription, at(2, 11))
    after = [draft(gone, each, usage, (), as_of=at(2, 12)) for each in windows(gone, at(2, 12))]
    assert [each.lines for each in after[:2]] == [each.lines for each in before]
    final = after[2]
    # Ten days of February: 1,000 tokens less 500 included, at 0.02.
    assert (final.kind, final.period.end) == (InvoiceKind.FINAL, at(2, 11))
    assert [line.amount for line in final.lines] == [Decimal("10.00")]


def test_a_draft_shows_what_wallets_would_give_and_takes_nothing(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    subscription = subscribe(acme, pro)
    held = funded("50")
    renewal = list(windows(subscription, at(2)))[1]
    made = draft(subscription, renewal, daily("100", 28), [held], as_of=at(2))
    assert (made.total_prepaid_credits_applied, made.total) == (Decimal(50), Decimal(3))
    assert total(part.amount for line in made.lines for part in line.credits) == Decimal(50)


def test_services_that_are_billed_are_not_billed_again(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    subscription = subscribe(acme, pro)
    renewal = list(windows(subscription, at(2)))[1]
    first = draft(subscription, renewal, daily("100", 28), (), as_of=at(2))
    billed = {service_key(line) for line in first.lines}
    again = draft(subscription, renewal, daily("100", 28), (), as_of=at(2), billed=billed)
    assert again.lines == ()


def test_usage_after_the_as_of_is_not_known_yet(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    subscription = subscribe(acme, pro)
    window = open_window(subscription, at(1, 11))
    assert window is not None
    made = draft(subscription, window, daily("100", 31), (), as_of=at(1, 11))
    assert [line.quantity for line in made.lines if line.meter_id] == [Decimal(500)]


def test_a_line_of_a_longer_grid_runs_on_beyond_the_period(acme: Subscription, pro: Plan) -> None:
    subscription = subscribe(acme, pro)
    (usage,) = [line for line in subscription.lines if line.meter]
    quarterly = replace(usage.price, billing_period=BillingPeriod.QUARTERLY)
    subscription = replace(subscription, lines=(replace(usage, price=quarterly),))
    found, period = open_services(subscription, at(2, 15))
    assert period is not None
    assert (period.end, [each.period.end for each in found]) == (at(3), [at(4)])


def test_a_trial_is_free_and_moves_the_anchor(acme: Subscription, pro: Plan, daily: Daily) -> None:
    trial = subscribe(replace(acme, trial_end=at(1, 15)), pro)
    found = list(windows(trial, at(2, 15)))
    assert [each.reason for each in found] == ["SUBSCRIPTION_TRIAL_END", "SUBSCRIPTION_CYCLE"]
    # 17 days of 100 tokens after the trial: 1,200 beyond the allowance.
    assert sorted(amounts(trial, daily("100", 31), at(2, 15))[1]) == ["20.00", "22.00"]


readings = st.lists(
    st.tuples(
        st.integers(0, 24 * 59).map(lambda hours: at(1) + timedelta(hours=hours)),
        st.integers(-500, 3000).map(Decimal),
    ),
    max_size=10,
)


@given(readings)
def test_any_order_of_usage_drafts_the_same_invoice(
    acme: Subscription,
    pro: Plan,
    listed: Listed,
    rows: list[tuple[datetime, Decimal]],
) -> None:
    subscription = subscribe(acme, pro)
    mixed = sorted(rows, key=lambda row: (row[1], row[0]))
    for window in windows(subscription, at(3)):
        one = draft(subscription, window, listed(rows), [funded("30")], as_of=at(3))
        other = draft(subscription, window, listed(mixed), [funded("30")], as_of=at(3))
        assert repr(one) == repr(other)
        assert one.subtotal == total(line.amount for line in one.lines)
        assert one.total == one.subtotal - one.total_prepaid_credits_applied
