"""API keys in SQL."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, update

from billing.access import USE_NOTED_EVERY
from billing.stores.database import Database
from billing.stores.models import ApiKeyRow
from schemas.access import ApiKey
from schemas.errors import AlreadyExists, NotFound, ValidationFailed
from schemas.scope import Scope


class SqlKeys:
    """A key store on a database; each call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def key_of(self, digest: str) -> ApiKey | None:
        """Return the key with a digest, revoked and expired ones too. Raises StoreError."""
        with self._database.reading() as session:
            row = session.scalar(select(ApiKeyRow).where(ApiKeyRow.digest == digest))
            return None if row is None else key_from(row)

    def keys(self, scope: Scope) -> Sequence[ApiKey]:
        """Return the keys of a scope, in the order in which they were made. Raises StoreError."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(ApiKeyRow)
                .where(ApiKeyRow.tenant_id == scope.tenant_id)
                .where(ApiKeyRow.environment_id == scope.environment_id)
                .order_by(ApiKeyRow.created_at, ApiKeyRow.id)
            )
            return tuple(key_from(row) for row in rows)

    def add_key(self, key: ApiKey) -> None:
        """Add a key.

        Raises AlreadyExists if there is one with its digest or its id, ValidationFailed if there is
        no such environment, and StoreError.
        """
        try:
            with self._database.writing() as session:
                session.add(row_from(key))
        except AlreadyExists as error:
            raise AlreadyExists("there is such a key", reason="unique") from error
        except ValidationFailed as error:
            raise ValidationFailed(
                f"there is no environment {key.scope.environment_id} of {key.scope.tenant_id}",
                field="environment_id",
            ) from error

    def revoke_key(self, scope: Scope, key_id: str, at: datetime) -> ApiKey:
        """Revoke a key; doing it twice keeps the first instant. Raises NotFound and StoreError."""
        with self._database.writing() as session:
            row = session.scalar(
                select(ApiKeyRow)
                .where(ApiKeyRow.id == key_id)
                .where(ApiKeyRow.tenant_id == scope.tenant_id)
                .where(ApiKeyRow.environment_id == scope.environment_id)
                .with_for_update()
            )
            if row is None:
                raise NotFound(f"there is no key {key_id}")
            if row.revoked_at is None:
                row.revoked_at = at
            return key_from(row)

    def note_use(self, key_id: str, at: datetime) -> None:
        """Remember when a key was used last, to the minute, however many processes say so.

        Of a key that is gone nothing is remembered. Raises StoreError.
        """
        with self._database.writing() as session:
            session.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key_id)
                .where(
                    or_(
                        ApiKeyRow.last_used_at.is_(None),
                        ApiKeyRow.last_used_at <= at - USE_NOTED_EVERY,
                    )
                )
                .values(last_used_at=at)
                .execution_options(synchronize_session=False)
            )


def key_from(row: ApiKeyRow) -> ApiKey:
    """Return the record of a row."""
    return ApiKey(
        id=row.id,
        digest=row.digest,
        display_id=row.display_id,
        name=row.name,
        scope=Scope(row.tenant_id, row.environment_id),
        roles=row.roles,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def row_from(key: ApiKey) -> ApiKeyRow:
    """Return the row of a record."""
    return ApiKeyRow(
        id=key.id,
        digest=key.digest,
        display_id=key.display_id,
        name=key.name,
        tenant_id=key.scope.tenant_id,
        environment_id=key.scope.environment_id,
        roles=key.roles,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
