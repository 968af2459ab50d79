"""Webhooks: endpoints, what is delivered to them, and what became of each attempt.

The rules are in `billing/webhooks` (wallets-alerts.md 13).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import NewType

from schemas.errors import InvalidOperation
from schemas.ids import CustomerId, OutboxId

EndpointId = NewType("EndpointId", str)

# Of the answer to an attempt, this much is kept.
ANSWER_BYTES_MAX = 1000


def _each(prefix: str, *names: str) -> tuple[str, ...]:
    """Return names that share what they begin with."""
    return tuple(f"{prefix}.{name}" for name in names)


# Every name that a message may have. Those of later milestones may be subscribed to already.
EVENT_TYPES: tuple[str, ...] = (
    *_each("wallet", "created", "updated", "terminated"),
    *_each("wallet.transaction", "created", "updated"),
    *_each("wallet.credit_balance", "dropped", "recovered"),
    *_each("wallet.ongoing_balance", "dropped", "recovered", "updated"),
    "feature.wallet_balance.alert",
    *_each("subscription.spend", "threshold_reached", "threshold_recovered"),
    *_each("subscription.line_item_spend", "threshold_reached", "threshold_recovered"),
    *_each("subscription.group_spend", "threshold_reached", "threshold_recovered"),
    *_each("entitlement.grant", "exhausted", "threshold_reached", "threshold_recovered"),
    "invoice.update",
    *_each("invoice.update", "finalized", "payment", "voided"),
    *_each("invoice", "payment.overdue", "communication.triggered"),
    *_each("payment", "created", "updated", "pending", "success", "failed"),
    *_each("refund", "created", "succeeded", "failed"),
    *_each("credit_note", "created", "updated"),
    *_each("customer", "created", "updated", "deleted"),
    *_each("subscription", "created", "draft.created", "activated", "updated", "paused"),
    *_each("subscription", "resumed", "cancelled", "plan_changed", "renewal.due"),
    *_each("subscription.phase", "created", "updated", "deleted"),
    *_each("feature", "created", "updated", "deleted"),
    *_each("entitlement", "created", "updated", "deleted"),
    *_each("checkout.session", "initiated", "completed", "failed", "expired"),
    "event.rejected",
)

# So frequent that they go only to those who name them: an empty list of names is all but these.
ONLY_BY_NAME = frozenset({"wallet.ongoing_balance.updated", "event.rejected"})


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A secret that messages are signed with, `whsec_` and base64; after its end it is not used."""

    value: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where messages go, and which: those that `event_types` name, all of them if it names none.

    A deleted endpoint stays for the deliveries that were made to it, and is found by nobody.
    """

    id: EndpointId
    url: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    event_types: tuple[str, ...] = ()
    enabled: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[WebhookSecret, ...] = ()
    deleted: bool = False
    version: int = 1

    @property
    def is_open(self) -> bool:
        """Tell whether anything is sent there."""
        return self.enabled and not self.deleted


def disabled(endpoint: WebhookEndpoint, at: datetime) -> WebhookEndpoint:
    """Return the next version of an endpoint that gets nothing any more."""
    return replace(endpoint, enabled=False, updated_at=at, version=endpoint.version + 1)


class DeliveryStatus(StrEnum):
    """What is to be done with a message for one endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"


class DeliveryAction(StrEnum):
    """What can happen to a delivery."""

    SUCCEED = "succeed"
    FAIL = "fail"
    GIVE_UP = "give_up"


# The whole state machine. What is not in this table cannot happen.
TRANSITIONS = {
    (DeliveryStatus.PENDING, DeliveryAction.SUCCEED): DeliveryStatus.DELIVERED,
    (DeliveryStatus.PENDING, DeliveryAction.FAIL): DeliveryStatus.PENDING,
    (DeliveryStatus.PENDING, DeliveryAction.GIVE_UP): DeliveryStatus.EXHAUSTED,
}


def after(status: DeliveryStatus, action: DeliveryAction) -> DeliveryStatus:
    """Return the status that an action leads to; any other pair raises InvalidOperation.

    >>> after(DeliveryStatus.PENDING, DeliveryAction.GIVE_UP).value
    'exhausted'
    """
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise InvalidOperation(f"cannot {action} a delivery that is {status}") from None


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A committed row of the outbox with its place in the order of commits.

    `key` orders: messages of one key leave in the order of their sequences.
    """

    sequence: int
    id: OutboxId
    key: str
    at: datetime
    topic: str | None
    payload: Mapping[str, object]
    event: str | None
    body: Mapping[str, object]
    customer_id: CustomerId | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way to one endpoint; `attempts` is how often it was tried."""

    endpoint_id: EndpointId
    sequence: int
    key: str
    created_at: datetime
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a message once: a status, or the reason why there is none.

    `failure` is a sentence for whoever looks after the endpoint. `retry_after` is the header as it
    came, and `body` the beginning of the answer.
    """

    status: int | None = None
    failure: str | None = None
    latency_ms: int = 0
    body: str = ""
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a delivery, numbered from 1 under it."""

    endpoint_id: EndpointId
    sequence: int
    number: int
    at: datetime
    status: int | None
    failure: str | None
    latency_ms: int
    answer: str


def attempt_of(delivery: Delivery, answer: Answer, at: datetime) -> Attempt:
    """Return the row of an attempt that began at an instant: the next one of its delivery."""
    return Attempt(
        delivery.endpoint_id,
        delivery.sequence,
        delivery.attempts + 1,
        at,
        answer.status,
        answer.failure,
        answer.latency_ms,
        answer.body,
    )
