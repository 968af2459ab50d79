"""The ledger: tables of refusals, then laws that hold after any story (wallets-alerts.md 15)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.wallets.holdings import Holdings, Posted, balance, payable, settled_credits
from billing.wallets.ledger import Debit, TopUp, debit, sweep, take, terminate, top_up
from billing.wallets.lots import live
from schemas.errors import AlreadyExists, InvalidOperation, Refused, ValidationFailed
from schemas.ids import CustomerId, WalletId
from schemas.wallet import Entry, EntryType, Reason, Wallet, WalletStatus, WalletType

DAY = datetime(2026, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def opened(rate: str = "1", *, topup: str | None = None, limit: str = "0") -> Holdings:
    return Holdings(
        Wallet(
            WalletId("w"),
            CustomerId("c"),
            "usd",
            WalletType.PRE_PAID,
            DAY,
            conversion_rate=Decimal(rate),
            topup_conversion_rate=Decimal(topup or rate),
            overdraft_limit=Decimal(limit),
        )
    )


def filled(credits_added: str = "100", rate: str = "1", *, limit: str = "0") -> Holdings:
    return top_up(
        opened(rate, limit=limit), TopUp(Reason.CREDIT_NOTE, Decimal(credits_added)), DAY
    ).holdings


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (TopUp(Reason.CREDIT_NOTE), ValidationFailed),
        (TopUp(Reason.CREDIT_NOTE, Decimal(0)), ValidationFailed),
        (TopUp(Reason.CREDIT_NOTE, Decimal("0.0000000001")), ValidationFailed),
        (TopUp(Reason.CREDIT_NOTE, amount=Decimal(-1)), ValidationFailed),
        (TopUp(Reason.PURCHASED_CREDIT_BONUS, Decimal(1)), ValidationFailed),
        (TopUp(Reason.INVOICE_PAYMENT, Decimal(1)), ValidationFailed),
        (TopUp(Reason.CREDIT_NOTE, Decimal(1), priority=-1), ValidationFailed),
        (TopUp(Reason.CREDIT_NOTE, Decimal(1), expires_at=DAY), ValidationFailed),
    ],
)
def test_a_top_up_that_makes_no_sense_is_refused(request_: TopUp, error: type[Refused]) -> None:
    with pytest.raises(error):
        top_up(opened(), request_, DAY)


def test_an_amount_buys_credits_at_the_top_up_rate_and_is_worth_the_other() -> None:
    held = opened("0.01", topup="0.008")
    after = top_up(held, TopUp(Reason.PURCHASED_CREDIT_DIRECT, amount=Decimal(8)), DAY).holdings
    assert settled_credits(after, DAY) == 1000
    assert balance(after, DAY) == 10


@pytest.mark.parametrize(
    ("limit", "wanted", "refused"),
    [("0", "100", False), ("0", "100.01", True), ("20", "120", False), ("20", "120.01", True)],
)
def test_a_manual_debit_stops_at_the_overdraft_limit(
    limit: str, wanted: str, refused: bool
) -> None:
    held = filled(limit=limit)
    asked = Debit(Decimal(wanted), Reason.MANUAL_BALANCE_DEBIT, "k")
    if not refused:
        assert settled_credits(debit(held, asked, DAY).holdings, DAY) == 100 - Decimal(wanted)
        return
    with pytest.raises(InvalidOperation) as caught:
        debit(held, asked, DAY)
    assert caught.value.reason == "insufficient_balance"


def test_new_credits_repay_the_debt_first() -> None:
    held = filled("10", limit="20")
    owing = debit(held, Debit(Decimal(25), Reason.MANUAL_BALANCE_DEBIT, "k"), DAY).holdings
    repaid = top_up(owing, TopUp(Reason.CREDIT_NOTE, Decimal(40)), DAY + HOUR)
    assert [each.remaining for each in repaid.holdings.lots] == [Decimal(25)]
    assert [part.credits for part in repaid.consumptions] == [Decimal(15)]
    assert repaid.holdings.debts == ()


def test_a_repeated_key_appends_nothing_and_other_content_is_refused() -> None:
    first = top_up(opened(), TopUp(Reason.CREDIT_NOTE, Decimal(10), idempotency_key="k"), DAY)
    (entry,) = first.entries
    again = TopUp(Reason.CREDIT_NOTE, Decimal("10.00"), idempotency_key="k")
    replay = top_up(first.holdings, again, DAY + HOUR, recorded=entry)
    assert (replay.entries, replay.replays, replay.holdings) == ((), entry.id, first.holdings)
    other = TopUp(Reason.CREDIT_NOTE, Decimal(11), idempotency_key="k")
    with pytest.raises(AlreadyExists):
        top_up(first.holdings, other, DAY, recorded=entry)


def test_an_invoice_takes_whole_minor_units_and_leaves_the_dust() -> None:
    held = filled("0.996")
    posted = take(held, Decimal(1), DAY, invoice_id="i")
    assert posted.taken == Decimal("0.99")
    assert balance(posted.holdings, DAY) == Decimal("0.006")


def test_taking_nothing_writes_nothing() -> None:
    held = filled("0.004")
    posted = take(held, Decimal(1), DAY, invoice_id="i")
    assert posted == Posted(base=held.sequence, holdings=held)


def test_what_an_invoice_counts_differently_goes_to_rounding() -> None:
    held = filled(rate="3")
    posted = take(held, Decimal("1.00"), DAY, invoice_id="i")
    (entry,) = posted.entries
    assert (entry.credits, entry.amount) == (Decimal("0.333333333"), Decimal("1.00"))
    sides = {posting.account: posting.value for posting in posted.postings}
    assert sides == {
        "wallet:w": Decimal("-0.999999999"),
        "CREDIT_ADJUSTMENT": Decimal("1.00"),
        "rounding": Decimal("-0.000000001"),
    }


def test_closing_forfeits_everything_and_is_final() -> None:
    closed = terminate(filled(), DAY).holdings
    assert closed.wallet.wallet_status is WalletStatus.CLOSED
    assert closed.lots == ()
    assert settled_credits(closed, DAY) == 0
    with pytest.raises(InvalidOperation):
        terminate(closed, DAY)
    with pytest.raises(InvalidOperation):
        top_up(closed, TopUp(Reason.CREDIT_NOTE, Decimal(1)), DAY)


cents = st.integers(1, 20_000).map(lambda units: Decimal(units).scaleb(-2))
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("top_up"), cents, st.none() | st.integers(0, 6), st.none() | st.integers(0, 2)
        ),
        st.tuples(st.just("debit"), cents, st.none(), st.none()),
        st.tuples(st.just("pay"), cents, st.booleans(), st.none()),
        st.tuples(st.just("sweep"), st.just(Decimal(0)), st.none(), st.none()),
    ),
    max_size=12,
)


# What is done, the amount, the hours to expiry or whether a period ends, and the priority.
Step = tuple[str, Decimal, int | None, int | None]


class Book:
    """A wallet with everything that its ledger wrote."""

    def __init__(self, rate: str, limit: str) -> None:
        self.held = opened(rate, limit=limit)
        self.entries: list[Entry] = []
        self.posted: list[Posted] = []

    def write(self, posted: Posted) -> None:
        self.held = posted.holdings
        self.entries += posted.entries
        self.posted.append(posted)

    def play(self, story: list[Step], *, sweeping: bool) -> None:
        for number, (kind, amount, extra, priority) in enumerate(story):
            at = DAY + HOUR * number
            if sweeping and kind != "sweep":
                # A period that ends now waits for its invoice, which keeps the lots it may claim.
                waiting = at if kind == "pay" and extra else None
                self.write(sweep(self.held, at, unfinalized_end=waiting))
            if kind == "top_up":
                expiry = None if extra is None else at + HOUR * (extra + 1)
                added = TopUp(Reason.CREDIT_NOTE, amount, priority=priority, expires_at=expiry)
                self.write(top_up(self.held, added, at))
            elif kind == "debit":
                asked = Debit(amount, Reason.MANUAL_BALANCE_DEBIT, f"k{number}")
                try:
                    self.write(debit(self.held, asked, at))
                except InvalidOperation:
                    continue
            elif kind == "pay":
                end = at if extra else None
                self.write(take(self.held, amount, at, invoice_id=f"i{number}", period_end=end))
            elif sweeping:
                self.write(sweep(self.held, at))


@given(steps, st.sampled_from(["1", "0.01", "3"]), st.sampled_from(["0", "50"]))
def test_every_law_of_the_ledger_holds_after_any_story(
    story: list[Step], rate: str, limit: str
) -> None:
    book = Book(rate, limit)
    book.play(story, sweeping=False)
    at = DAY + HOUR * len(story)
    held = book.held
    # Conservation of money: each entry sums to 0.
    for posted in book.posted:
        for entry in posted.entries:
            assert sum(p.value for p in posted.postings if p.entry_id == entry.id) == 0
    # The chain: no gap, and the running sum is the sum of the entries.
    assert [entry.sequence for entry in book.entries] == list(range(1, len(book.entries) + 1))
    moved = [e.credits if e.type is EntryType.CREDIT else -e.credits for e in book.entries]
    assert held.running == sum(moved, Decimal(0))
    # The balance is the ledger, and lots add up to it.
    dead = sum((each.remaining for each in held.lots if not live(each, at)), Decimal(0))
    assert settled_credits(held, at) == held.running - dead
    assert balance(held, at) >= -Decimal(limit)
    # A lot is consumed as often as it says, and never below nothing.
    consumed: dict[str, Decimal] = {}
    for posted in book.posted:
        for part in posted.consumptions:
            assert part.credits > 0
            consumed[part.lot_id] = consumed.get(part.lot_id, Decimal(0)) + part.credits
    left = {each.id: each.remaining for each in held.lots}
    for posted in book.posted:
        for each in posted.lots:
            assert each.credits == consumed.get(each.id, Decimal(0)) + left.get(each.id, Decimal(0))


@given(steps)
def test_sweeps_change_no_balance_and_no_consumption_of_a_payment(story: list[Step]) -> None:
    lazy, eager = Book("1", "0"), Book("1", "0")
    lazy.play(story, sweeping=False)
    eager.play(story, sweeping=True)
    at = DAY + HOUR * len(story)
    assert settled_credits(lazy.held, at) == settled_credits(eager.held, at)
    assert [e.credits for e in lazy.entries if e.reason is Reason.MANUAL_BALANCE_DEBIT] == [
        e.credits for e in eager.entries if e.reason is Reason.MANUAL_BALANCE_DEBIT
    ]


@given(cents, cents)
def test_no_draw_exceeds_what_is_payable(held_credits: Decimal, wanted: Decimal) -> None:
    held = filled(str(held_credits), "0.37")
    posted = take(held, wanted, DAY, invoice_id="i")
    assert posted.taken == min(wanted, payable(held, DAY, None))
    assert balance(posted.holdings, DAY) >= 0
