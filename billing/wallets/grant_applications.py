"""Grant applications: what becomes of each period of a grant, and the credits that it gives.

Each grant has one open application at most, the next one; what is decided of it is one transaction
with its top-up and with the application after it. So the state in the stores says where to go on,
and running twice, or again after a crash, gives nothing twice (wallets-alerts.md 10).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush

from billing.alerts.watching import watch_settled
from billing.ports import Changes, Stores
from billing.wallets.claims import customer_unfinalized_end
from billing.wallets.grant_periods import GrantFacts, end_of, facts_of, periods
from billing.wallets.holdings import Holdings, Posted
from billing.wallets.ledger import TopUp, top_up
from billing.wallets.opening import open_wallet
from schemas.credit_grant import (
    OPEN,
    ApplicationAction,
    ApplicationStatus,
    CreditGrant,
    CreditGrantId,
    GrantApplication,
    SkippedBecause,
    after,
)
from schemas.decimals import plain
from schemas.ids import CustomerId, WalletId, derived
from schemas.subscription import Subscription
from schemas.wallet import Reason, WalletRequest, WalletStatus, WalletType


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with an open application whose time has come."""

    action: ApplicationAction
    skipped_because: SkippedBecause | None = None


def open_application(
    grant: CreditGrant, facts: GrantFacts, last: GrantApplication | None
) -> GrantApplication | None:
    """Return the application that waits: the last one, or the one after it; None at the end."""
    if last is not None and last.status in OPEN:
        return last
    if last is not None and (last.period_end is None or not _granted(grant, facts, last)):
        return None
    return next(periods(grant, facts, since=None if last is None else last.period_end), None)


def _granted(grant: CreditGrant, facts: GrantFacts, row: GrantApplication) -> bool:
    """Tell whether a period starts before the end, so that it is given."""
    end = end_of(grant, facts)
    return end is None or row.period_start < end


def decide(
    grant: CreditGrant,
    facts: GrantFacts,
    row: GrantApplication,
    at: datetime,
    unfinalized_end: datetime | None = None,
) -> Decision | None:
    """Return what is to be done with an open application at an instant, None to let it wait.

    One that would start at or after the end of its grant is cancelled once that end has come. Else
    its period must have begun and the subscription must have become active. It is skipped where
    the subscription was paused when the period began, or where its credits have expired and no
    period that ended by then waits for its invoice (`unfinalized_end` is the earliest such end).
    Source: wallets-alerts.md 10.
    """
    if not _granted(grant, facts, row):
        end = end_of(grant, facts)
        over = end is not None and end <= at
        return Decision(ApplicationAction.CANCEL) if over else None
    active_from = facts.active_from
    if row.period_start > at or active_from is None or active_from > at:
        return None
    if any(pause.holds(row.period_start) for pause in facts.pauses):
        return Decision(ApplicationAction.SKIP, SkippedBecause.PAUSED)
    expires = row.expires_at
    if expires is not None and expires <= at:
        claimable = unfinalized_end is not None and expires >= unfinalized_end
        if not claimable:
            return Decision(ApplicationAction.SKIP, SkippedBecause.EXPIRED)
    return Decision(ApplicationAction.APPLY)


def decided(
    row: GrantApplication,
    decision: Decision,
    at: datetime,
    *,
    wallet_id: WalletId | None = None,
    failure: str = "",
) -> GrantApplication:
    """Return an application with what was decided of it; illegal steps raise InvalidOperation."""
    applied = decision.action is ApplicationAction.APPLY
    return replace(
        row,
        status=after(row.status, decision.action),
        skipped_because=decision.skipped_because,
        applied_at=at if applied else None,
        wallet_id=wallet_id,
        failure=failure,
    )


def process(
    grant: CreditGrant,
    facts: GrantFacts,
    last: GrantApplication | None,
    at: datetime,
    *,
    unfinalized_end: datetime | None = None,
) -> tuple[GrantApplication, ...]:
    """Return the applications of a grant that change at an instant, the next open one at the end.

    The schedule alone, as if each wallet took what it is given. Nothing changes that changed before.
    """
    changed: list[GrantApplication] = []
    row = open_application(grant, facts, last)
    while row is not None:
        decision = decide(grant, facts, row, at, unfinalized_end)
        if decision is None:
            # What waits already is no change.
            return tuple(changed) if row is last else (*changed, row)
        changed.append(decided(row, decision, at))
        row = open_application(grant, facts, changed[-1])
    return tuple(changed)


