"""Payments: the table of their states, and the state of an invoice over all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from schemas.invoice import PaymentStatus
from schemas.money import LOSSLESS, total


class PaymentState(StrEnum):
    """Where a payment is in its life."""

    INITIATED = "INITIATED"
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    SUCCEEDED = "SUCCEEDED"
    OVERPAID = "OVERPAID"
    FAILED = "FAILED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"
    VOIDED = "VOIDED"


# From a state to those that may follow (wallets-alerts.md 14). A failed payment may be tried again.
FOLLOWING: dict[PaymentState, frozenset[PaymentState]] = {
    state: frozenset(map(PaymentState, following.split()))
    for state, following in {
        PaymentState.INITIATED: "PENDING PROCESSING SUCCEEDED OVERPAID FAILED",
        PaymentState.PENDING: "PROCESSING SUCCEEDED OVERPAID FAILED",
        PaymentState.PROCESSING: "SUCCEEDED OVERPAID FAILED",
        PaymentState.SUCCEEDED: "OVERPAID REFUNDED PARTIALLY_REFUNDED VOIDED",
        PaymentState.OVERPAID: "REFUNDED PARTIALLY_REFUNDED",
        PaymentState.PARTIALLY_REFUNDED: "REFUNDED",
        PaymentState.FAILED: "PROCESSING",
        PaymentState.REFUNDED: "",
        PaymentState.VOIDED: "",
    }.items()
}

# The states in which a payment has moved money to the invoice.
PAID = frozenset(
    {
        PaymentState.SUCCEEDED,
        PaymentState.OVERPAID,
        PaymentState.PARTIALLY_REFUNDED,
        PaymentState.REFUNDED,
    }
)


@dataclass(frozen=True, slots=True)
class Payment:
    """What counts of a payment for its invoice."""

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
    return before is now or now in FOLLOWING[before]


def paid_state(
    amount_due: Decimal, payments: Iterable[Payment], refunded: Decimal = Decimal(0)
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


def _status(due: Decimal, paid: Decimal, refunded: Decimal, rows: list[Payment]) -> PaymentStatus:
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
