"""Passes: what time brings is done once, in its order, however often, late or interrupted."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ports import Changes, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.passes import AccountPass, backoff, pass_account, run_pass
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp, top_up
from schemas.alert import AlertCondition, AlertSettings, Threshold
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantCadence,
    GrantScope,
)
from schemas.errors import StoreError
from schemas.ids import CustomerId, SubscriptionId, WalletId
from schemas.invoice import InvoiceStatus, PaymentStatus
from schemas.money import total
from schemas.price import BillingPeriod
from schemas.subscription import Plan, Subscription, SubscriptionStatus
from schemas.wallet import Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]
Reading = tuple[datetime, Decimal]
Listed = Callable[[Sequence[Reading]], UsageReader]
ACME = CustomerId("acme")
SETTINGS = AlertSettings(True, Threshold(Decimal(5), AlertCondition.BELOW))


def at(month: int, day: int = 1, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def monthly(subscription: Subscription, amount: str) -> CreditGrant:
    """Return credits at the start of each month, that expire with it."""
    return CreditGrant(
        id=CreditGrantId("monthly"),
        name="Monthly credits",
        scope=GrantScope.SUBSCRIPTION,
        subscription_id=subscription.id,
        credits=Decimal(amount),
        cadence=GrantCadence.RECURRING,
        period=BillingPeriod.MONTHLY,
        expiration_type=ExpirationType.BILLING_CYCLE,
        start_date=subscription.start_date,
    )


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    """Return 20 a month in advance and tokens beyond 500, with 30 credits a month."""
    made = subscribe(acme, pro)
    return replace(made, credit_grants=(monthly(made, "30"),))


def stored(subscription: Subscription, amount: str = "0") -> MemoryStore:
    """Return a store with a subscription and a watched wallet, due from its start on."""
    store = MemoryStore([subscription])
    wallet = Wallet(WalletId("w"), ACME, "usd", WalletType.PRE_PAID, at(1), alert_settings=SETTINGS)
    held = Holdings(wallet)
    if Decimal(amount):
        filled = top_up(held, TopUp(Reason.CREDIT_NOTE, Decimal(amount)), at(1))
        store.commit(Changes(posted=(filled,), wake={ACME: at(1)}))
    else:
        opened = top_up(held, TopUp(Reason.CREDIT_NOTE, Decimal("0.01")), at(1))
        store.commit(Changes(posted=(opened,), wake={ACME: at(1)}))
    return store


def shown(store: MemoryStore) -> object:
    """Return what of a store must not depend on when passes ran: no stamps of writing."""
    return (
        [
            (
                each.id,
                each.status,
                each.invoice_number,
                [(line.id, line.amount, line.credits) for line in each.lines],
                each.total,
                each.amount_remaining,
                each.carried_credit,
                each.due_date,
            )
            for each in store.invoices()
        ],
        [
            (each.grant_id, each.period_start, each.status)
            for each in store.tables.applications.values()
        ],
        [(each.reason, each.credits, each.amount) for each in store.tables.entries],
        store.tables.numbers,
    )


def run_all(store: MemoryStore, usage: UsageReader, until: datetime) -> list[AccountPass]:
    """Run each pass when it is due, as a scheduler does."""
    done: list[AccountPass] = []
    while due := store.due_customers(until, 1):
        instant = max(due[0][1], at(1))
        report = run_pass(store, lambda _: usage, instant)
        assert report.failed == ()
        done += report.passed
        assert len(done) < 100
    return done


def test_a_month_passes_on_time(sold: Subscription, daily: Daily) -> None:
    store = stored(sold)
    passes = run_all(store, daily("100", 28), at(2, 1, 3))
    assert [(each.at, each.next_due) for each in passes] == [
        (at(1), at(2)),
        (at(2), at(2, 1, 2)),
        (at(2, 1, 2), at(3)),
    ]
    first, second, third = passes
    # The credits come before the opening that they pay for.
    assert [each.period_start for each in first.applications] == [at(1)]
    assert [each.total_prepaid_credits_applied for each in first.invoices] == [Decimal(20)]
    assert [each.status for each in second.invoices] == [InvoiceStatus.DRAFT]
    # The 10 that are left of January are claimed, 30 are there for February.
    assert [each.total_prepaid_credits_applied for each in third.invoices] == [Decimal("40.01")]
    assert third.invoices[0].invoice_number == "INV-202602-00001"
    assert third.invoices[0].due_date == at(2, 2)


def test_a_pass_again_does_nothing(sold: Subscription, daily: Daily) -> None:
    store, usage = stored(sold, "500"), daily("100", 60)
    pass_account(store, usage, ACME, at(3, 5))
    before = store.tables.copy()
    again = pass_account(store, usage, ACME, at(3, 5))
    assert (again.invoices, again.applications, again.swept, again.alerts) == ((), (), 0, False)
    assert again.next_due == at(4)
    assert store.tables == before


def test_a_subscription_of_the_past_is_treated_as_if_it_had_been_there(
    sold: Subscription, daily: Daily
) -> None:
    usage = daily("100", 90)
    timely, late = stored(sold, "100"), stored(sold, "100")
    run_all(timely, usage, at(4, 1, 2))
    (report,) = run_pass(late, lambda _: usage, at(4, 1, 2)).passed
    assert [each.dated_at for each in report.invoices] == [at(1), at(2), at(3), at(4)]
    assert shown(late) == shown(timely)
    assert late.tables.due == timely.tables.due


def test_a_planned_cancellation_fires_and_its_final_invoice_is_made(
    sold: Subscription, daily: Daily
) -> None:
    planned = replace(sold, cancelled_at=at(2), cancel_decided_at=at(1, 10))
    store = stored(planned, "500")
    run_all(store, daily("100", 60), at(6))
    ended = store.subscription(planned.id)
    assert ended is not None
    assert (ended.status, ended.version) == (SubscriptionStatus.CANCELLED, planned.version + 1)
    assert [each.kind.value for each in store.invoices()] == ["opening", "final"]
    assert [each.payment_status for each in store.invoices()] == [PaymentStatus.SUCCEEDED] * 2
    assert store.tables.due == {}


def test_credits_that_expire_are_swept_once_nobody_claims_them(
    acme: Subscription, pro: Plan, daily: Daily
) -> None:
    metered = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    store = stored(replace(metered, credit_grants=(monthly(metered, "30"),)))
    passes = run_all(store, daily("50", 12), at(2, 1, 2))
    # January's credits have expired when it ends; until its invoice is final they could pay it.
    assert [(each.at, each.swept) for each in passes] == [(at(1), 0), (at(2), 0), (at(2, 1, 2), 1)]
    expired = [each for each in store.tables.entries if each.reason is Reason.CREDIT_EXPIRED]
    assert [(each.credits, each.effective_at) for each in expired] == [(Decimal(28), at(2))]
    (held,) = store.wallets_of(ACME)
    assert settled_credits(held, at(2, 1, 2)) == Decimal("30.01")


def test_one_customer_that_cannot_be_billed_does_not_stop_the_others(
    sold: Subscription, daily: Daily
) -> None:
    other = replace(
        sold,
        id=SubscriptionId("other"),
        customer_id=CustomerId("other"),
        external_customer_id="other",
        credit_grants=(),
    )
    store = stored(sold)
    store.put_subscription(other)
    store.commit(Changes(wake={other.customer_id: at(1, 1, 1)}))

    def usage_of(customer_id: CustomerId) -> UsageReader:
        if customer_id == ACME:
            raise StoreError("usage cannot be read")
        return daily("100", 28)

    report = run_pass(store, usage_of, at(1, 2), failed_before={ACME: 3})
    assert [each.customer_id for each in report.passed] == ["other"]
    (failure,) = report.failed
    assert (failure.customer_id, type(failure.error)) == (ACME, StoreError)
    assert failure.retry_at == at(1, 2) + timedelta(seconds=8) == store.tables.due[ACME]
    # Once usage can be read it is as if nothing had been.
    again = run_pass(store, lambda _: daily("100", 28), at(1, 3))
    assert [each.customer_id for each in again.passed] == [ACME]


def test_a_run_is_bounded_and_says_that_there_is_more(sold: Subscription, daily: Daily) -> None:
    store = stored(sold)
    store.commit(Changes(wake={CustomerId("idle"): at(1, 1, 1)}))
    first = run_pass(store, lambda _: daily("100", 28), at(1, 2), limit=1)
    assert ([each.customer_id for each in first.passed], first.more) == ([ACME], True)
    second = run_pass(store, lambda _: daily("100", 28), at(1, 2), limit=1)
    assert ([each.customer_id for each in second.passed], second.more) == (["idle"], False)
    assert CustomerId("idle") not in store.tables.due


def test_the_wait_after_a_failure_doubles_up_to_five_minutes() -> None:
    assert [backoff(count).seconds for count in range(10)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        64,
        128,
        256,
        300,
    ]


def test_what_is_written_while_balances_are_judged_is_judged_at_once(
    sold: Subscription, daily: Daily
) -> None:
    store = stored(sold, "100")
    pass_account(store, daily("100", 10), ACME, at(1, 11))

    class Interrupting:
        """Usage whose reading takes as long as somebody needs to take credits."""

        def quantities(self, *arguments: object, **options: object) -> object:
            (held,) = store.wallets_of(ACME)
            if held.sequence == before:
                taken = top_up(held, TopUp(Reason.CREDIT_NOTE, Decimal(1)), at(1, 12))
                store.commit(Changes(posted=(taken,), wake={ACME: at(1, 12)}))
            return daily("100", 10).quantities(*arguments, **options)  # type: ignore[arg-type]  # as they came

    (held,) = store.wallets_of(ACME)
    before = held.sequence
    store.commit(Changes(wake={ACME: at(1, 12)}))
    interrupted = Interrupting()
    (first,) = run_pass(store, lambda _: interrupted, at(1, 12)).passed  # type: ignore[arg-type,return-value]  # a reader
    assert first.next_due == at(1, 12)
    assert store.due_customers(at(1, 12), 1) == ((ACME, at(1, 12)),)
    (second,) = run_pass(store, lambda _: interrupted, at(1, 12)).passed  # type: ignore[arg-type,return-value]  # a reader
    assert second.next_due == at(2)


class Cut(Exception):
    """The process ends here."""


class CuttingStore(MemoryStore):
    """A store that ends the process at its nth commit, before or after it is done."""

    left: int | None = None
    after: bool = False

    def commit(self, changes: Changes) -> None:
        if self.left is None:
            return super().commit(changes)
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Cut
        super().commit(changes)
        if self.left < 0:
            raise Cut
        return None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_pass_that_is_cut_off_anywhere_leaves_what_one_pass_leaves(
    sold: Subscription, daily: Daily, *, after: bool
) -> None:
    usage = daily("100", 90)
    whole = stored(sold, "60")
    pass_account(whole, usage, ACME, at(4, 2), since=at(1))
    for count in range(100):
        store = CuttingStore()
        store.tables = stored(sold, "60").tables
        store.left, store.after = count, after
        try:
            pass_account(store, usage, ACME, at(4, 2), since=at(1))
        except Cut:
            store.left = None
            pass_account(store, usage, ACME, at(4, 2), since=at(1))
        else:
            break
        assert store.tables == whole.tables, count
    else:
        pytest.fail("the pass never came to its end")
    assert count > 5


instants = st.lists(st.integers(0, 24 * 100 - 1), max_size=6).map(sorted)


@given(instants, st.integers(0, 200), st.integers(0, 150))
def test_passes_at_any_times_leave_what_timely_ones_leave(
    acme: Subscription, pro: Plan, daily: Daily, hours: list[int], credits_bought: int, use: int
) -> None:
    made = subscribe(acme, pro)
    sold = replace(made, credit_grants=(monthly(made, "30"),))
    usage, end = daily(str(use), 100), at(4, 12)
    timely, other = stored(sold, str(credits_bought)), stored(sold, str(credits_bought))
    run_all(timely, usage, end)
    pass_account(timely, usage, ACME, end)
    for hour in hours:
        pass_account(other, usage, ACME, at(1) + timedelta(hours=hour))
    pass_account(other, usage, ACME, end)
    assert [(each.id, each.subtotal) for each in other.invoices()] == [
        (each.id, each.subtotal) for each in timely.invoices()
    ]
    assert [each.invoice_number for each in other.invoices()] == [
        each.invoice_number for each in timely.invoices()
    ]
    assert total(posting.value for posting in other.tables.postings) == 0
    assert [(each.period_start, each.status) for each in other.tables.applications.values()] == [
        (each.period_start, each.status) for each in timely.tables.applications.values()
    ]
    for store in (timely, other):
        taken = [e.amount for e in store.tables.entries if e.reason is Reason.CREDIT_ADJUSTMENT]
        assert total(taken) == total(
            each.total_prepaid_credits_applied for each in store.invoices()
        )
    assert [each.total for each in other.invoices()] == [each.total for each in timely.invoices()]
