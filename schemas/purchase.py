"""Purchases: credits that are bought by an invoice, and come when it is paid (wallets-alerts.md 8)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NewType

from schemas.errors import InvalidOperation
from schemas.ids import CustomerId, InvoiceId, WalletId

PurchaseId = NewType("PurchaseId", str)


class PurchaseStatus(StrEnum):
    """Where a purchase is in its life."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class PurchaseAction(StrEnum):
    """What can happen to a purchase."""

    COMPLETE = "complete"
    CANCEL = "cancel"


# The whole state machine (wallets-alerts.md 8). What is not in this table cannot happen.
TRANSITIONS = {
    (PurchaseStatus.PENDING, PurchaseAction.COMPLETE): PurchaseStatus.COMPLETED,
    (PurchaseStatus.PENDING, PurchaseAction.CANCEL): PurchaseStatus.CANCELLED,
}


def after(status: PurchaseStatus, action: PurchaseAction) -> PurchaseStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    >>> after(PurchaseStatus.PENDING, PurchaseAction.COMPLETE).value
    'completed'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} a purchase that is {status}") from None


@dataclass(frozen=True, slots=True)
class Purchase:
    """Credits that wait for their invoice to be paid; no entry of the ledger before that.

    `content` names the request that `idempotency_key` stands for.
    """

    id: PurchaseId
    wallet_id: WalletId
    customer_id: CustomerId
    invoice_id: InvoiceId
    credits: Decimal
    created_at: datetime
    status: PurchaseStatus = PurchaseStatus.PENDING
    priority: int | None = None
    expires_at: datetime | None = None
    description: str = ""
    idempotency_key: str | None = None
    content: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    created_by: str = ""
