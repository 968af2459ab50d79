"""Charge: the stateful step that says what the customers of one shard come to.

It keeps the cumulative usage of its customers. At each flush it bills those whose usage changed, as
functions of all their usage: charges, invoices of periods that close, what those take from wallets,
ongoing balances and alerts. Doing it again gives the same bill, and a later bill takes the place of
an earlier one, so no result depends on batches, flushes or repetition.

This is the first form. Incremental is only which customers are billed again: each is billed from
its first period on, in the memory store, and between flushes nothing but usage is kept. Alerts are
therefore those of the story in order of time, judged at the instants of `observe`. With SQL stores
behind the same ports, invoices and alert states will stay where they were committed, and a flush
will judge the open periods alone (`billing.running_charges`), as the usage grows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from bytewax.operators import StatefulBatchLogic

from billing.accounts import Account
from billing.running import bill_account
from billing.services import FINALIZATION_DELAY
from flows.billing.batches import CustomerBill, ShardedUsage
from flows.billing.cumulative import CumulativeUsage
from flows.billing_usage import MeteredUsage
from operators.partials import Partials
from schemas.errors import Refused
from schemas.meter import Meter
from schemas.period import Interval

# (meter, interval) → the counted pairs of the base windows that the interval cuts (PAIRS).
Edges = Callable[[Meter, Interval], pa.Table]


@dataclass(frozen=True, slots=True)
class ChargeSettings:
    """By when customers are billed, and the instants at which their balances are watched.

    With `flush_every` of None a shard is billed only when its input ends.
    """

    as_of: datetime
    observe: tuple[datetime, ...] = ()
    flush_every: timedelta | None = None
    delay: timedelta = FINALIZATION_DELAY


@dataclass(frozen=True, slots=True)
class ChargeSnapshot:
    """What recovery needs of a shard: its rows and members as Arrow streams.

    They are all in the store too: once the flow reads from there, their names will do.
    """

    shard: int
    payload: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class ShardUsage:
    """The usage of a shard as a question is answered from it: its rows, and the pairs at edges."""

    rows: CumulativeUsage
    cut: Edges

    def usage(self, meter: Meter) -> Partials:
        """Return all rows of a meter."""
        return self.rows.usage(meter)

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        """Return the counted pairs of the base windows that the interval cuts. out: PAIRS."""
        return self.cut(meter, interval)


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
        self._accounts: Sequence[Account] = ()
        # Accounts whose bill is to be made, by the names that rows know them by.
        self._waiting: set[str] = set()
        self._due: datetime | None = None
        if snapshot is not None:
            self._open(snapshot.shard)

    def _open(self, shard: int) -> None:
        """Take up the accounts of a shard; all of them wait for a bill, after a restart again."""
        self._shard = shard
        self._accounts = self._accounts_of(shard)
        self._waiting = {account.external_id for account in self._accounts}
        if self._settings.flush_every is not None:
            self._due = datetime.now(UTC)

    def on_batch(self, values: Sequence[ShardedUsage]) -> tuple[Iterable[CustomerBill], bool]:
        """Take in usage; it is billed at the next flush."""
        if self._shard < 0:
            self._open(values[0].shard)
        self._usage.add([value.usage for value in values])
        if self._due is None and self._settings.flush_every is not None:
            self._due = datetime.now(UTC) + self._settings.flush_every
        return [], self.RETAIN

    def on_notify(self) -> tuple[Iterable[CustomerBill], bool]:
        """Bill those whose usage has changed."""
        return self._flush(), self.RETAIN

    def on_eof(self) -> tuple[Iterable[CustomerBill], bool]:
        """Bill those whose usage has changed: the input ends, the periods do not."""
        return self._flush(), self.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken for the next flush."""
        return self._due

    def snapshot(self) -> ChargeSnapshot:
        """Return the usage of the shard; whoever waits for a bill is found anew after a restart."""
        self._settle()
        return ChargeSnapshot(self._shard, self._usage.payload())

    def _settle(self) -> None:
        """Merge what was taken in; those for whom it was news wait for a bill."""
        self._waiting |= self._usage.settle()

    def _flush(self) -> list[CustomerBill]:
        """Return the bill of each account that waits for one."""
        self._due = None
        self._settle()
        reader = MeteredUsage(ShardUsage(self._usage, self._edges))
        waiting, self._waiting = self._waiting, set()
        return [
            self._bill(account, reader)
            for account in self._accounts
            if account.external_id in waiting
        ]

    def _bill(self, account: Account, usage: MeteredUsage) -> CustomerBill:
        """Bill one customer; a refusal is its outcome, since an exception would end the flow."""
        settings = self._settings
        try:
            run = bill_account(
                account,
                usage,
                as_of=settings.as_of,
                observe=settings.observe,
                delay=settings.delay,
            )
        except Refused as refusal:
            return CustomerBill(account, refusal)
        return CustomerBill(account, run)


def by_shard(accounts: Iterable[Account], shards: Sequence[int]) -> Mapping[int, list[Account]]:
    """Return accounts by the shard that each is in, in the order given.

    >>> by_shard([], [])
    {}
    """
    found: dict[int, list[Account]] = {}
    for account, shard in zip(accounts, shards, strict=True):
        found.setdefault(shard, []).append(account)
    return found
