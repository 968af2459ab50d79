"""Passes: everything that time has brought for a customer, done in the order in which it came.

A pass is a function of facts and of the instant: what is due follows from what the stores say, and
each step is a transaction whose ids follow from facts. So a pass that is repeated, late or cut off
anywhere leaves what one timely pass leaves (platform.md 9). What is late is done in the order in
which it would have been done in time, grants before the invoices that they pay.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from billing.alerts.watching import is_watched
from billing.invoices.closing import unclosed
from billing.periods.dues import OVERDUE_EVERY, next_due
from billing.periods.services import Window
from billing.ports import Changes, Stores, UsageReader
from billing.use_cases.closing_periods import close, close_late
from billing.use_cases.subscription_clock import STILL, advance
from billing.use_cases.transactions import retried
from billing.use_cases.wallets import sweep_expired
from billing.wallets.grant_applications import apply_grants
from billing.wallets.holdings import Holdings
from billing.wallets.running_charges import keep, running
from schemas.credit_grant import GrantApplication
from schemas.ids import CustomerId
from schemas.invoice import Invoice
from schemas.subscription import Subscription, SubscriptionStatus

# A customer whose pass failed is tried again after so long, twice as long each time, at most so long.
BACKOFF_MIN = timedelta(seconds=1)
BACKOFF_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class AccountPass:
    """What a pass did for one customer, and when there is something to do again; None for never."""

    customer_id: CustomerId
    at: datetime
    subscriptions: tuple[Subscription, ...] = ()
    applications: tuple[GrantApplication, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    swept: int = 0
    alerts: bool = False
    next_due: datetime | None = None


@dataclass(frozen=True, slots=True)
class PassFailure:
    """A customer whose pass could not be finished, why, and when it is tried again."""

    customer_id: CustomerId
    error: Exception
    retry_at: datetime


@dataclass(frozen=True, slots=True)
class PassReport:
    """What a run did; `more` tells that others were due, too, beyond its limit."""

    at: datetime
    passed: tuple[AccountPass, ...] = ()
    failed: tuple[PassFailure, ...] = ()
    more: bool = False


@dataclass(slots=True)
class _Pass:
    """A pass on its way: what it works with, and what it has done so far."""

    stores: Stores
    usage: UsageReader
    customer_id: CustomerId
    at: datetime
    subscriptions: list[Subscription] = field(default_factory=list)
    applications: list[GrantApplication] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing to do, and when it would have been done in time."""

    turn: datetime
    rank: int
    name: str
    dated_at: datetime
    act: Callable[[], None]


def run_pass(
    stores: Stores,
    usage_of: Callable[[CustomerId], UsageReader],
    at: datetime,
    *,
    limit: int = 100,
    failed_before: Mapping[CustomerId, int] | None = None,
    watches: bool = True,
) -> PassReport:
    """Pass over the customers who are due by an instant, those who wait longest first.

    `watches` is false where the billing dataflow judges the ongoing balances: two judges who have
    different usage at hand would tell each other's alerts back.
    One that cannot be finished does not stop the others: it is reported, and planned with backoff by
    how often it `failed_before`. Raises StoreError where not even that can be written.
    """
    due = stores.due_customers(at, limit + 1)
    passed, failed = [], []
    for customer_id, since in due[:limit]:
        try:
            usage = usage_of(customer_id)
            passed.append(
                pass_account(stores, usage, customer_id, at, since=since, watches=watches)
            )
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one is not the others' matter
            wait = backoff((failed_before or {}).get(customer_id, 0))
            stores.plan(customer_id, since, at + wait)
            failed.append(PassFailure(customer_id, error, at + wait))
    return PassReport(at, tuple(passed), tuple(failed), more=len(due) > limit)


def backoff(failures: int) -> timedelta:
    """Return how long to wait after a failure, given how many there were before it.

    >>> [backoff(count).seconds for count in (0, 1, 8, 100)]
    [1, 2, 256, 300]
    """
    doubled: timedelta = BACKOFF_MIN * 2 ** min(failures, 10)
    return min(doubled, BACKOFF_MAX)


def pass_account(
    stores: Stores,
    usage: UsageReader,
    customer_id: CustomerId,
    at: datetime,
    *,
    since: datetime | None = None,
    watches: bool = True,
) -> AccountPass:
    """Do everything that time has brought for a customer up to an instant, then plan the next pass.

    Trials that end and cancellations that fire, grants and invoices in the order in which they came,
    what came late for subscriptions that have ended, expiries, alerts. `since` is when the customer
    was due; it is planned on unless somebody planned otherwise meanwhile. Raises VersionConflict
    where others kept being first, and whatever the stores, the usage and the rules raise: all that
    was done until then stands, and the next pass goes on from there.
    """
    work = _Pass(stores, usage, customer_id, at)
    for step in _steps(work):
        _grant(work, until=step.turn)
        step.act()
    _grant(work)
    for subscription in stores.subscriptions_of(customer_id):
        late = close_late(stores, usage, subscription, at)
        if late is not None:
            work.invoices.append(late)
    swept = sum(len(each.entries) for each in sweep_expired(stores, customer_id, at))
    seen, told = _watch(stores, usage, customer_id, at) if watches else (None, False)
    following = _plan(stores, customer_id, at, since, seen)
    return AccountPass(
        customer_id,
        at,
        tuple(work.subscriptions),
        tuple(work.applications),
        tuple(work.invoices),
        swept,
        told,
        following,
    )


