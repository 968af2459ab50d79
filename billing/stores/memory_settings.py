"""Settings in dictionaries of one process: for tests, and the measure of the SQL store."""

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from billing.settings import merged, unwritten, value_of
from schemas.setting import Setting, SettingChange, SettingKey


class MemorySettings:
    """The plainest store of settings; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settings: dict[SettingKey, Setting] = {}
        self._changes: list[SettingChange] = []

    def get(self, key: SettingKey) -> Setting:
        """Return a setting."""
        return self._settings.get(key) or unwritten(key)

    def every(self) -> Mapping[SettingKey, Setting]:
        """Return all settings."""
        return {key: self.get(key) for key in SettingKey}

    def put(self, key: SettingKey, given: Mapping[str, Any], at: datetime, by: str) -> Setting:
        """Replace members of a setting. Raises ValidationFailed."""
        with self._lock:
            changed = after(self.get(key), given, at, by)
            self._settings[key] = changed
            self._changes.append(change_of(changed))
            return changed

    def history(self, key: SettingKey) -> Sequence[SettingChange]:
        """Return the changes of a setting."""
        return tuple(each for each in tuple(self._changes) if each.key is key)


def after(before: Setting, given: Mapping[str, Any], at: datetime, by: str) -> Setting:
    """Return what a setting is once members have been replaced. Raises ValidationFailed."""
    members = merged(before.key, before.members, given)
    return Setting(
        before.key,
        value_of(before.key, members),
        members,
        before.version + 1,
        before.created_at or at,
        at,
        before.created_by if before.version else by,
        by,
    )


def change_of(changed: Setting) -> SettingChange:
    """Return the record of the change that made a setting what it is."""
    assert changed.updated_at is not None, "a setting that was changed was changed at some instant"
    return SettingChange(
        changed.key, changed.version, changed.members, changed.updated_at, changed.updated_by
    )
