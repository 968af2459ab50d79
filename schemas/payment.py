"""Payments of invoices: their methods, the table of their states, and the bodies that ask for them.

The rules are in `billing/invoices/payments.py` (the state of an invoice over all its payments) and
`billing/invoices/paying.py` (what may be done with one). Source: wallets-alerts.md 14.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, StrictBool, model_validator

from schemas.api.fields import word_of
from schemas.doors import (
    DOOR,
    DecimalField,
    MetadataField,
    given,
    read_decimal,
    read_lower,
    read_upper,
)
from schemas.errors import InvalidOperation
from schemas.ids import InvoiceId, PaymentId
from schemas.invoice import PaymentStatus


class PaymentMethod(StrEnum):
    """How money moves; CREDITS ones are made by settlement alone."""

    OFFLINE = "OFFLINE"
    CREDITS = "CREDITS"
    CARD = "CARD"
    PAYMENT_LINK = "PAYMENT_LINK"
    ACH = "ACH"
    UPI = "UPI"


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


class PaymentAction(StrEnum):
    """What can happen to a payment; each action leads to one state."""

    AWAIT = "await"
    TRY = "try"
    SUCCEED = "succeed"
    OVERPAY = "overpay"
    FAIL = "fail"
    REFUND = "refund"
    REFUND_PART = "refund_part"
    VOID = "void"


class GatewayResult(StrEnum):
    """What a gateway's notice says of an attempt."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


# The whole state machine (wallets-alerts.md 14). What is not in this table cannot happen. A failed
# payment may be tried again.
TRANSITIONS = {
    (PaymentState.INITIATED, PaymentAction.AWAIT): PaymentState.PENDING,
    (PaymentState.INITIATED, PaymentAction.TRY): PaymentState.PROCESSING,
    (PaymentState.INITIATED, PaymentAction.SUCCEED): PaymentState.SUCCEEDED,
    (PaymentState.INITIATED, PaymentAction.OVERPAY): PaymentState.OVERPAID,
    (PaymentState.INITIATED, PaymentAction.FAIL): PaymentState.FAILED,
    (PaymentState.PENDING, PaymentAction.TRY): PaymentState.PROCESSING,
    (PaymentState.PENDING, PaymentAction.SUCCEED): PaymentState.SUCCEEDED,
    (PaymentState.PENDING, PaymentAction.OVERPAY): PaymentState.OVERPAID,
    (PaymentState.PENDING, PaymentAction.FAIL): PaymentState.FAILED,
    (PaymentState.PROCESSING, PaymentAction.SUCCEED): PaymentState.SUCCEEDED,
    (PaymentState.PROCESSING, PaymentAction.OVERPAY): PaymentState.OVERPAID,
    (PaymentState.PROCESSING, PaymentAction.FAIL): PaymentState.FAILED,
    (PaymentState.SUCCEEDED, PaymentAction.OVERPAY): PaymentState.OVERPAID,
    (PaymentState.SUCCEEDED, PaymentAction.REFUND): PaymentState.REFUNDED,
    (PaymentState.SUCCEEDED, PaymentAction.REFUND_PART): PaymentState.PARTIALLY_REFUNDED,
    (PaymentState.SUCCEEDED, PaymentAction.VOID): PaymentState.VOIDED,
    (PaymentState.OVERPAID, PaymentAction.REFUND): PaymentState.REFUNDED,
    (PaymentState.OVERPAID, PaymentAction.REFUND_PART): PaymentState.PARTIALLY_REFUNDED,
    (PaymentState.PARTIALLY_REFUNDED, PaymentAction.REFUND): PaymentState.REFUNDED,
    (PaymentState.FAILED, PaymentAction.TRY): PaymentState.PROCESSING,
}


def after(state: PaymentState, action: PaymentAction) -> PaymentState:
    """Return the state that an action leads to; any other pair raises InvalidOperation.

    >>> after(PaymentState.FAILED, PaymentAction.TRY).value
    'PROCESSING'
    """
    try:
        return TRANSITIONS[state, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} a payment that is {state}") from None


@dataclass(frozen=True, slots=True)
class Notice:
    """What a gateway told of a payment; the same one again is no news."""

    gateway_payment_id: str
    result: GatewayResult


@dataclass(frozen=True, slots=True)
class InvoicePayment:
    """A payment of an invoice.

    `attempts` counts the tries so far, `content` names the request that `idempotency_key` stands
    for, and `version` grows with every change, so that a writer who has read an older one is
    refused.
    """

    id: PaymentId
    invoice_id: InvoiceId
    method: PaymentMethod
    amount: Decimal
    currency: str
    created_at: datetime
    state: PaymentState = PaymentState.INITIATED
    attempts: int = 0
    notices: tuple[Notice, ...] = ()
    idempotency_key: str | None = None
    content: str | None = None
    succeeded_at: datetime | None = None
    version: int = 1


class PaymentRequest(BaseModel):
    """CreatePaymentRequest; `billing.invoices.paying.create_payment` judges it."""

    model_config = DOOR

    destination_type: Annotated[str, BeforeValidator(read_upper)] = "INVOICE"
    destination_id: str
    payment_method_type: Annotated[PaymentMethod, BeforeValidator(read_upper)]
    amount: DecimalField
    currency: Annotated[str, BeforeValidator(read_lower)]
    idempotency_key: str | None = None
    process_payment: StrictBool = True
    metadata: MetadataField = {}

    _given = model_validator(mode="before")(given)


class PaymentStatusRequest(BaseModel):
    """UpdatePaymentStatusRequest: the state of an invoice, recorded by hand."""

    model_config = DOOR

    payment_status: Annotated[
        PaymentStatus, BeforeValidator(word_of(PaymentStatus, cased=str.upper))
    ]
    amount: Annotated[Decimal | None, BeforeValidator(read_decimal)] = None

    _given = model_validator(mode="before")(given)
