"""The money store of a process, as its settings name it, and catalogs that are put into it."""

from contextlib import ExitStack

from billing.stores.database import Database
from billing.stores.money import SqlStores
from billing.stores.objects import SqlObjects
from billing.stores.settings import RememberedSettings, SqlSettings
from flows.applying import apply_catalog
from flows.billing.live import now
from flows.catalog import Catalog
from flows.settings import Settings
from flows.sql_store import open_sql
from schemas.scope import Scope


def opened_money(settings: Settings, held: ExitStack) -> tuple[Database, SqlStores]:
    """Open the money of a scope, with its tables at the newest step. Raises StoreError."""
    database = open_sql(settings, now())
    held.callback(database.close)
    return database, money_in(database, Scope(settings.tenant, settings.environment))


def money_in(database: Database, scope: Scope) -> SqlStores:
    """Return the money of a scope, which obeys the settings of its environment."""
    config = RememberedSettings(SqlSettings(database, scope)).config
    return SqlStores(database, scope, config)


def put_into(database: Database, stores: SqlStores, scope: Scope, catalog: Catalog) -> None:
    """Bring an environment to what a catalog says now; what it says already stays as it is.

    Raises as `flows.applying.apply_catalog` does.
    """
    apply_catalog(stores, SqlObjects(database, scope), catalog, now(), scope=scope)
