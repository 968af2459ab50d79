"""Money: customers, subscriptions, wallets with their ledger, invoices, payments, alerts and the outbox."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
