"""A whole story of billing, in order of time: what `tally bill` and the demo show.

Wallets are opened and topped up, grants give credits, periods close, invoices are finalized after
their delay, and the balances are watched at every step and at the instants that are asked for. No
clock is read: the same facts give the same run (DESIGN, G6).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise
from operator import attrgetter

from billing.accounts import Account, accounts_of
from billing.alerts.watching import is_watched, watch_settled
from billing.configuration import BillingConfig
from billing.invoices.closing import due
from billing.invoices.reports import alert_as_json, invoice_as_json, wallet_as_json
from billing.periods.services import FINALIZATION_DELAY
from billing.planned_changes import PlannedChange
from billing.ports import Changes, UsageQuantity, UsageReader
from billing.stores.memory import MemoryStore
from billing.use_cases.carrying_out import carry_out
from billing.use_cases.closing_periods import close
from billing.use_cases.subscription_clock import advance
from billing.wallets.balances import Ongoing
from billing.wallets.claims import customer_unfinalized_end
from billing.wallets.grant_applications import apply_grants
from billing.wallets.grant_periods import facts_of, periods
from billing.wallets.ledger import top_up
from billing.wallets.opening import TopUpAt, WalletOpening, open_wallet
from billing.wallets.running_charges import keep, running
from schemas.alert import Alert
from schemas.customer import Customer
from schemas.ids import CustomerId, WalletId
from schemas.invoice import Invoice
from schemas.meter import Meter
from schemas.period import Interval
from schemas.subscription import Subscription
from schemas.wallet import Entry, EntryType, Wallet

# Before and after everything that happens.
BEGINNING, END = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

# What happens at one instant happens in this order: money comes in before it is asked for.
OPENING, TOP_UP, CHANGE, GRANT, CLOCK, DRAFT, FINALIZATION, EXPIRY, OBSERVATION = range(9)


@dataclass(frozen=True, slots=True)
class WalletState:
    """A wallet and its balances at the end of a run."""

    wallet: Wallet
    ongoing: Ongoing


@dataclass(frozen=True, slots=True)
class BillingRun:
    """What came of a run: invoices and alerts in order of time, wallets in order of opening.

    `debits` are the ledger entries that took credits. The mappings tell how ids are called.
    """

    invoices: tuple[Invoice, ...]
    wallets: tuple[WalletState, ...]
    alerts: tuple[Alert, ...]
    debits: tuple[Entry, ...]
    customers: Mapping[str, str] = field(default_factory=dict)
    subscriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing that happens; steps of one instant and rank are ordered by the name they have."""

    at: datetime
    rank: int
    name: str
    act: Callable[[], object] | None = None


