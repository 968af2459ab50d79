"""The clock of a subscription: trials end, planned cancellations take effect, terms run out.

Each step is as at its own instant, however late it is done, and repeating it does nothing
(billing.md 7 and 9.1).
"""

from dataclasses import replace
from datetime import datetime

from billing.periods.due_dates import unpaid_too_long
from billing.ports import Changes, Stores, UsageReader
from billing.subscriptions.activation import trial_ended
from billing.subscriptions.cancelling import planned_at
from billing.use_cases.opening_invoices import Opened, open_subscription
from billing.use_cases.settling_changes import bring_up_to_date, missing_windows
from billing.use_cases.subscription_cancellations import cancel_subscription, fire
from billing.use_cases.telling_subscriptions import CANCELLED, subscription_row
from billing.use_cases.transactions import retried
from schemas.cancellation import CancellationRequest, CancellationType
from schemas.errors import NotFound, VersionConflict
from schemas.ids import SubscriptionId
from schemas.invoice import InvoiceStatus
from schemas.subscription import (
    Subscription,
    SubscriptionAction,
    SubscriptionStatus,
    after,
)

# The reason that a cancellation has which nobody asked for.
UNPAID = "an invoice was not paid in time"

# In these nothing happens by time: one has not begun, the other is over.
STILL = frozenset({SubscriptionStatus.DRAFT, SubscriptionStatus.CANCELLED})


def advance(
    stores: Stores,
    subscription: Subscription,
    at: datetime,
    *,
    usage: UsageReader | None = None,
) -> Subscription:
    """Return a subscription as time has left it by an instant, after committing that.

    A trial that is over makes the opening invoice; a cancellation that was planned, an end that was
    agreed, and an invoice that stays unpaid too long, if that is enabled, end it. Invoices that were
    due before are made first, with the `usage` known now: without a reader a subscription whose
    periods are not invoiced yet stays for a later call. Raises VersionConflict where others kept
    being first.
    """

    def decide() -> Subscription:
        known = stores.subscription(subscription.id) or subscription
        for step in (_end_trial, _fire, _expire, _cancel_unpaid):
            known = step(stores, known, at, usage)
        return known

    return retried(decide)


def end_trial(stores: Stores, subscription_id: SubscriptionId, *, at: datetime) -> Opened:
    """End a trial before its time: the first period begins now, and the opening invoice is made.

    Raises NotFound, InvalidOperation for one that is not on trial. Source: billing.md 7.
    """

    def decide() -> Opened:
        known = stores.subscription(subscription_id)
        if known is None:
            raise NotFound(f"there is no subscription {subscription_id}")
        with stores.deciding(known.payer_id) as held:
            before = held.subscription(subscription_id) or known
            ended = trial_ended(before, at.replace(microsecond=0))
            moved = replace(ended, version=before.version + 1)
            held.commit(Changes(subscriptions=(moved,)))
            return open_subscription(held, moved, at)

    return retried(decide)


def _end_trial(
    stores: Stores, subscription: Subscription, at: datetime, usage: UsageReader | None
) -> Subscription:
    """Open a subscription whose trial is over, unless it was cancelled inside the trial."""
    del usage
    ends, trial_end = subscription.ends_at, subscription.trial_end
    if subscription.status is not SubscriptionStatus.TRIALING or trial_end is None:
        return subscription
    if trial_end > at or (ends is not None and ends <= trial_end):
        return subscription
    with stores.deciding(subscription.payer_id) as held:
        known = held.subscription(subscription.id) or subscription
        if known.version != subscription.version:
            return known
        return open_subscription(held, known, at).subscription


def _fire(
    stores: Stores, subscription: Subscription, at: datetime, usage: UsageReader | None
) -> Subscription:
    """Fire a planned cancellation whose instant has come."""
    planned = planned_at(subscription)
    if planned is None or planned > at or subscription.status in STILL:
        return subscription
    if subscription.end_date is not None and subscription.end_date < planned:
        return subscription
    if usage is not None:
        bring_up_to_date(stores, usage, subscription, planned)
    with stores.deciding(subscription.payer_id) as held:
        known = held.subscription(subscription.id) or subscription
        if known.version != subscription.version:
            return known
        missing = missing_windows(known, held.invoices_of(known.id), planned)
        if missing and usage is None:
            return known
        if missing:
            raise VersionConflict(f"subscription {known.id} has periods to be invoiced first")
        return fire(held, known, at)


def _expire(
    stores: Stores, subscription: Subscription, at: datetime, usage: UsageReader | None
) -> Subscription:
    """End a subscription whose agreed end has come."""
    del usage
    ends = subscription.end_date
    if ends is None or ends > at or subscription.status in STILL:
        return subscription
    with stores.deciding(subscription.payer_id) as held:
        known = held.subscription(subscription.id) or subscription
        if known.version != subscription.version:
            return known
        status = after(known.status, SubscriptionAction.CANCEL)
        over = replace(known, status=status, version=known.version + 1)
        row = subscription_row(CANCELLED, over, at)
        held.commit(Changes(subscriptions=(over,), outbox=(row,), wake={over.payer_id: at}))
        return over


def _cancel_unpaid(
    stores: Stores, subscription: Subscription, at: datetime, usage: UsageReader | None
) -> Subscription:
    """Cancel a subscription at once whose invoice stays unpaid beyond the days of grace, if enabled.

    Source: billing.md 9.1; settings auto_cancellation and grace_period_days.
    """
    config = stores.config()
    idle = {*STILL, SubscriptionStatus.TRIALING}
    if not config.auto_cancellation or usage is None or subscription.status in idle:
        return subscription
    unpaid = any(
        invoice.status is InvoiceStatus.FINALIZED
        and invoice.amount_remaining > 0
        and invoice.due_date is not None
        and unpaid_too_long(
            invoice.due_date,
            at,
            grace_period_days=config.grace_period_days,
            timezone=subscription.timezone,
        )
        for invoice in stores.invoices_of(subscription.id)
    )
    if not unpaid:
        return subscription
    request = CancellationRequest(CancellationType.IMMEDIATE, reason=UNPAID)
    return cancel_subscription(stores, usage, subscription.id, request, at=at).subscription
