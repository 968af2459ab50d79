"""Many writers at once: nothing is lost, nothing is taken twice, and no number is skipped."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from threading import Barrier
from typing import TypeVar

import pytest
from money_records import ACME, DAY, WALLET, filled, invoice, line, row
from sqlalchemy import select

from billing.invoices.numbers import Numbering, next_number, series_of
from billing.ports import Changes, Redemption, Stores
from billing.stores.database import Database, open_database
from billing.stores.ledger_models import EntryRow, PostingRow
from billing.stores.memory import MemoryStore
from billing.stores.money import SqlStores
from billing.stores.money_models import OutboxMessageRow
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import Debit, TopUp, debit, top_up
from schemas.coupon import CouponId
from schemas.errors import AlreadyExists, InvalidOperation, StoreError, VersionConflict
from schemas.ids import CustomerId, InvoiceId, WalletId
from schemas.money import total
from schemas.wallet import Entry, Posting, Reason

WRITERS = 64
# A writer that waits too long for its turn is told, and asks again: so often, and no more.
ATTEMPTS_MAX = 20
NUMBERING = Numbering()
SERIES = series_of(NUMBERING, DAY)

Make = Callable[[str], Stores]
Result = TypeVar("Result")
KINDS = ["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.requires("postgres"))]


@pytest.fixture(params=KINDS)
def stores(request: pytest.FixtureRequest, fresh_stores: Make) -> Stores:
    return fresh_stores(request.param)


def at_once(act: Callable[[int], Result], writers: int = WRITERS) -> list[Result]:
    """Let writers act at the same time, and return what came of each."""
    together = Barrier(writers)

    def start(number: int) -> Result:
        together.wait(30)
        return act(number)

    with ThreadPoolExecutor(writers) as threads:
        return list(threads.map(start, range(writers)))


def insisting(act: Callable[[], Result]) -> Result:
    """Act until it is not too busy. Nobody is outrun: a VersionConflict would be a bug."""
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            return act()
        except StoreError:
            continue
    return act()


def ledger(stores: Stores) -> tuple[Sequence[Entry], Sequence[Posting]]:
    """Return all entries of the one wallet in their order, and all postings."""
    if isinstance(stores, MemoryStore):
        return stores.tables.entries, stores.tables.postings
    assert isinstance(stores, SqlStores)
    tenant = stores._scope.tenant_id
    with stores._database.reading() as session:
        entries = select(EntryRow).where(EntryRow.tenant_id == tenant).order_by(EntryRow.sequence)
        postings = select(PostingRow).where(PostingRow.tenant_id == tenant)
        return session.scalars(entries).all(), session.scalars(postings).all()


def moved(held: Holdings, number: int) -> Posted:
    """Take 5 credits, or add 2, under a key of the writer's own."""
    if number % 2:
        return debit(held, Debit(Decimal(5), Reason.MANUAL_BALANCE_DEBIT, f"k{number}"), DAY)
    request = TopUp(Reason.CREDIT_NOTE, Decimal(2), idempotency_key=f"k{number}")
    return top_up(held, request, DAY)


def check_ledger(stores: Stores, moves: list[int], start: int) -> None:
    """What 64 writers were told is what the ledger says."""
    entries, postings = ledger(stores)
    assert [each.sequence for each in entries] == list(range(1, len(entries) + 1))
    assert len(entries) == 1 + sum(1 for move in moves if move)
    held = stores.holdings(WALLET.id)
    assert held is not None
    assert held.running == start + sum(moves)
    assert total(lot.remaining for lot in held.lots) == held.running >= 0
    assert held.debts == ()
    for entry in entries:
        sides = [side.value for side in postings if side.entry_id == entry.id]
        assert (len(sides), total(sides)) == (2, 0)
        if entry.idempotency_key is not None:
            found = stores.entry_of(entry.idempotency_key)
            assert found is not None
            assert found.id == entry.id


def test_one_wallet_bears_many_writers(stores: Stores) -> None:
    stores.commit(Changes(posted=(filled(amount=20),)))

    def move(number: int) -> int:
        def decide() -> int:
            with stores.deciding(ACME) as held:
                known = held.holdings(WALLET.id)
                assert known is not None
                try:
                    posted = moved(known, number)
                except InvalidOperation:
                    return 0
                held.commit(Changes(posted=(posted,), outbox=(row(f"m{number}"),)))
                return -5 if number % 2 else 2

        return insisting(decide)

    moves = at_once(move)
    # What there is pays for more than the first debits, and not for all of them.
    assert 4 <= moves.count(-5) < WRITERS // 2
    assert moves.count(2) == WRITERS // 2
    check_ledger(stores, moves, 20)
    if isinstance(stores, SqlStores):
        told = select(OutboxMessageRow.id).where(
            OutboxMessageRow.tenant_id == stores._scope.tenant_id
        )
        with stores._database.reading() as session:
            names = list(session.scalars(told.order_by(OutboxMessageRow.sequence)))
        # They are told in the order in which they were committed.
        keys = [each.idempotency_key for each in ledger(stores)[0][1:]]
        assert names == [f"m{str(key)[1:]}" for key in keys]


