"""Stored objects in dictionaries of one process: for tests, and the measure of the SQL store."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cmp_to_key
from typing import Any, Generic, Self, TypeVar

from billing.ports.money import OutboxRow
from billing.stores.object_kinds import KINDS, Kind
from schemas.coupon import Coupon
from schemas.credit_grant import CreditGrant
from schemas.customer import Customer
from schemas.errors import NotFound, VersionConflict
from schemas.group import Group
from schemas.meter import Meter
from schemas.object_query import (
    COLUMNS,
    Condition,
    Either,
    Field,
    Operator,
    Page,
    Query,
    Sort,
    check_query,
)
from schemas.price import Price
from schemas.stored import Stored
from schemas.subscription import Entitlement, Feature, Plan
from schemas.tax import TaxAssociation, TaxRate

Record = TypeVar("Record")

# How a value that is there is compared with another.
COMPARISONS: Mapping[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: lambda found, value: found == value,
    Operator.IN: lambda found, value: found in value,
    Operator.NOT_IN: lambda found, value: found not in value,
    Operator.CONTAINS: lambda found, value: value.lower() in found.lower(),
    Operator.NOT_CONTAINS: lambda found, value: value.lower() not in found.lower(),
    Operator.GT: lambda found, value: found > value,
    Operator.AFTER: lambda found, value: found > value,
    Operator.GTE: lambda found, value: found >= value,
    Operator.LT: lambda found, value: found < value,
    Operator.BEFORE: lambda found, value: found < value,
    Operator.LTE: lambda found, value: found <= value,
}
# What holds of an absent value.
NEGATIVE = frozenset({Operator.NOT_IN, Operator.NOT_CONTAINS})


class MemoryObjectStore(Generic[Record]):
    """The objects of one kind in one scope; threads may share it."""

    def __init__(self, kind: Kind[Record], lock: "threading.RLock | None" = None) -> None:
        self._kind = kind
        self._lock = lock or threading.RLock()
        self.rows: dict[str, Stored[Record]] = {}

    def get(self, object_id: str) -> Stored[Record] | None:
        """Return an object whatever its status."""
        return self.rows.get(object_id)

    def those(self, object_ids: Collection[str]) -> Mapping[str, Stored[Record]]:
        """Return the objects of some ids that there are."""
        return {name: self.rows[name] for name in sorted(set(object_ids)) if name in self.rows}

    def by_lookup(self, key: str) -> Stored[Record] | None:
        """Return the live object of a key."""
        wanted = self._kind.looked_up(key)
        live = (each for each in tuple(self.rows.values()) if each.is_live)
        return next((each for each in live if self._column(each, "lookup_key") == wanted), None)

    def page(self, query: Query) -> Page[Record]:
        """Return a page and the number of all. Raises ValidationFailed."""
        check_query(self._kind.record, query)
        rows = tuple(self.rows.values())
        found = [each for each in rows if all(self._holds(each, part) for part in query.filters)]
        found.sort(key=cmp_to_key(lambda one, other: self._order(query.sort, one, other)))
        end = None if query.limit is None else query.offset + query.limit
        return Page(tuple(found[query.offset : end]), len(found))

    def add(self, stored: Stored[Record]) -> None:
        """Add an object. Raises AlreadyExists."""
        with self._lock:
            name = self._column(stored, "id")
            if name in self.rows:
                raise self._kind.taken()
            self._put(name, stored)

    def replace(self, stored: Stored[Record]) -> None:
        """Write the next version of an object. Raises NotFound, VersionConflict, AlreadyExists."""
        with self._lock:
            name = self._column(stored, "id")
            before = self.rows.get(name)
            if before is None:
                raise NotFound(f"there is no {self._kind.word} {name}")
            if before.version != stored.version - 1:
                raise VersionConflict(
                    f"{self._kind.word} {name} was changed meanwhile: read it again"
                )
            self._put(name, stored)

    def _put(self, name: str, stored: Stored[Record]) -> None:
        """Write an object unless its key is taken."""
        key = self._column(stored, "lookup_key")
        if stored.is_live and key is not None:
            owner = self.by_lookup(key)
            if owner is not None and self._column(owner, "id") != name:
                raise self._kind.taken()
        self.rows[name] = stored

    def _column(self, stored: Stored[Record], name: str) -> Any:
        """Return what stands in a column."""
        return self._kind.columns(stored)[name]

    def _value(self, stored: Stored[Record], field: Field) -> Any:
        """Return the value of a field, None where it is absent."""
        if isinstance(field, str) and field in COLUMNS:
            return self._column(stored, field)
        found: Any = stored.record
        for part in (field,) if isinstance(field, str) else field:
            if found is None:
                return None
            found = found.get(part) if isinstance(found, Mapping) else getattr(found, part)
        return found

    def _holds(self, stored: Stored[Record], each: Condition | Either) -> bool:
        """Tell whether a condition holds, or one of several."""
        if isinstance(each, Either):
            return any(self._holds(stored, part) for part in each.conditions)
        found = self._value(stored, each.field)
        if found is None:
            absent = each.operator is Operator.EQ and each.value is None
            return absent or each.operator in NEGATIVE
        return each.value is not None and COMPARISONS[each.operator](found, each.value)

    def _order(self, sorts: tuple[Sort, ...], one: Stored[Record], other: Stored[Record]) -> int:
        """Return which of two objects comes first: below 0 the one, above 0 the other."""
        descending = bool(sorts) and sorts[-1].descending
        for sort in (*sorts, Sort("id", descending=descending)):
            first, second = self._value(one, sort.field), self._value(other, sort.field)
            if first == second:
                continue
            if first is None or second is None:
                return 1 if first is None else -1
            before = first > second if sort.descending else first < second
            return -1 if before else 1
        return 0


class MemoryObjects:
    """The stores of all kinds of a scope."""

    meters: MemoryObjectStore[Meter]
    features: MemoryObjectStore[Feature]
    plans: MemoryObjectStore[Plan]
    prices: MemoryObjectStore[Price]
    entitlements: MemoryObjectStore[Entitlement]
    credit_grants: MemoryObjectStore[CreditGrant]
    coupons: MemoryObjectStore[Coupon]
    tax_rates: MemoryObjectStore[TaxRate]
    tax_associations: MemoryObjectStore[TaxAssociation]
    groups: MemoryObjectStore[Group]
    customers: MemoryObjectStore[Customer]

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.outbox: tuple[OutboxRow, ...] = ()
        for name, kind in KINDS.items():
            setattr(self, name, MemoryObjectStore(kind, self._lock))

    @contextmanager
    def reading(self) -> Iterator[Self]:
        """Let nobody write until the end."""
        with self._lock:
            yield self

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Let nobody else in until the end; what was written is undone if anything is raised."""
        with self._lock:
            before = {name: dict(getattr(self, name).rows) for name in KINDS}
            told = self.outbox
            try:
                yield self
            except BaseException:
                for name, rows in before.items():
                    getattr(self, name).rows = rows
                self.outbox = told
                raise

    def tell(self, rows: Sequence[OutboxRow]) -> None:
        """Keep rows for whoever looks at them. Raises VersionConflict."""
        with self._lock:
            known = {each.id for each in self.outbox}
            if any(each.id in known for each in rows):
                raise VersionConflict("a row of the outbox was told already")
            self.outbox += tuple(rows)