class _KnownWhole:
    """The usage of a story: known as a whole from its beginning, so that nothing of it is late."""

    def __init__(self, usage: UsageReader) -> None:
        self._usage = usage

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return what the meter gives for these customers together over the interval."""
        return self._usage.quantities(
            meter,
            external_customer_ids,
            interval,
            timezone=timezone,
            billing_anchor=billing_anchor,
        )

    def arrived_since(self, external_customer_ids: Sequence[str], at: datetime) -> None:
        """Say that nothing has come since."""


def bill(
    subscriptions: Sequence[Subscription],
    openings: Sequence[WalletOpening],
    usage: UsageReader,
    *,
    as_of: datetime,
    observe: Iterable[datetime] = (),
    customers: Mapping[CustomerId, str] | None = None,
    changes: Mapping[CustomerId, Sequence[PlannedChange]] | None = None,
    delay: timedelta = FINALIZATION_DELAY,
) -> BillingRun:
    """Bill everything that is due by `as_of`, one customer after the other: see `bill_account`.

    Raises Refused for an opening or a top-up that the ledger refuses, of several customers the
    first by name.
    """
    instants = tuple(observe)
    return joined(
        bill_account(account, usage, as_of=as_of, observe=instants, delay=delay)
        for account in accounts_of(subscriptions, openings, customers, changes)
    )


def bill_account(
    account: Account,
    usage: UsageReader,
    *,
    as_of: datetime,
    observe: Iterable[datetime] = (),
    delay: timedelta = FINALIZATION_DELAY,
    store: MemoryStore | None = None,
) -> BillingRun:
    """Bill one customer by `as_of`, as if the job had run at every instant on the way.

    An invoice whose delay is not over is listed as a draft. Alerts are judged after every write, at
    the expiry of lots, at each instant of `observe`, and at `as_of`; between them they are not.
    A function of the account and of its cumulative usage: nobody else's weighs in it. `store` is
    where the story leaves what it tells, empty but for settings; a new one by default. Raises
    Refused for an opening or a top-up that the ledger refuses.
    """
    store = store or MemoryStore(config=BillingConfig(finalization_delay=delay))
    store.commit(Changes(customers=(Customer(account.customer_id, account.external_id),)))
    for subscription in account.subscriptions:
        store.put_subscription(subscription)
    usage = _KnownWhole(usage)
    agreed = [*_wallet_steps(store, account.openings), *_watch_steps(account, observe)]
    agreed += _change_steps(store, usage, account.changes)
    # What is due follows from the subscriptions as they are, so it is asked for again after each
    # change of them.
    for start, stop in pairwise((BEGINNING, *sorted({each.at for each in account.changes}), END)):
        if start > as_of:
            break
        here = [step for step in agreed if start <= step.at < stop]
        first = [step for step in here if (step.at, step.rank) <= (start, CHANGE)]
        _act(sorted(first, key=_order))
        rest = [step for step in here if (step.at, step.rank) > (start, CHANGE)]
        due_then = _due_steps(store, usage, as_of, delay)
        rest += [step for step in due_then if start <= step.at < stop]
        if first:
            rest.append(_Step(start, OBSERVATION, ""))
        for at, together in groupby(sorted(rest, key=_order), key=attrgetter("at")):
            if at > as_of:
                break
            _act(together)
            # What happens at one instant is judged once, or a wallet that is opened and filled
            # would alarm and recover in between.
            _watch(store, usage, account.customer_id, at)
    for each in due(store.live_subscriptions(), as_of):
        close(store, usage, each.subscription, each.window, as_of, delay=delay)
    return _run(store, usage, account, as_of)


def _act(steps: Iterable[_Step]) -> None:
    """Do what steps do."""
    for step in steps:
        if step.act is not None:
            step.act()


def joined(runs: Iterable[BillingRun]) -> BillingRun:
    """Return the runs of different customers as one, whatever order they come in.

    What happened at the same instant is ordered by the name of the customer, and for one customer
    stays in the order in which it happened.

    >>> joined([]).invoices
    ()
    """
    every = tuple(runs)
    customers: dict[str, str] = {}
    for run in every:
        customers |= run.customers
    owners = {state.wallet.id: state.wallet.customer_id for run in every for state in run.wallets}

    def moment(at: datetime, customer_id: str) -> tuple[datetime, str, str]:
        return at, customers[customer_id], customer_id

    return BillingRun(
        invoices=tuple(
            sorted(
                (invoice for run in every for invoice in run.invoices),
                key=lambda each: (each.dated_at, each.id),
            )
        ),
        wallets=tuple(
            sorted(
                (state for run in every for state in run.wallets),
                key=lambda each: moment(each.wallet.created_at, each.wallet.customer_id),
            )
        ),
        alerts=tuple(
            sorted(
                (alert for run in every for alert in run.alerts),
                key=lambda each: moment(each.at, each.customer_id),
            )
        ),
        debits=tuple(
            sorted(
                (entry for run in every for entry in run.debits),
                key=lambda each: moment(each.created_at, owners[each.wallet_id]),
            )
        ),
        customers=dict(sorted(customers.items())),
        subscriptions=dict(sorted(item for run in every for item in run.subscriptions.items())),
    )


def _order(step: _Step) -> tuple[datetime, int, str]:
    return step.at, step.rank, step.name


def _wallet_steps(store: MemoryStore, openings: Sequence[WalletOpening]) -> Iterator[_Step]:
    """Yield the openings and top-ups, those of one instant in the order given."""
    for number, opening in enumerate(openings):
        name = f"{number:09}"
        yield _Step(opening.at, OPENING, name, partial(_open, store, opening))
        for count, each in enumerate(opening.top_ups):
            key = f"{name}:{count:09}"
            yield _Step(each.at, TOP_UP, key, partial(_top_up, store, opening.id, each))


def _change_steps(
    store: MemoryStore, usage: UsageReader, changes: Iterable[PlannedChange]
) -> Iterator[_Step]:
    """Yield what happens to subscriptions and wallets, as it was said."""
    for each in changes:
        yield _Step(each.at, CHANGE, f"{each.number:09}", partial(carry_out, store, usage, each))


def _due_steps(
    store: MemoryStore, usage: UsageReader, as_of: datetime, delay: timedelta
) -> Iterator[_Step]:
    """Yield what time brings to the subscriptions as they are now."""
    subscriptions = store.live_subscriptions()
    yield from _grant_steps(store, subscriptions, as_of)
    for each in subscriptions:
        for at in {each.trial_end, each.cancelled_at, each.end_date} - {None}:
            assert at is not None
            yield _Step(at, CLOCK, each.id, partial(advance, store, each, at, usage=usage))
    yield from _invoice_steps(store, usage, subscriptions, as_of, delay)


def _grant_steps(
    store: MemoryStore, subscriptions: Sequence[Subscription], as_of: datetime
) -> Iterator[_Step]:
    """Yield the instants at which grants give credits, and at which those expire."""
    for subscription in subscriptions:
        for grant in subscription.credit_grants:
            for each in periods(grant, facts_of(subscription)):
                if each.period_start > as_of:
                    break
                act = partial(_grant, store, each.period_start)
                yield _Step(each.period_start, GRANT, grant.id, act)
                if each.expires_at is not None:
                    yield _Step(each.expires_at, EXPIRY, grant.id)


def _grant(store: MemoryStore, at: datetime) -> None:
    """Give the credits that grants owe at an instant."""
    apply_grants(store, store.live_subscriptions(), at)


def _invoice_steps(
    store: MemoryStore,
    usage: UsageReader,
    subscriptions: Sequence[Subscription],
    as_of: datetime,
    delay: timedelta,
) -> Iterator[_Step]:
    """Yield the closing of each window, and the end of its delay."""
    for number, each in enumerate(due(subscriptions, as_of)):
        subscription, window = each.subscription, each.window
        name = f"{number:09}"
        for rank, at in ((DRAFT, window.dated_at), (FINALIZATION, window.finalize_at(delay))):
            act = partial(close, store, usage, subscription, window, at, delay=delay)
            yield _Step(at, rank, name, act)


def _watch_steps(account: Account, observe: Iterable[datetime]) -> Iterator[_Step]:
    """Yield the instants at which balances are watched though nothing is written."""
    for opening in account.openings:
        expiries = {each.request.expires_at for each in opening.top_ups}
        expiries.add(opening.request.initial_credits_expiry_date_utc)
        for at in expiries - {None}:
            assert at is not None
            yield _Step(at, EXPIRY, opening.id)
    for at in sorted(set(observe)):
        yield _Step(at, OBSERVATION, "")


def _open(store: MemoryStore, opening: WalletOpening) -> None:
    """Open a wallet, with its initial credits."""
    existing = [held.wallet for held in store.wallets_of(opening.customer_id)]
    posted = open_wallet(
        opening.request,
        wallet_id=opening.id,
        customer_id=opening.customer_id,
        existing=existing,
        at=opening.at,
    )
    store.commit(Changes(posted=(posted,)))


def _top_up(store: MemoryStore, wallet_id: WalletId, planned: TopUpAt) -> None:
    """Add credits, and judge the settled balance in the same commit."""
    held = store.holdings(wallet_id)
    assert held is not None, "a wallet is opened before its first top-up"
    key = planned.request.idempotency_key
    recorded = store.entry_of(key) if key is not None else None
    wallet = held.wallet
    waiting = customer_unfinalized_end(store, wallet.customer_id, wallet.currency, planned.at)
    posted = top_up(held, planned.request, planned.at, unfinalized_end=waiting, recorded=recorded)
    if posted.replays is not None:
        return
    judged = watch_settled(store, (posted.holdings,), planned.at)
    customer = store.external_id_of(wallet.customer_id)
    store.commit(
        Changes(
            posted=(posted,),
            streams=judged.streams,
            alerts=judged.alerts,
            outbox=judged.outbox(customer),
        )
    )


def _watch(store: MemoryStore, usage: UsageReader, customer: CustomerId, at: datetime) -> None:
    """Judge the balances of a customer, if any of its wallets has settings of its own."""
    if any(is_watched(held) for held in store.wallets_of(customer)):
        keep(store, running(store, usage, customer, at))


def _run(store: MemoryStore, usage: UsageReader, account: Account, as_of: datetime) -> BillingRun:
    """Watch the customer a last time, and return what came of it all."""
    balances: dict[str, Ongoing] = {}
    if store.wallets():
        found = running(store, usage, account.customer_id, as_of)
        keep(store, found)
        balances = {each.wallet_id: each for each in found.balances}
    return BillingRun(
        invoices=tuple(store.invoices()),
        wallets=tuple(
            WalletState(held.wallet, balances[held.wallet.id]) for held in store.wallets()
        ),
        alerts=tuple(store.tables.alerts),
        debits=tuple(entry for entry in store.tables.entries if entry.type is EntryType.DEBIT),
        customers={account.customer_id: account.external_id},
        subscriptions={each.id: each.lookup_key or each.id for each in store.live_subscriptions()},
    )


def as_json(run: BillingRun) -> dict[str, object]:
    """Return a run as `tally bill --format json` prints it."""
    return {
        "invoices": [
            invoice_as_json(invoice, run.customers, run.subscriptions) for invoice in run.invoices
        ],
        "wallets": [
            wallet_as_json(state.wallet, state.ongoing, run.customers) for state in run.wallets
        ],
        "alerts": [alert_as_json(alert, run.customers) for alert in run.alerts],
    }
