"""Tenants and environments in SQL, as far as a process needs them before anything is managed."""

from datetime import datetime

from billing.stores.database import Database
from billing.stores.models import EnvironmentRow, TenantRow
from schemas.errors import AlreadyExists
from schemas.scope import Scope


def ensure_scope(database: Database, scope: Scope, at: datetime) -> bool:
    """Make the tenant and environment that a configuration names, and tell if they were missing.

    Made by two processes at once they are made once. Raises StoreError.
    """
    with database.reading() as session:
        if session.get(EnvironmentRow, (scope.tenant_id, scope.environment_id)) is not None:
            return False
    try:
        with database.writing() as session:
            if session.get(TenantRow, scope.tenant_id) is None:
                session.add(TenantRow(id=scope.tenant_id, name=scope.tenant_id, created_at=at))
                # The environment refers to its tenant, which no relation tells the session.
                session.flush()
            session.add(
                EnvironmentRow(
                    tenant_id=scope.tenant_id,
                    id=scope.environment_id,
                    name=scope.environment_id,
                    type="development",
                    created_at=at,
                )
            )
    except AlreadyExists:
        return False
    return True
