"""The tables: every row of business data belongs to a tenant and one of its environments.

What holds at all times is a constraint here, not only a rule in code. A change of this file needs a
migration in `migrations/versions`; a test compares the two.
"""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from billing.stores.columns import Instant, Roles
from schemas.access import Role

# Migrations name constraints, so each has a name that follows from its table and columns.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Model(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {
        datetime: Instant(),
        tuple[Role, ...]: Roles(),
    }


def in_scope() -> ForeignKeyConstraint:
    """Return the constraint of every scoped table: its environment is one of its tenant."""
    return ForeignKeyConstraint(
        ["tenant_id", "environment_id"], ["environments.tenant_id", "environments.id"]
    )


class TenantRow(Model):
    """A tenant: whoever everything belongs to."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]


class EnvironmentRow(Model):
    """An environment of a tenant; its type is a label."""

    __tablename__ = "environments"
    __table_args__ = (CheckConstraint("type IN ('development', 'production')", name="type"),)

    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    type: Mapped[str]
    created_at: Mapped[datetime]


class ApiKeyRow(Model):
    """An API key by the digest that it is looked up with; the key itself is nowhere."""

    __tablename__ = "api_keys"
    __table_args__ = (
        in_scope(),
        CheckConstraint("length(digest) = 64", name="digest"),
        Index(None, "tenant_id", "environment_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    environment_id: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    display_id: Mapped[str]
    name: Mapped[str]
    roles: Mapped[tuple[Role, ...]]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
