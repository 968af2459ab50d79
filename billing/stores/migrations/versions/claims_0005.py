"""Running claims: the claims, how far usage is in them, and for whom they are out of date."""

import sqlalchemy as sa
from alembic import op

from billing.stores.columns import Identifier, Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    make(
        "running_claims",
        sa.Column("customer_id", Identifier(), nullable=False),
        sa.Column("claims", sa.JSON(), nullable=False),
        sa.Column("usage_until", Instant(), nullable=False),
        sa.Column("computed_at", Instant(), nullable=False),
        key="customer_id",
    )
    make(
        "claim_progress",
        sa.Column("shard", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("usage_until", Instant(), nullable=False),
        key="shard",
    )
    make(
        "account_changes",
        sa.Column("customer_id", Identifier(), nullable=False),
        sa.Column("mark", sa.String(), nullable=False),
        key="customer_id",
    )


def make(name: str, *columns: sa.Column[object], key: str) -> None:
    """Make a table of an environment."""
    op.create_table(
        name,
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("tenant_id", "environment_id", key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(
            ["tenant_id", "environment_id"],
            ["environments.tenant_id", "environments.id"],
            name=f"fk_{name}_environments",
        ),
    )
