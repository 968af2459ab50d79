"""Endpoints and deliveries in SQL; it behaves as `billing/stores/memory_webhooks.py`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from billing.ports.outbox import Backlog, Claimed
from billing.stores import webhook_statements as sql
from billing.stores.database import Database
from billing.stores.outbox import message_of
from billing.stores.transactions import Transaction
from billing.webhooks.bodies import wants
from billing.webhooks.schedule import Verdict
from schemas.errors import VersionConflict
from schemas.scope import Scope
from schemas.webhook import (
    Answer,
    Attempt,
    Delivery,
    DeliveryAction,
    DeliveryStatus,
    EndpointId,
    WebhookEndpoint,
    after,
    attempt_of,
    disabled,
)


class SqlWebhooks:
    """A DeliveryStore of one scope; threads share it. Every method may raise StoreError."""

    def __init__(self, database: Database, scope: Scope) -> None:
        self._database = database
        self._scope = scope

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        """Read in one state."""
        with self._database.reading() as session:
            yield Transaction(session.connection(), self._scope)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Write in one transaction."""
        with self._database.writing() as session:
            yield Transaction(session.connection(), self._scope)

    def endpoint(self, endpoint_id: EndpointId) -> WebhookEndpoint | None:
        """Return an endpoint that was not deleted."""
        with self._reading() as transaction:
            found = transaction.one(sql.ENDPOINT, name=endpoint_id)
        return None if found is None or found.deleted else found

    def endpoints(self) -> Sequence[WebhookEndpoint]:
        """Return the endpoints, the newest first."""
        with self._reading() as transaction:
            return transaction.all(sql.ENDPOINTS)

    def put_endpoint(self, endpoint: WebhookEndpoint) -> None:
        """Write an endpoint; one that is not open gets nothing more."""
        with self._writing() as transaction:
            transaction.lock(*sql.FAN_OUT)
            known = transaction.one(sql.ENDPOINT, name=endpoint.id)
            if endpoint.version != (1 if known is None else known.version + 1):
                raise VersionConflict(f"endpoint {endpoint.id} has moved on")
            self._put(transaction, endpoint)

    def _put(self, transaction: Transaction, endpoint: WebhookEndpoint) -> None:
        """Write what was checked, where nobody else makes deliveries."""
        row = {
            "id": endpoint.id,
            "created_at": endpoint.created_at,
            "enabled": endpoint.enabled,
            "deleted": endpoint.deleted,
            "version": endpoint.version,
            "record": endpoint,
        }
        transaction.write(sql.PUT_ENDPOINT, [row])
        if not endpoint.is_open:
            exhausted = after(DeliveryStatus.PENDING, DeliveryAction.GIVE_UP)
            # Lanes first: whoever settles a delivery takes them in the same order.
            transaction.write(sql.CLEAR_LANES, [{"name": endpoint.id}])
            transaction.write(sql.STOP, [{"name": endpoint.id, "now": exhausted}])

    def fan_out(self, at: datetime, limit: int) -> int:
        """Make deliveries of rows that were not seen yet."""
        with self._reading() as transaction:
            # Mostly there are none, and a store with one writer is not asked to write for that.
            if not transaction.rows(sql.UNSEEN, rows=1):
                return 0
        with self._writing() as transaction:
            # One at a time, or a later row of a customer could overtake an earlier one.
            transaction.lock(*sql.FAN_OUT)
            found = transaction.rows(sql.UNSEEN, rows=limit)
            endpoints = transaction.all(sql.ENDPOINTS)
            deliveries = [
                Delivery(endpoint.id, row.sequence, row.key, at)
                for row in found
                for endpoint in endpoints
                if wants(endpoint, row.event)
            ]
            self._add(transaction, deliveries)
            transaction.write(sql.SEEN, [{"place": row.sequence, "then": at} for row in found])
        return len(found)

    def _add(self, transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries, each at the end of its lane."""
        lanes = [
            {
                "endpoint_id": each.endpoint_id,
                "key": each.key,
                "sequence": each.sequence,
                "due_at": each.created_at,
                "lease_until": None,
            }
            for each in deliveries
        ]
        transaction.write(sql.JOIN_LANE, lanes)
        rows = [
            {
                "endpoint_id": each.endpoint_id,
                "sequence": each.sequence,
                "key": each.key,
                "created_at": each.created_at,
                "status": each.status,
                "attempts": each.attempts,
            }
            for each in deliveries
        ]
        transaction.write(sql.ADD_DELIVERY, rows)

    def due_endpoints(self, at: datetime) -> Sequence[EndpointId]:
        """Return the endpoints with a delivery that is due."""
        with self._reading() as transaction:
            return tuple(EndpointId(each) for each in transaction.all(sql.DUE_ENDPOINTS, at=at))

    def claim(
        self, endpoint_id: EndpointId, at: datetime, until: datetime, limit: int
    ) -> Sequence[Claimed]:
        """Lease the first pending delivery of some lanes that are due."""
        with self._writing() as transaction:
            lanes = transaction.all(sql.DUE_LANES, name=endpoint_id, at=at, rows=limit)
            leases = [{"name": endpoint_id, "lane": key, "until": until} for key in lanes]
            transaction.write(sql.LEASE_LANE, leases)
            endpoint = transaction.one(sql.ENDPOINT, name=endpoint_id)
            if not lanes or endpoint is None:
                return ()
            return tuple(
                Claimed(delivery_of(row, endpoint_id), endpoint, message_of(row), until)
                for row in transaction.rows(sql.FIRST, name=endpoint_id, lanes=lanes)
            )

    def settle(self, claimed: Claimed, answer: Answer, at: datetime, verdict: Verdict) -> bool:
        """Note an attempt and do what its verdict says, if the lease is still ours."""
        name = claimed.delivery.endpoint_id
        place = {"name": name, "place": claimed.delivery.sequence}
        with self._writing() as transaction:
            if verdict.disables:
                # Before the lane: whoever makes deliveries holds this one and waits for lanes.
                transaction.lock(*sql.FAN_OUT)
            [lane] = transaction.rows(sql.LANE, name=name, lane=claimed.delivery.key)
            [row] = transaction.rows(sql.DELIVERY, **place)
            delivery = delivery_of(row, name)
            attempt = attempt_of(delivery, answer, at)
            ours: bool = (
                lane.sequence == delivery.sequence and lane.lease_until == claimed.lease_until
            )
            status = after(delivery.status, verdict.action) if ours else delivery.status
            transaction.write(sql.SET_DELIVERY, [{**place, "now": status, "tries": attempt.number}])
            transaction.write(sql.ADD_ATTEMPT, [attempt_row(attempt)])
            if ours:
                self._advance(transaction, claimed, status, verdict, lane.due_at)
            endpoint = transaction.one(sql.ENDPOINT, name=name) if verdict.disables else None
            if endpoint is not None and endpoint.is_open:
                self._put(transaction, disabled(endpoint, at))
            return ours

    def _advance(
        self,
        transaction: Transaction,
        claimed: Claimed,
        status: DeliveryStatus,
        verdict: Verdict,
        due_at: datetime,
    ) -> None:
        """Give the lane back, to its retry or to the delivery after this one."""
        lane = {"name": claimed.delivery.endpoint_id, "lane": claimed.delivery.key}
        following: int | None = claimed.delivery.sequence
        due: datetime | None = verdict.retry_at
        if status is not DeliveryStatus.PENDING:
            following = transaction.one(sql.NEXT_PENDING, **lane)
            # The next one waits since the lane was due: neither a clock nor another lane comes between.
            due = None if following is None else due_at
        transaction.write(sql.SET_LANE, [{**lane, "first": following, "due": due}])

    def deliveries_to(self, endpoint_id: EndpointId) -> Sequence[Delivery]:
        """Return the deliveries to an endpoint in their order."""
        with self._reading() as transaction:
            found = transaction.rows(sql.DELIVERIES, name=endpoint_id)
        return tuple(delivery_of(row, endpoint_id) for row in found)

    def attempts_of(self, endpoint_id: EndpointId, sequence: int) -> Sequence[Attempt]:
        """Return the attempts of a delivery in their order."""
        with self._reading() as transaction:
            found = transaction.rows(sql.ATTEMPTS, name=endpoint_id, place=sequence)
        return tuple(
            Attempt(
                endpoint_id,
                sequence,
                row.number,
                row.at,
                row.status,
                row.failure,
                row.latency_ms,
                row.answer,
            )
            for row in found
        )

    def undelivered(self) -> Backlog:
        """Return what waits for endpoints."""
        with self._reading() as transaction:
            [unseen] = transaction.rows(sql.UNSEEN_BACKLOG)
            [pending] = transaction.rows(sql.PENDING_BACKLOG)
        oldest = [each.oldest_at for each in (unseen, pending) if each.oldest_at is not None]
        return Backlog(unseen.pending + pending.pending, min(oldest, default=None))


def delivery_of(row: Row[Any], endpoint_id: EndpointId) -> Delivery:
    """Return the record of a row."""
    return Delivery(endpoint_id, row.sequence, row.key, row.created_at, row.status, row.attempts)


def attempt_row(attempt: Attempt) -> dict[str, object]:
    """Return the row of an attempt."""
    return {
        "endpoint_id": attempt.endpoint_id,
        "sequence": attempt.sequence,
        "number": attempt.number,
        "at": attempt.at,
        "status": attempt.status,
        "failure": attempt.failure,
        "latency_ms": attempt.latency_ms,
        "answer": attempt.answer,
    }
