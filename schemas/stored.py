"""A record with the life that a store gives it: when, by whom, and whether it still counts."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

Record = TypeVar("Record")


class Status(StrEnum):
    """The life of a record: it counts, it stays for what refers to it, or nobody finds it."""

    PUBLISHED = "published"
    ARCHIVED = "archived"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Stored(Generic[Record]):
    """A record as it is kept. `version` grows with every change; "" is an unknown author."""

    record: Record
    created_at: datetime
    updated_at: datetime
    created_by: str = ""
    updated_by: str = ""
    status: Status = Status.PUBLISHED
    version: int = 1

    @property
    def is_live(self) -> bool:
        """Tell whether the record counts."""
        return self.status is Status.PUBLISHED


def made(record: Record, at: datetime, by: str = "") -> Stored[Record]:
    """Return a record that is new at an instant.

    >>> from datetime import UTC
    >>> made("a plan", datetime(2026, 1, 1, tzinfo=UTC), "secret_1").version
    1
    """
    return Stored(record, at, at, by, by)


def changed(
    stored: Stored[Record], record: Record, at: datetime, by: str = "", status: Status | None = None
) -> Stored[Record]:
    """Return the next version of a stored record, with other content or another status.

    >>> from datetime import UTC
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> later = changed(made("a plan", at), "a plan", at, status=Status.ARCHIVED)
    >>> later.version, later.is_live
    (2, False)
    """
    # The type of a dataclass's copy is lost in replace where it is generic.
    after: Any = replace(
        stored,
        record=record,
        updated_at=at,
        updated_by=by,
        status=status or stored.status,
        version=stored.version + 1,
    )
    kept: Stored[Record] = after
    return kept
