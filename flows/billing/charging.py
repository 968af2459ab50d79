"""Charge: the stateful step that says what the customers of one shard come to, told as a story.

It keeps the cumulative usage of its customers. At each flush it bills those whose usage changed, as
functions of all their usage: charges, invoices of periods that close, what those take from wallets,
ongoing balances and alerts. Doing it again gives the same bill, and a later bill takes the place of
an earlier one, so no result depends on batches, flushes or repetition.

This is what `tally bill` runs: each customer is billed from its first period on, in the memory store.
For as long as a process lives `flows.billing.claiming` runs on stored money instead.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic

from billing.accounts import Account
from billing.periods.services import FINALIZATION_DELAY
from billing.running import bill_account
from flows.billing.batches import CustomerBill, ShardedUsage
from flows.billing.cumulative import CumulativeUsage
from flows.billing.reading import BillUsage, Edges, Remembered
from schemas.errors import Refused


@dataclass(frozen=True, slots=True)
class ChargeSettings:
    """By when customers are billed, and the instants at which their balances are watched.

    `as_of` is asked at each flush; whoever runs the flow says what time it is. With `flush_every`
    of None a shard is billed only when its input ends.
    """

    as_of: Callable[[], datetime]
    observe: tuple[datetime, ...] = ()
    flush_every: timedelta | None = None
    delay: timedelta = FINALIZATION_DELAY


@dataclass(frozen=True, slots=True)
class ChargeSnapshot:
    """What recovery needs of a shard: its rows and members as Arrow streams."""

    shard: int
    payload: tuple[bytes, bytes]


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
        # served.
        self._changed: dict[str, None] = {}
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
        """Bill those whose usage has changed."""
        self._wake_at = None
        return self._flush(), self.RETAIN

    def on_eof(self) -> tuple[Iterable[CustomerBill], bool]:
        """Bill those whose usage has changed: the input ends, the periods do not."""
        return self._flush(), self.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken for the next flush."""
        return self._wake_at

    def snapshot(self) -> ChargeSnapshot:
        """Return the usage of the shard; whoever waits for a bill is found anew after a restart."""
        self._settle()
        return ChargeSnapshot(self._shard, self._usage.payload())

    def _settle(self) -> None:
        """Merge what was taken in; those for whom it was news wait for a bill."""
        changes = self._usage.settle()
        self._known.forget(changes)
        for change in changes:
            if change.external_customer_id in self._accounts:
                self._changed[change.external_customer_id] = None

    def _flush(self) -> list[CustomerBill]:
        """Return the bills of those who wait for one."""
        self._settle()
        at = self._settings.as_of()
        changed, self._changed = list(self._changed), {}
        return [self._bill(account, at) for name in changed for account in self._accounts[name]]

    def _bill(self, account: Account, at: datetime) -> CustomerBill:
        """Bill one customer; a refusal is its outcome, since an exception would end the flow."""
        settings = self._settings
        usage = BillUsage(self._usage, self._edges, self._known, account.external_id)
        try:
            run = bill_account(
                account, usage, as_of=at, observe=settings.observe, delay=settings.delay
            )
        except Refused as refusal:
            return CustomerBill(account, at, refusal)
        usage.keep()
        return CustomerBill(account, at, run)


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
