"""Pages of invoices for those who search them, in any order and under any conditions."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select
from sqlalchemy.orm import aliased

from billing.stores.invoice_models import InvoiceRow
from billing.stores.money_models import SubscriptionRow
from billing.stores.object_statements import Statements
from billing.stores.scoped import here, table_of
from billing.stores.scoped_reading import ScopedReader
from schemas.ids import InvoiceId, SubscriptionId
from schemas.invoice import Invoice
from schemas.object_query import Field, Query, check_query
from schemas.subscription import Subscription

# Members of the record that have a column with an index.
INDEXED = frozenset({"customer_id", "subscription_id"})

_EARLIER = aliased(InvoiceRow)
_BEFORE = (
    select(func.count())
    .where(
        _EARLIER.tenant_id == InvoiceRow.tenant_id,
        _EARLIER.environment_id == InvoiceRow.environment_id,
        _EARLIER.subscription_id == InvoiceRow.subscription_id,
        (_EARLIER.dated_at < InvoiceRow.dated_at)
        | ((_EARLIER.dated_at == InvoiceRow.dated_at) & (_EARLIER.id <= InvoiceRow.id)),
    )
    .correlate(InvoiceRow)
    .scalar_subquery()
)
SEQUENCES = (
    select(InvoiceRow.id, _BEFORE.label("place"))
    .where(here(InvoiceRow))
    .where(InvoiceRow.id.in_(bindparam("names", expanding=True)))
    .where(InvoiceRow.subscription_id.is_not(None))
)
SUBSCRIPTIONS = (
    select(SubscriptionRow.record)
    .where(here(SubscriptionRow))
    .where(SubscriptionRow.id.in_(bindparam("names", expanding=True)))
)
OF_CUSTOMERS = (
    select(SubscriptionRow.id)
    .where(here(SubscriptionRow))
    .where(SubscriptionRow.customer_id.in_(bindparam("names", expanding=True)))
)


class InvoiceStatements(Statements):
    """What a query asks of invoices, as SQL."""

    def _expression(self, field: Field) -> ColumnElement[Any]:
        """Return the column of a member that has one with an index."""
        if isinstance(field, str) and field in INDEXED:
            column: ColumnElement[Any] = self._table.c[field]
            return column
        return super()._expression(field)


class InvoicePages(ScopedReader):
    """Reads pages of invoices, and what is shown beside them."""

    def invoices_where(self, query: Query) -> tuple[tuple[Invoice, ...], int]:
        """Return the invoices of a query, and the number of all that its conditions hold for.

        Raises ValidationFailed for what invoices cannot be asked, and StoreError.
        """
        check_query(Invoice, query)
        asked = InvoiceStatements(table_of(InvoiceRow), Invoice, is_sqlite=self._database.is_sqlite)
        where = asked.where(query)
        chosen = select(InvoiceRow.record).where(here(InvoiceRow), where)
        ordered = chosen.order_by(*asked.order(query)).offset(query.offset).limit(query.limit)
        counted = select(func.count()).select_from(InvoiceRow).where(here(InvoiceRow), where)
        with self._reading() as transaction:
            return transaction.all(ordered), transaction.one(counted) or 0

    def sequences_of(self, invoice_ids: Collection[InvoiceId]) -> Mapping[str, int]:
        """Return which invoice of its subscription each is, by date and id; 1 is the first.

        One that no subscription has is left out. Raises StoreError.
        """
        with self._reading() as transaction:
            rows = transaction.rows(SEQUENCES, names=sorted(set(invoice_ids)))
        return {row.id: row.place for row in rows}

    def subscriptions_by_id(
        self, subscription_ids: Collection[SubscriptionId]
    ) -> Mapping[str, Subscription]:
        """Return the subscriptions of some ids that there are. Raises StoreError."""
        with self._reading() as transaction:
            found = transaction.all(SUBSCRIPTIONS, names=sorted(set(subscription_ids)))
        return {each.id: each for each in found}

    def subscription_ids_of(self, customer_ids: Collection[str]) -> tuple[str, ...]:
        """Return the subscriptions of some customers, whoever is invoiced. Raises StoreError."""
        with self._reading() as transaction:
            return transaction.all(OF_CUSTOMERS, names=sorted(set(customer_ids)))
