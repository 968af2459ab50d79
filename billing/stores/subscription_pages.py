"""Pages of subscriptions and of their lines for those who search them, under any conditions."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from sqlalchemy import ColumnElement, String, func, select, type_coerce

from billing.stores.memory_objects import MemoryObjectStore
from billing.stores.money_models import SubscriptionRow
from billing.stores.object_kinds import Kind
from billing.stores.object_statements import Statements
from billing.stores.scoped import here, table_of
from billing.stores.scoped_reading import ScopedReader
from schemas.object_query import Field, Page, Query, Value, check_query
from schemas.stored import Stored
from schemas.subscription import Subscription, SubscriptionLine

# Members of the record that have a column.
INDEXED = frozenset({"id", "customer_id", "lookup_key", "version"})

LINES: Kind[SubscriptionLine] = Kind(
    "subscription line",
    SubscriptionLine,
    lambda line: "",
    lambda line: line.display_name,
    lambda line: line.chain_id,
)


class SubscriptionStatements(Statements):
    """What a query asks of subscriptions, as SQL; `status` is where they are in their life."""

    def _expression(self, field: Field) -> ColumnElement[Any]:
        """Return the column of a member that has one, else the member of the record."""
        if field == "status":
            return type_coerce(self._table.c.status, String)
        if isinstance(field, str) and field in INDEXED:
            column: ColumnElement[Any] = self._table.c[field]
            return column
        return super()._expression(_member(field))

    def _operand(self, field: Field, value: Value) -> Any:
        """Return a value in the form of its column or member."""
        return super()._operand(field if field in INDEXED else _member(field), value)


def _member(field: Field) -> Field:
    """Return a field as a member of the record, also where stored objects have a column for it."""
    return (field,) if isinstance(field, str) else field


class SubscriptionPages(ScopedReader):
    """Reads pages of subscriptions and of their lines, with how many there are in all."""

    def subscriptions_where(self, query: Query) -> tuple[tuple[Subscription, ...], int]:
        """Return the subscriptions of a query, and the number of all that its conditions hold for.

        Raises ValidationFailed for what subscriptions cannot be asked, and StoreError.
        """
        check_query(Subscription, query)
        asked = SubscriptionStatements(
            table_of(SubscriptionRow), Subscription, is_sqlite=self._database.is_sqlite
        )
        where = asked.where(query)
        chosen = select(SubscriptionRow.record).where(here(SubscriptionRow), where)
        ordered = chosen.order_by(*asked.order(query)).offset(query.offset).limit(query.limit)
        counted = select(func.count()).select_from(SubscriptionRow)
        with self._reading() as transaction:
            total = transaction.one(counted.where(here(SubscriptionRow), where)) or 0
            return transaction.all(ordered), total

    def lines_where(
        self,
        query: Query,
        rows_of: Callable[[Subscription], Iterable[Stored[SubscriptionLine]]],
        *,
        subscription_ids: Collection[str] = (),
        customer_ids: Collection[str] = (),
    ) -> Page[SubscriptionLine]:
        """Return the lines of a query among those that `rows_of` gives for each subscription.

        Lines are inside their subscriptions, which are read whole; ids make them fewer. Raises
        ValidationFailed for what lines cannot be asked, and StoreError.
        """
        chosen = select(SubscriptionRow.record).where(here(SubscriptionRow))
        if subscription_ids:
            chosen = chosen.where(SubscriptionRow.id.in_(tuple(subscription_ids)))
        if customer_ids:
            chosen = chosen.where(SubscriptionRow.customer_id.in_(tuple(customer_ids)))
        with self._reading() as transaction:
            found = transaction.all(chosen)
        lines = MemoryObjectStore(LINES)
        lines.rows = {row.record.id: row for each in found for row in rows_of(each)}
        return lines.page(query)
