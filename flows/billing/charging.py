"""Charge: the stateful step that says what the customers of one shard come to.

It keeps the cumulative usage of its customers. At each flush it bills those whose usage changed, as
functions of all their usage: charges, invoices of periods that close, what those take from wallets,
ongoing balances and alerts. Doing it again gives the same bill, and a later bill takes the place of
an earlier one, so no result depends on batches, flushes or repetition.

This is the first form. Incremental are which customers are billed again and which of their periods
are read again; each is billed from its first period on, in the memory store, and between flushes
nothing but usage is kept. So an invoice that was finalized changes when an event of its period
comes later. With SQL stores behind the same ports, invoices and alert states will stay where they
were committed, and a flush will judge the open periods alone (`billing.wallets.running_charges`).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from billing.accounts import Account
from billing.periods.services import FINALIZATION_DELAY
from billing.running import bill_account
from flows.billing.batches import CustomerBill, ShardedUsage
from flows.billing.cumulative import CumulativeUsage
from flows.billing.dues import next_due
from flows.billing.open_charges import open_charges
from flows.billing.reading import BillUsage, Edges, Remembered
from schemas.errors import Refused

# A flush of the live form makes room for new usage, and for the end, after so long.
FLUSH_SECONDS_MAX = 0.25
# The first instant that has an event of a window behind it is the one after its start.
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ChargeSettings:
    """By when customers are billed, and the instants at which their balances are watched.

    `as_of` is asked at each flush; whoever runs the flow says what time it is. With `flush_every`
    of None a shard is billed only when its input ends. With a `tick` the flow is live: so often it
    looks whose bill is changed by time alone, an event of the running minute counts at once, and
    nothing is kept for recovery, since it is built anew from stored usage.
    """

    as_of: Callable[[], datetime]
    observe: tuple[datetime, ...] = ()
    flush_every: timedelta | None = None
    delay: timedelta = FINALIZATION_DELAY
    tick: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ChargeSnapshot:
    """What recovery needs of a shard: its rows and members as Arrow streams.

    None where there is no recovery: Bytewax asks for snapshots all the same.
    """

    shard: int
    payload: tuple[bytes, bytes] | None


class ChargeLogic(StatefulBatchLogic[ShardedUsage, CustomerBill, ChargeSnapshot]):
    """The state of one shard of customers; see the module for its rules.

    Bytewax does not tell a logic its key, so a new shard learns its number from its first batch.
    """

    def __init__(
        self,
        settings: ChargeSettings,
        accounts: Callable[[int], Sequence[Account]],
        edges: Edges,
        snapshot: ChargeSnapshot | None,
    ):
        self._settings = settings
        self._accounts_of = accounts
        self._edges = edges
        self._shard = -1
        self._usage = CumulativeUsage(snapshot.payload if snapshot else None)
        self._known = Remembered()
        self._accounts: Mapping[str, list[Account]] = {}
        # Customers whose bill is to be made, by the names that rows know them by, first come first
        # served; those with news before those for whom only time has passed.
        self._changed: dict[str, None] = {}
        self._elapsed: dict[str, None] = {}
        # When time alone changes a bill, by the clock of the settings.
        self._due_at: dict[str, datetime] = {}
        # When to be woken, by the clock of the machine.
        self._wake_at: datetime | None = None
        if snapshot is not None:
            self._open(snapshot.shard)

    def _open(self, shard: int) -> None:
        """Take up the accounts of a shard; all of them wait for a bill, after a restart again."""
        self._shard = shard
        self._accounts = _by_name(self._accounts_of(shard))
        self._changed = dict.fromkeys(self._accounts)
        if self._settings.flush_every is not None:
            self._wake_at = datetime.now(UTC)

    def on_batch(self, values: Sequence[ShardedUsage]) -> tuple[Iterable[CustomerBill], bool]:
        """Take in usage; it is billed at the next flush."""
        if self._shard < 0:
            self._open(values[0].shard)
        self._usage.add([value.usage for value in values])
        if self._settings.flush_every is not None:
            flush_at = datetime.now(UTC) + self._settings.flush_every
            self._wake_at = min(self._wake_at or flush_at, flush_at)
        return [], self.RETAIN

    def on_notify(self) -> tuple[Iterable[CustomerBill], bool]:
        """Bill those whose usage has changed, and those whose time has come."""
        tick = self._settings.tick
        if tick is None:
            self._wake_at = None
            return self._flush(), self.RETAIN
        found = self._flush(time.monotonic() + FLUSH_SECONDS_MAX)
        rest = self._changed or self._elapsed
        self._wake_at = datetime.now(UTC) + (timedelta(0) if rest else tick)
        return found, self.RETAIN

    def on_eof(self) -> tuple[Iterable[CustomerBill], bool]:
        """Bill those whose usage has changed: the input ends, the periods do not.

        The live form ends because the process does, which nobody should wait for.
        """
        return [] if self._settings.tick is not None else self._flush(), self.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken for the next flush."""
        return self._wake_at

    def snapshot(self) -> ChargeSnapshot:
        """Return the usage of the shard; whoever waits for a bill is found anew after a restart."""
        if self._settings.tick is not None:
            return ChargeSnapshot(self._shard, None)
        self._settle()
        return ChargeSnapshot(self._shard, self._usage.payload())

    def _settle(self) -> None:
        """Merge what was taken in; those for whom it was news wait for a bill."""
        changes = self._usage.settle()
        self._known.forget(changes)
        for change in changes:
            if change.external_customer_id in self._accounts:
                self._changed[change.external_customer_id] = None

    def _flush(self, until: float | None = None) -> list[CustomerBill]:
        """Return the bills of those who wait for one, of as many as there is time for."""
        self._settle()
        at = self._settings.as_of()
        passed = [name for name, due in self._due_at.items() if due <= at]
        self._elapsed |= dict.fromkeys(passed)
        bills: list[CustomerBill] = []
        for name in [*self._changed, *self._elapsed]:
            if until is not None and bills and time.monotonic() > until:
                break
            if name in self._changed or name in self._elapsed:
                found = [self._bill(account, at) for account in self._accounts[name]]
                self._forget_waiting(name)
                self._note_due(name, found)
                bills += found
        return bills

    def _forget_waiting(self, name: str) -> None:
        """Take a customer off both lists of those who wait."""
        self._changed.pop(name, None)
        self._elapsed.pop(name, None)

    def _note_due(self, name: str, bills: Sequence[CustomerBill]) -> None:
        """Note when a customer has to be billed next, though nothing comes in.

        What was refused will be refused again, until something comes in.
        """
        self._due_at.pop(name, None)
        if self._settings.tick is None:
            return
        due: list[datetime] = []
        for bill in bills:
            if isinstance(bill.outcome, Refused):
                continue
            at = next_due(bill.account, bill.at, self._settings.delay)
            # Rows of windows that begin later, as events from a clock that is ahead make them.
            window = self._usage.first_window_since(name, bill.at)
            due += [] if at is None else [at]
            due += [] if window is None else [window + MICROSECOND]
        if due:
            self._due_at[name] = min(due)

    def _bill(self, account: Account, at: datetime) -> CustomerBill:
        """Bill one customer; a refusal is its outcome, since an exception would end the flow."""
        settings = self._settings
        live = settings.tick is not None
        # A period that ends right now has ended: what is later in its last minute is not of it.
        ends = self._due_at.get(account.external_id) == at
        usage = BillUsage(
            self._usage,
            self._edges,
            self._known,
            account.external_id,
            running_minute=at if live and not ends else None,
        )
        try:
            run = bill_account(
                account, usage, as_of=at, observe=settings.observe, delay=settings.delay
            )
            charges = open_charges(account, usage, at) if live else ()
        except Refused as refusal:
            return CustomerBill(account, at, refusal)
        usage.keep()
        return CustomerBill(account, at, run, charges)


def _by_name(accounts: Iterable[Account]) -> Mapping[str, list[Account]]:
    """Return accounts by the names that rows know them by, in the order given."""
    found: dict[str, list[Account]] = {}
    for account in accounts:
        found.setdefault(account.external_id, []).append(account)
    return found


def by_shard(accounts: Iterable[Account], shards: Sequence[int]) -> Mapping[int, list[Account]]:
    """Return accounts by the shard that each is in, in the order given.

    >>> by_shard([], [])
    {}
    """
    found: dict[int, list[Account]] = {}
    for account, shard in zip(accounts, shards, strict=True):
        found.setdefault(shard, []).append(account)
    return found
