"""Keys, roles and permissions: who a caller is and what it may do (platform.md 2, 3)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.scope import Scope


class Role(StrEnum):
    """What a key was made for; its permissions are in `billing.access`."""

    SUPER_ADMIN = "super_admin"
    ALL_WRITER = "all_writer"
    ALL_READER = "all_reader"
    EVENT_INGESTOR = "event_ingestor"
    EVENT_READER = "event_reader"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: never the key itself, only its SHA-256 in hexadecimal digits."""

    id: str
    digest: str
    display_id: str
    name: str
    scope: Scope
    roles: tuple[Role, ...]
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: the scope that its key is pinned to, and the roles that it has."""

    key_id: str
    scope: Scope
    roles: tuple[Role, ...]
