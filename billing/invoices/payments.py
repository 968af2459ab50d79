"""Payments: which states may follow, and the state of an invoice over all its payments.

Nothing but the payments decides how far an invoice is paid (wallets-alerts.md 14).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from schemas.invoice import Invoice, PaymentStatus
from schemas.money import LOSSLESS, total
from schemas.payment import TRANSITIONS, PaymentState

__all__ = [
    "PAID",
    "PaidState",
    "Payment",
    "PaymentState",
    "may_become",
    "paid_state",
    "remaining_of",
    "with_payments",
]

# The states in which a payment has moved money to the invoice.
PAID = frozenset(
    {
        PaymentState.SUCCEEDED,
        PaymentState.OVERPAID,
        PaymentState.PARTIALLY_REFUNDED,
        PaymentState.REFUNDED,
    }
)

# The states of an invoice of which nothing remains to be paid.
PAID_IN_FULL = frozenset({PaymentStatus.SUCCEEDED, PaymentStatus.OVERPAID})


class Counted(Protocol):
    """What counts of a payment for its invoice."""

    @property
    def amount(self) -> Decimal:
        """How much it moves."""
        ...

    @property
    def state(self) -> PaymentState:
        """Whether it has."""
        ...


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as its invoice counts it."""

    amount: Decimal
    state: PaymentState


@dataclass(frozen=True, slots=True)
class PaidState:
    """How far an invoice is paid."""

    amount_paid: Decimal
    amount_remaining: Decimal
    payment_status: PaymentStatus


def may_become(before: PaymentState, now: PaymentState) -> bool:
    """Tell whether a payment may go from one state to another; the same one again is no change.

    >>> may_become(PaymentState.FAILED, PaymentState.PROCESSING)
    True
    >>> may_become(PaymentState.VOIDED, PaymentState.SUCCEEDED)
    False
    """
    following = {to for (state, _), to in TRANSITIONS.items() if state is before}
    return before is now or now in following


def paid_state(
    amount_due: Decimal, payments: Iterable[Counted], refunded: Decimal = Decimal(0)
) -> PaidState:
    """Return the state of an invoice: a function of its payments, in whatever order they came.

    A partial payment never makes an invoice paid. Source: wallets-alerts.md 14.

    >>> part = Payment(Decimal(40), PaymentState.SUCCEEDED)
    >>> paid_state(Decimal(100), [part]).payment_status.value
    'PENDING'
    """
    rows = list(payments)
    paid = total(each.amount for each in rows if each.state in PAID)
    remaining = max(LOSSLESS.subtract(amount_due, paid), Decimal(0))
    return PaidState(paid, remaining, _status(amount_due, paid, refunded, rows))


def remaining_of(amount_due: Decimal, payments: Iterable[Counted]) -> Decimal:
    """Return what is still to be paid, never below 0.

    >>> remaining_of(Decimal(100), [Payment(Decimal(40), PaymentState.FAILED)])
    Decimal('100')
    """
    return paid_state(amount_due, payments).amount_remaining


def with_payments(
    invoice: Invoice,
    payments: Iterable[Counted],
    refunded: Decimal = Decimal(0),
    *,
    at: datetime | None = None,
) -> Invoice:
    """Return an invoice with the state that all its payments give, those of wallets among them.

    The same one where nothing changes, else a version later. `at` is when it is paid, if it is now.
    """
    found = paid_state(invoice.total, payments, refunded)
    changed = replace(
        invoice,
        amount_paid=found.amount_paid,
        amount_remaining=found.amount_remaining,
        payment_status=found.payment_status,
    )
    if at is not None and found.payment_status in PAID_IN_FULL:
        changed = replace(changed, paid_at=invoice.paid_at or at)
    elif found.amount_remaining:
        changed = replace(changed, paid_at=None)
    return invoice if changed == invoice else replace(changed, version=invoice.version + 1)


def _status(due: Decimal, paid: Decimal, refunded: Decimal, rows: list[Counted]) -> PaymentStatus:
    """Return the first status of the rule that applies."""
    states = {each.state for each in rows}
    if refunded:
        all_of_it = refunded >= paid
        return PaymentStatus.REFUNDED if all_of_it else PaymentStatus.PARTIALLY_REFUNDED
    if paid > due:
        return PaymentStatus.OVERPAID
    if paid == due:
        return PaymentStatus.SUCCEEDED
    if PaymentState.PROCESSING in states:
        return PaymentStatus.PROCESSING
    if not paid and states == {PaymentState.FAILED}:
        return PaymentStatus.FAILED
    return PaymentStatus.PENDING
