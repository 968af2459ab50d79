"""What the way out promises: one suite for memory, SQLite and PostgreSQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest

from billing.ports import Changes, OutboxRow, Stores
from billing.ports.outbox import Backlog, Claimed, DeliveryStore, OutboxQueue
from billing.stores.database import Database, migrate
from billing.stores.memory import MemoryStore
from billing.stores.memory_webhooks import MemoryWebhooks
from billing.stores.money import SqlStores
from billing.stores.outbox import SqlOutbox
from billing.stores.scopes import ensure_scope
from billing.stores.webhooks import SqlWebhooks
from billing.webhooks.schedule import Verdict
from schemas.errors import VersionConflict
from schemas.ids import CustomerId, OutboxId
from schemas.scope import Scope
from schemas.webhook import (
    Answer,
    Attempt,
    DeliveryAction,
    DeliveryStatus,
    EndpointId,
    WebhookEndpoint,
    WebhookSecret,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
OTHER = Scope("tenant_default", "env_other")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))
ONE, TWO = EndpointId("we_1"), EndpointId("we_2")
DELIVERED = Answer(204, latency_ms=7)
FAILED = Answer(500, latency_ms=3, body="down")
SUCCEED = Verdict(DeliveryAction.SUCCEED)
GONE = Verdict(DeliveryAction.GIVE_UP, disables=True)


def second(number: float) -> datetime:
    return NOON + timedelta(seconds=number)


def fail_until(at: datetime) -> Verdict:
    return Verdict(DeliveryAction.FAIL, at)


@dataclass(frozen=True)
class Stage:
    """The stores of one scope, as one process has them."""

    stores: Stores
    queue: OutboxQueue
    webhooks: DeliveryStore

    def tell(
        self, *names: str, event: str | None = "wallet.created", topic: str | None = None
    ) -> None:
        """Commit rows named customer-number, one after the other."""
        for name in names:
            customer = CustomerId(name.split("-")[0])
            row = OutboxRow(
                OutboxId(f"msg_{name}"),
                topic,
                customer,
                NOON,
                {"n": name},
                event,
                {"wallet": {"id": name}},
                customer,
            )
            with self.stores.deciding(customer) as held:
                held.commit(Changes(outbox=(row,)))

    def add(self, endpoint_id: EndpointId = ONE, **more: object) -> WebhookEndpoint:
        endpoint = endpoint_of(endpoint_id, **more)
        self.webhooks.put_endpoint(endpoint)
        return endpoint

    def claim(
        self, at: datetime, *, endpoint_id: EndpointId = ONE, limit: int = 10
    ) -> dict[str, Claimed]:
        """Return what is claimed for 30 seconds, by the ids of the messages."""
        found = self.webhooks.claim(endpoint_id, at, at + timedelta(seconds=30), limit)
        return {each.message.id.removeprefix("msg_"): each for each in found}


def endpoint_of(endpoint_id: EndpointId = ONE, **more: object) -> WebhookEndpoint:
    known = WebhookEndpoint(
        endpoint_id,
        "https://example.com/hooks",
        NOON,
        NOON,
        headers={"x-team": "billing"},
        secrets=(WebhookSecret("whsec_AA=="), WebhookSecret("whsec_AQ==", NOON)),
    )
    return replace(known, **more)  # type: ignore[arg-type]  # named by the tests


# Each call is one more process, as far as the stores can tell.
Opener = Callable[[Scope], Stage]


@pytest.fixture(params=["memory", "sqlite", POSTGRES])
def opener(
    request: pytest.FixtureRequest,
    empty_database: Callable[[str], str],
    open_at: Callable[[str], Database],
) -> Opener:
    if request.param == "memory":
        made: dict[Scope, Stage] = {}

        def remembered(scope: Scope) -> Stage:
            stores = MemoryStore()
            webhooks = MemoryWebhooks(stores)
            return made.setdefault(scope, Stage(stores, webhooks, webhooks))

        return remembered
    url = empty_database(request.param)
    first = open_at(url)
    migrate(first)
    ensure_scope(first, OTHER, NOON)

    def opened(scope: Scope) -> Stage:
        database = open_at(url)
        return Stage(
            SqlStores(database, scope), SqlOutbox(database, scope), SqlWebhooks(database, scope)
        )

    return opened


@pytest.fixture
def stage(opener: Opener) -> Stage:
    return opener(SCOPE)


def test_an_endpoint_comes_back_as_it_was_written(stage: Stage, opener: Opener) -> None:
    written = stage.add(description="ours", event_types=("wallet.created",), enabled=False)
    assert opener(SCOPE).webhooks.endpoint(ONE) == written
    assert opener(OTHER).webhooks.endpoint(ONE) is None
    assert opener(OTHER).webhooks.endpoints() == ()


def test_endpoints_are_listed_newest_first_without_those_that_were_deleted(stage: Stage) -> None:
    for number, name in enumerate(("we_a", "we_b", "we_c")):
        stage.add(EndpointId(name), created_at=second(number // 2))
    gone = endpoint_of(EndpointId("we_b"), deleted=True, version=2)
    stage.webhooks.put_endpoint(gone)
    assert [each.id for each in stage.webhooks.endpoints()] == ["we_c", "we_a"]
    assert stage.webhooks.endpoint(EndpointId("we_b")) is None


def test_of_two_who_change_an_endpoint_one_is_refused(stage: Stage) -> None:
    endpoint = stage.add()
    stage.webhooks.put_endpoint(replace(endpoint, description="first", version=2))
    for late in (replace(endpoint, version=2), endpoint, replace(endpoint, version=4)):
        with pytest.raises(VersionConflict):
            stage.webhooks.put_endpoint(late)
    found = stage.webhooks.endpoint(ONE)
    assert found is not None
    assert found.description == "first"


def test_a_row_waits_for_its_topic_until_it_is_published(stage: Stage, opener: Opener) -> None:
    stage.tell("a-1", topic="alerts")
    stage.tell("a-2", "b-1", topic="invoice_lines", event=None)
    stage.tell("b-2")
    assert stage.queue.unpublished() == Backlog(3, NOON)
    found = stage.queue.take(NOON, second(30), 2)
    assert [(each.id, each.topic, each.key, dict(each.payload)) for each in found] == [
        ("msg_a-1", "alerts", "a", {"n": "a-1"}),
        ("msg_a-2", "invoice_lines", "a", {"n": "a-2"}),
    ]
    stage.queue.published(found, NOON)
    assert [each.id for each in opener(SCOPE).queue.take(NOON, second(30), 9)] == ["msg_b-1"]
    assert opener(OTHER).queue.unpublished() == Backlog()


def test_one_worker_publishes_and_another_takes_over_when_its_lease_has_run_out(
    stage: Stage, opener: Opener
) -> None:
    stage.tell("a-1", "a-2", topic="alerts")
    taken = stage.queue.take(NOON, second(30), 1)
    other = opener(SCOPE).queue
    assert other.take(second(29), second(59), 9) == ()
    assert len(other.take(second(30), second(60), 9)) == 2
    stage.queue.published(taken, second(31))
    assert [each.id for each in other.take(second(31), second(61), 9)] == ["msg_a-2"]


def test_a_row_becomes_one_delivery_for_each_endpoint_that_wants_it(stage: Stage) -> None:
    stage.add()
    stage.add(TWO, event_types=("wallet.updated",))
    stage.add(EndpointId("we_off"), enabled=False)
    stage.tell("a-1")
    stage.tell("a-2", event="wallet.updated")
    stage.tell("a-3", event=None, topic="alerts")
    assert stage.webhooks.undelivered() == Backlog(2, NOON)
    assert stage.webhooks.fan_out(second(1), 9) == 2
    assert stage.webhooks.fan_out(second(1), 9) == 0
    assert [len(stage.webhooks.deliveries_to(each)) for each in (ONE, TWO)] == [2, 1]
    assert stage.webhooks.deliveries_to(EndpointId("we_off")) == ()
    assert stage.webhooks.undelivered() == Backlog(3, second(1))
    assert stage.webhooks.due_endpoints(second(1)) == (ONE, TWO)


def test_an_endpoint_that_is_made_later_gets_only_later_messages(stage: Stage) -> None:
    stage.tell("a-1")
    assert stage.webhooks.fan_out(NOON, 9) == 1
    stage.add()
    stage.tell("a-2")
    stage.webhooks.fan_out(NOON, 9)
    assert list(stage.claim(NOON)) == ["a-2"]


def test_a_frequent_message_goes_only_to_those_who_name_it(stage: Stage) -> None:
    stage.add()
    stage.add(TWO, event_types=("wallet.ongoing_balance.updated",))
    stage.tell("a-1", event="wallet.ongoing_balance.updated")
    stage.webhooks.fan_out(NOON, 9)
    assert stage.webhooks.due_endpoints(NOON) == (TWO,)


def test_customers_do_not_hold_each_other_back_and_each_keeps_its_order(stage: Stage) -> None:
    stage.add()
    stage.tell("a-1", "b-1", "a-2", "b-2")
    stage.webhooks.fan_out(NOON, 9)
    first = stage.claim(NOON)
    assert sorted(first) == ["a-1", "b-1"]
    assert stage.claim(NOON) == {}
    assert stage.webhooks.settle(first["a-1"], FAILED, NOON, fail_until(second(5)))
    assert stage.webhooks.settle(first["b-1"], DELIVERED, NOON, SUCCEED)
    assert list(stage.claim(NOON)) == ["b-2"]
    assert list(stage.claim(second(4.9))) == []
    again = stage.claim(second(5))
    assert list(again) == ["a-1"]
    assert again["a-1"].delivery.attempts == 1
    assert stage.webhooks.settle(again["a-1"], DELIVERED, second(5), SUCCEED)
    assert list(stage.claim(second(5))) == ["a-2"]


def test_each_attempt_is_a_row_with_what_was_answered(stage: Stage, opener: Opener) -> None:
    stage.add()
    stage.tell("a-1")
    stage.webhooks.fan_out(NOON, 9)
    stage.webhooks.settle(stage.claim(NOON)["a-1"], FAILED, NOON, fail_until(second(5)))
    silent = Answer(failure="no answer within 15 s", latency_ms=15_000)
    stage.webhooks.settle(stage.claim(second(5))["a-1"], silent, second(5), fail_until(second(9)))
    sequence = stage.webhooks.deliveries_to(ONE)[0].sequence
    assert opener(SCOPE).webhooks.attempts_of(ONE, sequence) == (
        Attempt(ONE, sequence, 1, NOON, 500, None, 3, "down"),
        Attempt(ONE, sequence, 2, second(5), None, "no answer within 15 s", 15_000, ""),
    )
    assert opener(OTHER).webhooks.attempts_of(ONE, sequence) == ()


def test_what_a_dead_worker_had_is_there_again_when_its_lease_has_run_out(
    stage: Stage, opener: Opener
) -> None:
    stage.add()
    stage.tell("a-1", "a-2")
    stage.webhooks.fan_out(NOON, 9)
    lost = stage.claim(NOON)["a-1"]
    other = opener(SCOPE)
    assert other.webhooks.due_endpoints(second(29)) == ()
    assert other.claim(second(29)) == {}
    found = other.claim(second(30))
    assert list(found) == ["a-1"]
    # The first worker wakes up: its attempt is noted, and the order is left to the other.
    assert not stage.webhooks.settle(lost, DELIVERED, NOON, SUCCEED)
    assert other.claim(second(31)) == {}
    assert other.webhooks.settle(found["a-1"], DELIVERED, second(30), SUCCEED)
    assert list(other.claim(second(31))) == ["a-2"]
    numbers = [each.number for each in stage.webhooks.attempts_of(ONE, lost.delivery.sequence)]
    assert numbers == [1, 2]


def test_an_exhausted_delivery_lets_the_next_one_go(stage: Stage) -> None:
    stage.add()
    stage.tell("a-1", "a-2")
    stage.webhooks.fan_out(NOON, 9)
    given_up = Verdict(DeliveryAction.GIVE_UP)
    stage.webhooks.settle(stage.claim(NOON)["a-1"], FAILED, NOON, given_up)
    assert list(stage.claim(NOON)) == ["a-2"]
    assert [each.status for each in stage.webhooks.deliveries_to(ONE)] == ["exhausted", "pending"]


def test_an_endpoint_that_is_gone_is_disabled_and_all_that_waits_is_exhausted(stage: Stage) -> None:
    stage.add()
    stage.add(TWO)
    stage.tell("a-1", "a-2", "b-1")
    stage.webhooks.fan_out(NOON, 9)
    claimed = stage.claim(NOON)
    assert stage.webhooks.settle(claimed["a-1"], Answer(410), second(1), GONE)
    found = stage.webhooks.endpoint(ONE)
    assert found == replace(endpoint_of(), enabled=False, version=2, updated_at=second(1))
    assert {each.status for each in stage.webhooks.deliveries_to(ONE)} == {DeliveryStatus.EXHAUSTED}
    assert stage.webhooks.due_endpoints(second(100)) == (TWO,)
    # Another answer that was on its way when the endpoint was disabled.
    assert not stage.webhooks.settle(claimed["b-1"], Answer(410), second(2), GONE)
    assert len(stage.claim(second(100), endpoint_id=TWO)) == 2


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"deleted": True}], ids=["disabled", "deleted"]
)
def test_an_endpoint_that_is_not_open_gets_nothing_more(
    stage: Stage, change: dict[str, bool]
) -> None:
    endpoint = stage.add()
    stage.tell("a-1")
    stage.webhooks.fan_out(NOON, 9)
    stage.webhooks.put_endpoint(
        replace(
            endpoint,
            version=2,
            enabled=change.get("enabled", True),
            deleted=change.get("deleted", False),
        )
    )
    stage.tell("a-2")
    stage.webhooks.fan_out(NOON, 9)
    assert stage.claim(second(100)) == {}
    assert [each.status for each in stage.webhooks.deliveries_to(ONE)] == ["exhausted"]
    assert stage.webhooks.undelivered() == Backlog()


def test_an_endpoint_that_is_enabled_again_gets_what_comes(stage: Stage) -> None:
    endpoint = stage.add()
    stage.tell("a-1")
    stage.webhooks.fan_out(NOON, 9)
    stage.webhooks.put_endpoint(replace(endpoint, version=2, enabled=False))
    stage.webhooks.put_endpoint(replace(endpoint, version=3))
    stage.tell("a-2")
    stage.webhooks.fan_out(NOON, 9)
    assert list(stage.claim(NOON)) == ["a-2"]


def test_a_fact_that_is_not_committed_has_no_message(stage: Stage) -> None:
    stage.add()
    row = OutboxRow(
        OutboxId("msg_a"), "alerts", "a", NOON, {}, "wallet.created", {}, CustomerId("a")
    )

    def fail_half_way() -> None:
        with stage.stores.deciding(CustomerId("a")) as held:
            held.commit(Changes(outbox=(row,)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert stage.webhooks.fan_out(NOON, 9) == 0
    assert stage.queue.unpublished() == Backlog()


def test_many_workers_deliver_each_message_once_in_its_order(opener: Opener) -> None:
    """Workers who claim, settle and fan out at once neither lose a row nor hand one out twice."""
    stage = opener(SCOPE)
    stage.add()
    names = [f"{customer}-{number}" for number in range(6) for customer in "abc"]
    stages = [opener(SCOPE) for _ in range(4)]
    together = Barrier(5)
    delivered: dict[str, list[str]] = {customer: [] for customer in "abc"}

    def tell() -> None:
        together.wait(30)
        stage.tell(*names)

    def work(mine: Stage) -> None:
        together.wait(30)
        for _ in range(1000):
            mine.webhooks.fan_out(NOON, 2)
            for name, each in mine.claim(NOON, limit=2).items():
                # Only the one who has the lane writes here, so the order is the one of claims.
                delivered[name.split("-")[0]].append(name)
                assert mine.webhooks.settle(each, DELIVERED, NOON, SUCCEED)
            if sum(map(len, delivered.values())) >= len(names):
                return

    with ThreadPoolExecutor(5) as threads:
        for done in [threads.submit(tell), *(threads.submit(work, each) for each in stages)]:
            done.result(60)
    assert delivered == {
        customer: [f"{customer}-{number}" for number in range(6)] for customer in "abc"
    }
    assert {each.status for each in stage.webhooks.deliveries_to(ONE)} == {DeliveryStatus.DELIVERED}
    assert stage.webhooks.undelivered() == Backlog()
