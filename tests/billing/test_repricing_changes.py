"""Repricing changes: what a change inside a period gives back and charges, from its explanation."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.inconsistencies import problems
from billing.repricing import reprice
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.use_cases.opening_invoices import NothingUsed
from billing.use_cases.subscription_changes import change_quantity
from schemas.ids import CustomerId, PlanId, SubscriptionId
from schemas.price import BillingModel, InvoiceCadence, Price, PriceType, Tier, TierMode
from schemas.subscription import Plan, ProrationBehavior, ProrationStrategy, Subscription

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
NAME = SubscriptionId("s")

rates = st.decimals(0, 20, places=3)
changes = st.lists(
    st.tuples(st.integers(0, 24 * 30), st.integers(1, 30).map(Decimal)), min_size=1, max_size=4
)


@settings(max_examples=200)
@given(
    st.tuples(rates, rates, rates),
    changes,
    st.sampled_from(ProrationStrategy),
    st.sampled_from(["usd", "jpy", "kwd"]),
)
def test_what_a_change_settles_is_priced_again(
    amounts: tuple[Decimal, Decimal, Decimal],
    wanted: list[tuple[int, Decimal]],
    strategy: ProrationStrategy,
    currency: str,
) -> None:
    first, second, flat = amounts
    seats = Price(
        "seats",
        PriceType.FIXED,
        BillingModel.TIERED,
        currency,
        tiers=(Tier(10, first, flat), Tier(None, second)),
        tier_mode=TierMode.SLAB,
        invoice_cadence=InvoiceCadence.ADVANCE,
    )
    blank = Subscription(
        NAME,
        CustomerId("acme"),
        "acme",
        currency,
        JANUARY,
        proration_behavior=ProrationBehavior.CREATE_PRORATIONS,
        proration_strategy=strategy,
    )
    store = MemoryStore([subscribe(blank, Plan(PlanId("p"), "Plan", prices=(seats,)))])
    usage = NothingUsed()
    close_due(store, usage, JANUARY)
    for hours, quantity in sorted(wanted):
        at = JANUARY + timedelta(hours=hours)
        known = store.subscription(NAME)
        assert known is not None
        line = next(each for each in known.lines if each.end_date is None)
        change_quantity(store, usage, NAME, line.id, quantity, at=at)
    for invoice in store.invoices_of(NAME):
        for each in invoice.lines:
            assert reprice(each.explanation) == each.amount, each.explanation
            assert problems(each.explanation) == (), each.explanation
