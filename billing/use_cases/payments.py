"""Payments: made, tried, corrected, deleted and recorded by hand, and what they do to an invoice.

Each is one transaction that holds the account; how far the invoice is paid is the one function over
all its payments (wallets-alerts.md 14). What becomes paid completes purchases and activates a
subscription in the same transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from billing.alerts.watching import watch_settled
from billing.invoices import paying
from billing.invoices.closing import credits_payment
from billing.invoices.paying import payable_of, recorded_by_hand, wallet_payments
from billing.invoices.payments import PAID, with_payments
from billing.ports import Changes, Stores
from billing.use_cases import telling
from billing.use_cases.paid import consequences, is_paid
from billing.use_cases.transactions import merged, unfinalized_end
from billing.wallets.ledger import take
from schemas.errors import InvalidOperation, NotFound
from schemas.ids import CustomerId, InvoiceId, PaymentId, derived
from schemas.invoice import Invoice, InvoiceStatus, InvoiceType, PaymentStatus
from schemas.payment import (
    InvoicePayment,
    Notice,
    PaymentMethod,
    PaymentRequest,
    PaymentState,
)
from schemas.wallet import Wallet

# The webhooks of states that a payment comes to; of all others it is said that it was updated.
EVENTS = {
    PaymentState.PENDING: "payment.pending",
    PaymentState.SUCCEEDED: "payment.success",
    PaymentState.FAILED: "payment.failed",
}


def create_payment(stores: Stores, request: PaymentRequest, at: datetime) -> InvoicePayment:
    """Make a payment of an invoice, and try it if that is asked for; a repeated key replays.

    Without a key every request is a payment. Raises NotFound for the invoice, else as
    `billing.invoices.paying.create_payment` does.
    """
    invoice_id, key = InvoiceId(request.destination_id), request.idempotency_key
    with stores.deciding(_owner(stores, invoice_id)) as held:
        invoice, payments = _invoice(held, invoice_id), held.payments_of(invoice_id)
        recorded = held.payment_of(key) if key is not None else None
        facts = (key,) if key is not None else (None, invoice_id, at, len(payments))
        made = paying.create_payment(
            payable_of(invoice),
            request,
            payments,
            at,
            payment_id=PaymentId(derived("pay", "made", *facts)),
            recorded=recorded,
        )
        if made is not recorded:
            created = telling.of_payment("payment.created", made, invoice.customer_id, at)
            changes = applied(held, invoice, made, at, was=None)[1]
            held.commit(merged(Changes(outbox=(created,)), changes))
        return made


def process_payment(stores: Stores, payment_id: PaymentId, at: datetime) -> InvoicePayment:
    """Try a payment, or try it again; the invoice must still want it.

    Raises NotFound, and InvalidOperation as `billing.invoices.paying.process_payment` does.
    """
    known = _payment(stores, payment_id)
    with stores.deciding(_owner(stores, known.invoice_id)) as held:
        payment = _payment(held, payment_id)
        invoice = _invoice(held, payment.invoice_id)
        others = _others(held, payment)
        tried = paying.process_payment(payable_of(invoice), payment, others, at)
        held.commit(applied(held, invoice, tried, at, was=payment)[1])
        return tried


def take_notice(
    stores: Stores, payment_id: PaymentId, notice: Notice, at: datetime
) -> InvoicePayment:
    """Note what the gateway says of a payment; the same notice again changes nothing.

    Raises NotFound, and InvalidOperation for a payment that is not being tried.
    """
    known = _payment(stores, payment_id)
    with stores.deciding(_owner(stores, known.invoice_id)) as held:
        payment = _payment(held, payment_id)
        noticed = paying.noticed(payment, notice, at)
        if noticed is not payment:
            invoice = _invoice(held, payment.invoice_id)
            held.commit(applied(held, invoice, noticed, at, was=payment)[1])
        return noticed


def correct_payment(
    stores: Stores,
    payment_id: PaymentId,
    amount: Decimal,
    at: datetime,
    *,
    version: int | None = None,
) -> InvoicePayment:
    """Give a payment that has come to no end another amount; the same one is no change.

    `version` is the one that was read. Raises NotFound, else as `billing.invoices.paying.corrected`.
    """
    known = _payment(stores, payment_id)
    with stores.deciding(_owner(stores, known.invoice_id)) as held:
        payment = _payment(held, payment_id)
        invoice = _invoice(held, payment.invoice_id)
        others = _others(held, payment)
        due = payable_of(invoice)
        changed = paying.corrected(due, payment, amount, others, version=version)
        if payment.amount == amount:
            return payment
        held.commit(applied(held, invoice, changed, at, was=payment)[1])
        return changed


def delete_payment(stores: Stores, payment_id: PaymentId, at: datetime) -> InvoicePayment:
    """Delete a payment that has moved no money and cannot do so any more.

    Returns it as it was. Raises NotFound, and InvalidOperation for any other.
    """
    known = _payment(stores, payment_id)
    with stores.deciding(_owner(stores, known.invoice_id)) as held:
        payment = _payment(held, payment_id)
        paying.check_deletable(payment)
        invoice = _invoice(held, payment.invoice_id)
        left = _others(held, payment)
        after = with_payments(invoice, left, invoice.refunded_amount, at=at)
        held.commit(
            merged(
                Changes(deleted_payments=(payment,)),
                _invoice_changes(held, invoice, after, at),
            )
        )
        return payment


def record_by_hand(
    stores: Stores,
    invoice_id: InvoiceId,
    asked: PaymentStatus,
    at: datetime,
    *,
    amount: Decimal | None = None,
) -> Invoice:
    """Bring an invoice to a state by an OFFLINE payment; the state that it has is no change.

    Raises NotFound, else as `billing.invoices.paying.recorded_by_hand`. Source: billing.md 15.2.
    """
    with stores.deciding(_owner(stores, invoice_id)) as held:
        return recorded(held, _invoice(held, invoice_id), asked, at, amount=amount)


def recorded(
    held: Stores,
    invoice: Invoice,
    asked: PaymentStatus,
    at: datetime,
    *,
    amount: Decimal | None = None,
) -> Invoice:
    """Do inside a transaction what `record_by_hand` does, and commit it."""
    payments = held.payments_of(invoice.id)
    name = PaymentId(derived("pay", "by hand", invoice.id, at, len(payments)))
    made = recorded_by_hand(payable_of(invoice), payments, asked, amount, at, payment_id=name)
    if made is None:
        return invoice
    after, changes = applied(held, invoice, made, at, was=None)
    created = telling.of_payment("payment.created", made, invoice.customer_id, at)
    held.commit(merged(Changes(outbox=(created,)), changes))
    return after


def attempt_payment(stores: Stores, invoice_id: InvoiceId, at: datetime) -> Invoice:
    """Let wallets pay what remains of an invoice, from what they hold now; nothing due: no effect.

    Raises NotFound, and InvalidOperation for an invoice that is not finalized. Invoices that buy
    credits are never paid by wallets. Source: wallets-alerts.md 7.
    """
    with stores.deciding(_owner(stores, invoice_id)) as held:
        invoice = _invoice(held, invoice_id)
        if invoice.status is not InvoiceStatus.FINALIZED:
            raise InvalidOperation(f"invoice {invoice_id} is {invoice.status}")
        if invoice.amount_remaining <= 0 or invoice.invoice_type is InvoiceType.CREDIT:
            return invoice
        payments, wallets = held.payments_of(invoice_id), held.wallets_of(invoice.customer_id)
        takes = wallet_payments(invoice, wallets, _paid_by(held, invoice_id, payments), at)
        if not takes:
            return invoice
        attempt = 1 + sum(each.method is PaymentMethod.CREDITS for each in payments)
        made = tuple(credits_payment(invoice, part, at, attempt) for part in takes)
        waiting = unfinalized_end(held, wallets, invoice.customer_id, invoice.currency, at)
        wanted = {part.wallet_id: part.amount for part in takes}
        posted = tuple(
            take(
                each,
                wanted[each.wallet.id],
                at,
                invoice_id=invoice_id,
                unfinalized_end=waiting,
                attempt=attempt,
            )
            for each in wallets
            if each.wallet.id in wanted
        )
        judged = watch_settled(
            held, [each.holdings for each in posted], at, default=held.config().wallet_alerts
        )
        after = with_payments(invoice, (*payments, *made), invoice.refunded_amount, at=at)
        rows = (
            *(
                telling.of_payment("payment.success", each, invoice.customer_id, at)
                for each in made
            ),
            *telling.of_entries(posted, at),
            *judged.outbox(held.external_id_of(invoice.customer_id)),
        )
        taken = Changes(
            posted=posted,
            payments=made,
            streams=judged.streams,
            alerts=judged.alerts,
            outbox=rows,
        )
        held.commit(merged(taken, _invoice_changes(held, invoice, after, at)))
        return after


def applied(
    held: Stores,
    invoice: Invoice,
    payment: InvoicePayment,
    at: datetime,
    *,
    was: InvoicePayment | None,
) -> tuple[Invoice, Changes]:
    """Return an invoice with a payment as it is now, and all that is to be committed with it.

    `was` is the payment before, None for a new one.
    """
    every = (*_others(held, payment), payment)
    after = with_payments(invoice, every, invoice.refunded_amount, at=at)
    rows = []
    if was is None or payment.state is not was.state:
        event = EVENTS.get(payment.state)
        if event is not None:
            rows.append(telling.of_payment(event, payment, invoice.customer_id, at))
    if was is not None:
        rows.append(telling.of_payment("payment.updated", payment, invoice.customer_id, at))
    told = Changes(payments=(payment,), outbox=tuple(rows))
    return after, merged(told, _invoice_changes(held, invoice, after, at))


def _invoice_changes(held: Stores, before: Invoice, after: Invoice, at: datetime) -> Changes:
    """Return the changes of an invoice whose payments have changed, and what follows from it."""
    if after is before:
        return Changes()
    row = telling.of_invoice(telling.INVOICE_PAID, after, at)
    changes = Changes(invoices=(after,), outbox=(row,), wake={after.customer_id: at})
    if is_paid(before) or not is_paid(after):
        return changes
    return merged(changes, consequences(held, after, at))


def _paid_by(
    held: Stores, invoice_id: InvoiceId, payments: Sequence[InvoicePayment]
) -> list[tuple[Wallet | None, Decimal]]:
    """Return what was paid of an invoice, in order, each with the wallet that did."""
    debits = {each.reference_id: each.wallet_id for each in held.taken_for(invoice_id).entries}
    found: list[tuple[Wallet | None, Decimal]] = []
    for payment in payments:
        if payment.state in PAID:
            name = debits.get(payment.id)
            holdings = held.holdings(name) if name is not None else None
            found.append((holdings.wallet if holdings else None, payment.amount))
    return found


def _others(held: Stores, payment: InvoicePayment) -> tuple[InvoicePayment, ...]:
    """Return the other payments of the invoice of a payment."""
    every = held.payments_of(payment.invoice_id)
    return tuple(each for each in every if each.id != payment.id)


def _owner(stores: Stores, invoice_id: InvoiceId) -> CustomerId:
    """Return whose invoice it is, to lock the account."""
    return _invoice(stores, invoice_id).customer_id


def _invoice(held: Stores, invoice_id: InvoiceId) -> Invoice:
    found = held.invoice(invoice_id)
    if found is None:
        raise NotFound(f"there is no invoice {invoice_id}")
    return found


def _payment(held: Stores, payment_id: PaymentId) -> InvoicePayment:
    found = held.payment(payment_id)
    if found is None:
        raise NotFound(f"there is no payment {payment_id}")
    return found
