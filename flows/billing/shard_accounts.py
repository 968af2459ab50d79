"""The accounts of a shard: what is stored of its customers, and who waits for claims to be made anew."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from billing.ports import Stores
from billing.ports.claims import AccountChange, ClaimStore
from billing.wallets.claim_facts import ClaimFacts, facts_of
from flows.billing.dues import next_due
from flows.metering.sharding import customer_shards
from schemas.ids import CustomerId

if TYPE_CHECKING:
    from billing.configuration import BillingConfig


@dataclass(slots=True)
class Waiting:
    """Who waits, first come first served.

    Those whose money changed come first, then those with new usage, then those for whom only time
    has passed.
    """

    money: dict[CustomerId, None] = field(default_factory=dict)
    usage: dict[CustomerId, None] = field(default_factory=dict)
    elapsed: dict[CustomerId, None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.money or self.usage or self.elapsed)

    def take(self, count: int) -> list[CustomerId]:
        """Take so many off the lists, in the order in which they are served."""
        found: list[CustomerId] = []
        lines = (self.money, self.usage, self.elapsed)
        for line in lines:
            for name in list(line)[: count - len(found)]:
                found.append(name)
                for each in lines:
                    each.pop(name, None)
        return found


class ShardAccounts:
    """The customers of one shard of so many; facts are read when asked for, and kept until they change."""

    def __init__(self, stores: Stores, claims: ClaimStore, shard: int, shards: int) -> None:
        self.waiting = Waiting()
        self._stores = stores
        self._claims = claims
        self._shard = shard
        self._shards = shards
        # By which everybody was looked at; none yet.
        self._config: BillingConfig | None = None
        # What the facts that are kept know of, until it is struck.
        self._changes: dict[CustomerId, AccountChange] = {}
        self._facts: dict[CustomerId, ClaimFacts] = {}
        # When time alone changes something, worked out once for the same facts.
        self._next: dict[CustomerId, tuple[datetime | None]] = {}
        self._settled: set[CustomerId] = set()
        self._by_name: dict[str, set[CustomerId]] = {}
        self._due_at: dict[CustomerId, datetime] = {}
        self._due: list[tuple[datetime, CustomerId]] = []

    def note_changes(self) -> None:
        """Let everybody wait whose money changed, and read their facts anew.

        At first and where the settings changed that is everybody. Raises StoreError.
        """
        config = self._stores.config()
        changes = {each.customer_id: each for each in self._claims.changed()}
        names = {customer: each.name for customer, each in changes.items()}
        if config != self._config:
            names |= self._claims.customers()
        for customer in self._mine(names):
            change = changes.get(customer)
            if change is not None:
                if config == self._config and self._changes.get(customer) == change:
                    continue
                self._changes[customer] = change
            self.forget(customer)
            self._by_name.setdefault(names[customer], set()).add(customer)
            self.waiting.money[customer] = None
        self._config = config

    def strike(self, customers: Iterable[CustomerId]) -> Sequence[AccountChange]:
        """Return the changes that the claims of these customers know of now: they are seen."""
        found = (self._changes.pop(customer, None) for customer in customers)
        return tuple(change for change in found if change is not None)

    def note_usage(self, names: Iterable[str]) -> None:
        """Let everybody wait who pays for the usage of some names."""
        for name in names:
            self.waiting.usage |= dict.fromkeys(sorted(self._by_name.get(name, ())))

    def note_time(self, at: datetime) -> None:
        """Let everybody wait whose time has come."""
        while self._due and self._due[0][0] <= at:
            due, customer = heapq.heappop(self._due)
            if self._due_at.get(customer) == due:
                self.waiting.elapsed[customer] = None

    def facts(self, customer: CustomerId, at: datetime, *, anew: bool = False) -> ClaimFacts:
        """Return what is stored of a customer. Raises StoreError."""
        if anew:
            self.forget(customer)
        known = self._facts.get(customer)
        if known is None:
            known = self._facts[customer] = facts_of(self._stores, customer, at)
            for name in known.names:
                self._by_name.setdefault(name, set()).add(customer)
        return known

    def fresh(self, customers: Iterable[CustomerId], at: datetime) -> list[CustomerId]:
        """Return those whose facts were not returned here before: each once after every change."""
        found = [name for name in customers if name not in self._settled]
        for name in found:
            self.facts(name, at)
        self._settled |= set(found)
        return found

    def next_due(self, customer: CustomerId, at: datetime) -> datetime | None:
        """Return when time alone changes the claims of a customer next, None for never."""
        known = self._next.get(customer)
        if known is None or (known[0] is not None and known[0] <= at):
            known = self._next[customer] = (next_due(self.facts(customer, at), at),)
        return known[0]

    def forget(self, customer: CustomerId) -> None:
        """Read a customer's facts anew when they are asked for next."""
        self._facts.pop(customer, None)
        self._next.pop(customer, None)
        self._settled.discard(customer)

    def is_due(self, customer: CustomerId, at: datetime) -> bool:
        """Tell whether a customer was to be looked at at just this instant."""
        return self._due_at.get(customer) == at

    def plan(self, customer: CustomerId, due: datetime | None) -> None:
        """Note when a customer is to be looked at though nothing comes in, None for never."""
        if due is None:
            self._due_at.pop(customer, None)
            return
        if self._due_at.get(customer) == due:
            return
        self._due_at[customer] = due
        heapq.heappush(self._due, (due, customer))

    def _mine(self, names: Mapping[CustomerId, str]) -> list[CustomerId]:
        """Return the customers of this shard."""
        if self._shards == 1 or not names:
            return list(names)
        table = pa.table({"external_customer_id": pa.array(names.values(), pa.string())})
        numbers = customer_shards(table, self._shards)
        return [name for name, number in zip(names, numbers, strict=True) if number == self._shard]
