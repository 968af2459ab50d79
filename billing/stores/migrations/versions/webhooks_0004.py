"""Webhooks: endpoints, and the deliveries to them."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from billing.stores.columns import Identifier, Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCOPE = ("tenant_id", "environment_id")
IN_ENVIRONMENT = (SCOPE, ("environments.tenant_id", "environments.id"), "environments")
OF_ENDPOINT = (
    (*SCOPE, "endpoint_id"),
    tuple(f"webhook_endpoints.{name}" for name in (*SCOPE, "id")),
    "webhook_endpoints",
)
OF_DELIVERY = (
    (*SCOPE, "endpoint_id", "sequence"),
    tuple(f"webhook_deliveries.{name}" for name in (*SCOPE, "endpoint_id", "sequence")),
    "webhook_deliveries",
)


def upgrade() -> None:
    """Make the tables."""
    op.add_column("outbox", sa.Column("fanned_out_at", Instant(), nullable=True))
    index(
        "ix_outbox_unseen",
        "outbox",
        "sequence",
        where="fanned_out_at IS NULL AND event IS NOT NULL",
    )
    make(
        "outbox_leases",
        sa.Column("name", sa.String(), nullable=False),
        instant("leased_at"),
        instant("lease_until"),
        key=("name",),
        refers=IN_ENVIRONMENT,
    )
    make(
        "webhook_endpoints",
        identifier("id"),
        instant("created_at"),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        key=("id",),
        refers=IN_ENVIRONMENT,
    )
    index(
        "ix_webhook_endpoints_created_at",
        "webhook_endpoints",
        "created_at",
        "id",
        where="NOT deleted",
    )
    make_lanes()
    make_deliveries()


def make_lanes() -> None:
    """Make what keeps the order of an endpoint and key."""
    make(
        "webhook_lanes",
        identifier("endpoint_id"),
        identifier("key"),
        sa.Column("sequence", sa.BigInteger()),
        instant("due_at", absent=True),
        instant("lease_until", absent=True),
        key=("endpoint_id", "key"),
        refers=OF_ENDPOINT,
    )
    index(
        "ix_webhook_lanes_due",
        "webhook_lanes",
        "endpoint_id",
        "due_at",
        "key",
        where="due_at IS NOT NULL",
    )


def make_deliveries() -> None:
    """Make deliveries and attempts."""
    make(
        "webhook_deliveries",
        identifier("endpoint_id"),
        sa.Column("sequence", sa.BigInteger(), nullable=False, autoincrement=False),
        identifier("key"),
        instant("created_at"),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        key=("endpoint_id", "sequence"),
        refers=OF_ENDPOINT,
    )
    index(
        "ix_webhook_deliveries_pending",
        "webhook_deliveries",
        "endpoint_id",
        "key",
        "sequence",
        where="status = 'pending'",
    )
    make(
        "webhook_attempts",
        identifier("endpoint_id"),
        sa.Column("sequence", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        instant("at"),
        sa.Column("status", sa.Integer()),
        sa.Column("failure", sa.String()),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        key=("endpoint_id", "sequence", "number"),
        refers=OF_DELIVERY,
    )


def identifier(name: str) -> sa.Column[Any]:
    """Return a column of a name that rows are looked up by."""
    return sa.Column(name, Identifier(), nullable=False)


def instant(name: str, *, absent: bool = False) -> sa.Column[Any]:
    """Return a column of an instant."""
    return sa.Column(name, Instant(), nullable=absent)


def make(
    name: str,
    *columns: sa.Column[Any],
    key: tuple[str, ...],
    refers: tuple[tuple[str, ...], tuple[str, ...], str],
) -> None:
    """Make a table of an environment, whose rows refer to something."""
    mine, theirs, other = refers
    op.create_table(
        name,
        sa.Column("tenant_id", sa.String(), nullable=False),
        sa.Column("environment_id", sa.String(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint(*SCOPE, *key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(mine, theirs, name=f"fk_{name}_{other}"),
    )


def index(name: str, table: str, *columns: str, where: str) -> None:
    """Make an index within the scope, of the rows that a condition picks."""
    condition = sa.text(where)
    op.create_index(
        name,
        table,
        [*SCOPE, *columns],
        sqlite_where=condition,
        postgresql_where=condition,
    )
