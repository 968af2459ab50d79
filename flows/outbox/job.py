"""The job that empties the outbox: topics and webhooks, at once when there is work (platform.md 9)."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Protocol

from billing.ports.outbox import Backlog, DeliveryStore, OutboxQueue
from flows.outbox.deliveries import LEASE, Deliverer
from flows.outbox.sender import ATTEMPT_SECONDS_MAX, Sender
from flows.outbox.topics import Publisher
from schemas.errors import StoreError
from schemas.scope import Scope

ROWS_MAX = 500
IDLE_SECONDS = 1.0
# What is under way when the job is stopped may end; what does not is sent again by whoever is next.
STOP_SECONDS_MAX = 2.0
FIRST_PAUSE = timedelta(seconds=1)
PAUSE_MAX = timedelta(minutes=5)
BACKLOG_EVERY = timedelta(seconds=5)

LOG = logging.getLogger("tally.outbox")


class OutboxObserver(Protocol):
    """Whoever shows operators what happens."""

    def attempted(self, result: str, seconds: float) -> None:
        """Take note of an attempt: delivered, retry or exhausted."""
        ...

    def waiting(self, sink: str, backlog: Backlog, at: datetime) -> None:
        """Take note of what waits at an instant for `webhook` or `kafka`."""
        ...

    def store_failed(self) -> None:
        """Take note of a call of a store, or of Kafka, that failed."""
        ...


class Unobserved:
    """Shows nothing to nobody."""

    def attempted(self, result: str, seconds: float) -> None:
        """Do nothing."""

    def waiting(self, sink: str, backlog: Backlog, at: datetime) -> None:
        """Do nothing."""

    def store_failed(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class OutboxReport:
    """What a pass did: rows published, rows made into deliveries, and how its attempts ended."""

    published: int = 0
    fanned_out: int = 0
    delivered: int = 0
    retry: int = 0
    exhausted: int = 0

    def __add__(self, other: "OutboxReport") -> "OutboxReport":
        return OutboxReport(
            *(getattr(self, each.name) + getattr(other, each.name) for each in fields(self))
        )


class Stage:
    """One part of the job, which a failure of another does not stop: it pauses on its own."""

    def __init__(self, name: str, act: Callable[[datetime], bool]):
        self.name = name
        self._act = act
        self._failures = 0
        self._resume_at: datetime | None = None

    def run(self, at: datetime, observer: OutboxObserver) -> bool:
        """Act unless it pauses; tell whether there may be more to do at once."""
        if self._resume_at is not None and at < self._resume_at:
            return False
        try:
            more = self._act(at)
        except StoreError as error:
            pause = min(FIRST_PAUSE * 2 ** min(self._failures, 20), PAUSE_MAX)
            self._failures += 1
            self._resume_at = at + pause
            observer.store_failed()
            facts = {"stage": self.name, "pause_seconds": pause.total_seconds()}
            LOG.warning("the outbox waits: %s", error, extra=facts)
            return False
        self._failures, self._resume_at = 0, None
        return more


class OutboxJob:
    """Publishes rows to topics and delivers messages to endpoints, for one scope.

    Any number may run at once, in one process or many. Without a publisher the rows of topics wait.
    One object is for one thread; `wake` may be called from any.
    """

    def __init__(
        self,
        queue: OutboxQueue,
        publisher: Publisher | None,
        deliveries: DeliveryStore,
        sender: Sender,
        clock: Callable[[], datetime],
        *,
        scope: Scope,
        observer: OutboxObserver | None = None,
        chance: Callable[[], float] | None = None,
    ):
        self._queue = queue
        self._publisher = publisher
        self._store = deliveries
        self._clock = clock
        self._observer = observer or Unobserved()
        self._woken = threading.Event()
        self._report = OutboxReport()
        self._shown_at: datetime | None = None
        given = {} if chance is None else {"chance": chance}
        self._deliverer = Deliverer(
            deliveries,
            sender,
            scope,
            clock,
            on_delivery=self._observer.attempted,
            done=self._woken.set,
            **given,
        )

    def wake(self) -> None:
        """Let the job look at once: something was committed."""
        self._woken.set()

    def run_once(self, at: datetime) -> OutboxReport:
        """Do all that is due at an instant, and wait for its end; what failed waits for its retry.

        Raises StoreError, after everything else was done.
        """
        self._report = OutboxReport()
        failure: StoreError | None = None
        for act in (self._publish, self._fan_out, self._deliver_all):
            try:
                while act(at):
                    pass
            except StoreError as error:
                failure = failure or error
        if failure is not None:
            self._observer.store_failed()
            raise failure
        return self._report

    def run_until(self, stop: threading.Event) -> OutboxReport:
        """Work until an event is set: at once when there is something, else each second.

        A store or a broker that is away is asked again, ever less often.
        """
        self._report = OutboxReport()
        stages = (
            Stage("settle", self._settle),
            Stage("topics", self._publish),
            Stage("fan out", self._fan_out),
            Stage("deliver", self._deliver),
            Stage("backlog", self._show_backlog),
        )
        while not stop.is_set():
            self._woken.clear()
            at = self._clock()
            more = [stage.run(at, self._observer) for stage in stages]
            if not any(more):
                self._woken.wait(IDLE_SECONDS)
        wait(self._deliverer.under_way, STOP_SECONDS_MAX)
        stages[0].run(self._clock(), self._observer)
        return self._report

    def _publish(self, at: datetime) -> bool:
        """Publish some rows, and note it once the broker has confirmed all of them."""
        if self._publisher is None:
            return False
        until = max(at, self._clock()) + LEASE
        messages = self._queue.take(at, until, ROWS_MAX)
        if not messages:
            return False
        self._publisher.publish(messages)
        self._queue.published(messages, at)
        self._report += OutboxReport(published=len(messages))
        return True

    def _fan_out(self, at: datetime) -> bool:
        """Make deliveries of some rows."""
        rows = self._store.fan_out(at, ROWS_MAX)
        self._report += OutboxReport(fanned_out=rows)
        return rows > 0

    def _deliver(self, at: datetime) -> bool:
        """Send what is due."""
        return self._deliverer.start(at) > 0

    def _settle(self, at: datetime) -> bool:
        """Settle what has ended."""
        ended = self._deliverer.finish(at)
        self._report += OutboxReport(**ended)
        return any(ended.values())

    def _deliver_all(self, at: datetime) -> bool:
        """Send what is due and wait for some of it to end, so that what is behind it can follow."""
        self._deliver(at)
        if not self._deliverer.under_way:
            return False
        wait(self._deliverer.under_way, ATTEMPT_SECONDS_MAX, FIRST_COMPLETED)
        self._settle(at)
        return True

    def _show_backlog(self, at: datetime) -> bool:
        """Tell operators what waits."""
        if self._shown_at is None or at - self._shown_at >= BACKLOG_EVERY:
            self._shown_at = at
            self._observer.waiting("webhook", self._store.undelivered(), at)
            self._observer.waiting("kafka", self._queue.unpublished(), at)
        return False
