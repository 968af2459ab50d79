"""Outbox, endpoints and deliveries in dictionaries, beside a memory store: the measure for the others."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from billing.ports.outbox import Backlog, Claimed
from billing.stores.memory import MemoryStore
from billing.webhooks.bodies import wants
from billing.webhooks.schedule import Verdict
from schemas.errors import VersionConflict
from schemas.ids import CustomerId
from schemas.webhook import (
    Answer,
    Attempt,
    Delivery,
    DeliveryAction,
    DeliveryStatus,
    EndpointId,
    OutboxMessage,
    WebhookEndpoint,
    after,
    attempt_of,
    disabled,
)

NOBODY = CustomerId("")


@dataclass(slots=True)
class Lane:
    """One key of one endpoint: its first pending delivery, when that is due, and who has it."""

    sequence: int | None = None
    due_at: datetime | None = None
    lease_until: datetime | None = None


class MemoryWebhooks:
    """An OutboxQueue and a DeliveryStore of what a memory store has committed."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._endpoints: dict[EndpointId, WebhookEndpoint] = {}
        self._deliveries: dict[tuple[EndpointId, int], Delivery] = {}
        self._attempts: dict[tuple[EndpointId, int], tuple[Attempt, ...]] = {}
        self._lanes: dict[tuple[EndpointId, str], Lane] = {}
        self._published: set[int] = set()
        self._seen: set[int] = set()
        self._topics_until: datetime | None = None

    def _messages(self) -> Sequence[OutboxMessage]:
        """Return all committed rows; a row's place is its sequence."""
        with self._store.deciding(NOBODY) as held:
            rows = tuple(held.tables.outbox.values())
        return [
            OutboxMessage(
                sequence=place,
                id=row.id,
                key=row.key,
                at=row.at,
                topic=row.topic,
                payload=row.payload,
                event=row.event,
                body=row.body,
                customer_id=row.customer_id,
            )
            for place, row in enumerate(rows, 1)
        ]

    def _waiting(self) -> Sequence[OutboxMessage]:
        """Return the rows that wait for a topic."""
        return [
            each
            for each in self._messages()
            if each.topic is not None and each.sequence not in self._published
        ]

    def _unseen(self) -> Sequence[OutboxMessage]:
        """Return the rows that are still to be made into deliveries."""
        return [
            each
            for each in self._messages()
            if each.event is not None and each.sequence not in self._seen
        ]

    def take(self, at: datetime, until: datetime, limit: int) -> Sequence[OutboxMessage]:
        """Lease the topics and return rows that wait; nothing while another has the lease."""
        with self._lock:
            found = self._waiting()[:limit]
            if not found or (self._topics_until is not None and at < self._topics_until):
                return ()
            self._topics_until = until
            return tuple(found)

    def published(self, messages: Sequence[OutboxMessage], at: datetime) -> None:
        """Take note that rows are on their topics, and give the lease back."""
        del at
        with self._lock:
            self._published.update(each.sequence for each in messages)
            self._topics_until = None

    def unpublished(self) -> Backlog:
        """Return what waits for a topic."""
        with self._lock:
            waiting = self._waiting()
        return Backlog(len(waiting), min((each.at for each in waiting), default=None))

    def endpoint(self, endpoint_id: EndpointId) -> WebhookEndpoint | None:
        """Return an endpoint that was not deleted."""
        found = self._endpoints.get(endpoint_id)
        return None if found is None or found.deleted else found

    def endpoints(self) -> Sequence[WebhookEndpoint]:
        """Return the endpoints, the newest first."""
        with self._lock:
            found = [each for each in self._endpoints.values() if not each.deleted]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.id), reverse=True))

    def put_endpoint(self, endpoint: WebhookEndpoint) -> None:
        """Write an endpoint; one that is not open gets nothing more."""
        with self._lock:
            known = self._endpoints.get(endpoint.id)
            if endpoint.version != (1 if known is None else known.version + 1):
                raise VersionConflict(f"endpoint {endpoint.id} has moved on")
            self._endpoints[endpoint.id] = endpoint
            if not endpoint.is_open:
                self._stop(endpoint.id)

    def _stop(self, endpoint_id: EndpointId) -> None:
        """Exhaust all that waits for an endpoint."""
        for key, delivery in self._deliveries.items():
            if key[0] == endpoint_id and delivery.status is DeliveryStatus.PENDING:
                status = after(delivery.status, DeliveryAction.GIVE_UP)
                self._deliveries[key] = replace(delivery, status=status)
        for name in self._lanes:
            if name[0] == endpoint_id:
                self._lanes[name] = Lane()

    def fan_out(self, at: datetime, limit: int) -> int:
        """Make deliveries of rows that were not seen yet."""
        with self._lock:
            rows = self._unseen()[:limit]
            for row in rows:
                self._seen.add(row.sequence)
                assert row.event is not None
                for endpoint in self._endpoints.values():
                    if wants(endpoint, row.event):
                        self._add(Delivery(endpoint.id, row.sequence, row.key, at))
            return len(rows)

    def _add(self, delivery: Delivery) -> None:
        """Add a delivery at the end of its lane."""
        self._deliveries[delivery.endpoint_id, delivery.sequence] = delivery
        lane = self._lanes.setdefault((delivery.endpoint_id, delivery.key), Lane())
        if lane.sequence is None:
            lane.sequence, lane.due_at = delivery.sequence, delivery.created_at

    def _due(self, at: datetime) -> list[tuple[datetime, str, EndpointId, Lane]]:
        """Return the lanes that are due and leased to nobody, those that wait longest first."""
        found = [
            (lane.due_at, key, endpoint_id, lane)
            for (endpoint_id, key), lane in self._lanes.items()
            if lane.due_at is not None
            and lane.due_at <= at
            and (lane.lease_until is None or lane.lease_until <= at)
        ]
        return sorted(found, key=lambda each: each[:3])

    def due_endpoints(self, at: datetime) -> Sequence[EndpointId]:
        """Return the endpoints with a delivery that is due."""
        with self._lock:
            return tuple(sorted({endpoint_id for _, _, endpoint_id, _ in self._due(at)}))

    def claim(
        self, endpoint_id: EndpointId, at: datetime, until: datetime, limit: int
    ) -> Sequence[Claimed]:
        """Lease the first pending delivery of some lanes that are due."""
        with self._lock:
            messages = self._messages()
            mine = [lane for _, _, owner, lane in self._due(at) if owner == endpoint_id][:limit]
            found = []
            for lane in mine:
                assert lane.sequence is not None
                lane.lease_until = until
                delivery = self._deliveries[endpoint_id, lane.sequence]
                message = messages[lane.sequence - 1]
                found.append(Claimed(delivery, self._endpoints[endpoint_id], message, until))
            return tuple(found)

    def settle(self, claimed: Claimed, answer: Answer, at: datetime, verdict: Verdict) -> bool:
        """Note an attempt and do what its verdict says, if the lease is still ours."""
        name = claimed.delivery.endpoint_id, claimed.delivery.sequence
        with self._lock:
            attempt = attempt_of(self._deliveries[name], answer, at)
            delivery = replace(self._deliveries[name], attempts=attempt.number)
            self._attempts[name] = (*self._attempts.get(name, ()), attempt)
            lane = self._lanes[name[0], delivery.key]
            ours = lane.sequence == name[1] and lane.lease_until == claimed.lease_until
            if ours:
                delivery = replace(delivery, status=after(delivery.status, verdict.action))
            self._deliveries[name] = delivery
            if ours:
                self._advance(name[0], delivery, verdict)
            endpoint = self._endpoints[name[0]]
            if verdict.disables and endpoint.is_open:
                self.put_endpoint(disabled(endpoint, at))
            return ours

    def _advance(self, endpoint_id: EndpointId, delivery: Delivery, verdict: Verdict) -> None:
        """Give the lane back, to its retry or to the delivery after this one."""
        lane = self._lanes[endpoint_id, delivery.key]
        lane.lease_until = None
        if delivery.status is DeliveryStatus.PENDING:
            lane.due_at = verdict.retry_at
            return
        pending = [
            each.sequence
            for (owner, _), each in self._deliveries.items()
            if owner == endpoint_id
            and each.key == delivery.key
            and each.status is DeliveryStatus.PENDING
        ]
        lane.sequence = min(pending, default=None)
        # The next one waits since the lane was due: neither a clock nor another lane comes between.
        lane.due_at = lane.due_at if pending else None

    def deliveries_to(self, endpoint_id: EndpointId) -> Sequence[Delivery]:
        """Return the deliveries to an endpoint in their order."""
        with self._lock:
            every = [each for (name, _), each in self._deliveries.items() if name == endpoint_id]
        return tuple(sorted(every, key=lambda each: each.sequence))

    def attempts_of(self, endpoint_id: EndpointId, sequence: int) -> Sequence[Attempt]:
        """Return the attempts of a delivery in their order."""
        return self._attempts.get((endpoint_id, sequence), ())

    def undelivered(self) -> Backlog:
        """Return what waits for endpoints."""
        with self._lock:
            since = [each.at for each in self._unseen()]
            since += [
                each.created_at
                for each in self._deliveries.values()
                if each.status is DeliveryStatus.PENDING
            ]
        return Backlog(len(since), min(since, default=None))
