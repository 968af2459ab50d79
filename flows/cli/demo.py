"""`tally bill`: invoices, wallets and alerts."""

EXAMPLE = ""


def demo() -> None:
    """Bill."""
