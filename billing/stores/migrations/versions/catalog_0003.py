"""The catalog: meters, features, plans, prices, entitlements, coupons, taxes, and the settings."""

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
