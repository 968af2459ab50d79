"""Money: customers, subscriptions, wallets with their ledger, invoices, payments, alerts and the outbox."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from billing.stores.columns import Exact, Identifier, Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCOPE = ("tenant_id", "environment_id")
# SQLite numbers rows by itself in a column of exactly this type.
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    make_customers()
    make_ledger()
    make_movements()
    keep_what_remains()
    make_invoices()
    make_payments()
    make_alerts()
    make_messages()


def scoped(
    name: str,
    *items: sa.Column[Any] | sa.Constraint,
    key: tuple[str, ...] = ("id",),
    refers: tuple[tuple[str, str], ...] = (),
) -> None:
    """Make a table whose key begins with the scope, and which refers to others in its scope."""
    references: list[sa.Constraint] = [
        sa.ForeignKeyConstraint(
            [*SCOPE, column],
            [f"{table}.{each}" for each in (*SCOPE, "id")],
            name=f"fk_{name}_{table}",
        )
        for column, table in refers
    ]
    op.create_table(
        name,
        text("tenant_id"),
        text("environment_id"),
        *items,
        sa.PrimaryKeyConstraint(*SCOPE, *key, name=f"pk_{name}"),
        *(references or [of_environment(name)]),
    )


def of_environment(table: str) -> sa.Constraint:
    """Return the constraint of what belongs to nothing else: its environment exists."""
    return sa.ForeignKeyConstraint(
        SCOPE, ["environments.tenant_id", "environments.id"], name=f"fk_{table}_environments"
    )


def unique(name: str, *columns: str) -> sa.UniqueConstraint:
    """Return a constraint within the scope."""
    return sa.UniqueConstraint(*SCOPE, *columns, name=name)


def index(
    name: str, table: str, *columns: str, where: str | None = None, once: bool = False
) -> None:
    """Make an index within the scope, of the rows that a condition picks."""
    condition = None if where is None else sa.text(where)
    op.create_index(
        name,
        table,
        [*SCOPE, *columns],
        unique=once,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def name_(column: str, *, absent: bool = False) -> sa.Column[Any]:
    """Return a column of names that rows are looked up and ordered by."""
    return sa.Column(column, Identifier(), nullable=absent)


def text(column: str, *, absent: bool = False) -> sa.Column[Any]:
    """Return a column of texts."""
    return sa.Column(column, sa.String(), nullable=absent)


def whole(column: str) -> sa.Column[Any]:
    """Return a column of whole numbers."""
    return sa.Column(column, sa.Integer(), nullable=False)


def exact(column: str) -> sa.Column[Any]:
    """Return a column of decimals."""
    return sa.Column(column, Exact(), nullable=False)


def instant(column: str, *, absent: bool = False) -> sa.Column[Any]:
    """Return a column of instants."""
    return sa.Column(column, Instant(), nullable=absent)


def document(column: str = "record") -> sa.Column[Any]:
    """Return a column of documents."""
    return sa.Column(column, sa.JSON(), nullable=False)


def make_customers() -> None:
    """Make the tables of customers and subscriptions."""
    scoped(
        "customers",
        name_("id"),
        name_("lookup_key", absent=True),
        name_("name"),
        name_("parent_id", absent=True),
        text("status"),
        instant("created_at"),
        instant("updated_at"),
        text("created_by"),
        text("updated_by"),
        whole("version"),
        document(),
    )
    live = "status = 'published'"
    index("uq_customers_lookup_key", "customers", "lookup_key", where=live, once=True)
    index("ix_customers_created_at", "customers", "created_at", "id")
    index("ix_customers_parent", "customers", "parent_id")
    scoped(
        "subscriptions",
        name_("id"),
        name_("customer_id"),
        name_("payer_id"),
        text("status"),
        name_("lookup_key"),
        whole("version"),
        document(),
    )
    index("ix_subscriptions_customer", "subscriptions", "customer_id", "id")
    index("ix_subscriptions_payer", "subscriptions", "payer_id", "id")
    index("ix_subscriptions_lookup_key", "subscriptions", "lookup_key")
    scoped(
        "coupon_redemptions",
        name_("coupon_id"),
        name_("redeemed_by"),
        instant("redeemed_at"),
        key=("coupon_id", "redeemed_by"),
    )
    scoped(
        "credit_grant_applications",
        name_("id"),
        name_("grant_id"),
        name_("subscription_id"),
        instant("period_start"),
        text("status"),
        document(),
        unique("uq_credit_grant_applications_period", "grant_id", "period_start"),
    )


def make_ledger() -> None:
    """Make the tables of wallets, their entries and their lots."""
    scoped(
        "wallets",
        name_("id"),
        name_("customer_id"),
        text("currency"),
        text("wallet_type"),
        text("status"),
        whole("sequence"),
        document("debts"),
        instant("created_at"),
        instant("updated_at"),
        document(),
    )
    index("ix_wallets_customer", "wallets", "customer_id")
    index("ix_wallets_created_at", "wallets", "created_at", "id")
    kind = ("customer_id", "currency", "wallet_type")
    index("uq_wallets_active", "wallets", *kind, where="status = 'active'", once=True)
    scoped(
        "wallet_entries",
        name_("id"),
        name_("wallet_id"),
        whole("sequence"),
        text("type"),
        exact("credits"),
        exact("amount"),
        exact("running"),
        text("reason"),
        text("reference_type"),
        name_("reference_id"),
        instant("created_at"),
        instant("effective_at"),
        name_("idempotency_key", absent=True),
        text("content", absent=True),
        name_("parent_id", absent=True),
        text("description"),
        document("details"),
        text("created_by"),
        unique("uq_wallet_entries_sequence", "wallet_id", "sequence"),
        unique("uq_wallet_entries_key", "idempotency_key"),
        refers=(("wallet_id", "wallets"),),
    )
    index("ix_wallet_entries_reference", "wallet_entries", "reference_type", "reference_id")
    order = ("created_at", "sequence", "id")
    index("ix_wallet_entries_created_at", "wallet_entries", *order)
    index("ix_wallet_entries_wallet", "wallet_entries", "wallet_id", *order)
    scoped(
        "wallet_lots",
        name_("id"),
        name_("wallet_id"),
        name_("entry_id"),
        whole("sequence"),
        exact("credits"),
        exact("remaining"),
        text("reason"),
        instant("created_at"),
        sa.Column("priority", sa.BigInteger()),
        instant("expires_at", absent=True),
        refers=(("entry_id", "wallet_entries"),),
    )
    index("ix_wallet_lots_entry", "wallet_lots", "entry_id")
    index("ix_wallet_lots_open", "wallet_lots", "wallet_id", "sequence", where="remaining <> '0'")


def make_movements() -> None:
    """Make the tables of what debits took from lots, and of the sides of entries."""
    scoped(
        "wallet_consumptions",
        name_("entry_id"),
        name_("lot_id"),
        whole("sequence"),
        whole("position"),
        exact("credits"),
        exact("remaining"),
        key=("entry_id", "lot_id"),
        refers=(("entry_id", "wallet_entries"), ("lot_id", "wallet_lots")),
    )
    index("ix_wallet_consumptions_lot", "wallet_consumptions", "lot_id")
    scoped(
        "wallet_postings",
        name_("entry_id"),
        whole("position"),
        text("account"),
        text("currency"),
        exact("value"),
        key=("entry_id", "position"),
        refers=(("entry_id", "wallet_entries"),),
    )


def keep_what_remains() -> None:
    """Let the statement that writes a consumption update its lot (wallets-alerts.md 3)."""
    update = (
        "UPDATE wallet_lots SET remaining = NEW.remaining WHERE tenant_id = NEW.tenant_id"
        " AND environment_id = NEW.environment_id AND id = NEW.lot_id;"
    )
    trigger = "CREATE TRIGGER wallet_consumptions_take AFTER INSERT ON wallet_consumptions"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"{trigger} BEGIN {update} END")
        return
    op.execute(
        "CREATE FUNCTION take_from_lot() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {update} RETURN NULL; END $$"
    )
    op.execute(f"{trigger} FOR EACH ROW EXECUTE FUNCTION take_from_lot()")


def make_invoices() -> None:
    """Make the tables of invoices and their numbers."""
    scoped(
        "invoices",
        name_("id"),
        name_("customer_id"),
        name_("subscription_id", absent=True),
        text("kind"),
        text("invoice_type"),
        text("status"),
        text("payment_status"),
        text("currency"),
        instant("dated_at"),
        instant("finalize_at"),
        instant("due_date", absent=True),
        name_("invoice_number", absent=True),
        exact("total"),
        exact("amount_remaining"),
        whole("version"),
        instant("created_at"),
        document(),
        unique("uq_invoices_number", "invoice_number"),
    )
    index("ix_invoices_customer", "invoices", "customer_id", "dated_at", "id")
    index("ix_invoices_subscription", "invoices", "subscription_id", "dated_at", "id")
    index("ix_invoices_dated_at", "invoices", "dated_at", "id")
    index("ix_invoices_created_at", "invoices", "created_at", "id")
    scoped(
        "invoice_lines",
        name_("invoice_id"),
        whole("position"),
        name_("id"),
        name_("subscription_id", absent=True),
        name_("chain_id"),
        instant("period_start"),
        instant("period_end"),
        text("role"),
        exact("amount"),
        sa.Column("live", sa.Boolean(), nullable=False),
        key=("invoice_id", "position"),
        refers=(("invoice_id", "invoices"),),
    )
    index("ix_invoice_lines_id", "invoice_lines", "id")
    service = ("subscription_id", "chain_id", "period_start", "period_end", "role")
    index("uq_invoice_lines_service", "invoice_lines", *service, where="live", once=True)
    scoped(
        "invoice_series",
        text("prefix"),
        text("date_part"),
        sa.Column("last", sa.BigInteger(), nullable=False),
        key=("prefix", "date_part"),
    )


def make_payments() -> None:
    """Make the tables of payments and purchases."""
    scoped(
        "payments",
        name_("id"),
        name_("invoice_id"),
        text("state"),
        instant("created_at"),
        name_("idempotency_key", absent=True),
        whole("version"),
        document(),
        unique("uq_payments_key", "idempotency_key"),
        refers=(("invoice_id", "invoices"),),
    )
    index("ix_payments_invoice", "payments", "invoice_id", "created_at", "id")
    scoped(
        "purchases",
        name_("id"),
        name_("wallet_id"),
        name_("customer_id"),
        name_("invoice_id"),
        text("status"),
        instant("created_at"),
        name_("idempotency_key", absent=True),
        whole("version"),
        document(),
        unique("uq_purchases_key", "idempotency_key"),
    )
    index("ix_purchases_invoice", "purchases", "invoice_id", "id")
    index("ix_purchases_pending", "purchases", "wallet_id", "id", where="status = 'pending'")


def make_alerts() -> None:
    """Make the tables of alert streams and of what was told of them."""
    scoped(
        "alert_streams",
        name_("id"),
        name_("customer_id"),
        text("entity_type"),
        name_("entity_id"),
        whole("version"),
        document(),
    )
    index("ix_alert_streams_entity", "alert_streams", "entity_type", "entity_id")
    scoped(
        "alerts",
        name_("stream_id"),
        whole("version"),
        name_("customer_id"),
        text("entity_type"),
        name_("entity_id"),
        text("alert_type"),
        text("status"),
        instant("at"),
        document(),
        key=("stream_id", "version"),
        refers=(("stream_id", "alert_streams"),),
    )
    order = ("at", "stream_id", "version")
    index("ix_alerts_at", "alerts", *order)
    index("ix_alerts_customer", "alerts", "customer_id", *order)
    index("ix_alerts_entity", "alerts", "entity_type", "entity_id", *order)


def make_messages() -> None:
    """Make the tables of what was answered once, and of what is to be done: schedule, outbox."""
    scoped(
        "first_answers",
        text("kind"),
        name_("key"),
        text("body"),
        instant("answered_at"),
        key=("kind", "key"),
    )
    scoped("account_schedule", name_("customer_id"), instant("due_at"), key=("customer_id",))
    index("ix_account_schedule_due_at", "account_schedule", "due_at", "customer_id")
    op.create_table(
        "outbox",
        sa.Column("sequence", ROW_NUMBER, autoincrement=True, nullable=False),
        text("tenant_id"),
        text("environment_id"),
        name_("id"),
        text("topic", absent=True),
        text("event", absent=True),
        name_("key"),
        name_("customer_id", absent=True),
        instant("at"),
        document("payload"),
        document("body"),
        instant("published_at", absent=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
        of_environment("outbox"),
        unique("uq_outbox_id", "id"),
        sqlite_autoincrement=True,
    )
    index("ix_outbox_waiting", "outbox", "sequence", where="published_at IS NULL")
