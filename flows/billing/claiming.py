"""Claim: the stateful step that keeps what the customers of one shard owe so far.

At each flush it looks at those whose usage or money changed and those whose time has come: from their
cumulative usage and what is stored of them it works out their claims and balances, commits the alert
states that changed with what is told of them, and puts the claims where readers find them. All of it
is a function of facts, so doing it again changes nothing and tells nothing (wallets-alerts.md 9, 11).

Nothing is kept for recovery: usage is read from the store when it is first needed, and everything else
is in SQL.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bytewax.operators import StatefulBatchLogic

from billing.ports import Stores
from billing.ports.claims import ClaimStore, CustomerClaims
from billing.wallets.claim_facts import usage_since
from billing.wallets.running_charges import Running, keep_all, running_of
from flows.billing.batches import KeptClaims, ShardNews
from flows.billing.shard_accounts import ShardAccounts
from flows.billing.shard_usage import ShardUsage
from flows.billing.stored import StoredUsage, meters_of
from schemas.alert import Alert
from schemas.errors import Refused, VersionConflict
from schemas.ids import CustomerId

if TYPE_CHECKING:
    from flows.metering.observing import Receipts

# A flush makes room for new usage after so long, and is then gone on with at once.
FLUSH_SECONDS_MAX = 0.25
# So many customers are looked at together: their usage is read, and their claims put, in one go.
TOGETHER = 200
# How often a commit is tried again that another writer was faster than.
TRIES_MAX = 5
# The first instant that has an event of a window behind it is the one after its start.
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class ClaimSettings:
    """When a shard looks at its customers; whoever runs the flow says what time it is.

    It waits for the first batch of all `partitions`, because only what is published after they have
    begun is sure to come. With `tick` passed it looks for changed money, and for whom time has come.
    """

    clock: Callable[[], datetime]
    flush_every: timedelta
    tick: timedelta
    shards: int = 1
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class ClaimStores:
    """Where money is, and where claims go."""

    stores: Stores
    claims: ClaimStore


class ClaimLogic(StatefulBatchLogic[ShardNews, KeptClaims, None]):
    """The state of one shard of customers; see the module for its rules.

    Bytewax does not tell a logic its key, so a new shard learns its number from its first batch.
    """

    def __init__(self, settings: ClaimSettings, kept: ClaimStores, stored: StoredUsage) -> None:
        self._settings = settings
        self._kept = kept
        self._usage = ShardUsage(stored)
        self._shard = -1
        self._accounts = ShardAccounts(kept.stores, kept.claims, -1, settings.shards)
        self._begun = 0
        # Up to when the usage of each partition has come.
        self._until_of: dict[str, datetime] = {}
        self._told_until: datetime | None = None
        self._receipts: list[Receipts] = []
        # What is merged by now, though some of those whom it concerns may still wait.
        self._merged_until: datetime | None = None
        self._merged_receipts: tuple[Receipts, ...] = ()
        # When to be woken, by the clock of the machine.
        self._wake_at: datetime | None = None

    def on_batch(self, values: Sequence[ShardNews]) -> tuple[Iterable[KeptClaims], bool]:
        """Take in usage; it is looked at with the next flush."""
        if self._shard < 0:
            self._shard = values[0].shard
            kept = self._kept
            self._accounts = ShardAccounts(
                kept.stores, kept.claims, self._shard, self._settings.shards
            )
        for value in values:
            news = value.published
            self._begun += news.begins
            self._usage.take(news.rows, news.missed)
            self._receipts += news.receipts
            if news.until is not None:
                self._until_of[news.partition] = news.until
        flush_at = datetime.now(UTC) + self._settings.flush_every
        self._wake_at = min(self._wake_at or flush_at, flush_at)
        return [], self.RETAIN

    def on_notify(self) -> tuple[Iterable[KeptClaims], bool]:
        """Look at those whose usage or money has changed, and those whose time has come."""
        found = self.flush()
        rest = self._accounts.waiting
        self._wake_at = datetime.now(UTC) + (timedelta(0) if rest else self._settings.tick)
        return found, self.RETAIN

    def on_eof(self) -> tuple[Iterable[KeptClaims], bool]:
        """Do nothing more: the flow ends because the process does, which nobody should wait for."""
        return [], self.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken for the next flush."""
        return self._wake_at

    def snapshot(self) -> None:
        """Keep nothing: a new flow works it all out from what is stored."""
        return

    def flush(self) -> list[KeptClaims]:
        """Look at as many of those who wait as there is time for, at least some."""
        if self._begun < self._settings.partitions:
            return []
        at, deadline = self._settings.clock(), time.monotonic() + FLUSH_SECONDS_MAX
        accounts = self._accounts
        accounts.note_changes()
        if not accounts.waiting.usage:
            # Merging costs about as much as looking: while some wait, the next rows gather.
            if len(self._until_of) == self._settings.partitions:
                self._merged_until = min(self._until_of.values())
            self._merged_receipts, self._receipts = (*self._merged_receipts, *self._receipts), []
            accounts.note_usage(self._usage.changed())
        accounts.note_time(at)
        kept: list[KeptClaims] = []
        while accounts.waiting and (not kept or time.monotonic() < deadline):
            kept.append(self._look_at(accounts.waiting.take(TOGETHER), at))
        if not accounts.waiting:
            receipts, self._merged_receipts = self._merged_receipts, ()
            told = None if self._merged_until is None else min(self._merged_until, at)
            if told is not None:
                self._tell_progress(told)
            kept.append(KeptClaims(self._settings.clock(), 0, receipts=receipts, until=told))
        return kept

    def _look_at(self, customers: Sequence[CustomerId], at: datetime) -> KeptClaims:
        """Keep the claims of some customers, and tell what changed. Raises StoreError."""
        self._load(customers, at)
        names = [self._accounts.facts(customer, at).names[0] for customer in customers]
        self._usage.foresee(names, at)
        found: dict[CustomerId, Running] = {}
        refused: list[tuple[str, Refused]] = []
        for customer in customers:
            outcome = self._running(customer, at)
            if isinstance(outcome, Refused):
                refused.append((self._accounts.facts(customer, at).names[0], outcome))
            else:
                found[customer] = outcome
        alerts = self._tell(found, at)
        rows = [
            CustomerClaims(customer, running.claims, min(self._merged_until or at, at), at)
            for customer, running in found.items()
        ]
        self._kept.claims.put(rows, self._accounts.strike(customers))
        for customer in customers:
            self._plan(customer, at)
        return KeptClaims(at, len(rows), tuple(alerts), tuple(refused))

    def _load(self, customers: Sequence[CustomerId], at: datetime) -> None:
        """Read the usage that claims will ask for, of all whose facts are new in one go."""
        facts = [
            self._accounts.facts(customer, at) for customer in self._accounts.fresh(customers, at)
        ]
        with_usage = [each for each in facts if meters_of(each.subscriptions)]
        if not with_usage:
            return
        starts = [usage_since(each, at) for each in with_usage]
        since = min((start for start in starts if start is not None), default=at)
        names = dict.fromkeys(name for each in with_usage for name in each.names)
        meters = meters_of(each for facts in with_usage for each in facts.subscriptions)
        self._usage.load(list(names), meters, since)

    def _running(
        self, customer: CustomerId, at: datetime, *, anew: bool = False
    ) -> Running | Refused:
        """Work out one customer; a refusal is its outcome, since an exception would end the flow."""
        facts = self._accounts.facts(customer, at, anew=anew)
        # A period that ends right now has ended: what is later in its last minute is not of it.
        ends = self._accounts.is_due(customer, at)
        usage = self._usage.reader(facts.names[0], running_minute=None if ends else at)
        try:
            running = running_of(facts, usage, at)
        except Refused as refusal:
            return refusal
        usage.keep()
        return running

    def _tell(self, found: dict[CustomerId, Running], at: datetime) -> list[tuple[str, Alert]]:
        """Commit the alert states that changed; return what was told, with the customers' names.

        They are judged again by what is stored now, so that credits which came in between are not
        overlooked; what another writer has told meanwhile is not told again.
        """
        changed = [customer for customer, running in found.items() if running.watched.streams]
        told: list[tuple[str, Alert]] = []
        groups = [changed] if changed else []
        while groups:
            group = groups.pop(0)
            try:
                told += self._judged_anew(group, found, at)
            except VersionConflict:
                if len(group) == 1:
                    told += self._insisting(group, found, at)
                else:
                    groups += [[customer] for customer in group]
        return told

    def _insisting(
        self, group: list[CustomerId], found: dict[CustomerId, Running], at: datetime
    ) -> list[tuple[str, Alert]]:
        """Try one customer again, a bounded number of times."""
        for _ in range(TRIES_MAX):
            try:
                return self._judged_anew(group, found, at)
            except VersionConflict:
                continue
        # Somebody else is at it all the time; the next flush will see what is left to tell.
        self._accounts.waiting.money |= dict.fromkeys(group)
        return []

    def _judged_anew(
        self, group: Sequence[CustomerId], found: dict[CustomerId, Running], at: datetime
    ) -> list[tuple[str, Alert]]:
        """Judge and commit some customers in one transaction. Raises VersionConflict."""
        told: list[tuple[str, Alert]] = []
        fresh: list[Running] = []
        for customer in group:
            outcome = self._running(customer, at, anew=True)
            if isinstance(outcome, Refused):
                continue
            found[customer] = outcome
            fresh.append(outcome)
            name = self._accounts.facts(customer, at).names[0]
            told += [(name, alert) for alert in outcome.watched.alerts]
        keep_all(self._kept.stores, fresh)
        for running in fresh:
            self._accounts.forget(running.customer_id)
        return told

    def _plan(self, customer: CustomerId, at: datetime) -> None:
        """Note when a customer has to be looked at next, though nothing comes in."""
        facts = self._accounts.facts(customer, at)
        due = [self._accounts.next_due(customer, at)]
        for name in facts.names:
            # Rows of windows that begin later, as events from a clock that is ahead make them.
            window = self._usage.first_window_since(name, at)
            due.append(None if window is None else window + MICROSECOND)
        self._accounts.plan(customer, min((each for each in due if each), default=None))

    def _tell_progress(self, until: datetime) -> None:
        """Say up to when all usage is in the claims of this shard, once a tick."""
        told = self._told_until
        if told is None or until - told >= self._settings.tick:
            self._kept.claims.progressed(self._shard, self._settings.shards, until)
            self._told_until = until
