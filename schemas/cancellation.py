"""Cancelling as it is asked for: when it takes effect, and what is billed then."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.subscription import ProrationBehavior


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
