"""Delivering messages to endpoints: many under way at once, each lane in its order.

What is under way is leased. A worker that dies leaves its leases behind, and others send again what
it had: a message may come twice, under one id, and none is lost.
"""

import random
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from billing.ports.outbox import Claimed, DeliveryStore
from billing.webhooks.bodies import message_body
from billing.webhooks.schedule import judge
from billing.webhooks.signing import signing_headers
from flows.outbox.sender import Outgoing, Sender
from schemas.scope import Scope
from schemas.webhook import Answer, DeliveryAction

# Longer than an attempt may take, and what is around it.
LEASE = timedelta(seconds=30)
IN_FLIGHT_MAX = 64
# So that an endpoint that never answers leaves room for the others.
IN_FLIGHT_OF_ENDPOINT_MAX = 16

RESULTS = {
    DeliveryAction.SUCCEED: "delivered",
    DeliveryAction.FAIL: "retry",
    DeliveryAction.GIVE_UP: "exhausted",
}


class OnDelivery(Protocol):
    """Whoever is told of each attempt."""

    def __call__(self, result: str, seconds: float) -> None:
        """Take note of delivered, retry or exhausted, and how long it took."""
        ...


def _ignore(result: str, seconds: float) -> None:
    del result, seconds


@dataclass(frozen=True, slots=True)
class UnderWay:
    """An attempt that began at an instant."""

    claimed: Claimed
    begun_at: datetime


class Deliverer:
    """Claims, sends and settles; for one thread. `done` is called by others when an answer is there."""

    def __init__(
        self,
        store: DeliveryStore,
        sender: Sender,
        scope: Scope,
        clock: Callable[[], datetime],
        *,
        chance: Callable[[], float] = random.random,
        on_delivery: OnDelivery = _ignore,
        done: Callable[[], object] = lambda: None,
    ):
        self._store = store
        self._sender = sender
        self._scope = scope
        self._clock = clock
        self._chance = chance
        self._on_delivery = on_delivery
        self._done = done
        self.under_way: dict[Future[Answer], UnderWay] = {}

    def start(self, at: datetime) -> int:
        """Send what is due at an instant, as much as there is room for; return how many attempts began.

        Raises StoreError.
        """
        begun = 0
        for endpoint_id in self._store.due_endpoints(at):
            busy = [each.claimed.endpoint.id for each in self.under_way.values()]
            room = min(
                IN_FLIGHT_MAX - len(busy), IN_FLIGHT_OF_ENDPOINT_MAX - busy.count(endpoint_id)
            )
            if room <= 0:
                continue
            # The lease counts from now, also where the pass is about another instant.
            until = max(at, self._clock()) + LEASE
            for claimed in self._store.claim(endpoint_id, at, until, room):
                self._send(claimed)
                begun += 1
        return begun

    def _send(self, claimed: Claimed) -> None:
        """Begin an attempt."""
        at = self._clock()
        body = message_body(claimed.message, self._scope.environment_id)
        signed = signing_headers(claimed.endpoint.secrets, claimed.message.id, at, body)
        headers = {
            **claimed.endpoint.headers,
            "content-type": "application/json",
            "user-agent": "tally-webhooks",
            **signed,
        }
        future = self._sender.send(Outgoing(claimed.endpoint.url, headers, body))
        self.under_way[future] = UnderWay(claimed, at)
        future.add_done_callback(lambda _: self._done())

    def finish(self, at: datetime) -> dict[str, int]:
        """Settle the attempts that have ended; return how many ended in which way.

        Raises StoreError; what could not be settled is settled by the next call, or sent again.
        """
        ended = dict.fromkeys(RESULTS.values(), 0)
        for future in [each for each in self.under_way if each.done()]:
            attempt = self.under_way[future]
            try:
                answer = future.result()
            except CancelledError:
                del self.under_way[future]
                continue
            result = self._settle(attempt, answer, at)
            del self.under_way[future]
            ended[result] += 1
        return ended

    def _settle(self, attempt: UnderWay, answer: Answer, at: datetime) -> str:
        """Write down what came of an attempt, and return that as a word."""
        number = attempt.claimed.delivery.attempts + 1
        now = max(at, self._clock())
        verdict = judge(answer, number, now, self._chance())
        self._store.settle(attempt.claimed, answer, attempt.begun_at, verdict)
        result = RESULTS[verdict.action]
        self._on_delivery(result, answer.latency_ms / 1000)
        return result
