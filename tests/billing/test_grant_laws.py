"""Laws of credit grants: whatever the runs, repeats and crashes, each period is given once."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ports import Changes
from billing.stores.memory import MemoryStore
from billing.wallets.grant_applications import apply_grants, process
from billing.wallets.grant_periods import Pause, end_of, facts_of, next_instants, periods
from billing.wallets.holdings import settled_credits
from schemas.credit_grant import (
    ApplicationStatus,
    CreditGrant,
    CreditGrantId,
    ExpirationType,
    ExpirationUnit,
    GrantApplication,
    GrantCadence,
    GrantScope,
    SkippedBecause,
)
from schemas.ids import CustomerId, SubscriptionId
from schemas.money import total
from schemas.price import BillingPeriod
from schemas.subscription import Subscription

START = datetime(2026, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


class Cut(Exception):
    """The process ended before a commit."""


class CutStore(MemoryStore):
    """A store whose process ends before one of its commits."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        super().__init__(subscriptions)
        self.commits_left: int | None = None

    def commit(self, changes: Changes) -> None:
        if self.commits_left is not None:
            if self.commits_left == 0:
                raise Cut
            self.commits_left -= 1
        super().commit(changes)


def run(store: MemoryStore, at: datetime) -> tuple[GrantApplication, ...]:
    return apply_grants(store, store.live_subscriptions(), at)


def credits_held(store: MemoryStore, at: datetime) -> Decimal:
    return total(settled_credits(held, at) for held in store.wallets())