def _steps(work: _Pass) -> Sequence[_Step]:
    """Return what has to be done, in the order in which it came.

    At one instant subscriptions begin and end before they are billed. An invoice has its turn when
    it is finalized or, before that time, when it is drafted.
    """
    delay = work.stores.config().finalization_delay
    found: list[_Step] = []
    for subscription in work.stores.subscriptions_of(work.customer_id):
        instants = _instants(subscription, work.at)
        for place, turn in enumerate(instants):
            # All but the last are as at their own instant, or those after them would come too early.
            when = work.at if place == len(instants) - 1 else turn
            act = partial(_advance, work, subscription, when)
            found.append(_Step(turn, 0, subscription.id, turn, act))
        invoices = {each.id: each for each in work.stores.invoices_of(subscription.id)}
        for window in unclosed(subscription, invoices, work.at):
            final = window.finalize_at(delay)
            turn = final if final <= work.at else window.dated_at
            act = partial(_close, work, subscription, window)
            found.append(_Step(turn, 1, subscription.id, window.dated_at, act))
    return sorted(found, key=lambda each: (each.turn, each.rank, each.dated_at, each.name))


def _instants(subscription: Subscription, at: datetime) -> list[datetime]:
    """Return when a subscription begins to be billed or ends, as far as that is due and not done."""
    if subscription.status in STILL:
        return []
    on_trial = subscription.status is SubscriptionStatus.TRIALING
    planned = (subscription.trial_end if on_trial else None, subscription.ends_at)
    return sorted({each for each in planned if each is not None and each <= at})


def _advance(work: _Pass, subscription: Subscription, at: datetime) -> None:
    """Let a subscription begin or end, and note what became of it and of its invoices."""
    before = {each.id: each.version for each in work.stores.invoices_of(subscription.id)}
    changed = advance(work.stores, subscription, at, usage=work.usage)
    if changed.version != subscription.version:
        work.subscriptions.append(changed)
        after = work.stores.invoices_of(subscription.id)
        work.invoices += [each for each in after if before.get(each.id) != each.version]


def _close(work: _Pass, subscription: Subscription, window: Window) -> None:
    """Draft or finalize an invoice, and note it if that changed it."""
    made = close(work.stores, work.usage, subscription, window, work.at)
    if made is not None:
        work.invoices.append(made)


def _grant(work: _Pass, *, until: datetime | None = None) -> None:
    """Give the credits that grants owe, those whose period starts by an instant where one is given."""
    stores, customer_id = work.stores, work.customer_id
    if not any(each.credit_grants for each in stores.subscriptions_of(customer_id)):
        return

    def decide() -> tuple[GrantApplication, ...]:
        with stores.deciding(customer_id) as held:
            return apply_grants(held, held.subscriptions_of(customer_id), work.at, until=until)

    work.applications += retried(decide)


def _watch(
    stores: Stores, usage: UsageReader, customer_id: CustomerId, at: datetime
) -> tuple[tuple[Holdings, ...] | None, bool]:
    """Judge the balances, if anybody could be told; with what the wallets held when it was done."""
    default = stores.config().wallet_alerts
    if not any(is_watched(held, default) for held in stores.wallets_of(customer_id)):
        return None, False

    def decide() -> tuple[tuple[Holdings, ...], bool]:
        found = running(stores, usage, customer_id, at)
        return found.wallets, keep(stores, found)

    return retried(decide)


def _plan(
    stores: Stores,
    customer_id: CustomerId,
    at: datetime,
    since: datetime | None,
    seen: Sequence[Holdings] | None,
) -> datetime | None:
    """Plan the next pass over a customer by what the stores say now, and return when that is.

    In one transaction with what it rests on: who changes that afterwards asks for a pass. Wallets
    that were written after their balances were judged are to be judged again at once.
    """
    with stores.deciding(customer_id) as held:
        wallets = tuple(held.wallets_of(customer_id))
        if seen is not None and seen != wallets:
            following: datetime | None = at
        else:
            following = _following(held, customer_id, wallets, at)
        planned = held.plan(customer_id, since or at, following)
        if not planned and since is None and following is not None:
            held.commit(Changes(wake={customer_id: following}))
        return following


def _following(
    held: Stores, customer_id: CustomerId, wallets: Sequence[Holdings], at: datetime
) -> datetime | None:
    """Return when time brings something next; what is overdue still is looked for a little later."""
    delay = held.config().finalization_delay
    subscriptions = held.subscriptions_of(customer_id)
    lots = [lot for each in wallets for lot in each.lots]
    following = next_due(subscriptions, lots, at, delay)
    for subscription in subscriptions:
        invoices = {each.id: each for each in held.invoices_of(subscription.id)}
        for window in unclosed(subscription, invoices, at):
            if window.finalize_at(delay) <= at:
                overdue = at + OVERDUE_EVERY
                return overdue if following is None else min(overdue, following)
    return following
