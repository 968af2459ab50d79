"""The settings of an environment: what is obeyed, and who changed it when."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from schemas.setting import Setting, SettingChange, SettingKey


class SettingStore(Protocol):
    """The settings of one scope."""

    def get(self, key: SettingKey) -> Setting:
        """Return a setting: what was stored over its defaults."""
        ...

    def every(self) -> Mapping[SettingKey, Setting]:
        """Return all settings in one state."""
        ...

    def put(self, key: SettingKey, given: Mapping[str, Any], at: datetime, by: str) -> Setting:
        """Replace members of a setting, and record who did it and when.

        Raises ValidationFailed for what the whole may not be; then nothing is changed.
        """
        ...

    def history(self, key: SettingKey) -> Sequence[SettingChange]:
        """Return the changes of a setting, the oldest first."""
        ...
