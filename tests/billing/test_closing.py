"""Closing: each period once, settled in one commit, whatever was run how often."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.closing import due, finalize
from billing.invoices.drafting import draft, service_key
from billing.periods.services import windows
from billing.ports import Changes, UsageReader
from billing.stores.memory import MemoryStore
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp, top_up
from schemas.errors import InvalidOperation
from schemas.ids import CustomerId, WalletId
from schemas.invoice import (
    TRANSITIONS,
    InvoiceAction,
    InvoiceKind,
    InvoiceStatus,
    PaymentStatus,
    after,
)
from schemas.money import total
from schemas.subscription import Plan, Subscription
from schemas.wallet import Reason, Wallet, WalletType

Daily = Callable[[str, int], UsageReader]


def at(month: int, day: int = 1, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def stored(
    subscription: Subscription, amount: str = "50", kind: WalletType = WalletType.PRE_PAID
) -> MemoryStore:
    store = MemoryStore([subscription])
    made = Wallet(WalletId("w"), CustomerId("acme"), "usd", kind, at(1))
    filled = top_up(Holdings(made), TopUp(Reason.CREDIT_NOTE, Decimal(amount)), at(1))
    store.commit(Changes(posted=(filled,)))
    return store


@pytest.fixture
def sold(acme: Subscription, pro: Plan) -> Subscription:
    return subscribe(acme, pro)


def test_what_is_due_comes_in_order_of_time(sold: Subscription) -> None:
    other = replace(sold, id=type(sold.id)("other"), start_date=at(1, 10), lines=())
    found = due([other, sold], at(2, 15))
    assert [(each.subscription.id, each.window.kind, each.window.dated_at) for each in found] == [
        ("acme", InvoiceKind.OPENING, at(1)),
        ("other", InvoiceKind.OPENING, at(1, 10)),
        ("acme", InvoiceKind.RENEWAL, at(2)),
        ("other", InvoiceKind.RENEWAL, at(2, 10)),
    ]


def test_a_renewal_waits_two_hours_and_an_opening_does_not(
    sold: Subscription, daily: Daily
) -> None:
    store, usage = stored(sold), daily("100", 28)
    (opening,) = close_due(store, usage, at(1))
    assert (opening.status, opening.finalized_at) == (InvoiceStatus.FINALIZED, at(1))
    (waiting,) = close_due(store, usage, at(2))
    assert waiting.status is InvoiceStatus.DRAFT
    assert close_due(store, usage, at(2) + timedelta(seconds=7199)) == ()
    (done,) = close_due(store, usage, at(2) + timedelta(seconds=7200))
    assert (done.status, done.payment_status) == (InvoiceStatus.FINALIZED, PaymentStatus.PENDING)
    assert (done.total_prepaid_credits_applied, done.amount_remaining) == (Decimal(30), Decimal(23))


def test_a_draft_follows_usage_until_it_is_finalized(sold: Subscription, daily: Daily) -> None:
    store = stored(sold)
    close_due(store, daily("100", 28), at(2))
    (changed,) = close_due(store, daily("100", 30), at(2, 1, 1))
    assert (changed.subtotal, changed.version) == (Decimal("55.00"), 2)
    close_due(store, daily("100", 30), at(2, 1, 2))
    assert close_due(store, daily("100", 31), at(2, 1, 3)) == ()


def test_nothing_but_zeros_is_skipped(acme: Subscription, pro: Plan, daily: Daily) -> None:
    usage_only = subscribe(acme, replace(pro, prices=pro.prices[1:]))
    store = stored(usage_only)
    (skipped,) = close_due(store, daily("0", 0), at(2, 2))
    assert skipped.status is InvoiceStatus.SKIPPED
    assert skipped.payment_status is PaymentStatus.SUCCEEDED
    assert not store.tables.outbox


def test_a_postpaid_wallet_pays_what_is_finalized(sold: Subscription, daily: Daily) -> None:
    store = stored(sold, "60", WalletType.POST_PAID)
    opening, renewal = close_due(store, daily("100", 28), at(2, 2))
    assert (opening.payment_status, opening.amount_paid) == (PaymentStatus.SUCCEEDED, Decimal(20))
    assert (renewal.amount_paid, renewal.amount_remaining) == (Decimal(40), Decimal(13))


def test_credits_that_expire_with_the_period_pay_for_it_afterwards(
    sold: Subscription, daily: Daily
) -> None:
    store = stored(sold, "20")
    (held,) = store.wallets_of(CustomerId("acme"))
    monthly = TopUp(Reason.FREE_CREDIT_GRANT, Decimal(100), expires_at=at(2))
    store.commit(Changes(posted=(top_up(held, monthly, at(1)),)))
    close_due(store, daily("100", 28), at(1))
    (renewal,) = close_due(store, daily("100", 28), at(2, 1, 2))
    assert renewal.total_prepaid_credits_applied == Decimal(53)
    (held,) = store.wallets_of(CustomerId("acme"))
    # The grant paid 20 at the opening and 53 now; the 20 without an expiry are untouched.
    assert settled_credits(held, at(2, 1, 2)) == 20


def test_a_finalized_invoice_is_not_finalized_again(sold: Subscription, daily: Daily) -> None:
    opening = next(windows(sold, at(1)))
    made = draft(sold, opening, daily("0", 0), (), as_of=at(1))
    done = finalize(made, (), at(1)).invoice
    with pytest.raises(InvalidOperation):
        finalize(done, (), at(1))


@pytest.mark.parametrize("status", list(InvoiceStatus))
@pytest.mark.parametrize("action", list(InvoiceAction))
def test_what_is_not_in_the_table_of_states_is_refused(
    status: InvoiceStatus, action: InvoiceAction
) -> None:
    if (status, action) in TRANSITIONS:
        assert after(status, action) is TRANSITIONS[status, action]
        return
    with pytest.raises(InvalidOperation):
        after(status, action)


hours = st.lists(st.integers(0, 24 * 100), min_size=1, max_size=5).map(sorted)


@given(hours)
def test_closing_often_leaves_what_closing_once_leaves(
    acme: Subscription, pro: Plan, daily: Daily, runs: list[int]
) -> None:
    sold = subscribe(acme, pro)
    usage = daily("100", 100)
    often = stored(sold, "500")
    for hour in runs:
        close_due(often, usage, at(1) + timedelta(hours=hour))
    close_due(often, usage, at(4, 12))
    before = list(often.tables.entries)
    assert close_due(often, usage, at(4, 12)) == ()
    assert often.tables.entries == before
    once = stored(sold, "500")
    close_due(once, usage, at(4, 12))
    shown = [
        [(each.id, each.subtotal, each.total) for each in store.invoices()]
        for store in (often, once)
    ]
    assert shown[0] == shown[1]
    keys = [service_key(line) for each in often.invoices() for line in each.lines]
    assert len(keys) == len(set(keys))
    # What wallets gave is what invoices say they got, and each entry sums to nothing.
    given_credits = total(each.total_prepaid_credits_applied for each in often.invoices())
    debited = [e.amount for e in often.tables.entries if e.reason is Reason.CREDIT_ADJUSTMENT]
    assert given_credits == total(debited)
    assert total(posting.value for posting in often.tables.postings) == 0
    ids = [row.id for row in often.tables.outbox.values()]
    assert len(ids) == len(set(ids))
