"""Running claims in memory, beside a memory store, whose versions tell whose money changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import Lock

from billing.ports.claims import AccountChange, CustomerClaims
from billing.stores.memory import MemoryStore
from schemas.ids import CustomerId


class MemoryClaims:
    """The running claims of each customer, in dictionaries; safe to use from several threads."""

    def __init__(self, stores: MemoryStore) -> None:
        self._stores = stores
        self._rows: dict[CustomerId, CustomerClaims] = {}
        self._seen: dict[CustomerId, str] = {}
        self._progress: dict[tuple[int, int], datetime] = {}
        self._lock = Lock()

    def put(self, rows: Sequence[CustomerClaims], seen: Sequence[AccountChange] = ()) -> None:
        """Put claims in the place of older ones, and strike the changes that are in them now."""
        with self._lock:
            for row in rows:
                known = self._rows.get(row.customer_id)
                if known is None or known.computed_at <= row.computed_at:
                    self._rows[row.customer_id] = row
            self._seen |= {each.customer_id: each.mark for each in seen}

    def claims_of(self, customer_id: CustomerId) -> CustomerClaims | None:
        """Return the claims of a customer, None if none were computed yet."""
        with self._lock:
            return self._rows.get(customer_id)

    def progressed(self, shard: int, shards: int, until: datetime) -> None:
        """Take note that a shard has all usage up to an instant in its claims."""
        with self._lock:
            mine = {key: at for key, at in self._progress.items() if key[1] == shards}
            self._progress = mine | {(shard, shards): until}

    def usage_until(self) -> datetime | None:
        """Return up to when usage is in the claims of all shards, None as long as some have none."""
        with self._lock:
            progress = self._progress
            complete = progress and len(progress) == next(iter(progress))[1]
            return min(progress.values()) if complete else None

    def customers(self) -> Mapping[CustomerId, str]:
        """Return everybody who has wallets or is invoiced, with their names."""
        return {name: self._stores.external_id_of(name) for name in self._marks()}

    def changed(self) -> Sequence[AccountChange]:
        """Return the changes that are not struck yet."""
        marks = self._marks()
        with self._lock:
            changed = [(name, mark) for name, mark in marks.items() if self._seen.get(name) != mark]
        names = self._stores.external_id_of
        return tuple(AccountChange(name, names(name), mark) for name, mark in sorted(changed))

    def _marks(self) -> Mapping[CustomerId, str]:
        """Return the versions of all that each customer has, as one text."""
        tables = self._stores.tables
        found: dict[CustomerId, list[object]] = {}
        for each in list(tables.subscriptions.values()):
            found.setdefault(each.payer_id, []).append((each.id, each.version))
        for held in list(tables.wallets.values()):
            found.setdefault(held.wallet.customer_id, []).append((held.wallet, held.sequence))
        for invoice in list(tables.invoices.values()):
            found.setdefault(invoice.customer_id, []).append((invoice.id, invoice.version))
        return {name: repr(marks) for name, marks in found.items()}
