"""The outbox job as a whole, with a memory store, a clock that is set and receivers that are scripted."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from billing.ports import Changes, OutboxRow
from billing.ports.outbox import Claimed
from billing.stores.memory import MemoryStore
from billing.stores.memory_webhooks import MemoryWebhooks
from billing.webhooks.schedule import Verdict
from billing.webhooks.signing import secret_of
from flows.metrics.outbox_series import OutboxSeries
from flows.metrics.series import Series
from flows.outbox.deliveries import IN_FLIGHT_OF_ENDPOINT_MAX, LEASE
from flows.outbox.job import OutboxJob, OutboxReport
from flows.outbox.sender import Outgoing
from flows.outbox.topics import LocalPublisher
from schemas.errors import StoreError
from schemas.ids import CustomerId, OutboxId
from schemas.scope import Scope
from schemas.webhook import (
    Answer,
    DeliveryStatus,
    EndpointId,
    OutboxMessage,
    WebhookEndpoint,
    WebhookSecret,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
SECRET = secret_of(bytes(32))
OK, DOWN, GONE = Answer(204), Answer(500, body="down"), Answer(410)
SILENT = Answer(failure="no answer within 15 s")
BUSY = Answer(429, retry_after="60")


@dataclass
class Clock:
    """A clock that stands until it is set."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def wait(self, length: timedelta) -> None:
        self.at += length


@dataclass
class ScriptedReceivers:
    """A sender whose receivers answer by a script; what was delivered is kept in order."""

    script: Callable[[str, str], Answer] = lambda _url, _message: OK
    delivered: list[tuple[str, str]] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)

    def send(self, outgoing: Outgoing) -> Future[Answer]:
        message = outgoing.headers["webhook-id"]
        answer = self.script(outgoing.url, message)
        self.outgoing.append(outgoing)
        if answer.status == 204:
            self.delivered.append((outgoing.url, message))
        future: Future[Answer] = Future()
        future.set_result(answer)
        return future

    def close(self) -> None: ...


@dataclass
class ListedTopics:
    """A publisher that keeps what it takes; it fails as often as it is told to."""

    failures: int = 0
    records: list[str] = field(default_factory=list)

    def publish(self, messages: Sequence[OutboxMessage]) -> None:
        if self.failures:
            self.failures -= 1
            # Some of them arrived before the broker went away.
            self.records += [each.id for each in messages[:1]]
            raise StoreError("the broker is away")
        self.records += [each.id for each in messages]

    def close(self) -> None: ...


@dataclass
class World:
    """Everything around a job, which may be made anew as after a crash."""

    clock: Clock = field(default_factory=Clock)
    stores: MemoryStore = field(default_factory=MemoryStore)
    receivers: ScriptedReceivers = field(default_factory=ScriptedReceivers)
    topics: ListedTopics = field(default_factory=ListedTopics)

    def __post_init__(self) -> None:
        self.webhooks = MemoryWebhooks(self.stores)

    def job(self, **more: Any) -> OutboxJob:
        given: dict[str, Any] = {"publisher": self.topics, "chance": lambda: 0.5} | more
        store = self.webhooks
        return OutboxJob(
            store,
            deliveries=store,
            sender=self.receivers,
            clock=self.clock,
            scope=SCOPE,
            **given,
        )

    def endpoint(self, name: str, *event_types: str) -> None:
        url = f"https://{name}.example"
        secrets = (WebhookSecret(SECRET),)
        self.webhooks.put_endpoint(
            WebhookEndpoint(
                EndpointId(f"we_{name}"), url, NOON, NOON, "", event_types, secrets=secrets
            )
        )

    def tell(
        self, *names: str, topic: str | None = None, event: str | None = "wallet.created"
    ) -> None:
        """Commit rows named customer-number."""
        for name in names:
            customer = CustomerId(name.split("-")[0])
            body = {"wallet": {"id": name}}
            row = OutboxRow(
                OutboxId(name), topic, customer, self.clock.at, body, event, body, customer
            )
            self.stores.commit(Changes(outbox=(row,)))


