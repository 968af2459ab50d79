"""The laws of the ledger, each by its name (wallets-alerts.md 15), over any story of a wallet."""

from collections import defaultdict
from decimal import Decimal
from itertools import groupby, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from law_settings import LAW, MONEY
from ledger_stories import (
    Book,
    Kind,
    Story,
    asked,
    balance_after,
    instant,
    limits,
    moved,
    rates,
    steps,
)

from billing.ports import Changes
from billing.stores.memory import MemoryStore
from billing.wallets.holdings import Holdings, Posted, balance, settled_credits
from billing.wallets.lots import draw, live, spendable
from schemas.errors import Refused, VersionConflict
from schemas.wallet import EntryType, Reason

# Ten thousand examples take their time on a machine that others use too.
pytestmark = pytest.mark.timeout(600)

NOTHING = Decimal(0)


@MONEY
@given(steps, rates, limits)
def test_postings_sum_to_zero(story: Story, rate: Decimal, limit: Decimal) -> None:
    """For every currency, and for every entry alone: money moves and is never made or lost."""
    book = Book(rate, limit).play(story)
    by_entry: dict[str, Decimal] = defaultdict(Decimal)
    for posting in book.postings:
        by_entry[posting.entry_id] += posting.value
    assert set(by_entry) <= {entry.id for entry in book.entries}
    assert all(value == 0 for value in by_entry.values())
    # An entry without postings is worth nothing.
    assert all(entry.id in by_entry or not entry.amount for entry in book.entries)
    for _, postings in groupby(book.postings, key=lambda posting: posting.currency):
        assert sum(posting.value for posting in postings) == 0


@MONEY
@given(steps, rates, limits)
def test_lots_balance(story: Story, rate: Decimal, limit: Decimal) -> None:
    """Each lot is what was consumed, what expired and what remains; so is the wallet."""
    book = Book(rate, limit).play(story)
    reasons = {entry.id: entry.reason for entry in book.entries}
    consumed: dict[str, Decimal] = defaultdict(Decimal)
    expired: dict[str, Decimal] = defaultdict(Decimal)
    for part in book.consumptions:
        assert part.credits > 0
        ended = reasons[part.entry_id] is Reason.CREDIT_EXPIRED
        (expired if ended else consumed)[part.lot_id] += part.credits
    remaining = {lot.id: lot.remaining for lot in book.held.lots}
    for lot in book.lots:
        left = remaining.get(lot.id, NOTHING)
        assert left >= 0
        assert lot.credits == consumed[lot.id] + expired[lot.id] + left
    granted = sum((lot.credits for lot in book.lots), NOTHING)
    used = sum((*consumed.values(), *expired.values()), NOTHING)
    assert granted - used - sum(remaining.values(), NOTHING) == 0


@LAW
@given(steps, rates, limits)
def test_the_balance_is_the_ledger(story: Story, rate: Decimal, limit: Decimal) -> None:
    """It is the running sum less what expired and is not swept; where it is ≥ 0, the live lots."""
    book, at = Book(rate, limit).play(story), instant(len(story))
    running = sum(moved(book.entries), NOTHING)
    dead = sum((lot.remaining for lot in book.held.lots if not live(lot, at)), NOTHING)
    settled = balance_after(book, at)
    assert settled == running - dead
    alive = sum((lot.remaining for lot in book.held.lots if live(lot, at)), NOTHING)
    assert max(settled, NOTHING) == alive or book.held.debts


@LAW
@given(steps, rates, limits)
def test_no_balance_falls_below_zero_or_the_overdraft(
    story: Story, rate: Decimal, limit: Decimal
) -> None:
    """At every instant, also between the writes, where lots expire by themselves."""
    book = Book(rate, limit)
    for number, step in enumerate(story):
        assert balance(book.held, instant(number)) >= -limit
        book.do(step, number)
        assert balance(book.held, instant(number)) >= -limit


@LAW
@given(steps, rates, limits)
def test_the_chain_of_entries_has_no_gap(story: Story, rate: Decimal, limit: Decimal) -> None:
    """Sequences are 1, 2, 3 …, and each write begins where the one before it ended."""
    book = Book(rate, limit).play(story)
    assert [entry.sequence for entry in book.entries] == list(range(1, len(book.entries) + 1))
    assert len({entry.id for entry in book.entries}) == len(book.entries)
    assert all(done.posted.base == done.before.sequence for done in book.writes)
    for one, other in pairwise(book.writes):
        assert one.posted.holdings.running == other.before.running
    assert book.held.running == sum(moved(book.entries), NOTHING)
    if book.writes:
        assert book.writes[0].before.running == 0


