"""Stories of one wallet: what is done to it hour by hour, and everything that its ledger wrote.

A step is a kind, an amount in cents and a number that says the rest.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from hypothesis import strategies as st

from billing.wallets.holdings import Holdings, Posted, settled_credits
from billing.wallets.ledger import Debit, TopUp, debit, sweep, take, terminate, top_up
from schemas.errors import Refused
from schemas.ids import CustomerId, WalletId
from schemas.wallet import Consumption, Entry, EntryType, Lot, Posting, Reason, Wallet, WalletType

DAY = datetime(2026, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Kind(StrEnum):
    """What can be done to a wallet."""

    TOP_UP = "top up"
    DEBIT = "debit"
    PAY = "pay"
    SWEEP = "sweep"
    TERMINATE = "terminate"


# How often each is done in a hundred steps.
OFTEN = [*[Kind.TOP_UP] * 40, *[Kind.DEBIT] * 25, *[Kind.PAY] * 25, *[Kind.SWEEP] * 7]
OFTEN += [Kind.TERMINATE] * 3

# An amount of at most 200.00, and the 36 values of the number that says the rest.
CENTS_MAX, MORE = 20_000, 36

Step = tuple[Kind, int, int]
Story = Sequence[Step]


def step_of(drawn: int) -> Step:
    """Return the step that a number stands for: numbers are drawn several times as fast as rows."""
    rest, kind = divmod(drawn, len(OFTEN))
    cents, more = divmod(rest, MORE)
    return OFTEN[kind], cents + 1, more


steps: st.SearchStrategy[list[Step]] = st.lists(
    st.integers(0, len(OFTEN) * MORE * CENTS_MAX - 1).map(step_of), max_size=6
)
rates = st.sampled_from([Decimal("1"), Decimal("0.01"), Decimal("0.37"), Decimal(3)])
limits = st.sampled_from([Decimal(0), Decimal(50)])


@dataclass(frozen=True, slots=True)
class Done:
    """A write, the instant of it, and what the wallet held before."""

    at: datetime
    before: Holdings
    posted: Posted


class Book:
    """A wallet and all rows of its ledger."""

    def __init__(self, rate: Decimal = Decimal(1), limit: Decimal = Decimal(0)) -> None:
        self.held = Holdings(
            Wallet(
                WalletId("w"),
                CustomerId("c"),
                "usd",
                WalletType.PRE_PAID,
                DAY,
                conversion_rate=rate,
                topup_conversion_rate=rate,
                overdraft_limit=limit,
            )
        )
        self.writes: list[Done] = []

    @property
    def entries(self) -> list[Entry]:
        return [each for done in self.writes for each in done.posted.entries]

    @property
    def lots(self) -> list[Lot]:
        return [each for done in self.writes for each in done.posted.lots]

    @property
    def consumptions(self) -> list[Consumption]:
        return [each for done in self.writes for each in done.posted.consumptions]

    @property
    def postings(self) -> list[Posting]:
        return [each for done in self.writes for each in done.posted.postings]

    def write(self, posted: Posted, at: datetime) -> None:
        self.writes.append(Done(at, self.held, posted))
        self.held = posted.holdings

    def sweep(self, at: datetime) -> None:
        self.write(sweep(self.held, at), at)

    def play(self, story: Story, *, start: int = 0) -> "Book":
        """Do one step an hour; what is refused is left out."""
        for number, step in enumerate(story, start):
            self.do(step, number)
        return self

    def do(self, step: Step, number: int) -> bool:
        """Do one step, the `number`th of its story; tell whether it was accepted."""
        at = instant(number)
        try:
            self.write(asked(self.held, step, number), at)
        except Refused:
            return False
        return True


def instant(number: int) -> datetime:
    """Return when the `number`th step of a story is done."""
    return DAY + HOUR * number


def asked(held: Holdings, step: Step, number: int, *, recorded: Entry | None = None) -> Posted:
    """Return what a step writes to a wallet. Raises Refused where a rule forbids it.

    The last number of a step is the hours to an expiry and the priority of a lot, or whether a
    payment is for a period that ends at that instant.
    """
    kind, cents, more = step
    amount, at, key = Decimal(cents).scaleb(-2), instant(number), f"k{number}"
    match kind:
        case Kind.TOP_UP:
            hours, priority = more % 6, (None, None, None, 0, 1, 2)[more // 6]
            expiry = at + HOUR * hours if hours else None
            added = TopUp(
                Reason.CREDIT_NOTE,
                amount,
                priority=priority,
                expires_at=expiry,
                idempotency_key=key,
            )
            return top_up(held, added, at, recorded=recorded)
        case Kind.DEBIT:
            request = Debit(amount, Reason.MANUAL_BALANCE_DEBIT, key)
            return debit(held, request, at, recorded=recorded)
        case Kind.PAY:
            end = at if more % 2 else None
            return take(held, amount, at, invoice_id=key, period_end=end)
        case Kind.SWEEP:
            return sweep(held, at)
        case Kind.TERMINATE:
            return terminate(held, at)


def moved(entries: Iterable[Entry]) -> Iterator[Decimal]:
    """Yield how far each entry moves the running sum of its wallet."""
    for entry in entries:
        yield entry.credits if entry.type is EntryType.CREDIT else -entry.credits


def balance_after(book: Book, at: datetime) -> Decimal:
    """Return the settled balance of a book's wallet in credits."""
    return settled_credits(book.held, at)
