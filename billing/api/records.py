"""What every stored object says of itself in an answer, read off its life in the store."""

from datetime import datetime
from typing import Any, TypedDict

from schemas.scope import Scope
from schemas.stored import Stored


class RecordMembers(TypedDict):
    """The members that all records of an environment have (api-fields.md)."""

    id: str
    tenant_id: str
    environment_id: str
    status: str
    created_at: datetime | None
    updated_at: datetime | None
    created_by: str
    updated_by: str


def record_members(stored: Stored[Any], scope: Scope) -> RecordMembers:
    """Return the members of a stored object of a scope.

    >>> from datetime import UTC
    >>> from schemas.ids import PlanId
    >>> from schemas.stored import made
    >>> from schemas.subscription import Plan
    >>> pro = made(Plan(PlanId("plan_1"), "Pro"), datetime(2026, 1, 1, tzinfo=UTC), "key_1")
    >>> members = record_members(pro, Scope("t", "e"))
    >>> members["id"], members["status"], members["created_by"]
    ('plan_1', 'published', 'key_1')
    """
    return {
        "id": stored.record.id,
        "tenant_id": scope.tenant_id,
        "environment_id": scope.environment_id,
        "status": stored.status.value,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "created_by": stored.created_by,
        "updated_by": stored.updated_by,
    }