@st.composite
def stories(draw: st.DrawFn, *, expiring: bool) -> Subscription:
    """Draw a subscription with up to three grants of any kind."""
    start = START + draw(st.integers(0, 40)) * DAY
    ends = st.none() | st.integers(1, 200).map(lambda days: start + days * DAY)
    types = list(ExpirationType) if expiring else [ExpirationType.NEVER]
    grants = tuple(
        CreditGrant(
            id=CreditGrantId(f"g{number}"),
            scope=GrantScope.SUBSCRIPTION,
            credits=draw(st.decimals("0.5", 100, places=2)),
            cadence=draw(st.sampled_from(GrantCadence)),
            expiration_type=draw(st.sampled_from(types)),
            period=draw(
                st.sampled_from(
                    [BillingPeriod.WEEKLY, BillingPeriod.MONTHLY, BillingPeriod.QUARTERLY]
                )
            ),
            period_count=draw(st.integers(1, 3)),
            expiration_duration=draw(st.integers(1, 40)),
            expiration_duration_unit=draw(
                st.sampled_from([ExpirationUnit.DAY, ExpirationUnit.MONTH])
            ),
            priority=draw(st.none() | st.integers(0, 3)),
            start_date=start + draw(st.integers(0, 60)) * DAY,
            end_date=draw(ends),
            anchor=draw(st.none() | st.integers(-90, 90).map(lambda days: start + days * DAY)),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    zones = ["UTC", "America/New_York", "Pacific/Apia"]
    return Subscription(
        SubscriptionId("s"),
        CustomerId("acme"),
        "acme",
        "usd",
        start,
        end_date=draw(ends),
        timezone=draw(st.sampled_from(zones)),
        credit_grants=grants,
    )


LATEST = START + 240 * DAY
instants = st.integers(0, 240).map(lambda days: START + days * DAY)
schedules = st.lists(st.tuples(instants, st.none() | st.integers(0, 5)), max_size=8)


def timely(subscription: Subscription) -> MemoryStore:
    """Return what runs at the start of every period come to."""
    store = MemoryStore([subscription])
    starts = {
        row.period_start
        for grant in subscription.credit_grants
        for row in taken(grant, subscription)
    }
    for at in [*sorted(starts), LATEST]:
        run(store, at)
    return store


def taken(
    grant: CreditGrant, subscription: Subscription, until: datetime = LATEST
) -> list[GrantApplication]:
    """Return the periods of a grant that begin by an instant, else the end of a story."""
    found = []
    for row in periods(grant, facts_of(subscription)):
        if row.period_start > until:
            break
        found.append(row)
    return found


def after_runs(
    subscription: Subscription, runs: Sequence[tuple[datetime, int | None]]
) -> MemoryStore:
    """Return what runs at these instants come to; some are cut off before one of their commits."""
    store = CutStore([subscription])
    for at, commits in sorted(runs, key=lambda each: each[0]):
        store.commits_left = commits
        try:
            run(store, at)
        except Cut:
            assert commits is not None
    store.commits_left = None
    run(store, LATEST)
    run(store, LATEST)
    return store


def told(store: MemoryStore) -> dict[str, GrantApplication]:
    """Return the applications without the instants at which they were decided."""
    return {name: replace(row, applied_at=None) for name, row in store.tables.applications.items()}


@settings(max_examples=60)
@given(stories(expiring=False), schedules)
def test_any_runs_repeats_and_crashes_give_the_state_of_timely_runs(
    subscription: Subscription, runs: list[tuple[datetime, int | None]]
) -> None:
    expected, store = timely(subscription), after_runs(subscription, runs)
    assert told(store) == told(expected)
    assert credits_held(store, LATEST) == credits_held(expected, LATEST)
    lots = [lot.credits for lot in store.tables.lots.values()]
    assert sorted(lots) == sorted(lot.credits for lot in expected.tables.lots.values())


@settings(max_examples=60)
@given(stories(expiring=True), schedules)
def test_lateness_can_only_turn_an_application_into_an_expired_one(
    subscription: Subscription, runs: list[tuple[datetime, int | None]]
) -> None:
    expected, found = told(timely(subscription)), told(after_runs(subscription, runs))
    assert found.keys() == expected.keys()
    for name, row in found.items():
        if row != expected[name]:
            assert expected[name].status is ApplicationStatus.APPLIED
            assert row.skipped_because is SkippedBecause.EXPIRED
            assert row.expires_at is not None
            assert row.expires_at <= LATEST


@settings(max_examples=60)
@given(stories(expiring=True), schedules)
def test_applications_never_overlap_and_leave_no_gap(
    subscription: Subscription, runs: list[tuple[datetime, int | None]]
) -> None:
    store = after_runs(subscription, runs)
    for grant in subscription.credit_grants:
        rows = [row for row in store.tables.applications.values() if row.grant_id == grant.id]
        rows.sort(key=lambda row: row.period_start)
        assert all(one.period_end == other.period_start for one, other in pairwise(rows))
        open_rows = [row for row in rows if row.status is ApplicationStatus.PENDING]
        end = end_of(grant, facts_of(subscription))
        if rows:
            assert rows[0].period_start == grant.start_date
            assert all(row.period_end is None or row.period_start < row.period_end for row in rows)
        if rows and grant.cadence is GrantCadence.RECURRING:
            last_end = rows[-1].period_end
            assert last_end is not None
            # One waits, the next; none does where the grant ends before it.
            over = end is not None and last_end >= end and not open_rows
            assert over or [row.id for row in open_rows] == [rows[-1].id]


@settings(max_examples=60)
@given(stories(expiring=True), schedules)
def test_lots_balance_and_each_entry_sums_to_nothing(
    subscription: Subscription, runs: list[tuple[datetime, int | None]]
) -> None:
    store = after_runs(subscription, runs)
    consumed = {
        name: total(part.credits for part in store.tables.consumptions if part.lot_id == name)
        for name in store.tables.lots
    }
    assert all(
        lot.credits == consumed[lot.id] + lot.remaining and lot.remaining >= 0
        for lot in store.tables.lots.values()
    )
    applied = [
        row for row in store.tables.applications.values() if row.status is ApplicationStatus.APPLIED
    ]
    assert total(lot.credits for lot in store.tables.lots.values()) == total(
        row.credits for row in applied
    )
    assert len({(row.grant_id, row.period_start) for row in applied}) == len(store.tables.lots)
    for entry in store.tables.entries:
        assert total(row.value for row in store.tables.postings if row.entry_id == entry.id) == 0


@given(stories(expiring=True), instants)
def test_the_next_instant_of_a_grant_is_never_missed(
    subscription: Subscription, at: datetime
) -> None:
    for grant in subscription.credit_grants:
        # A period that begins after the story may be the next one, before what expires later.
        facts, every = facts_of(subscription), taken(grant, subscription, LATEST + 400 * DAY)
        moments = [row.period_start for row in every]
        if grant.expiration_type is ExpirationType.DURATION:
            moments += [row.expires_at for row in every if row.expires_at is not None]
        following = min((each for each in moments if each > at), default=None)
        found = min((each for each in next_instants(grant, facts, at) if each > at), default=None)
        assert following is None or found == following


@given(stories(expiring=False), instants, st.integers(1, 30))
def test_a_pause_skips_what_begins_in_it_whenever_the_job_runs(
    subscription: Subscription, paused_from: datetime, days: int
) -> None:
    pause = Pause(paused_from, paused_from + days * DAY)
    facts = facts_of(subscription, [pause])
    for grant in subscription.credit_grants:
        rows = process(grant, facts, None, LATEST)
        skipped = [row for row in rows if row.status is ApplicationStatus.SKIPPED]
        due = [row for row in rows if row.status is not ApplicationStatus.PENDING]
        assert skipped == [row for row in due if pause.holds(row.period_start)]
