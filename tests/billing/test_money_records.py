"""What money stores give back is what they were given, and the SQL stores tell the same story."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from any_record import TEXTS, any_record
from hypothesis import given, settings
from hypothesis import strategies as st
from money_records import ACME, ALERT, DAY, SOLD, STREAM, WALLET, filled, invoice, line
from sqlalchemy import select

from billing.ports import Changes, Stores, UsageReader
from billing.stores.ledger_models import ConsumptionRow, LotRow, PostingRow
from billing.stores.money import SqlStores
from billing.stores.money_reading import AlertFilter, InvoiceFilter, MoneyReader
from billing.subscriptions.subscribing import subscribe
from billing.use_cases.closing_periods import close_due
from billing.wallets.grant_applications import apply_grants
from billing.wallets.holdings import Debt, Holdings, Posted
from billing.wallets.ledger import Debit, TopUp, debit, sweep, take, top_up
from schemas.alert import AlertStream
from schemas.credit_grant import (
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    GrantApplication,
    GrantCadence,
    GrantScope,
)
from schemas.customer import Customer
from schemas.errors import InvalidOperation
from schemas.ids import CustomerId, InvoiceId, InvoiceLineId, WalletId
from schemas.invoice import InvoiceStatus
from schemas.money import total
from schemas.payment import InvoicePayment
from schemas.price import BillingPeriod
from schemas.purchase import Purchase
from schemas.subscription import Plan, Subscription
from schemas.wallet import Reason, Wallet, WalletType

Make = Callable[[str], Stores]
SQL = ["sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]
VERSIONED = st.just(1)


@pytest.mark.parametrize("kind", SQL)
@settings(max_examples=40)
@given(data=st.data())
def test_any_record_comes_back_as_it_was(fresh_stores: Make, kind: str, data: Any) -> None:
    stores = fresh_stores(kind)
    wallet = data.draw(any_record(Wallet))
    debts = data.draw(any_record(tuple[Debt, ...]))
    customer = data.draw(any_record(Customer))
    paid = data.draw(any_record(InvoicePayment, invoice_id=st.just(InvoiceId("i"))))
    bought = data.draw(any_record(Purchase))
    given_out = data.draw(any_record(GrantApplication))
    stream = data.draw(any_record(AlertStream))
    metadata = data.draw(st.dictionaries(TEXTS, TEXTS))
    made = replace(invoice("i", line("a")), metadata=metadata)
    sold = replace(SOLD, metadata=metadata)
    stores.commit(
        Changes(
            customers=(customer,),
            subscriptions=(sold,),
            posted=(Posted(0, Holdings(wallet, debts=debts)),),
            invoices=(made,),
            payments=(paid,),
            purchases=(bought,),
            streams=(stream,),
            applications=(given_out,),
            wake={wallet.customer_id: wallet.created_at},
        )
    )
    assert stores.customer(customer.id) == customer
    assert stores.subscriptions_of(ACME) == (sold,)
    assert stores.wallets_of(wallet.customer_id) == (Holdings(wallet, debts=debts),)
    assert stores.invoices_for(ACME) == (made,)
    assert stores.payments_of(made.id) == (paid,)
    assert stores.purchases_for(bought.invoice_id) == (bought,)
    assert stores.stream(stream.id) == stream
    assert stores.last_application(given_out.grant_id) == given_out
    due = stores.due_customers(wallet.created_at, 1)
    assert due == ((wallet.customer_id, wallet.created_at),)


# What may happen to a wallet, a day after the last: kind, credits, priority, days to its expiry.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["top up", "debit", "take", "sweep"]),
        st.decimals(Decimal("0.000000001"), 1000, places=9),
        st.none() | st.integers(0, 3),
        st.none() | st.integers(1, 5),
    ),
    min_size=1,
    max_size=8,
)
OVERDRAWN = replace(WALLET, overdraft_limit=Decimal(100), conversion_rate=Decimal("0.3"))


def moved(held: Holdings, step: tuple[str, Decimal, int | None, int | None], day: int) -> Posted:
    what, amount, priority, days = step
    at = DAY + timedelta(day)
    if what == "top up":
        expires = None if days is None else at + timedelta(days)
        request = TopUp(
            Reason.CREDIT_NOTE,
            amount,
            priority=priority,
            expires_at=expires,
            idempotency_key=f"k{day}",
        )
        return top_up(held, request, at)
    if what == "debit":
        return debit(held, Debit(amount, Reason.MANUAL_BALANCE_DEBIT, f"k{day}"), at)
    if what == "take":
        return take(held, amount.quantize(Decimal("0.01")), at, invoice_id="i", attempt=day)
    return sweep(held, at)


@pytest.mark.parametrize("kind", SQL)
@settings(max_examples=40)
@given(steps=STEPS)
def test_the_ledger_is_the_same_in_every_store(
    fresh_stores: Make, kind: str, steps: list[tuple[str, Decimal, int | None, int | None]]
) -> None:
    memory, stores = fresh_stores("memory"), fresh_stores(kind)
    assert isinstance(stores, SqlStores)
    entries = []
    for each in (memory, stores):
        each.commit(Changes(posted=(Posted(0, Holdings(OVERDRAWN)),)))
    for day, step in enumerate(steps, start=1):
        held = memory.holdings(WALLET.id)
        assert held is not None
        assert stores.holdings(WALLET.id) == held
        try:
            posted = moved(held, step, day)
        except InvalidOperation:
            continue
        entries += posted.entries
        for each in (memory, stores):
            each.commit(Changes(posted=(posted,)))
    assert stores.wallets_of(ACME) == memory.wallets_of(ACME)
    assert stores.taken_for(InvoiceId("i")) == memory.taken_for(InvoiceId("i"))
    pages = MoneyReader(stores._database, stores._scope)
    lines, count = pages.entries_of(WALLET.id, limit=5)
    assert count == len(entries)
    assert [each.entry for each in lines] == entries[::-1][:5]
    if lines:
        held = stores.holdings(WALLET.id)
        assert held is not None
        assert lines[0].after == held.running
    for later, earlier in pairwise(lines):
        assert later.before == earlier.after
    check_rows(stores)


def check_rows(stores: SqlStores) -> None:
    """What remains of a lot is what its consumptions left, and postings sum to nothing."""
    tenant = stores._scope.tenant_id
    with stores._database.reading() as session:
        lots = session.scalars(select(LotRow).where(LotRow.tenant_id == tenant)).all()
        parts = session.scalars(
            select(ConsumptionRow).where(ConsumptionRow.tenant_id == tenant)
        ).all()
        postings = session.scalars(select(PostingRow).where(PostingRow.tenant_id == tenant)).all()
    for lot in lots:
        taken = total(each.credits for each in parts if each.lot_id == lot.id)
        assert 0 <= lot.remaining == lot.credits - taken
    for name in {each.entry_id for each in postings}:
        assert total(each.value for each in postings if each.entry_id == name) == 0


@pytest.mark.parametrize("kind", SQL)
def test_a_debit_says_which_credits_it_took(fresh_stores: Make, kind: str) -> None:
    stores = fresh_stores(kind)
    assert isinstance(stores, SqlStores)
    first = filled(amount=5)
    second = filled(first.holdings, amount=7)
    taken = debit(second.holdings, Debit(Decimal(9), Reason.MANUAL_BALANCE_DEBIT, "d"), DAY)
    stores.commit(Changes(posted=(first, second, taken)))
    pages = MoneyReader(stores._database, stores._scope)
    lines, count = pages.entries_of(WALLET.id, limit=2)
    assert count == 3
    assert [(each.before, each.after) for each in lines] == [(12, 3), (5, 12)]
    order = {part.lot_id: part.credits for part in taken.consumptions}
    assert [(each.lot.id, each.credits) for each in lines[0].taken] == list(order.items())
    assert lines[0].lot is None
    assert lines[1].lot is not None
    assert lines[1].lot.entry_id == lines[1].entry.id
    ((last,), count) = pages.entries_of(WALLET.id, limit=2, offset=2)
    assert (last.entry, count) == (first.entries[0], 3)
    assert pages.entry(first.entries[0].id) == last
    assert pages.entries_of(WalletId("none"), limit=2) == ((), 0)


@pytest.mark.parametrize("kind", SQL)
def test_pages_hold_what_was_asked_for_with_the_newest_first(fresh_stores: Make, kind: str) -> None:
    stores = fresh_stores(kind)
    assert isinstance(stores, SqlStores)
    made = [
        invoice(f"i{n}", line(f"l{n}", f"c{n}"), dated_at=DAY + timedelta(n % 3)) for n in range(6)
    ]
    made[4] = replace(made[4], customer_id=CustomerId("other"), status=InvoiceStatus.FINALIZED)
    assert ALERT is not None
    stores.commit(Changes(invoices=tuple(made), streams=(STREAM,), alerts=(ALERT,)))
    pages = MoneyReader(stores._database, stores._scope)

    def names(wanted: InvoiceFilter, limit: int = 9, offset: int = 0) -> tuple[list[str], int]:
        rows, count = pages.invoices(wanted, limit=limit, offset=offset)
        return [each.id for each in rows], count

    assert names(InvoiceFilter()) == (["i5", "i2", "i4", "i1", "i3", "i0"], 6)
    assert names(InvoiceFilter(), limit=2, offset=1) == (["i2", "i4"], 6)
    assert names(InvoiceFilter(customer_id=ACME), limit=3) == (["i5", "i2", "i1"], 5)
    assert names(InvoiceFilter(statuses=[InvoiceStatus.FINALIZED])) == (["i4"], 1)
    assert names(InvoiceFilter(dated_from=DAY, dated_before=DAY + timedelta(1))) == (
        ["i3", "i0"],
        2,
    )
    assert names(InvoiceFilter(ids=[made[1].id, made[5].id])) == (["i5", "i1"], 2)
    assert pages.invoice_of_line(InvoiceLineId("l3")) == made[3]
    assert pages.invoice_of_line(InvoiceLineId("none")) is None
    assert pages.alerts(AlertFilter(entity_id=WALLET.id), limit=9) == ((ALERT,), 1)
    assert pages.alerts(AlertFilter(before_at=DAY), limit=9) == ((), 0)


@pytest.mark.parametrize("kind", SQL)
def test_a_story_is_the_same_in_every_store(
    fresh_stores: Make,
    kind: str,
    acme: Subscription,
    pro: Plan,
    daily: Callable[[str, int], UsageReader],
) -> None:
    monthly = CreditGrant(
        CreditGrantId("g"),
        GrantScope.SUBSCRIPTION,
        Decimal(12),
        GrantCadence.RECURRING,
        ExpirationType.BILLING_CYCLE,
        subscription_id=acme.id,
        period=BillingPeriod.MONTHLY,
        start_date=acme.start_date,
    )
    sold = subscribe(replace(acme, credit_grants=(monthly,)), pro)
    usage = daily("100", 100)
    memory, stores = fresh_stores("memory"), fresh_stores(kind)
    assert isinstance(stores, SqlStores)
    postpaid = replace(WALLET, id=WalletId("p"), wallet_type=WalletType.POST_PAID)
    for each in (memory, stores):
        each.commit(Changes(customers=(Customer(ACME, "acme"),), subscriptions=(sold,)))
        each.commit(Changes(posted=(filled(amount=30), filled(postpaid, amount=25))))
        for days in (0, 31, 31.1, 59, 60, 95):
            at = DAY + timedelta(days=days)
            apply_grants(each, each.live_subscriptions(), at)
            close_due(each, usage, at)
            # What was read back is equal to what is made again: a draft is not written twice.
            assert close_due(each, usage, at) == ()
            assert apply_grants(each, each.live_subscriptions(), at) == ()
    made = memory.invoices_for(ACME)
    assert len(made) == 4
    assert stores.invoices_for(ACME) == made
    assert stores.invoices_of(sold.id) == memory.invoices_of(sold.id)
    assert stores.wallets_of(ACME) == memory.wallets_of(ACME)
    assert stores.last_application(monthly.id) == memory.last_application(monthly.id)
    for each in made:
        assert stores.taken_for(each.id) == memory.taken_for(each.id)
    check_rows(stores)
