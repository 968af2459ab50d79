"""Which lines claim the service that they bill, so that nobody else bills it (billing.md 15.6)."""

from schemas.invoice import Invoice, InvoiceLine, InvoiceStatus, Role


def is_live(invoice: Invoice, line: InvoiceLine) -> bool:
    """Tell whether no other invoice may bill the service of a line.

    What corrects another line claims nothing, nor does what is of no subscription.
    """
    return (
        invoice.status is not InvoiceStatus.VOIDED
        and line.role is not Role.ADJUSTMENT
        and line.subscription_line_id is not None
    )