def apply_grants(
    stores: Stores,
    subscriptions: Iterable[Subscription],
    at: datetime,
    *,
    until: datetime | None = None,
) -> tuple[GrantApplication, ...]:
    """Give all credits that grants owe at an instant, in order of period start, each in a commit.

    With `until` only those whose period starts by then: what is owed later has its turn later.
    Returns the applications that were decided. Done again, or after it was cut off anywhere, it
    goes on where the stores stand. Raises VersionConflict where another writer was first: then it
    is to be called again.
    """
    ends: dict[tuple[CustomerId, str], datetime | None] = {}
    waiting: list[tuple[datetime, CreditGrantId, int]] = []
    work: list[_Granting] = []
    for subscription in subscriptions:
        if not subscription.credit_grants:
            continue
        facts = facts_of(subscription)
        for grant in subscription.credit_grants:
            last = stores.last_application(grant.id)
            row = open_application(grant, facts, last)
            if row is not None:
                heappush(waiting, (row.period_start, grant.id, len(work)))
                work.append(_Granting(subscription, grant, facts, row, is_new=row is not last))
    done: list[GrantApplication] = []
    while waiting:
        begins, name, number = heappop(waiting)
        if until is not None and begins > until:
            break
        each = work[number]
        owner = each.subscription.customer_id, each.subscription.currency
        if owner not in ends:
            ends[owner] = customer_unfinalized_end(stores, *owner, at)
        result = each.step(stores, at, ends[owner])
        if result is None:
            continue
        done.append(result)
        following = open_application(each.grant, each.facts, result)
        # One that failed is tried again by the next run, and holds back what comes after it.
        if following is not None and following.status is ApplicationStatus.PENDING:
            work[number] = replace(each, row=following, is_new=False)
            heappush(waiting, (following.period_start, name, number))
    return tuple(done)


@dataclass(frozen=True, slots=True)
class _Granting:
    """The open application of a grant, on its way; `is_new` while no store has it."""

    subscription: Subscription
    grant: CreditGrant
    facts: GrantFacts
    row: GrantApplication
    is_new: bool

    def step(
        self, stores: Stores, at: datetime, unfinalized: datetime | None
    ) -> GrantApplication | None:
        """Decide and commit; return what was decided, None where the application waits on."""
        decision = decide(self.grant, self.facts, self.row, at, unfinalized)
        if decision is None:
            if self.is_new:
                stores.commit(Changes(applications=(self.row,)))
            return None
        if decision.action is not ApplicationAction.APPLY:
            return self._commit(stores, decided(self.row, decision, at))
        wallets = stores.wallets_of(self.subscription.customer_id)
        held = wallet_for(wallets, self.subscription)
        if held is None:
            held = opened_for(self.grant, self.subscription, wallets, at)
        named, rate = self.grant.conversion_rate, held.wallet.conversion_rate
        if named is not None and named != rate:
            text = f"wallet {held.wallet.id} has the rate {plain(rate)}, not {plain(named)}"
            failed = decided(self.row, Decision(ApplicationAction.FAIL), at, failure=text)
            if failed != self.row:
                self._commit(stores, failed)
            return failed
        return self._give(stores, held, at, unfinalized)

    def _give(
        self, stores: Stores, held: Holdings, at: datetime, unfinalized: datetime | None
    ) -> GrantApplication:
        """Top up the wallet, judge its settled balance, and commit both with the application."""
        posted = top_up(held, credit_of(self.grant, self.row), at, unfinalized_end=unfinalized)
        applied = decided(self.row, Decision(ApplicationAction.APPLY), at, wallet_id=held.wallet.id)
        judged = watch_settled(stores, (posted.holdings,), at)
        told = judged.outbox(stores.external_id_of(self.subscription.customer_id))
        changes = Changes(
            posted=(posted,), streams=judged.streams, alerts=judged.alerts, outbox=told
        )
        return self._commit(stores, applied, changes)

    def _commit(
        self, stores: Stores, row: GrantApplication, changes: Changes | None = None
    ) -> GrantApplication:
        """Commit what was decided with the application after it, which is open from then on."""
        following = open_application(self.grant, self.facts, row)
        rows = (row,) if following is None or following is row else (row, following)
        stores.commit(replace(changes or Changes(), applications=rows))
        return row


def credit_of(grant: CreditGrant, row: GrantApplication) -> TopUp:
    """Return the top-up of an application; its key follows from the grant and the period start."""
    return TopUp(
        Reason.SUBSCRIPTION_CREDIT_GRANT,
        credits=row.credits,
        priority=grant.priority,
        expires_at=row.expires_at,
        idempotency_key=derived("key", "credit_grant", row.grant_id, row.period_start),
        description=grant.name,
        # A late run gives credits that have expired, where an invoice may still claim them.
        clock_checked=False,
    )


def wallet_for(wallets: Iterable[Holdings], subscription: Subscription) -> Holdings | None:
    """Return the wallet that grants go to: the active PRE_PAID one of the currency, if any."""
    currency = subscription.currency.lower()
    return next(
        (
            held
            for held in wallets
            if held.wallet.wallet_type is WalletType.PRE_PAID
            and held.wallet.wallet_status is WalletStatus.ACTIVE
            and held.wallet.currency.lower() == currency
        ),
        None,
    )


def opened_for(
    grant: CreditGrant, subscription: Subscription, existing: Sequence[Holdings], at: datetime
) -> Holdings:
    """Return the wallet that is opened for a grant, with the grant's rates, where there is none.

    Its id follows from the customer, the currency and how many wallets there were.
    """
    request = WalletRequest(
        currency=subscription.currency,
        conversion_rate=grant.conversion_rate,
        topup_conversion_rate=grant.topup_conversion_rate,
    )
    customer: CustomerId = subscription.customer_id
    wallet_id = WalletId(derived("wallet", customer, request.currency, len(existing)))
    posted: Posted = open_wallet(
        request,
        wallet_id=wallet_id,
        customer_id=customer,
        existing=[held.wallet for held in existing],
        at=at,
    )
    return posted.holdings
