"""Voiding: what an invoice took comes back, exactly, to where it came from."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.invoices.closing import Finalized, finalize
from billing.invoices.voiding import TakenLot, taken_lots, void, void_refund
from billing.ports import Changes
from billing.stores.memory import MemoryStore
from billing.wallets.holdings import Holdings, settled_credits
from billing.wallets.ledger import TopUp, terminate, top_up
from billing.wallets.money_back import give_back, money_back_wallet
from schemas.errors import InvalidOperation, VersionConflict
from schemas.ids import (
    CustomerId,
    InvoiceId,
    InvoiceLineId,
    SubscriptionId,
    SubscriptionLineId,
    WalletId,
)
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
from schemas.price import PriceType
from schemas.wallet import EntryType, Reason, Wallet, WalletStatus, WalletType

PRE, POST = WalletType.PRE_PAID, WalletType.POST_PAID
ACME = CustomerId("acme")


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


JANUARY, THEN, LATER = Interval(at(1), at(2)), at(2), at(3)


def invoice_of(*amounts: str | Decimal) -> Invoice:
    """Return a draft of January with one usage line for each amount."""
    lines = tuple(
        InvoiceLine(
            id=InvoiceLineId(f"line {index}"),
            subscription_line_id=SubscriptionLineId(f"item {index}"),
            chain_id=SubscriptionLineId(f"item {index}"),
            role=Role.USAGE,
            price_id="price",
            price_type=PriceType.USAGE,
            display_name="Usage",
            quantity=Decimal(1),
            amount=Decimal(amount),
            period=JANUARY,
            explanation={},
        )
        for index, amount in enumerate(amounts)
    )
    subtotal = total(line.amount for line in lines)
    return Invoice(
        id=InvoiceId("inv"),
        customer_id=ACME,
        subscription_id=SubscriptionId("acme"),
        kind=InvoiceKind.RENEWAL,
        billing_reason=BillingReason.SUBSCRIPTION_CYCLE,
        currency="usd",
        period=JANUARY,
        dated_at=THEN,
        finalize_at=THEN,
        lines=lines,
        subtotal=subtotal,
        total=subtotal,
    )


def wallet(
    name: str, kind: WalletType, *lots: TopUp, rate: str | Decimal = "1", currency: str = "usd"
) -> Holdings:
    made = Wallet(
        WalletId(name), ACME, currency, kind, at(1), conversion_rate=Decimal(rate), name=name
    )
    held = Holdings(made)
    for lot in lots:
        held = top_up(held, lot, at(1)).holdings
    return held


def lot(credits_: int | Decimal, priority: int | None = None, expires: int = 0) -> TopUp:
    return TopUp(
        Reason.PURCHASED_CREDIT_DIRECT,
        Decimal(credits_),
        priority=priority,
        expires_at=at(expires) if expires else None,
    )


def finalized(invoice: Invoice, wallets: Sequence[Holdings]) -> tuple[Finalized, list[Holdings]]:
    """Finalize an invoice, and return the wallets as it left them."""
    done = finalize(invoice, wallets, THEN)
    left = {posted.holdings.wallet.id: posted.holdings for posted in done.posted}
    return done, [left.get(held.wallet.id, held) for held in wallets]


def taken_by(done: Finalized, wallets: Sequence[Holdings]) -> tuple[TakenLot, ...]:
    debits = [
        entry
        for posted in done.posted
        for entry in posted.entries
        if entry.reason in {Reason.CREDIT_ADJUSTMENT, Reason.INVOICE_PAYMENT}
    ]
    consumptions = [part for posted in done.posted for part in posted.consumptions]
    return taken_lots(debits, consumptions, [each for held in wallets for each in held.lots], "usd")


def test_each_lot_comes_back_with_its_priority_and_what_is_left_of_its_life() -> None:
    before = [
        wallet("pre", PRE, lot(10, priority=1, expires=6), lot(20, priority=2), lot(5)),
        wallet("post", POST, lot(40)),
    ]
    done, after = finalized(invoice_of("25", "30"), before)
    found = void(done.invoice, taken_by(done, before), after, LATER)
    assert (found.refund.credits_returned, found.refund.refund) == (Decimal(35), Decimal(20))
    assert (found.invoice.status, found.invoice.payment_status) == (
        InvoiceStatus.VOIDED,
        PaymentStatus.REFUNDED,
    )
    post, pre = found.posted
    assert {entry.reason for entry in pre.entries} == {Reason.INVOICE_VOID_REFUND}
    assert {entry.reference_id for entry in pre.entries} == {"inv"}
    assert [(each.credits, each.priority, each.expires_at) for each in pre.lots] == [
        (Decimal(10), 1, at(6)),
        (Decimal(20), 2, None),
        (Decimal(5), None, None),
    ]
    assert [each.credits for each in post.lots] == [Decimal(20)]


def test_an_expiry_that_has_passed_does_not_come_back() -> None:
    before = [wallet("pre", PRE, lot(30, expires=2))]
    done, after = finalized(invoice_of("10"), before)
    (posted,) = void(done.invoice, taken_by(done, before), after, LATER).posted
    # What the invoice had left of the lot is written off in the same write.
    assert [(each.reason, each.credits) for each in posted.entries] == [
        (Reason.CREDIT_EXPIRED, Decimal(20)),
        (Reason.INVOICE_VOID_REFUND, Decimal(10)),
    ]
    assert [each.expires_at for each in posted.lots] == [None]


def test_what_came_from_a_closed_wallet_goes_to_the_money_back_wallet_at_its_value() -> None:
    before = [wallet("post", POST, lot(1000), rate="0.01")]
    done, (post,) = finalized(invoice_of("4"), before)
    closed = terminate(post, at(2, 10)).holdings
    (posted,) = void(done.invoice, taken_by(done, before), [closed], LATER).posted
    opened = posted.holdings.wallet
    assert (opened.wallet_type, opened.conversion_rate, opened.wallet_status) == (
        PRE,
        Decimal(1),
        WalletStatus.ACTIVE,
    )
    assert [each.credits for each in posted.lots] == [Decimal(4)]
    assert posted.base == 0


@pytest.mark.parametrize(
    ("refunded", "from_post", "money"),
    [
        ("0", "40", "60"),
        ("10", "40", "50"),  # A refund counts against money from outside first,
        ("60", "40", "0"),
        ("75", "25", "0"),  # and only then against what wallets paid.
    ],
)
def test_all_that_was_paid_and_not_refunded_comes_back(
    refunded: str, from_post: str, money: str
) -> None:
    before = [wallet("post", POST, lot(40))]
    done, after = finalized(invoice_of("100"), before)
    by_card = replace(
        done.invoice,
        amount_paid=Decimal(100),
        amount_remaining=Decimal(0),
        payment_status=PaymentStatus.PARTIALLY_REFUNDED,
    )
    found = void(by_card, taken_by(done, before), after, LATER, refunded=Decimal(refunded))
    given_back = {
        posted.holdings.wallet.wallet_type: total(each.credits for each in posted.lots)
        for posted in found.posted
    }
    assert given_back.get(POST, Decimal(0)) == Decimal(from_post)
    assert given_back.get(PRE, Decimal(0)) == Decimal(money)


statuses = list(product(InvoiceStatus, PaymentStatus, [Decimal(0), Decimal(1)]))


@pytest.mark.parametrize(("status", "payment", "carried"), statuses)
def test_only_what_the_table_allows_is_voided(
    status: InvoiceStatus, payment: PaymentStatus, carried: Decimal
) -> None:
    refused = (
        status is InvoiceStatus.VOIDED
        or payment in {PaymentStatus.PROCESSING, PaymentStatus.REFUNDED}
        or carried > 0
    )
    nothing = Decimal(0)

    def ask() -> PaymentStatus:
        return void_refund(
            status,
            payment,
            amount_paid=nothing,
            credits_applied=nothing,
            refunded=nothing,
            carried_credit=carried,
        ).payment_status

    if refused:
        with pytest.raises(InvalidOperation):
            ask()
    else:
        assert ask() is payment


def test_an_invoice_is_voided_once() -> None:
    filled = top_up(wallet("pre", PRE), lot(50), at(1))
    done, after = finalized(invoice_of("10"), [filled.holdings])
    taken = taken_by(done, [filled.holdings])
    store = MemoryStore(customers={ACME: "acme"})
    for posted in (filled, *done.posted):
        store.commit(Changes(posted=(posted,)))
    found = void(done.invoice, taken, after, LATER)
    store.commit(Changes(posted=found.posted, invoices=(found.invoice,)))
    with pytest.raises(InvalidOperation):
        void(found.invoice, taken, after, LATER)
    # Another writer who read the invoice before it was void comes too late.
    (held,) = store.wallets_of(ACME)
    again = void(done.invoice, taken, [held], LATER)
    with pytest.raises(VersionConflict):
        store.commit(Changes(posted=again.posted, invoices=(again.invoice,)))


amounts = st.decimals("0.01", 500, places=2)
rates = st.sampled_from(["1", "0.01", "3", "0.333333333", "7.5"])
lots_drawn = st.lists(st.decimals("0.000000001", 400, places=9), min_size=1, max_size=4)


@given(st.lists(amounts, min_size=1, max_size=3), lots_drawn, rates, lots_drawn, rates)
def test_voiding_gives_back_exactly_what_was_taken(
    lines: list[Decimal],
    pre_lots: list[Decimal],
    pre_rate: str,
    post_lots: list[Decimal],
    post_rate: str,
) -> None:
    before = [
        wallet("post", POST, *(lot(each) for each in post_lots), rate=post_rate),
        wallet("pre", PRE, *(lot(each) for each in pre_lots), rate=pre_rate),
    ]
    done, after = finalized(invoice_of(*lines), before)
    found = void(done.invoice, taken_by(done, before), after, LATER)
    returned = {posted.holdings.wallet.id: posted.holdings for posted in found.posted}
    for held, left in zip(before, after, strict=True):
        now = returned.get(held.wallet.id, left)
        assert settled_credits(now, LATER) == settled_credits(held, LATER)
    entries = [entry for posted in (*done.posted, *found.posted) for entry in posted.entries]
    debited = total(entry.amount for entry in entries if entry.type is EntryType.DEBIT)
    credited = total(entry.amount for entry in entries if entry.type is EntryType.CREDIT)
    assert debited == credited == found.refund.refund + found.refund.credits_returned
    postings = [part for posted in (*done.posted, *found.posted) for part in posted.postings]
    for entry in entries:
        assert total(part.value for part in postings if part.entry_id == entry.id) == 0
    # The accounts of the wallets and of rounding are as if the invoice had never been.
    accounts = {part.account for part in postings if part.account.startswith(("wallet", "round"))}
    for account in accounts:
        assert total(part.value for part in postings if part.account == account) == 0


@given(amounts, rates)
def test_money_back_is_one_lot_without_expiry(amount: Decimal, rate: str) -> None:
    held = money_back_wallet([wallet("pre", PRE, rate=rate)], ACME, "USD", THEN)
    posted = give_back(held, amount, THEN, key="change")
    (entry,), (made,) = posted.entries, posted.lots
    assert (entry.amount, entry.reason, made.expires_at) == (amount, Reason.CREDIT_NOTE, None)
    assert abs(made.credits * Decimal(rate) - amount) <= Decimal(rate) * Decimal("0.0000000005")
    assert total(part.value for part in posted.postings) == 0
    assert give_back(held, Decimal(0), THEN, key="change").entries == ()


def test_the_money_back_wallet_is_the_active_prepaid_one_of_the_currency() -> None:
    closed = terminate(wallet("old", PRE), THEN).holdings
    others = [closed, wallet("post", POST), wallet("euros", PRE, currency="eur")]
    opened = money_back_wallet(others, ACME, "usd", THEN)
    assert opened.wallet.id not in {held.wallet.id for held in others}
    assert money_back_wallet([*others, opened], ACME, "usd", THEN) is opened
    # A second wallet that is opened after a first one was closed has an id of its own.
    shut = terminate(opened, THEN).holdings
    assert money_back_wallet([*others, shut], ACME, "usd", THEN).wallet.id != opened.wallet.id
