"""Paying: what may be done with a payment of an invoice, each a function from it to what follows.

A try is noted before the gateway is called and its answer afterwards, so that no transaction is
open during the call. Whoever commits holds the invoice, and gives it the state that
`billing.invoices.payments.with_payments` finds. Source: wallets-alerts.md 14, billing.md 15.2.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.drafting import net_lines
from billing.invoices.payments import paid_state, remaining_of
from billing.wallets.holdings import Holdings, payable
from billing.wallets.settlement import Take, due_of, taking_part
from schemas.errors import (
    AlreadyExists,
    InvalidOperation,
    NotBuiltYet,
    ValidationFailed,
    VersionConflict,
)
from schemas.ids import InvoiceId, PaymentId, derived
from schemas.invoice import Invoice, InvoiceStatus, PaymentStatus
from schemas.money import LOSSLESS, total
from schemas.payment import (
    GatewayResult,
    InvoicePayment,
    Notice,
    PaymentAction,
    PaymentMethod,
    PaymentRequest,
    PaymentState,
    after,
)
from schemas.wallet import Wallet, WalletType

CORRECTABLE = frozenset({PaymentState.INITIATED, PaymentState.PENDING, PaymentState.PROCESSING})
DELETABLE = frozenset({PaymentState.INITIATED, PaymentState.FAILED})
ANSWERS = {
    GatewayResult.SUCCEEDED: PaymentAction.SUCCEED,
    GatewayResult.FAILED: PaymentAction.FAIL,
}

# From the status that an invoice has and the one that is asked for by hand, to what is recorded
# (billing.md 15.2). A part payment is money that has come, too.
BY_HAND = {
    (before, asked): PaymentState.FAILED
    if asked is PaymentStatus.FAILED
    else PaymentState.SUCCEEDED
    for before, following in {
        PaymentStatus.PENDING: "PENDING SUCCEEDED OVERPAID FAILED",
        PaymentStatus.PROCESSING: "PENDING SUCCEEDED OVERPAID FAILED",
        PaymentStatus.FAILED: "PENDING SUCCEEDED OVERPAID",
        PaymentStatus.SUCCEEDED: "OVERPAID",
    }.items()
    for asked in map(PaymentStatus, following.split())
}


@dataclass(frozen=True, slots=True)
class Payable:
    """What of an invoice decides over its payments."""

    invoice_id: InvoiceId
    currency: str
    amount_due: Decimal
    status: InvoiceStatus = InvoiceStatus.FINALIZED


def payable_of(invoice: Invoice) -> Payable:
    """Return what of an invoice decides over its payments."""
    return Payable(invoice.id, invoice.currency, invoice.total, invoice.status)


def create_payment(
    due: Payable,
    request: PaymentRequest,
    payments: Sequence[InvoicePayment],
    at: datetime,
    *,
    payment_id: PaymentId,
    recorded: InvoicePayment | None = None,
) -> InvoicePayment:
    """Return the payment of a request: an OFFLINE one has succeeded, another is being tried.

    With `process_payment` false an OFFLINE one waits as PENDING, others as INITIATED. `recorded` is
    the payment that the idempotency key stands for, as it is now: with the same content it is
    returned, so that a repeated key never charges again, with other content AlreadyExists is
    raised. Raises ValidationFailed and InvalidOperation as the invoice's state has it.
    """
    _check_request(due, request)
    content = derived(
        "content",
        "payment",
        due.invoice_id,
        request.payment_method_type,
        request.amount,
        request.process_payment,
    )
    if recorded is not None:
        if recorded.content != content:
            raise AlreadyExists(
                f"idempotency key {request.idempotency_key!r} was used for another payment",
                field="idempotency_key",
            )
        return recorded
    check_owed(due, request.payment_method_type, request.amount, payments)
    made = InvoicePayment(
        id=payment_id,
        invoice_id=due.invoice_id,
        method=request.payment_method_type,
        amount=request.amount,
        currency=due.currency,
        created_at=at,
        idempotency_key=request.idempotency_key,
        content=content,
    )
    if request.process_payment:
        return replace(attempted(made, at), version=1)
    if made.method is PaymentMethod.OFFLINE:
        return replace(made, state=after(made.state, PaymentAction.AWAIT))
    return made


def _check_request(due: Payable, request: PaymentRequest) -> None:
    """Refuse what no payment can be, whatever the invoice stands at."""
    if request.destination_type != "INVOICE":
        raise NotBuiltYet("payments are for invoices", field="destination_type")
    if request.payment_method_type is PaymentMethod.CREDITS:
        text = "wallets pay when an invoice is finalized; no such payment is made by hand"
        raise ValidationFailed(text, field="payment_method_type")
    _check_amount(request.amount)
    if request.currency.lower() != due.currency.lower():
        raise ValidationFailed(f"the invoice is in {due.currency}", field="currency")


def _check_amount(amount: Decimal) -> None:
    if amount <= 0:
        raise ValidationFailed("must be above 0", field="amount")


def check_owed(
    due: Payable, method: PaymentMethod, amount: Decimal, payments: Iterable[InvoicePayment]
) -> None:
    """Refuse a payment of an invoice that is not finalized, or of which nothing remains.

    Only OFFLINE payments may be more than what remains. Raises InvalidOperation.
    """
    if due.status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(f"invoice {due.invoice_id} is {due.status}")
    remaining = remaining_of(due.amount_due, payments)
    if remaining <= 0:
        raise InvalidOperation(f"nothing remains to be paid of invoice {due.invoice_id}")
    if method is not PaymentMethod.OFFLINE and amount > remaining:
        raise InvalidOperation(f"{amount} is more than the {remaining} that remain")


def attempted(payment: InvoicePayment, at: datetime) -> InvoicePayment:
    """Return a payment with one try more: OFFLINE succeeds by it, others are PROCESSING now.

    Raises InvalidOperation where its state allows no try.
    """
    offline = payment.method is PaymentMethod.OFFLINE
    action = PaymentAction.SUCCEED if offline else PaymentAction.TRY
    return replace(
        payment,
        state=after(payment.state, action),
        attempts=payment.attempts + 1,
        succeeded_at=at if offline else None,
        version=payment.version + 1,
    )


def process_payment(
    due: Payable, payment: InvoicePayment, payments: Sequence[InvoicePayment], at: datetime
) -> InvoicePayment:
    """Return a payment that is tried, or tried again; the invoice must still want it.

    Raises InvalidOperation, also from any state but INITIATED, PENDING and FAILED.
    """
    tried = attempted(payment, at)
    check_owed(due, payment.method, payment.amount, payments)
    return tried


def answered(payment: InvoicePayment, result: GatewayResult, at: datetime) -> InvoicePayment:
    """Return a payment with what the gateway answered to the try; pending is no answer yet.

    Raises InvalidOperation for a payment that is not being tried.
    """
    if payment.state is not PaymentState.PROCESSING:
        raise InvalidOperation(f"payment {payment.id} is {payment.state}, not being tried")
    return replace(
        payment,
        state=after(payment.state, ANSWERS[result]),
        succeeded_at=at if result is GatewayResult.SUCCEEDED else None,
        version=payment.version + 1,
    )


def noticed(payment: InvoicePayment, notice: Notice, at: datetime) -> InvoicePayment:
    """Return a payment with a notice of its gateway; the same notice again changes nothing.

    A first one needs a payment that is being tried, else it raises InvalidOperation.
    """
    if notice in payment.notices:
        return payment
    return replace(answered(payment, notice.result, at), notices=(*payment.notices, notice))


def corrected(
    due: Payable,
    payment: InvoicePayment,
    amount: Decimal,
    payments: Sequence[InvoicePayment],
    *,
    version: int | None = None,
) -> InvoicePayment:
    """Return a payment with another amount; only one that has come to no end can have it.

    `version` is the one that was read: VersionConflict where another writer was first. Raises
    ValidationFailed and InvalidOperation as creating it would.
    """
    _check_amount(amount)
    if version is not None and version != payment.version:
        raise VersionConflict(f"payment {payment.id} has moved on")
    if payment.state not in CORRECTABLE:
        raise InvalidOperation(f"payment {payment.id} is {payment.state}")
    check_owed(due, payment.method, amount, payments)
    return replace(payment, amount=amount, version=payment.version + 1)


def check_deletable(payment: InvoicePayment) -> None:
    """Refuse to delete a payment that has moved money, or that may do so yet."""
    if payment.state not in DELETABLE:
        raise InvalidOperation(f"payment {payment.id} is {payment.state}")


def recorded_by_hand(
    due: Payable,
    payments: Sequence[InvoicePayment],
    asked: PaymentStatus,
    amount: Decimal | None,
    at: datetime,
    *,
    payment_id: PaymentId,
) -> InvoicePayment | None:
    """Return the OFFLINE payment that brings an invoice to a state, None where it is there already.

    The amount is what remains, unless given; a part payment (PENDING) needs one below that. The
    state that results is that of all payments together, as ever. Raises InvalidOperation for a
    state that cannot follow, ValidationFailed for an amount. Source: billing.md 15.2.
    """
    if due.status is not InvoiceStatus.FINALIZED:
        raise InvalidOperation(f"invoice {due.invoice_id} is {due.status}")
    found = paid_state(due.amount_due, payments)
    part = asked is PaymentStatus.PENDING and amount is not None
    if asked is found.payment_status and not part:
        return None
    state = BY_HAND.get((found.payment_status, asked))
    if state is None:
        text = f"an invoice that is {found.payment_status} cannot become {asked} by hand"
        raise InvalidOperation(text)
    if asked is PaymentStatus.PENDING and (amount is None or amount >= found.amount_remaining):
        raise ValidationFailed("a part payment needs an amount below what remains", field="amount")
    paid = found.amount_remaining if amount is None else amount
    _check_amount(paid)
    return InvoicePayment(
        id=payment_id,
        invoice_id=due.invoice_id,
        method=PaymentMethod.OFFLINE,
        amount=paid,
        currency=due.currency,
        created_at=at,
        state=state,
        attempts=1,
        succeeded_at=at if state is PaymentState.SUCCEEDED else None,
    )


def wallet_payments(
    invoice: Invoice,
    wallets: Sequence[Holdings],
    paid: Iterable[tuple[Wallet | None, Decimal]],
    at: datetime,
) -> tuple[Take, ...]:
    """Return what POST_PAID wallets pay of what remains of an invoice that is finalized.

    That is the last step of its settlement again, from live lots only. `paid` is what was paid so
    far, in order, by a wallet or otherwise: what a wallet that is narrowed to a type has paid counts
    against that type. Source: wallets-alerts.md 6 and 7.
    """
    credits_on = [total(part.amount for part in line.credits) for line in invoice.lines]
    due = due_of(net_lines(invoice), credits_on, invoice.total_tax)
    for wallet, amount in paid:
        due = due.bound(wallet, amount) if wallet is not None else due.less(amount)
    remaining, takes = invoice.amount_remaining, []
    for held in taking_part(wallets, WalletType.POST_PAID, invoice.currency):
        part = min(due.allowed(held.wallet), remaining, payable(held, at, None))
        if part > 0:
            takes.append(Take(held.wallet.id, part))
            remaining = LOSSLESS.subtract(remaining, part)
            due = due.bound(held.wallet, part)
    return tuple(takes)
