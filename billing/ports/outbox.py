"""The way out: rows of the outbox that wait for a topic, and messages that wait for an endpoint.

All of it may be worked on by any number of workers at once: what one has taken is leased to it, and
is there for others again when the lease has run out. A row that was told twice is told under the
same id; one that was not told is never forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from billing.webhooks.schedule import Verdict
from schemas.webhook import (
    Answer,
    Attempt,
    Delivery,
    EndpointId,
    OutboxMessage,
    WebhookEndpoint,
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much waits, and since when the oldest of it does."""

    pending: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is leased to one worker until an instant, with all that it needs to send it."""

    delivery: Delivery
    endpoint: WebhookEndpoint
    message: OutboxMessage
    lease_until: datetime


class OutboxQueue(Protocol):
    """The rows of one scope that leave by topics."""

    def take(self, at: datetime, until: datetime, limit: int) -> Sequence[OutboxMessage]:
        """Lease the topics until an instant and return rows that wait, in the order of sequences.

        Nothing is returned while another worker has the lease: one at a time keeps the order.
        """
        ...

    def published(self, messages: Sequence[OutboxMessage], at: datetime) -> None:
        """Take note that rows are on their topics for good, and give the lease back."""
        ...

    def unpublished(self) -> Backlog:
        """Return what waits for a topic."""
        ...


class EndpointStore(Protocol):
    """The endpoints of one scope."""

    def endpoint(self, endpoint_id: EndpointId) -> WebhookEndpoint | None:
        """Return an endpoint, None if there is none or it was deleted."""
        ...

    def endpoints(self) -> Sequence[WebhookEndpoint]:
        """Return those that were not deleted, the newest first, then by their ids backwards."""
        ...

    def put_endpoint(self, endpoint: WebhookEndpoint) -> None:
        """Write an endpoint that is new, or one version ahead; else raise VersionConflict.

        One that is not open any more gets nothing further: what waits for it is exhausted.
        """
        ...


class DeliveryStore(EndpointStore, Protocol):
    """What is delivered to those endpoints. A lane is one key of one endpoint: it keeps the order."""

    def fan_out(self, at: datetime, limit: int) -> int:
        """Make deliveries of rows that were not seen yet, to endpoints that want them; count the rows.

        A row is seen once: an endpoint that is made later gets only later messages.
        """
        ...

    def due_endpoints(self, at: datetime) -> Sequence[EndpointId]:
        """Return the endpoints with a delivery that is due and leased to nobody."""
        ...

    def claim(
        self, endpoint_id: EndpointId, at: datetime, until: datetime, limit: int
    ) -> Sequence[Claimed]:
        """Lease the first pending delivery of some lanes that are due, those that wait longest first."""
        ...

    def settle(self, claimed: Claimed, answer: Answer, at: datetime, verdict: Verdict) -> bool:
        """Note the attempt that began at an instant and do what its verdict says.

        The next delivery of the lane is due with the end of this one. Where the lease went to another
        worker meanwhile, the attempt is noted and False returned: the state is the other's.
        """
        ...

    def deliveries_to(self, endpoint_id: EndpointId) -> Sequence[Delivery]:
        """Return the deliveries to an endpoint in the order of their sequences."""
        ...

    def attempts_of(self, endpoint_id: EndpointId, sequence: int) -> Sequence[Attempt]:
        """Return the attempts of a delivery in their order."""
        ...

    def undelivered(self) -> Backlog:
        """Return what waits for endpoints, rows that were not seen yet included."""
        ...
