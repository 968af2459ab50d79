"""Pages of the alert log: changes of state, in any order and under any conditions."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, literal, select

from billing.stores.column_statements import ColumnStatements
from billing.stores.money_models import AlertRow
from billing.stores.scoped import here, table_of
from billing.stores.scoped_reading import ScopedReader
from schemas.alert import Alert
from schemas.object_query import Query
from schemas.stored import Status

_A = table_of(AlertRow).c
COLUMNS: Mapping[str, ColumnElement[Any]] = {
    # The name of a change follows from its stream and version (`schemas.alert.log_id`).
    "id": _A.stream_id + "_" + cast(_A.version, String),
    "status": literal(Status.PUBLISHED.value, String),
    "created_at": _A.at,
    "updated_at": _A.at,
    "created_by": literal("", String),
    "updated_by": literal("", String),
    "entity_type": _A.entity_type,
    "entity_id": _A.entity_id,
    "customer_id": _A.customer_id,
    "alert_type": cast(_A.alert_type, String),
    "alert_status": cast(_A.status, String),
    "stream_id": _A.stream_id,
    "version": _A.version,
}


class AlertPages(ScopedReader):
    """Reads pages of alerts."""

    def alerts_where(self, query: Query) -> tuple[tuple[Alert, ...], int]:
        """Return the alerts of a query, and how many its conditions hold for. Raises StoreError."""
        asked = ColumnStatements(
            COLUMNS, ties=("stream_id", "version"), is_sqlite=self._database.is_sqlite
        )
        where = asked.where(query)
        chosen = select(AlertRow.record).where(here(AlertRow), where)
        ordered = chosen.order_by(*asked.order(query)).limit(query.limit).offset(query.offset)
        counted = select(func.count()).select_from(AlertRow).where(here(AlertRow), where)
        with self._reading() as transaction:
            return transaction.all(ordered), transaction.one(counted) or 0
