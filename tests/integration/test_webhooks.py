"""Webhooks to a real receiver on this machine: signatures, order, retries, and when to stop."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import groupby
from pathlib import Path

import pytest
from receivers import SECRET, Received, Receiver, receivers

from billing.ports import Changes, OutboxRow
from billing.stores.database import migrate, open_database
from billing.stores.money import SqlStores
from billing.stores.outbox import SqlOutbox
from billing.stores.webhooks import SqlWebhooks
from billing.use_cases.webhook_endpoints import EndpointFields, create_endpoint
from flows.outbox.job import OutboxJob, OutboxReport
from flows.outbox.sender import HttpSender
from flows.outbox.topics import LocalPublisher
from schemas.ids import CustomerId, OutboxId
from schemas.scope import Scope
from schemas.webhook import DeliveryStatus, EndpointId

SCOPE = Scope("tenant_default", "env_development")
PATIENCE_SECONDS = 60


@pytest.fixture
def start() -> Iterator[Callable[..., Receiver]]:
    """Return a starter of receivers; they end with the test."""
    with receivers() as make:
        yield make


class World:
    """A store on disk, a job on it, and a clock that runs ahead by what it is told."""

    def __init__(self, folder: Path, sender: HttpSender):
        self._database = open_database(f"sqlite:///{folder / 'tally.db'}")
        migrate(self._database)
        self.stores = SqlStores(self._database, SCOPE)
        self.webhooks = SqlWebhooks(self._database, SCOPE)
        self._sender = sender
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def job(self) -> OutboxJob:
        queue = SqlOutbox(self._database, SCOPE)
        return OutboxJob(
            queue, LocalPublisher(), self.webhooks, self._sender, self.now, scope=SCOPE
        )

    def run(self) -> OutboxReport:
        return self.job().run_once(self.now())

    def add(self, name: str, url: str, *event_types: str) -> None:
        create_endpoint(
            self.webhooks,
            EndpointFields(url, event_types=event_types, headers={"x-team": "billing"}),
            endpoint_id=EndpointId(name),
            secret=SECRET,
            at=self.now(),
            allow_private=True,
        )

    def tell(self, *names: str, event: str = "wallet.created") -> None:
        for name in names:
            customer = CustomerId(name.split("-")[0])
            body = {"wallet": {"id": name, "balance": "12.5"}}
            row = OutboxRow(OutboxId(name), None, customer, self.now(), {}, event, body, customer)
            with self.stores.deciding(customer) as held:
                held.commit(Changes(outbox=(row,)))

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    sender = HttpSender(lambda: True, seconds=5)
    made = World(tmp_path, sender)
    yield made
    made.close()
    sender.close()


def ids(receiver: Receiver) -> list[object]:
    return [each.message["id"] for each in receiver.received]


def test_a_message_arrives_signed_and_flat(world: World, start: Callable[..., Receiver]) -> None:
    receiver = start()
    receiver.script = lambda request, _handler: 204 if receiver.accepted(request) else 400
    world.add("we_1", f"{receiver.url}/hooks?team=1")
    world.tell("x-1")
    assert world.run() == OutboxReport(fanned_out=1, delivered=1)
    [request] = receiver.received
    assert request.path == "/hooks?team=1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "billing"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    message = request.message
    assert message.pop("created_at") is not None
    assert message == {
        "id": "x-1",
        "type": "wallet.created",
        "event_type": "wallet.created",
        "api_version": "v1",
        "environment_id": "env_development",
        "customer_id": "x",
        "sequence": 1,
        "wallet": {"id": "x-1", "balance": "12.5"},
    }


def test_order_is_kept_for_a_customer_and_endpoint_whatever_receivers_answer(
    world: World, start: Callable[..., Receiver]
) -> None:
    flaky, steady = start(), start()
    flaky.now = world.now
    answers = [500, 204, 503, 429, 302, 204, 404]

    def answer(request: Received, _handler: BaseHTTPRequestHandler) -> int:
        assert flaky.accepted(request)
        return answers.pop() if answers else 204

    flaky.script = answer
    world.add("we_flaky", flaky.url)
    world.add("we_steady", steady.url)
    names = [f"{customer}-{number}" for number in range(4) for customer in "xy"]
    world.tell(*names)
    world.run()
    assert sorted(map(str, ids(steady))) == sorted(names)
    assert len(ids(flaky)) < len(names)
    for _ in range(12):
        world.ahead += timedelta(hours=3)
        world.run()
    for receiver in (flaky, steady):
        for customer in "xy":
            mine = [str(each) for each in ids(receiver) if str(each).startswith(customer)]
            assert [name for name, _ in groupby(mine)] == [f"{customer}-{n}" for n in range(4)]
    statuses = {each.status for each in world.webhooks.deliveries_to(EndpointId("we_flaky"))}
    assert statuses == {DeliveryStatus.DELIVERED}


def test_a_retry_carries_the_same_id_and_bytes(
    world: World, start: Callable[..., Receiver]
) -> None:
    receiver = start()
    receiver.script = lambda _request, _handler: 500 if len(receiver.received) == 1 else 200
    world.add("we_1", receiver.url)
    world.tell("x-1", "x-2")
    assert world.run() == OutboxReport(fanned_out=2, retry=1)
    world.ahead = timedelta(seconds=6)
    assert world.run() == OutboxReport(delivered=2)
    assert ids(receiver) == ["x-1", "x-1", "x-2"]
    first, again, _ = receiver.received
    assert first.body == again.body
    attempts = world.webhooks.attempts_of(EndpointId("we_1"), 1)
    assert [(each.number, each.status) for each in attempts] == [(1, 500), (2, 200)]


def test_a_receiver_that_is_busy_is_left_alone_as_long_as_it_asks(
    world: World, start: Callable[..., Receiver]
) -> None:
    receiver = start()

    def busy(_request: Received, handler: BaseHTTPRequestHandler) -> int:
        handler.send_response(429)
        handler.send_header("retry-after", "100")
        handler.send_header("content-length", "4")
        handler.end_headers()
        handler.wfile.write(b"busy")
        return 0

    receiver.script = busy
    world.add("we_1", receiver.url)
    world.tell("x-1")
    assert world.run() == OutboxReport(fanned_out=1, retry=1)
    assert world.webhooks.attempts_of(EndpointId("we_1"), 1)[0].answer == "busy"
    world.ahead = timedelta(seconds=90)
    assert world.run() == OutboxReport()
    receiver.script = lambda _request, _handler: 204
    world.ahead = timedelta(seconds=110)
    assert world.run() == OutboxReport(delivered=1)


def test_a_receiver_that_is_gone_gets_nothing_more(
    world: World, start: Callable[..., Receiver]
) -> None:
    receiver = start()
    receiver.script = lambda _request, _handler: 410
    world.add("we_1", receiver.url)
    world.tell("x-1", "x-2")
    assert world.run() == OutboxReport(fanned_out=2, exhausted=1)
    world.tell("x-3")
    world.ahead = timedelta(days=4)
    world.run()
    assert ids(receiver) == ["x-1"]
    found = world.webhooks.endpoint(EndpointId("we_1"))
    assert found is not None
    assert not found.enabled


def test_a_running_job_delivers_as_soon_as_something_is_committed(
    world: World, start: Callable[..., Receiver]
) -> None:
    receiver, arrived = start(), threading.Event()

    def answer(request: Received, _handler: BaseHTTPRequestHandler) -> int:
        if request.message["id"] == "y-2":
            arrived.set()
        return 204

    receiver.script = answer
    world.add("we_1", receiver.url)
    job, stop = world.job(), threading.Event()
    reports: list[OutboxReport] = []
    thread = threading.Thread(target=lambda: reports.append(job.run_until(stop)))
    thread.start()
    try:
        world.tell("x-1", "y-1", "x-2", "y-2")
        job.wake()
        assert arrived.wait(PATIENCE_SECONDS)
    finally:
        stop.set()
        job.wake()
        thread.join(PATIENCE_SECONDS)
    assert ids(receiver).index("x-1") < ids(receiver).index("x-2")
    assert reports == [OutboxReport(fanned_out=4, delivered=4)]
