"""Stored objects in SQL: the catalog, the customers, and one transaction over several of them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import ColumnElement, Row, Select, Table, and_, func, insert, select, update
from sqlalchemy.orm import Session

from billing.ports.money import OutboxRow
from billing.stores import catalog_models as models
from billing.stores import object_kinds as kinds
from billing.stores.committing import tell
from billing.stores.database import Database
from billing.stores.failures import failures
from billing.stores.models import Model
from billing.stores.money_models import CustomerRow
from billing.stores.object_kinds import Kind
from billing.stores.object_statements import Statements
from billing.stores.scoped import table_of
from billing.stores.transactions import Transaction
from schemas.coupon import Coupon
from schemas.credit_grant import CreditGrant
from schemas.customer import Customer
from schemas.errors import AlreadyExists, NotFound, VersionConflict
from schemas.group import Group
from schemas.meter import Meter
from schemas.object_query import Page, Query, check_query
from schemas.price import Price
from schemas.scope import Scope
from schemas.stored import Status, Stored
from schemas.subscription import Entitlement, Feature, Plan
from schemas.tax import TaxAssociation, TaxRate

Record = TypeVar("Record")

# Ids named in one statement.
NAMED_MAX = 500


class Transactions(Protocol):
    """Where statements are run: a database, or a transaction that somebody has opened."""

    def reading(self) -> AbstractContextManager[Session]:
        """Read one state."""
        ...

    def writing(self) -> AbstractContextManager[Session]:
        """Write in one transaction."""
        ...


class Inside:
    """The open transaction of a session; whoever opened it ends it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def reading(self) -> AbstractContextManager[Session]:
        """Read what the transaction sees."""
        return nullcontext(self._session)

    def writing(self) -> AbstractContextManager[Session]:
        """Write in the transaction."""
        return nullcontext(self._session)


