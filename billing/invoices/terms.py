"""Terms: what a subscription has agreed to beside its prices, as an invoice of it needs them."""

from collections.abc import Iterable
from datetime import datetime

from billing.invoices.amounts import Terms
from billing.invoices.coupons import applications_for
from schemas.ids import InvoiceId
from schemas.invoice import Invoice
from schemas.subscription import Subscription


def terms_of(
    subscription: Subscription, invoice_id: InvoiceId, dated_at: datetime, others: Iterable[Invoice]
) -> Terms:
    """Return the coupons and taxes for one invoice, given the invoices of the subscription.

    Each coupon comes with how often it has been applied on the others. Source: billing.md 13, 14.
    """
    applied = applications_for(invoice_id, dated_at, others)
    return Terms(subscription.coupons, subscription.taxes, applied)
