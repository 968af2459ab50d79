"""Opening the SQL store that the settings name, ready for use."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.data_folder import SQL_FILE
from schemas.scope import Scope

if TYPE_CHECKING:
    from billing.stores.database import Database
    from flows.settings import Settings


def sql_url(settings: "Settings") -> str:
    """Return the URL of the SQL store: the one of the settings, else SQLite in the data folder.

    >>> from flows.settings import Settings
    >>> sql_url(Settings(data="/var/lib/tally"))
    'sqlite:////var/lib/tally/tally.db'
    """
    return settings.database_url or f"sqlite:///{sqlite_path(settings)}"


def sqlite_path(settings: "Settings") -> Path:
    """Return where SQLite keeps the store of a data folder."""
    return Path(settings.data) / SQL_FILE


def open_sql(settings: "Settings", at: datetime) -> "Database":
    """Open the SQL store with its tables at the newest step and the scope of the settings in it.

    Raises ValidationFailed for a URL that cannot be, and StoreError.
    """
    return brought_up(settings, at)[0]


def brought_up(settings: "Settings", at: datetime) -> "tuple[Database, list[str]]":
    """Open the SQL store as `open_sql` does, and tell which steps were applied for it."""
    # A command that needs no store must not wait for SQLAlchemy.
    from billing.stores.database import migrate, open_database  # noqa: PLC0415 - see above.
    from billing.stores.scopes import ensure_scope  # noqa: PLC0415 - see above.

    database = open_database(sql_url(settings))
    try:
        applied = migrate(database)
        ensure_scope(database, Scope(settings.tenant, settings.environment), at)
    except BaseException:
        database.close()
        raise
    return database, applied