class SqlObjectStore(Generic[Record]):
    """The objects of one kind in one scope."""

    def __init__(
        self, kind: Kind[Record], table: Table, scope: Scope, transactions: Transactions
    ) -> None:
        self._kind = kind
        self._table = table
        self._scope = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
        self._here: ColumnElement[bool] = and_(
            table.c.tenant_id == scope.tenant_id, table.c.environment_id == scope.environment_id
        )
        self._transactions = transactions

    def get(self, object_id: str) -> Stored[Record] | None:
        """Return an object whatever its status. Raises StoreError."""
        return self._one(self._table.c.id == object_id)

    def those(self, object_ids: Collection[str]) -> Mapping[str, Stored[Record]]:
        """Return the objects of some ids that there are. Raises StoreError."""
        names = sorted(set(object_ids))
        found: dict[str, Stored[Record]] = {}
        with self._transactions.reading() as session:
            for first in range(0, len(names), NAMED_MAX):
                some = self._table.c.id.in_(names[first : first + NAMED_MAX])
                for row in session.execute(self._select(some)):
                    found[row.id] = stored_of(row)
        return found

    def by_lookup(self, key: str) -> Stored[Record] | None:
        """Return the live object of a key. Raises StoreError."""
        live = self._table.c.status == Status.PUBLISHED.value
        return self._one(and_(self._table.c.lookup_key == self._kind.looked_up(key), live))

    def page(self, query: Query) -> Page[Record]:
        """Return a page and the number of all. Raises ValidationFailed and StoreError."""
        check_query(self._kind.record, query)
        with self._transactions.reading() as session:
            is_sqlite = session.get_bind().dialect.name == "sqlite"
            asked = Statements(self._table, self._kind.record, is_sqlite=is_sqlite)
            where = asked.where(query)
            chosen = self._select(where).order_by(*asked.order(query)).offset(query.offset)
            if query.limit is not None:
                chosen = chosen.limit(query.limit)
            rows = tuple(stored_of(row) for row in session.execute(chosen))
            if query.offset == 0 and (query.limit is None or len(rows) < query.limit):
                return Page(rows, len(rows))
            counted = select(func.count()).select_from(self._table).where(self._here, where)
            return Page(rows, session.scalar(counted) or 0)

    def add(self, stored: Stored[Record]) -> None:
        """Add an object. Raises AlreadyExists, ValidationFailed for no such scope, StoreError."""
        with self._transactions.writing() as session, self._said():
            session.execute(insert(self._table).values(**self._scope, **self._values(stored)))

    def replace(self, stored: Stored[Record]) -> None:
        """Write the next version of an object.

        Raises NotFound, VersionConflict, AlreadyExists and StoreError.
        """
        values = self._values(stored)
        name = values["id"]
        with self._transactions.writing() as session, self._said():
            mine = and_(self._here, self._table.c.id == name)
            before = self._table.c.version == stored.version - 1
            written = update(self._table).where(mine, before).values(**values)
            # The statement tells how many rows it found, which its general type does not say.
            done: Any = session.execute(written)
            if done.rowcount:
                return
            if session.scalar(select(self._table.c.version).where(mine)) is None:
                raise NotFound(f"there is no {self._kind.word} {name}")
            raise VersionConflict(f"{self._kind.word} {name} was changed meanwhile: read it again")

    def _one(self, condition: ColumnElement[bool]) -> Stored[Record] | None:
        """Return the one object of a condition."""
        with self._transactions.reading() as session:
            row = session.execute(self._select(condition)).one_or_none()
            return None if row is None else stored_of(row)

    def _select(self, condition: ColumnElement[bool]) -> Select[Any]:
        """Return the statement for rows of the scope."""
        return select(self._table).where(self._here, condition)

    def _values(self, stored: Stored[Record]) -> dict[str, Any]:
        """Return the row of an object."""
        return {**self._kind.columns(stored), "record": stored.record}

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Name what is taken, which the database does not."""
        try:
            with failures():
                yield
        except AlreadyExists as error:
            raise self._kind.taken() from error


def stored_of(row: Row[Any]) -> Stored[Any]:
    """Return the object of a row."""
    return Stored(
        row.record,
        row.created_at,
        row.updated_at,
        row.created_by,
        row.updated_by,
        Status(row.status),
        row.version,
    )


class SqlObjects:
    """The stores of all kinds of a scope, on a database or inside an open transaction."""

    meters: SqlObjectStore[Meter]
    features: SqlObjectStore[Feature]
    plans: SqlObjectStore[Plan]
    prices: SqlObjectStore[Price]
    entitlements: SqlObjectStore[Entitlement]
    credit_grants: SqlObjectStore[CreditGrant]
    coupons: SqlObjectStore[Coupon]
    tax_rates: SqlObjectStore[TaxRate]
    tax_associations: SqlObjectStore[TaxAssociation]
    groups: SqlObjectStore[Group]
    customers: SqlObjectStore[Customer]

    def __init__(self, transactions: Database | Transactions, scope: Scope) -> None:
        self._transactions = transactions
        self._scope = scope
        for name, row in ROWS.items():
            kind = kinds.KINDS[name]
            setattr(self, name, SqlObjectStore(kind, table_of(row), scope, transactions))

    @contextmanager
    def reading(self) -> Iterator["SqlObjects"]:
        """Read one state of all kinds. Raises StoreError."""
        with self._transactions.reading() as session:
            yield SqlObjects(Inside(session), self._scope)

    @contextmanager
    def writing(self) -> Iterator["SqlObjects"]:
        """Write in one transaction; none of it stands if anything is raised. Raises StoreError."""
        with self._transactions.writing() as session:
            yield SqlObjects(Inside(session), self._scope)

    def tell(self, rows: Sequence[OutboxRow]) -> None:
        """Add rows to the outbox, with their customers locked. Raises VersionConflict, StoreError."""
        with self._transactions.writing() as session, failures():
            tell(Transaction(session.connection(), self._scope), rows)


ROWS: Mapping[str, type[Model]] = {
    "meters": models.MeterRow,
    "features": models.FeatureRow,
    "plans": models.PlanRow,
    "prices": models.PriceRow,
    "entitlements": models.EntitlementRow,
    "credit_grants": models.CreditGrantRow,
    "coupons": models.CouponRow,
    "tax_rates": models.TaxRateRow,
    "tax_associations": models.TaxAssociationRow,
    "groups": models.GroupRow,
    "customers": CustomerRow,
}