@LAW
@given(steps, rates, st.sets(st.integers(0, 6)))
def test_sweeps_change_no_balance_no_consumption_and_no_settlement(
    story: Story, rate: Decimal, swept: set[int]
) -> None:
    """Adding, dropping or repeating sweeps writes the same debits out of the same lots."""
    lazy, eager = Book(rate), Book(rate)
    for number, step in enumerate(story):
        # What a period that ends now may claim is waiting, so the job would not sweep it.
        claims = step[0] is Kind.PAY and step[2] % 2
        if number in swept and not claims:
            eager.sweep(instant(number))
            eager.sweep(instant(number))
        if step[0] is not Kind.SWEEP:
            assert lazy.do(step, number) == eager.do(step, number)
        at = instant(number)
        assert settled_credits(lazy.held, at) == settled_credits(eager.held, at)
    assert _taken(lazy) == _taken(eager)


def _taken(book: Book) -> list[tuple[Reason, Decimal, Decimal, tuple[tuple[Decimal, object], ...]]]:
    """Return the debits that somebody asked for, each with the lots that they came from."""
    born = {lot.id: lot.created_at for lot in book.lots}
    return [
        (
            entry.reason,
            entry.credits,
            entry.amount,
            tuple(
                (part.credits, born[part.lot_id])
                for part in book.consumptions
                if part.entry_id == entry.id
            ),
        )
        for entry in book.entries
        if entry.type is EntryType.DEBIT and entry.reason is not Reason.CREDIT_EXPIRED
    ]


@LAW
@given(steps, st.integers(1, 60_000), st.randoms(use_true_random=False), st.booleans())
def test_consumption_does_not_depend_on_the_order_of_rows(
    story: Story, cents: int, random: Random, ended: bool
) -> None:
    book, at = Book().play(story), instant(len(story))
    mixed = list(book.held.lots)
    random.shuffle(mixed)
    end = at if ended else None
    wanted = Decimal(cents).scaleb(-2)
    one = draw(spendable(book.held.lots, at, end), wanted)
    assert one == draw(spendable(mixed, at, end), wanted)
    # Nothing that comes later in the order is touched while something before it is left.
    assert all(part.credits == part.lot.remaining for part in one[0][:-1])


@LAW
@given(steps, rates, limits)
def test_the_same_requests_at_the_same_instants_write_the_same_rows(
    story: Story, rate: Decimal, limit: Decimal
) -> None:
    assert repr(Book(rate, limit).play(story).writes) == repr(Book(rate, limit).play(story).writes)


def stored(story: Story, rate: Decimal) -> MemoryStore:
    """Return a store with everything that a story writes."""
    store = MemoryStore()
    for done in Book(rate).play(story).writes:
        store.commit(Changes(posted=(done.posted,)))
    return store


@LAW
@given(steps, rates, steps)
def test_a_refused_write_leaves_every_table_as_it_was(
    story: Story, rate: Decimal, more: Story
) -> None:
    """Also one that is refused in the middle of a decision, after something was committed."""
    store = stored(story, rate)
    before = repr(store.tables)
    held = Book(rate).play(story).held
    for number, step in enumerate(more, len(story)):
        try:
            asked(held, step, number)
        except Refused:
            assert repr(store.tables) == before
    # A write that was decided before somebody else wrote is refused as a whole.
    stale = [posted for posted in _written(held, more, len(story)) if posted.entries]
    for posted in stale[:1]:
        try:
            with store.deciding(held.wallet.customer_id) as deciding:
                deciding.commit(Changes(posted=(posted,)))
                deciding.commit(Changes(posted=(posted,)))
        except VersionConflict:
            assert repr(store.tables) == before
        else:
            raise AssertionError("the second of two equal writes was not refused")


def _written(held: Holdings, story: Story, start: int) -> list[Posted]:
    """Return what each step would write to the same wallet, refusals left out."""
    found = []
    for number, step in enumerate(story, start):
        try:
            found.append(asked(held, step, number))
        except Refused:
            continue
    return found


@LAW
@given(steps, rates)
def test_a_request_that_is_sent_twice_is_done_once(story: Story, rate: Decimal) -> None:
    """Whatever has happened since: the key finds what the first one wrote."""
    book = Book(rate).play(story)
    entries = {entry.idempotency_key: entry for entry in book.entries}
    for number, step in enumerate(story):
        recorded = entries.get(f"k{number}")
        if recorded is None or step[0] not in {Kind.TOP_UP, Kind.DEBIT}:
            continue
        again = asked(book.held, step, number, recorded=recorded)
        assert again.replays == recorded.id
        assert (again.entries, again.lots, again.consumptions, again.postings) == ((), (), (), ())
        assert again.holdings == book.held
