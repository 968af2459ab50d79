"""`tally bill`: invoices, wallets and alerts."""

EXAMPLE = ""


def bill() -> None:
    """Bill."""
