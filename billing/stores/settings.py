"""Settings in SQL, with all their changes, and what a process remembers of them for a while."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, insert, select, update
from sqlalchemy.orm import Session

from billing.configuration import BillingConfig, billing_config
from billing.ports.settings import SettingStore
from billing.settings import unwritten, value_of
from billing.stores.catalog_models import SettingChangeRow, SettingRow
from billing.stores.database import Database
from billing.stores.memory_settings import after, change_of
from billing.stores.scoped import table_of
from schemas.errors import AlreadyExists, VersionConflict
from schemas.scope import Scope
from schemas.setting import Setting, SettingChange, SettingKey

SETTINGS = table_of(SettingRow)
CHANGES = table_of(SettingChangeRow)

# A change elsewhere takes effect within 5 s (platform.md 7).
REMEMBERED_SECONDS = 2.0


class SqlSettings:
    """The settings of one scope on a database; each call is a transaction of its own."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = {"tenant_id": scope.tenant_id, "environment_id": scope.environment_id}
        self._here = and_(
            SETTINGS.c.tenant_id == scope.tenant_id,
            SETTINGS.c.environment_id == scope.environment_id,
        )

    def get(self, key: SettingKey) -> Setting:
        """Return a setting. Raises StoreError."""
        with self._database.reading() as session:
            return self._read(session, key)

    def every(self) -> Mapping[SettingKey, Setting]:
        """Return all settings in one state. Raises StoreError."""
        with self._database.reading() as session:
            rows = session.execute(select(SETTINGS).where(self._here))
            stored = {row.key: setting_of(row) for row in rows if row.key in set(SettingKey)}
        return {key: stored.get(key) or unwritten(key) for key in SettingKey}

    def put(self, key: SettingKey, given: Mapping[str, Any], at: datetime, by: str) -> Setting:
        """Replace members of a setting, and record who did it and when.

        Raises ValidationFailed, VersionConflict where another writer was first, and StoreError.
        """
        try:
            with self._database.writing() as session:
                before = self._read(session, key)
                changed = after(before, given, at, by)
                self._write(session, before, changed)
        except AlreadyExists as error:
            raise VersionConflict(f"{key} was changed meanwhile: read it again") from error
        return changed

    def history(self, key: SettingKey) -> Sequence[SettingChange]:
        """Return the changes of a setting, the oldest first. Raises StoreError."""
        mine = [
            CHANGES.c[name] == value for name, value in (self._scope | {"key": key.value}).items()
        ]
        with self._database.reading() as session:
            rows = session.execute(select(CHANGES).where(*mine).order_by(CHANGES.c.version))
            return tuple(
                SettingChange(key, row.version, row.value, row.changed_at, row.changed_by)
                for row in rows
            )

    def _read(self, session: Session, key: SettingKey) -> Setting:
        """Return a setting as a transaction sees it."""
        mine = and_(self._here, SETTINGS.c.key == key.value)
        row = session.execute(select(SETTINGS).where(mine)).one_or_none()
        return unwritten(key) if row is None else setting_of(row)

    def _write(self, session: Session, before: Setting, changed: Setting) -> None:
        """Write a setting and the change that made it; a second writer of its version is refused."""
        values = {
            "version": changed.version,
            "value": dict(changed.members),
            "created_at": changed.created_at,
            "updated_at": changed.updated_at,
            "created_by": changed.created_by,
            "updated_by": changed.updated_by,
        }
        change = change_of(changed)
        # First, so that of two writers of one version the second is refused.
        session.execute(
            insert(CHANGES).values(
                **self._scope,
                key=change.key.value,
                version=change.version,
                value=dict(change.members),
                changed_at=change.changed_at,
                changed_by=change.changed_by,
            )
        )
        if before.version:
            mine = and_(self._here, SETTINGS.c.key == changed.key.value)
            session.execute(update(SETTINGS).where(mine).values(**values))
        else:
            session.execute(insert(SETTINGS).values(**self._scope, key=changed.key.value, **values))


def setting_of(row: Row[Any]) -> Setting:
    """Return the setting of a row."""
    key = SettingKey(row.key)
    return Setting(
        key,
        value_of(key, row.value),
        row.value,
        row.version,
        row.created_at,
        row.updated_at,
        row.created_by,
        row.updated_by,
    )


class RememberedSettings:
    """Settings that are read again after a while; a change through here takes effect at once."""

    def __init__(
        self,
        store: SettingStore,
        *,
        seconds: float = REMEMBERED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._clock = clock
        self._found: tuple[float, Mapping[SettingKey, Setting], BillingConfig] | None = None

    def every(self) -> Mapping[SettingKey, Setting]:
        """Return all settings as they are remembered. Raises StoreError."""
        return self._current()[0]

    def get(self, key: SettingKey) -> Setting:
        """Return a setting as it is remembered. Raises StoreError."""
        return self.every()[key]

    def config(self) -> BillingConfig:
        """Return what billing obeys. Raises StoreError."""
        return self._current()[1]

    def put(self, key: SettingKey, given: Mapping[str, Any], at: datetime, by: str) -> Setting:
        """Replace members of a setting; raises as the store does."""
        changed = self._store.put(key, given, at, by)
        self._found = None
        return changed

    def history(self, key: SettingKey) -> Sequence[SettingChange]:
        """Return the changes of a setting. Raises StoreError."""
        return self._store.history(key)

    def _current(self) -> tuple[Mapping[SettingKey, Setting], BillingConfig]:
        """Return the settings, read again where they are too old."""
        found, now = self._found, self._clock()
        if found is None or now - found[0] >= self._seconds:
            settings = self._store.every()
            config = billing_config({key: each.value for key, each in settings.items()})
            found = self._found = (now, settings, config)
        return found[1], found[2]
