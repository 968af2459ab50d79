"""Tenants, environments and API keys, with the tenant and environment of a fresh store."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from billing.stores.columns import Instant, Roles

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and what a fresh store has (platform.md 1)."""
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
    )
    environments = op.create_table(
        "environments",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id", name="pk_environments"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_environments_tenants"),
        sa.CheckConstraint("type IN ('development', 'production')", name="ck_environments_type"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("display_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("roles", Roles(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("revoked_at", Instant()),
        sa.Column("last_used_at", Instant()),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name="fk_api_keys_environments",
        ),
        sa.CheckConstraint("length(digest) = 64", name="ck_api_keys_digest"),
    )
    op.create_index(
        "ix_api_keys_tenant_id_environment_id_created_at_id",
        "api_keys",
        ["tenant_id", "environment_id", "created_at", "id"],
    )
    at = datetime.now(UTC)
    op.bulk_insert(tenants, [{"id": "tenant_default", "name": "Default", "created_at": at}])
    op.bulk_insert(
        environments,
        [
            {
                "tenant_id": "tenant_default",
                "id": "env_development",
                "name": "Development",
                "type": "development",
                "created_at": at,
            }
        ],
    )
