"""Finalizing: a draft is fixed, settled from the wallets, numbered and told of, in one transaction.

Everything here is called inside `deciding`, with a draft that was computed before. What wallets
give is settled anew on what they hold then (billing.md 15.3, wallets-alerts.md 7).
"""

from datetime import datetime

from billing.alerts.watching import watch_settled
from billing.invoices.closing import action_of, finalize
from billing.invoices.numbers import next_number, series_of
from billing.periods.due_dates import due_date
from billing.ports import Changes, Stores
from billing.use_cases import telling
from billing.use_cases.paid import consequences
from billing.use_cases.transactions import merged, unfinalized_end
from schemas.ids import CustomerId
from schemas.invoice import Invoice, InvoiceAction, InvoiceStatus
from schemas.subscription import Subscription


def finalized(
    held: Stores,
    draft: Invoice,
    at: datetime,
    *,
    subscription: Subscription | None = None,
    due_at: datetime | None = None,
) -> tuple[Invoice, Changes]:
    """Return a draft as it is finalized now, and all that is to be committed with it.

    `draft` has the version that it would be stored with; `subscription` is that of the invoice, for
    its payment terms. `due_at` is a due date that was asked for. Where all lines are 0 the invoice
    is skipped: it gets no number, and nobody is told. Raises InvalidOperation for what is no draft.
    """
    config = held.config()
    wallets = held.wallets_of(draft.customer_id)
    number = None
    # A number that was asked for stands in no series.
    if action_of(draft) is InvoiceAction.FINALIZE and draft.invoice_number is None:
        series = series_of(config.numbering, draft.dated_at)
        number = next_number(config.numbering, draft.dated_at, held.last_number(series))
    done = finalize(
        draft,
        wallets,
        at,
        unfinalized=unfinalized_end(
            held, wallets, draft.customer_id, draft.currency, at, leaving_out=draft.id
        ),
        number=number,
        due_date=due_at or _due_date(held, draft, subscription, at),
    )
    invoice = done.invoice
    if invoice.status is InvoiceStatus.SKIPPED:
        return invoice, Changes(invoices=(invoice,))
    judged = watch_settled(
        held, [posted.holdings for posted in done.posted], at, default=config.wallet_alerts
    )
    customer = held.external_id_of(invoice.customer_id)
    rows = [
        *telling.of_lines(invoice, customer, at),
        telling.of_invoice(telling.INVOICE_FINALIZED, invoice, at),
        *(
            telling.of_payment("payment.success", each, invoice.customer_id, at)
            for each in done.payments
        ),
        *telling.of_entries(done.posted, at),
        *judged.outbox(customer),
    ]
    changes = Changes(
        posted=done.posted,
        invoices=(invoice,),
        numbers=() if number is None else (number,),
        payments=done.payments,
        streams=judged.streams,
        alerts=judged.alerts,
        outbox=tuple(rows),
    )
    return invoice, merged(changes, consequences(held, invoice, at, subscription=subscription))


def _due_date(
    held: Stores, draft: Invoice, subscription: Subscription | None, at: datetime
) -> datetime:
    """Return when an invoice is due, by the terms of its subscription, else by the settings."""
    return due_date(
        draft.period.end,
        subscription.timezone if subscription else _timezone(held, draft.customer_id),
        terms=subscription.payment_terms if subscription else None,
        due_date_days=held.config().due_date_days,
        finalized_at=at,
    )


def _timezone(held: Stores, customer_id: CustomerId) -> str:
    """Return the zone that a customer's days are counted in."""
    customer = held.customer(customer_id)
    return (customer.timezone if customer else "") or "UTC"
