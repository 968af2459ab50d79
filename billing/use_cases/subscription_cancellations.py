"""Cancelling subscriptions: at once, at the end of the period or on a date, and taking that back.

What was charged in advance and is not used comes back as a wallet credit when the cancellation
takes effect, in the transaction that makes it so; the final invoice is made beside it, and by the
next pass if this is cut off (billing.md 9.1).
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from billing.invoices.closing import left_out
from billing.periods.services import never_billed, windows
from billing.ports import Changes, Stores, UsageReader
from billing.subscriptions.cancelling import (
    Cancellation,
    asked_for,
    dropped,
    fired,
    planned_at,
)
from billing.subscriptions.changing import SettledChange, settle_lines
from billing.subscriptions.versions import recorded
from billing.use_cases.closing_periods import close
from billing.use_cases.finalizing import finalized
from billing.use_cases.settling_changes import (
    Came,
    bring_up_to_date,
    check_up_to_date,
    settlement,
)
from billing.use_cases.telling_subscriptions import CANCELLED, UPDATED, subscription_row
from billing.use_cases.transactions import merged, retried
from schemas.cancellation import CancellationRequest
from schemas.errors import InvalidOperation, NotFound
from schemas.ids import InvoiceId, SubscriptionId, derived
from schemas.invoice import BillingReason, Invoice, InvoiceKind
from schemas.period import Interval
from schemas.subscription import Subscription, SubscriptionStatus


@dataclass(frozen=True, slots=True)
class CancelledSubscription:
    """A subscription after a request to cancel it, and what came of it at once.

    `decided` is None where a plan was taken back. `invoice` is the final one of an immediate
    cancellation that asked for it; `came` is what fees came to that end or go on.
    """

    subscription: Subscription
    decided: Cancellation | None = None
    settled: SettledChange | None = None
    came: Came = field(default_factory=Came)
    invoice: Invoice | None = None

    @property
    def credit(self) -> Decimal:
        """Return what went to a wallet."""
        return self.came.credit


def cancel_subscription(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    request: CancellationRequest,
    *,
    at: datetime,
) -> CancelledSubscription:
    """Cancel a subscription, or plan to, as a request asks for at an instant.

    Raises NotFound, ValidationFailed (`cancel_at`), and InvalidOperation for a draft and for what is
    cancelled already. Source: billing.md 9.1.
    """

    def decide() -> CancelledSubscription:
        known = _known(stores, subscription_id)
        # What cannot be cancelled is refused before anything is made for it.
        asked_for(known, request, at)
        bring_up_to_date(stores, usage, known, at)
        with stores.deciding(known.payer_id) as held:
            before = held.subscription(subscription_id) or known
            decided, after = asked_for(before, request, at)
            done = _commit(held, before, after, at, refunds=decided.refund)
            return replace(done, decided=decided, invoice=_of_trial(held, done, decided, at))

    done = retried(decide)
    if done.decided is None or not done.decided.invoice or done.invoice is not None:
        return done
    return replace(done, invoice=_final(stores, usage, done.subscription, at))


def _known(stores: Stores, subscription_id: SubscriptionId) -> Subscription:
    found = stores.subscription(subscription_id)
    if found is None:
        raise NotFound(f"there is no subscription {subscription_id}")
    return found


def _commit(
    held: Stores, before: Subscription, after: Subscription, at: datetime, *, refunds: bool
) -> CancelledSubscription:
    """Settle what takes effect now, record what was decided, and commit all of it.

    A plan gives nothing back before it fires, but one that is moved on charges what goes on.
    """
    invoices = held.invoices_of(before.id)
    check_up_to_date(before, invoices, at)
    planned, ends = before.cancelled_at, after.cancelled_at
    effective_at = at if ends is None else ends
    change_id = derived("change", before.id, before.version, "cancellation", ends)
    settled, came, changes = None, Came(), Changes()
    if refunds or (planned is not None and (ends is None or ends > planned)):
        behavior = (after if ends else before).cancel_proration_behavior
        settled = settle_lines(before, after, invoices, decided_at=at, behavior=behavior)
        came, changes = settlement(
            held,
            after,
            settled,
            invoices,
            at,
            change_id=change_id,
            effective_at=effective_at,
        )
    made = recorded(
        before,
        replace(after, version=before.version + 1),
        id=change_id,
        decided_at=at,
        effective_at=effective_at,
        netted=settled.netted() if settled else (),
    )
    event = CANCELLED if made.status is SubscriptionStatus.CANCELLED else UPDATED
    told = Changes(
        subscriptions=(made,),
        outbox=(subscription_row(event, made, at),),
        wake={made.payer_id: at},
    )
    held.commit(merged(told, changes))
    return CancelledSubscription(made, settled=settled, came=came)


def _of_trial(
    held: Stores, done: CancelledSubscription, decided: Cancellation, at: datetime
) -> Invoice | None:
    """Commit and return the final invoice of a cancellation in a trial, if that is what it was."""
    if not decided.invoice or not never_billed(done.subscription):
        return None
    invoice, changes = finalized(
        held, _empty(done.subscription, at), at, subscription=done.subscription
    )
    held.commit(changes)
    return invoice


def _empty(subscription: Subscription, at: datetime) -> Invoice:
    """Return the final invoice of a cancellation in a trial: there is nothing to charge.

    Source: billing.md 20.
    """
    ends = subscription.cancelled_at
    assert ends is not None, "what is cancelled ends"
    nothing = Decimal(0)
    return Invoice(
        id=InvoiceId(derived("inv", subscription.id, InvoiceKind.FINAL.value, "trial")),
        customer_id=subscription.payer_id,
        subscription_id=subscription.id,
        kind=InvoiceKind.FINAL,
        billing_reason=BillingReason.PRORATION,
        currency=subscription.currency.lower(),
        period=Interval(min(subscription.start_date, ends), ends),
        dated_at=ends,
        finalize_at=at,
        lines=(),
        subtotal=nothing,
        total=nothing,
        computed_at=at,
        created_at=at,
        requested=True,
    )


def _final(
    stores: Stores, usage: UsageReader, subscription: Subscription, at: datetime
) -> Invoice | None:
    """Make the final invoice, a draft until its delay is over, and return it."""
    for window in windows(subscription, at):
        if window.kind is InvoiceKind.FINAL and not left_out(subscription, window):
            return close(stores, usage, subscription, window, at)
    return None


def drop_cancellation(
    stores: Stores, usage: UsageReader, subscription_id: SubscriptionId, *, at: datetime
) -> CancelledSubscription:
    """Take a planned cancellation back; without one nothing changes.

    Fees that were charged up to the planned end only are charged for the rest of their period.
    Raises NotFound, and InvalidOperation once it has fired, and for a draft. Source: billing.md 9.1.
    """

    def decide() -> CancelledSubscription:
        known = _known(stores, subscription_id)
        planned = planned_at(known)
        if dropped(known).cancelled_at == known.cancelled_at:
            return CancelledSubscription(known)
        if planned is not None and planned <= at:
            raise InvalidOperation(f"the cancellation of subscription {known.id} has taken effect")
        bring_up_to_date(stores, usage, known, at)
        with stores.deciding(known.payer_id) as held:
            before = held.subscription(subscription_id) or known
            return _commit(held, before, dropped(before), at, refunds=False)

    return retried(decide)


def fire(held: Stores, subscription: Subscription, at: datetime) -> Subscription:
    """Commit that a planned cancellation takes effect, as at its own instant however late this is.

    What was charged in advance beyond it comes back. Called inside `deciding`, of a subscription
    whose plan is due. Source: billing.md 6 and 9.1.
    """
    planned = planned_at(subscription)
    assert planned is not None, "what fires was planned"
    invoices = held.invoices_of(subscription.id)
    before = replace(subscription, cancelled_at=None)
    after = fired(subscription, at)
    change_id = derived("change", subscription.id, "fired", planned)
    settled = settle_lines(
        before,
        after,
        invoices,
        decided_at=planned,
        behavior=subscription.cancel_proration_behavior,
    )
    _, changes = settlement(
        held, after, settled, invoices, at, change_id=change_id, effective_at=planned
    )
    made = recorded(
        after,
        replace(after, version=subscription.version + 1),
        id=change_id,
        decided_at=planned,
        effective_at=planned,
        netted=settled.netted(),
    )
    told = Changes(
        subscriptions=(made,),
        outbox=(subscription_row(CANCELLED, made, at),),
        wake={made.payer_id: at},
    )
    held.commit(merged(told, changes))
    return made
