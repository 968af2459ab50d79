"""The catalog: meters, features, plans, prices, entitlements, coupons, taxes, and the settings."""

import sqlalchemy as sa
from alembic import op

from billing.stores.columns import Identifier, Instant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCOPE = ("tenant_id", "environment_id")
KINDS = (
    "meters",
    "features",
    "plans",
    "prices",
    "entitlements",
    "credit_grants",
    "coupons",
    "tax_rates",
    "tax_associations",
    "groups",
)


def upgrade() -> None:
    """Make the tables."""
    for name in KINDS:
        make_objects(name)
    make_settings()


def of_environment(table: str) -> sa.Constraint:
    """Return the constraint of what belongs to nothing else: its environment exists."""
    return sa.ForeignKeyConstraint(
        SCOPE, ["environments.tenant_id", "environments.id"], name=f"fk_{table}_environments"
    )


def make_objects(table: str) -> None:
    """Make the table of one kind of object."""
    op.create_table(
        table,
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("id", Identifier(), nullable=False),
        sa.Column("lookup_key", Identifier()),
        sa.Column("name", Identifier(), nullable=False),
        sa.Column("parent_id", Identifier()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(*SCOPE, "id", name=f"pk_{table}"),
        of_environment(table),
    )
    live = sa.text("status = 'published'")
    op.create_index(
        f"uq_{table}_lookup_key",
        table,
        [*SCOPE, "lookup_key"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index(f"ix_{table}_created_at", table, [*SCOPE, "created_at", "id"])
    op.create_index(f"ix_{table}_parent", table, [*SCOPE, "parent_id"])


def make_settings() -> None:
    """Make the tables of the settings, as they are and as they were."""
    op.create_table(
        "settings",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("key", Identifier(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint(*SCOPE, "key", name="pk_settings"),
        of_environment("settings"),
    )
    op.create_table(
        "setting_changes",
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        sa.Column("key", Identifier(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", Instant(), nullable=False),
        sa.Column("changed_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint(*SCOPE, "key", "version", name="pk_setting_changes"),
        of_environment("setting_changes"),
    )
