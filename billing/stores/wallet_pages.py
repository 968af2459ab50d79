"""Pages of wallets, with what they hold and how their alerts stand."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, cast, func, literal, select

from billing.stores.column_statements import ColumnStatements
from billing.stores.ledger_models import WalletRow
from billing.stores.money_models import AlertStreamRow
from billing.stores.scoped import here, table_of
from billing.stores.scoped_reading import ScopedReader
from billing.stores.wallet_reading import WALLETS, holdings_from
from billing.wallets.holdings import Holdings
from schemas.alert import AlertStream
from schemas.ids import AlertStreamId
from schemas.object_query import Query
from schemas.stored import Status

_W = table_of(WalletRow).c
PUBLISHED = literal(Status.PUBLISHED.value, String)
WALLET_COLUMNS: Mapping[str, ColumnElement[Any]] = {
    "id": _W.id,
    "status": PUBLISHED,
    "created_at": _W.created_at,
    "updated_at": _W.updated_at,
    "customer_id": _W.customer_id,
    "currency": _W.currency,
    "wallet_type": cast(_W.wallet_type, String),
    "wallet_status": cast(_W.status, String),
    "alert_enabled": func.coalesce(
        _W.record["alert_settings"]["alert_enabled"].as_boolean(), literal(value=False)
    ),
}
THOSE_WALLETS = WALLETS.where(WalletRow.id.in_(bindparam("names", expanding=True)))
THOSE_STREAMS = (
    select(AlertStreamRow.record)
    .where(here(AlertStreamRow))
    .where(AlertStreamRow.id.in_(bindparam("names", expanding=True)))
)


class WalletPages(ScopedReader):
    """Reads pages of wallets, and what is shown beside them."""

    def wallets_where(self, query: Query) -> tuple[tuple[Holdings, ...], int]:
        """Return the wallets of a query, and how many its conditions hold for. Raises StoreError."""
        asked = ColumnStatements(WALLET_COLUMNS, is_sqlite=self._database.is_sqlite)
        where = asked.where(query)
        chosen = WALLETS.where(where).order_by(*asked.order(query))
        counted = select(func.count()).select_from(WalletRow).where(here(WalletRow), where)
        with self._reading() as transaction:
            rows = transaction.rows(chosen.limit(query.limit).offset(query.offset))
            total = transaction.one(counted) or 0
            held = {each.wallet.id: each for each in holdings_from(transaction, rows)}
        return tuple(held[row.id] for row in rows), total

    def wallets_by_id(self, wallet_ids: Collection[str]) -> Mapping[str, Holdings]:
        """Return the wallets of some ids that there are. Raises StoreError."""
        with self._reading() as transaction:
            rows = transaction.rows(THOSE_WALLETS, names=sorted(set(wallet_ids)))
            return {each.wallet.id: each for each in holdings_from(transaction, rows)}

    def streams_by_id(self, stream_ids: Collection[AlertStreamId]) -> Mapping[str, AlertStream]:
        """Return the alert streams of some ids that there are. Raises StoreError."""
        with self._reading() as transaction:
            found = transaction.all(THOSE_STREAMS, names=sorted(set(stream_ids)))
        return {each.id: each for each in found}
