"""Collection: how the invoices of a subscription are paid, when they are due, how it is ended."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.subscription import ProrationBehavior


class CollectionMethod(StrEnum):
    """Who moves first when an invoice is due."""

    CHARGE_AUTOMATICALLY = "charge_automatically"
    SEND_INVOICE = "send_invoice"


class PaymentBehavior(StrEnum):
    """What an unpaid opening invoice does to its subscription."""

    ALLOW_INCOMPLETE = "allow_incomplete"
    DEFAULT_INCOMPLETE = "default_incomplete"
    ERROR_IF_INCOMPLETE = "error_if_incomplete"
    DEFAULT_ACTIVE = "default_active"


class PaymentTerms(StrEnum):
    """How long after its period an invoice is due."""

    NET_15 = "15 NET"
    NET_30 = "30 NET"
    NET_45 = "45 NET"
    NET_60 = "60 NET"
    NET_75 = "75 NET"
    NET_90 = "90 NET"
    END_OF_MONTH = "END_OF_MONTH"
    END_OF_NEXT_MONTH = "END_OF_NEXT_MONTH"


class CancellationType(StrEnum):
    """When a cancellation takes effect."""

    IMMEDIATE = "immediate"
    END_OF_PERIOD = "end_of_period"
    SCHEDULED_DATE = "scheduled_date"


class CancellationInvoicePolicy(StrEnum):
    """Whether what is open is billed when a subscription is cancelled at once."""

    GENERATE_INVOICE = "generate_invoice"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class CancellationRequest:
    """A cancellation as it is asked for.

    `proration_behavior` None is the subscription's own. `cancel_at` is needed by a scheduled date,
    refused at the end of a period, and defaults to now for an immediate one.
    """

    type: CancellationType
    cancel_at: datetime | None = None
    invoice_policy: CancellationInvoicePolicy = CancellationInvoicePolicy.GENERATE_INVOICE
    proration_behavior: ProrationBehavior | None = None
    reason: str = ""