@pytest.fixture
def world() -> World:
    """Return a world with one endpoint."""
    made = World()
    made.endpoint("a")
    return made


def by_lane(delivered: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Return what was delivered of each endpoint and customer, in order, copies in a row once."""
    lanes: dict[tuple[str, str], list[str]] = {}
    for url, message in delivered:
        lanes.setdefault((url, message.split("-")[0]), []).append(message)
    return {name: [each for each, _ in groupby(messages)] for name, messages in lanes.items()}


def test_one_pass_takes_everything_to_where_it_goes(world: World) -> None:
    world.tell("x-1", topic="alerts")
    world.tell("x-2", "y-1", topic="invoice_lines", event=None)
    world.tell("x-3")
    assert world.job().run_once(NOON) == OutboxReport(published=3, fanned_out=2, delivered=2)
    assert world.topics.records == ["x-1", "x-2", "y-1"]
    assert world.receivers.delivered == [("https://a.example", "x-1"), ("https://a.example", "x-3")]
    assert world.job().run_once(NOON) == OutboxReport()


def test_a_message_is_signed_anew_at_each_attempt_with_one_id_and_one_body(world: World) -> None:
    world.tell("x-1")
    world.receivers.script = lambda _url, _message: DOWN
    world.job().run_once(NOON)
    world.clock.wait(timedelta(seconds=5))
    world.job().run_once(world.clock.at)
    first, second = world.receivers.outgoing
    assert first.body == second.body
    assert json.loads(first.body)["environment_id"] == "env_development"
    assert first.headers["content-type"] == "application/json"
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "x-1"
    times = [int(each.headers["webhook-timestamp"]) for each in (first, second)]
    assert times[1] - times[0] == 5
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_a_message_that_waits_holds_back_only_its_customer_at_its_endpoint(world: World) -> None:
    world.endpoint("b")
    world.tell("x-1", "x-2", "y-1")
    world.receivers.script = lambda url, message: (
        DOWN if (url, message) == ("https://a.example", "x-1") else OK
    )
    job = world.job()
    assert job.run_once(NOON) == OutboxReport(fanned_out=3, delivered=4, retry=1)
    assert ("https://a.example", "x-2") not in world.receivers.delivered
    world.receivers.script = lambda _url, _message: OK
    assert job.run_once(NOON + timedelta(seconds=4)) == OutboxReport()
    world.clock.wait(timedelta(seconds=5))
    assert job.run_once(world.clock.at) == OutboxReport(delivered=2)
    assert world.receivers.delivered[-2:] == [
        ("https://a.example", "x-1"),
        ("https://a.example", "x-2"),
    ]


@pytest.mark.parametrize(
    ("answer", "wait"), [(DOWN, 5), (SILENT, 5), (BUSY, 60)], ids=["500", "silent", "429"]
)
def test_the_next_attempt_is_when_the_answer_says(answer: Answer, wait: int) -> None:
    world = World()
    world.endpoint("a")
    world.tell("x-1")
    world.receivers.script = lambda _url, _message: answer
    world.job().run_once(NOON)
    world.receivers.script = lambda _url, _message: OK
    assert world.job().run_once(NOON + timedelta(seconds=wait - 0.001)) == OutboxReport()
    assert world.job().run_once(NOON + timedelta(seconds=wait)) == OutboxReport(delivered=1)


def test_an_endpoint_that_never_answers_is_given_up_after_three_days_and_the_next_goes_on(
    world: World,
) -> None:
    world.tell("x-1", "x-2")
    world.receivers.script = lambda _url, message: DOWN if message == "x-1" else OK
    reports = OutboxReport()
    for _ in range(4 * 24 * 60):
        reports += world.job().run_once(world.clock.at)
        world.clock.wait(timedelta(minutes=1))
    assert reports == OutboxReport(fanned_out=2, delivered=1, retry=9, exhausted=1)
    statuses = [each.status for each in world.webhooks.deliveries_to(EndpointId("we_a"))]
    assert statuses == [DeliveryStatus.EXHAUSTED, DeliveryStatus.DELIVERED]
    assert len(world.webhooks.attempts_of(EndpointId("we_a"), 1)) == 10


def test_an_endpoint_that_says_gone_is_asked_once(world: World) -> None:
    world.tell("x-1", "x-2", "x-3")
    world.receivers.script = lambda _url, _message: GONE
    assert world.job().run_once(NOON) == OutboxReport(fanned_out=3, exhausted=1)
    world.tell("x-4")
    assert world.job().run_once(NOON + timedelta(days=9)) == OutboxReport(fanned_out=1)
    assert len(world.receivers.outgoing) == 1


def test_a_broker_that_is_away_stops_no_webhook_and_loses_no_row(world: World) -> None:
    world.tell("x-1", "x-2", topic="alerts")
    world.topics.failures = 1
    with pytest.raises(StoreError):
        world.job().run_once(NOON)
    assert len(world.receivers.delivered) == 2
    # The lease of the one that failed has to run out, as after a crash.
    later = NOON + LEASE
    assert world.job().run_once(later) == OutboxReport(published=2)
    assert world.topics.records == ["x-1", "x-1", "x-2"]


def test_without_a_publisher_rows_of_topics_wait() -> None:
    world = World()
    world.tell("x-1", topic="alerts", event=None)
    assert world.job(publisher=None).run_once(NOON) == OutboxReport()
    assert world.job(publisher=LocalPublisher()).run_once(NOON) == OutboxReport(published=1)


def test_a_pass_about_another_instant_delivers_all_that_was_due_then(world: World) -> None:
    world.tell("x-1", "x-2", "x-3")
    world.clock.wait(timedelta(days=30))
    assert world.job().run_once(NOON) == OutboxReport(fanned_out=3, delivered=3)
    future = world.clock.at + timedelta(days=1)
    world.tell("x-4")
    world.receivers.script = lambda _url, _message: DOWN
    assert world.job().run_once(future) == OutboxReport(fanned_out=1, retry=1)


def test_an_endpoint_that_is_slow_leaves_room_for_others() -> None:
    world = World()
    pending: list[Future[Answer]] = []

    def send(outgoing: Outgoing) -> Future[Answer]:
        future: Future[Answer] = Future()
        if outgoing.url == "https://b.example":
            future.set_result(OK)
        else:
            pending.append(future)
        return future

    world.receivers.send = send  # type: ignore[method-assign]  # the slow one is scripted here
    world.endpoint("a")
    world.endpoint("b")
    world.tell(*(f"{number:03}-1" for number in range(100)))
    job = world.job()
    job._fan_out(NOON)
    for _ in range(9):
        job._deliver(NOON)
        job._settle(NOON)
    assert len(pending) == IN_FLIGHT_OF_ENDPOINT_MAX
    statuses = Counter(each.status for each in world.webhooks.deliveries_to(EndpointId("we_b")))
    assert statuses == {DeliveryStatus.DELIVERED: 100}


class Crash(BaseException):
    """A process that dies."""


class CrashingWebhooks(MemoryWebhooks):
    """A store in which the process dies before or after some of its writes, by a script."""

    writes = 0
    crashes: Collection[int] = ()

    def _maybe(self) -> None:
        self.writes += 1
        if self.writes in self.crashes:
            raise Crash

    def fan_out(self, at: datetime, limit: int) -> int:
        self._maybe()
        found = super().fan_out(at, limit)
        self._maybe()
        return found

    def claim(
        self, endpoint_id: EndpointId, at: datetime, until: datetime, limit: int
    ) -> Sequence[Claimed]:
        found = super().claim(endpoint_id, at, until, limit)
        self._maybe()
        return found

    def settle(self, claimed: Claimed, answer: Answer, at: datetime, verdict: Verdict) -> bool:
        self._maybe()
        ours = super().settle(claimed, answer, at, verdict)
        self._maybe()
        return ours

    def published(self, messages: Sequence[OutboxMessage], at: datetime) -> None:
        self._maybe()
        super().published(messages, at)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=12),
    st.lists(st.sampled_from([DOWN, SILENT, BUSY, OK, OK]), max_size=30),
    st.lists(st.lists(st.integers(1, 12), max_size=2), max_size=4),
)
def test_a_committed_fact_is_delivered_in_commit_order_for_any_failures_and_crashes(
    facts: list[tuple[str, bool]], answers: list[Answer], crashes: list[list[int]]
) -> None:
    """At least once, and per customer and endpoint in the order of commits (wallets-alerts.md 15)."""
    world = World()
    store = world.webhooks = CrashingWebhooks(world.stores)
    world.endpoint("a")
    world.endpoint("b")
    script = list(answers)
    world.receivers.script = lambda _url, _message: script.pop() if script else OK
    names = [f"{customer}-{number:02}" for number, (customer, _) in enumerate(facts)]
    runs = [*crashes, []]
    for number, deaths in enumerate(runs):
        # Facts are committed between runs, and some while earlier ones wait for their retries.
        for name, (_, has_topic) in list(zip(names, facts, strict=True))[number :: len(runs)]:
            world.tell(name, topic="alerts" if has_topic else None)
        store.writes, store.crashes = 0, deaths
        with suppress(Crash):
            world.job().run_once(world.clock.at)
        world.clock.wait(timedelta(seconds=7))
    for _ in range(2 * 4 * 24):
        world.job().run_once(world.clock.at)
        world.clock.wait(timedelta(minutes=30))
    committed = list(world.stores.tables.outbox)
    expected = {
        (f"https://{endpoint}.example", customer): [
            name for name in committed if name.startswith(customer)
        ]
        for endpoint in "ab"
        for customer in {name[0] for name in committed}
    }
    assert by_lane(world.receivers.delivered) == expected
    wanted = {name for name, (_, has_topic) in zip(names, facts, strict=True) if has_topic}
    assert set(world.topics.records) == wanted
    assert world.webhooks.undelivered().pending == world.webhooks.unpublished().pending == 0


def test_the_job_works_until_it_is_stopped_and_is_woken_at_once(world: World) -> None:
    stop, arrived = threading.Event(), threading.Event()

    def answer(_url: str, message: str) -> Answer:
        if message == "x-2":
            arrived.set()
        return OK

    world.receivers.script = answer
    job = world.job()
    thread = threading.Thread(target=job.run_until, args=[stop])
    thread.start()
    world.tell("x-1", "x-2")
    job.wake()
    assert arrived.wait(30)
    stop.set()
    job.wake()
    thread.join(30)
    assert not thread.is_alive()
    assert [message for _, message in world.receivers.delivered] == ["x-1", "x-2"]


def test_a_store_that_is_away_is_asked_again_less_and_less_often() -> None:
    world = World()
    asked: list[datetime] = []
    stop = threading.Event()

    class Away(MemoryWebhooks):
        def fan_out(self, at: datetime, limit: int) -> int:
            del limit
            asked.append(at)
            if len(asked) == 5:
                stop.set()
            raise StoreError("the store is away")

        def due_endpoints(self, at: datetime) -> Sequence[EndpointId]:
            del at
            world.clock.wait(timedelta(milliseconds=500))
            job.wake()
            return ()

    world.webhooks = Away(world.stores)
    job = world.job()
    report = job.run_until(stop)
    assert report == OutboxReport()
    pauses = [(b - a).total_seconds() for a, b in pairwise(asked)]
    assert pauses == [1, 2, 4, 8]


def test_operators_see_what_was_attempted_and_what_waits(world: World) -> None:
    world.tell("x-1", "x-2", topic="alerts")
    world.receivers.script = lambda _url, message: DOWN if message == "x-1" else OK
    registry = CollectorRegistry()
    observer = OutboxSeries(Series(registry), "env_development")
    job = world.job(publisher=None, observer=observer)
    job.run_once(NOON)
    world.clock.wait(timedelta(seconds=90))
    job._show_backlog(world.clock.at)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tally_{name}", {"env": "env_development"} | labels)

    assert value("webhook_deliveries_total", result="retry") == 1
    assert value("webhook_delivery_seconds_count", result="retry") == 1
    assert value("outbox_pending", sink="webhook") == value("outbox_pending", sink="kafka") == 2
    assert value("outbox_oldest_seconds", sink="kafka") == 90