def test_writers_without_a_lock_are_refused_and_not_lost(stores: Stores) -> None:
    stores.commit(Changes(posted=(filled(amount=100),)))

    def move(number: int) -> int:
        conflicts = 0
        while True:
            known = stores.holdings(WALLET.id)
            assert known is not None
            try:
                insist_committing(stores, moved(known, number))
            except VersionConflict:
                # Each conflict means that somebody else got through.
                conflicts += 1
                assert conflicts < 16
                continue
            return -5 if number % 2 else 2

    moves = at_once(move, 16)
    check_ledger(stores, moves, 100)


def insist_committing(stores: Stores, posted: Posted) -> None:
    """Commit once it is not too busy."""
    for _ in range(ATTEMPTS_MAX):
        try:
            stores.commit(Changes(posted=(posted,)))
        except StoreError:
            continue
        return
    raise StoreError("never our turn")


def test_numbers_have_no_gap_whoever_takes_them(stores: Stores) -> None:
    def finalize(number: int) -> str:
        customer = CustomerId(f"c{number}")
        made = invoice(f"i{number}", line(f"l{number}", f"c{number}"), customer_id=customer)

        def decide() -> str:
            with stores.deciding(customer) as held:
                taken = next_number(NUMBERING, DAY, held.last_number(SERIES))
                numbered = replace(made, invoice_number=taken.text)
                held.commit(Changes(invoices=(numbered,), numbers=(taken,)))
                if number % 8 == 0 and number not in failed:
                    # Somebody who stops half-way gives the number back.
                    failed.add(number)
                    raise StoreError("cut off")
                return taken.text

        return insisting(decide)

    failed: set[int] = set()
    texts = at_once(finalize)
    assert sorted(texts) == [f"INV-202601-{number:05}" for number in range(1, WRITERS + 1)]
    assert stores.last_number(SERIES) == WRITERS
    for number, text in enumerate(texts):
        found = stores.invoice(InvoiceId(f"i{number}"))
        assert found is not None
        assert found.invoice_number == text


def test_a_coupon_is_redeemed_as_often_as_it_may_be(stores: Stores) -> None:
    coupon = CouponId("coupon")

    def redeem(number: int) -> bool:
        def decide() -> bool:
            with stores.deciding(CustomerId(f"c{number}")) as held:
                if len(held.redeemed_by(coupon)) >= 10:
                    return False
                held.commit(Changes(redemptions=(Redemption(coupon, f"s{number}", DAY),)))
                return True

        return insisting(decide)

    redeemed = at_once(redeem)
    assert sum(redeemed) == 10
    assert stores.redeemed_by(coupon) == {
        f"s{number}" for number, done in enumerate(redeemed) if done
    }


def test_one_of_many_opens_the_wallet(stores: Stores) -> None:
    def open_one(number: int) -> str:
        wallet = replace(WALLET, id=WalletId(f"w{number}"))
        try:
            insist_committing(stores, Posted(0, Holdings(wallet)))
        except AlreadyExists:
            return "refused"
        return wallet.id

    came = Counter(at_once(open_one, 16))
    assert came.pop("refused") == 15
    assert [held.wallet.id for held in stores.wallets_of(ACME)] == list(came)


def test_one_of_many_bills_a_service(stores: Stores) -> None:
    def bill(number: int) -> bool:
        # Two payers, so that no lock keeps them apart.
        owner = CustomerId(f"payer {number % 2}")
        made = invoice(f"i{number}", line(f"l{number}"), customer_id=owner)

        def commit() -> bool:
            try:
                stores.commit(Changes(invoices=(made,)))
            except AlreadyExists:
                return False
            return True

        return insisting(commit)

    assert sum(at_once(bill, 16)) == 1


def test_processes_share_one_file(migrated: Callable[[str], Database], fresh_stores: Make) -> None:
    first = fresh_stores("sqlite")
    assert isinstance(first, SqlStores)
    # Each has a turn of its own, as in another process.
    others = [open_database(str(migrated("sqlite").engine.url)) for _ in range(3)]
    all_stores = [first, *(SqlStores(other, first._scope) for other in others)]
    first.commit(Changes(posted=(filled(amount=20),)))

    def move(number: int) -> int:
        stores = all_stores[number % 4]

        def decide() -> int:
            with stores.deciding(ACME) as held:
                known = held.holdings(WALLET.id)
                assert known is not None
                held.commit(Changes(posted=(moved(known, 2 * number),)))
                return 2

        return insisting(decide)

    moves = at_once(move, 16)
    check_ledger(first, moves, 20)
    for other in others:
        other.close()
