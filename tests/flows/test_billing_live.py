"""Running claims: what is published and what is committed moves the balances, and so does the clock."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from claim_world import MONTH_END, NOON, SECOND, World, loaded

from billing.ports.claims import AccountChange, CustomerClaims
from billing.stores.memory import MemoryStore
from billing.stores.memory_claims import MemoryClaims
from billing.use_cases.balances import balance_of
from flows.billing.claiming import ClaimStores
from flows.billing.feed import UsageFeed
from flows.billing.live import run_billing_live
from flows.billing.stored import StoredUsage
from flows.catalog import Catalog
from schemas.alert import AlertState
from schemas.period import Interval
from schemas.usage import BASE_WINDOW


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return loaded(tmp_path_factory.mktemp("catalog"))


@pytest.fixture
def world(catalog: Catalog) -> World:
    found = World(catalog)
    found.flush()
    return found


def test_an_event_moves_the_claim_and_the_balance(world: World) -> None:
    assert (world.charged("acme"), world.ongoing("acme").real_time_balance) == (
        Decimal(0),
        Decimal(30),
    )
    world.event("acme", 4)
    world.flush()
    assert world.charged("acme") == Decimal(4)
    assert world.ongoing("acme").real_time_balance == Decimal(26)
    world.event("acme", 1, user=2)
    world.flush()
    assert world.charged("acme") == Decimal("6.5")


def test_an_event_of_the_running_minute_counts_at_once(world: World) -> None:
    world.clock.at = NOON + timedelta(seconds=20, microseconds=5)
    world.event("acme", 4, NOON + timedelta(seconds=20))
    world.flush()
    assert world.charged("acme") == Decimal(4)


def test_the_same_rows_again_change_nothing_and_tell_nothing(world: World) -> None:
    rows = world.shelf.count("acme", NOON - SECOND, 44)
    world.tell(rows)
    world.flush()
    told, charged = world.alerts(), world.charged("acme")
    assert len(told) == 1
    for _ in range(3):
        world.tell(rows)
        assert all(not kept.alerts for kept in world.flush())
    assert world.charged("acme") == charged


def test_an_alert_is_told_once_and_stays_told_after_a_restart(world: World) -> None:
    for tokens in (44, 2, 2):
        world.event("acme", tokens)
        world.flush()
    world.restarted()
    world.flush()
    ((name, alert),) = world.alerts()
    assert (name, alert.status, alert.value) == ("acme", AlertState.IN_ALARM, Decimal(6))
    assert [row.topic for row in world.stores.tables.outbox.values()].count("alerts") == 1


def test_what_happened_while_nobody_looked_is_told_at_the_start(world: World) -> None:
    world.shelf.count("acme", NOON - SECOND, 100)
    world.restarted()
    world.flush()
    assert [(name, alert.status) for name, alert in world.alerts()] == [
        ("acme", AlertState.IN_ALARM)
    ]


def test_credits_that_were_added_count_without_usage(world: World) -> None:
    world.event("acme", 44)
    world.flush()
    world.topped_up("acme", 50)
    world.flush()
    assert [alert.status for _, alert in world.alerts()] == [AlertState.IN_ALARM, AlertState.OK]
    assert world.ongoing("acme").real_time_balance == Decimal(56)


def test_credits_that_come_just_before_an_alert_prevent_it(world: World) -> None:
    """What a flush has read may be old; what it tells rests on what is stored when it tells it."""
    accounts = world.logic._accounts
    world.event("acme", 44)
    note_changes = accounts.note_changes

    def then_top_up() -> None:
        note_changes()
        if not world.stores.tables.outbox and world.ongoing("acme").balance == 30:
            world.topped_up("acme", 50)

    accounts.note_changes = then_top_up  # type: ignore[method-assign] # credits come in between.
    world.flush()
    assert world.alerts() == []
    assert world.ongoing("acme").real_time_balance == Decimal(56)


def test_a_lot_that_expires_alarms_by_the_clock_alone(world: World) -> None:
    world.clock.at = datetime(2026, 1, 20, tzinfo=UTC)
    world.flush()
    assert {(name, alert.status) for name, alert in world.alerts()} == {
        ("lapse", AlertState.IN_ALARM)
    }


def test_a_period_that_ends_by_the_clock_is_claimed_as_its_draft(world: World) -> None:
    world.event("acme", 4)
    world.flush()
    world.clock.at = MONTH_END
    world.flush()
    row = world.claims.claims_of(world.customer("acme"))
    assert row is not None
    assert [claim.state.value for claim in row.claims] == ["draft", "open"]
    assert world.ongoing("acme").real_time_balance == Decimal(26)


def test_an_event_from_a_clock_that_is_ahead_counts_when_its_time_has_come(world: World) -> None:
    world.event("acme", 4, NOON + timedelta(hours=1))
    world.flush()
    assert world.charged("acme") == Decimal(0)
    world.clock.at = NOON + timedelta(hours=1, seconds=1)
    world.flush()
    assert world.charged("acme") == Decimal(4)


def test_nobody_is_looked_at_before_all_partitions_have_begun(catalog: Catalog) -> None:
    world = World(catalog)
    world.shelf.count("acme", NOON - SECOND, 4)
    world.restarted(partitions=2)
    assert world.logic.flush() == []
    world.tell(begins=1)
    world.flush()
    assert world.charged("acme") == Decimal(4)


def test_windows_that_were_left_out_are_read_from_the_store(world: World) -> None:
    world.shelf.count("acme", NOON - SECOND, 4)
    minute = NOON - BASE_WINDOW
    world.tell(missed=Interval(minute, minute + BASE_WINDOW))
    world.flush()
    assert world.charged("acme") == Decimal(4)


def test_usage_is_read_once_and_from_the_open_period_on(world: World) -> None:
    before = len(world.shelf.reads)
    for _ in range(3):
        world.event("acme", 4)
        world.flush()
    assert len(world.shelf.reads) == before
    starts = [start for start, _ in world.shelf.reads]
    assert starts == [datetime(2025, 12, 31, 23, 59, tzinfo=UTC)]


def test_readers_hear_up_to_when_usage_is_in(world: World) -> None:
    world.tell(until=NOON - 3 * SECOND)
    world.flush()

    def reading(at: datetime) -> tuple[datetime | None, bool]:
        found = balance_of(world.stores, world.claims, world.customer("acme"), at)
        return found.updated_at, found.is_fallback

    assert reading(NOON)[1] is False
    world.clock.at = NOON + timedelta(minutes=1)
    world.tell(until=world.clock.at - 2 * SECOND)
    world.flush()
    assert reading(world.clock.at) == (world.clock.at - 2 * SECOND, False)
    assert reading(world.clock.at + timedelta(minutes=1))[1] is True


class HeardClaims(MemoryClaims):
    """Claims that tell whenever some are put."""

    def __init__(self, stores: MemoryStore, heard: Callable[[], None]) -> None:
        super().__init__(stores)
        self.heard = heard

    def put(self, rows: Sequence[CustomerClaims], seen: Sequence[AccountChange] = ()) -> None:
        super().put(rows, seen)
        self.heard()


def test_stop_ends_the_thread_and_the_flow_can_be_run_again(catalog: Catalog) -> None:
    world = World(catalog)
    feed = UsageFeed(world.scope)
    for charged in (Decimal(4), Decimal(6)):
        feed.publish(world.shelf.count("acme", NOON - SECOND, 4))
        stop, reached = threading.Event(), threading.Event()

        def heard(wanted: Decimal = charged, tell: threading.Event = reached) -> None:
            if world.charged("acme") == wanted:
                tell.set()

        world.claims = HeardClaims(world.stores, heard)
        kept = ClaimStores(world.stores, world.claims)
        thread = threading.Thread(
            target=run_billing_live,
            args=(StoredUsage(world.shelf, world.scope), kept, feed, stop),
            kwargs={"clock": world.clock, "flush_every": timedelta(milliseconds=5)},
            daemon=True,
        )
        thread.start()
        assert reached.wait(20)
        stop.set()
        thread.join(20)
        assert not thread.is_alive()
