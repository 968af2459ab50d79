"""Reports: invoices, wallets and alerts as the JSON that `tally bill` and the topics show.

Decimals are plain text without trailing zeros, instants RFC 3339 in UTC.
"""

from collections.abc import Mapping

from billing.pricing.explanation import instant
from billing.wallets.balances import Ongoing
from schemas.alert import Alert
from schemas.decimals import plain
from schemas.invoice import Invoice, InvoiceLine
from schemas.wallet import Wallet

Shown = dict[str, object]


def named(name: str | None, names: Mapping[str, str]) -> str | None:
    """Return how an id is called; one that has no name stays."""
    return None if name is None else names.get(name, name)


def line_as_json(line: InvoiceLine) -> Shown:
    """Return a line with its explanation."""
    return {
        "display_name": line.display_name,
        "price_type": line.price_type.value,
        "quantity": plain(line.quantity),
        "amount": plain(line.amount),
        "period_start": instant(line.period.start),
        "period_end": instant(line.period.end),
        "explanation": dict(line.explanation),
    }


def invoice_as_json(
    invoice: Invoice, customers: Mapping[str, str], subscriptions: Mapping[str, str]
) -> Shown:
    """Return an invoice; the mappings tell how ids are called, an id that has no name stays."""
    return {
        "customer": customers.get(invoice.customer_id, invoice.customer_id),
        "subscription": named(invoice.subscription_id, subscriptions),
        "period_start": instant(invoice.period.start),
        "period_end": instant(invoice.period.end),
        "currency": invoice.currency,
        "subtotal": plain(invoice.subtotal),
        "total_discount": plain(invoice.total_discount),
        "total_prepaid_credits_applied": plain(invoice.total_prepaid_credits_applied),
        "total_tax": plain(invoice.total_tax),
        "total": plain(invoice.total),
        "lines": [line_as_json(line) for line in invoice.lines],
    }


def wallet_as_json(wallet: Wallet, ongoing: Ongoing, customers: Mapping[str, str]) -> Shown:
    """Return a wallet with its settled and its ongoing balance, in currency."""
    return {
        "customer": customers.get(wallet.customer_id, wallet.customer_id),
        "currency": wallet.currency,
        "balance": plain(ongoing.balance),
        "ongoing_balance": plain(ongoing.real_time_balance),
    }


def alert_as_json(alert: Alert, customers: Mapping[str, str]) -> Shown:
    """Return an alert: which number reached which level, and when."""
    return {
        "customer": customers.get(alert.customer_id, alert.customer_id),
        "type": alert.alert_type.value,
        "level": alert.status.value,
        "at": instant(alert.at),
    }


def line_fact(invoice: Invoice, line: InvoiceLine, customer: str) -> Shown:
    """Return a line as it leaves on the topic `invoice_lines`: one fact, complete by itself."""
    return {
        "id": line.id,
        "invoice_id": invoice.id,
        "customer": customer,
        "subscription_id": invoice.subscription_id,
        "currency": invoice.currency,
        **line_as_json(line),
    }


def alert_fact(alert: Alert, customer: str) -> Shown:
    """Return an alert as it leaves on the topic `alerts`."""
    return {
        "entity_type": alert.entity_type,
        "entity_id": alert.entity_id,
        **alert_as_json(alert, {alert.customer_id: customer}),
        "previous_level": alert.previous.value,
        "value": plain(alert.value),
        "event": alert.event,
    }
