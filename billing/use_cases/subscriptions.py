"""Subscriptions: created, live or as drafts, and activated, all or nothing (billing.md 7).

What a subscription redeems, the invoice that it opens with and the credits that it is granted are
one transaction with it. Periods that have ended already are invoiced by the next pass, in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from billing.invoices.coupons import redeem
from billing.ports import Changes, Redemption, Stores
from billing.subscriptions.activation import check_collection, restarted
from billing.subscriptions.added_lines import shared_meters
from billing.use_cases.opening_invoices import open_subscription
from billing.use_cases.telling_subscriptions import CREATED, DRAFT_CREATED, subscription_row
from billing.use_cases.transactions import retried
from billing.use_cases.wallets import sweep_expired
from schemas.errors import AlreadyExists, NotFound
from schemas.ids import SubscriptionId
from schemas.invoice import Invoice
from schemas.subscription import (
    Subscription,
    SubscriptionAction,
    SubscriptionStatus,
    after,
)

METER_SHARED = "meter_shared"


@dataclass(frozen=True, slots=True)
class Created:
    """A subscription that was made or activated, its opening invoice, and what is worth a word."""

    subscription: Subscription
    invoice: Invoice | None = None
    warnings: tuple[str, ...] = ()


def create_subscription(
    stores: Stores, record: Subscription, *, at: datetime, draft: bool = False
) -> Created:
    """Store a subscription that was agreed, and take it live unless it is to be a draft.

    `record` is what `billing.subscriptions.agreeing.agree` made. Each of its coupons is redeemed
    once. One on trial begins its trial; else its opening invoice is made and finalized if it has
    begun, and says whether it is active or incomplete. Raises AlreadyExists for an id that is
    taken, ValidationFailed (`coupon_code`, `payment_behavior`), and then nothing is left.
    Source: billing.md 7 and 13.
    """
    assert record.status is SubscriptionStatus.DRAFT, "what is agreed is a draft"
    check_collection(record.collection_method, record.payment_behavior)

    def decide() -> Created:
        _write_expiries_down(stores, record, at, draft=draft)
        with stores.deciding(record.payer_id) as held:
            if held.subscription(record.id) is not None:
                raise AlreadyExists(f"there is a subscription {record.id} already")
            made = replace(record, created_at=at, version=1)
            held.commit(
                Changes(
                    subscriptions=(made,),
                    redemptions=tuple(_redemptions(held, made, at)),
                    wake={made.payer_id: at},
                )
            )
            found = Created(made) if draft else _live(held, made, at, creating=True)
            event = DRAFT_CREATED if draft else CREATED
            held.commit(Changes(outbox=(subscription_row(event, found.subscription, at),)))
            return replace(found, warnings=_warnings(held, made))

    return retried(decide)


def activate_subscription(
    stores: Stores,
    subscription_id: SubscriptionId,
    *,
    at: datetime,
    start_date: datetime | None = None,
) -> Created:
    """Take a draft live, from another start on if one is given.

    Raises NotFound, InvalidOperation for what is no draft, ValidationFailed (`start_date`).
    Source: billing.md 7, api.md 4.10.
    """
    known = stores.subscription(subscription_id)
    if known is None:
        raise NotFound(f"there is no subscription {subscription_id}")
    payer = known.payer_id

    def decide() -> Created:
        _write_expiries_down(stores, known, at, draft=False)
        with stores.deciding(payer) as held:
            before = held.subscription(subscription_id) or known
            begun = restarted(before, start_date or before.start_date)
            if begun != before:
                begun = replace(begun, version=before.version + 1)
                held.commit(Changes(subscriptions=(begun,)))
            return replace(_live(held, begun, at), warnings=_warnings(held, begun))

    return retried(decide)


def _live(held: Stores, made: Subscription, at: datetime, *, creating: bool = False) -> Created:
    """Begin the trial of a draft, or open it."""
    if made.trial_end is None or made.trial_end <= at:
        opened = open_subscription(held, made, at, creating=creating)
        return Created(opened.subscription, opened.invoice)
    status = after(made.status, SubscriptionAction.START_TRIAL)
    trialing = replace(made, status=status, version=made.version + 1)
    held.commit(Changes(subscriptions=(trialing,), wake={trialing.payer_id: at}))
    return Created(trialing)


def _redemptions(held: Stores, made: Subscription, at: datetime) -> Iterator[Redemption]:
    """Yield what a subscription redeems: each of its coupons once, if it may."""
    for coupon in {each.coupon.id: each.coupon for each in made.coupons}.values():
        known = held.redeemed_by(coupon.id)
        if redeem(coupon, known, made.id, at) != known:
            yield Redemption(coupon.id, made.id, at)


def _write_expiries_down(
    stores: Stores, subscription: Subscription, at: datetime, *, draft: bool
) -> None:
    """Write lots that have expired down before a period that has ended could claim them.

    What was expired once does not come back because a subscription starts in the past.
    Source: wallets-alerts.md 5.
    """
    if not draft and subscription.start_date < at:
        sweep_expired(stores, subscription.payer_id, at)


def _warnings(held: Stores, made: Subscription) -> tuple[str, ...]:
    """Return the word for meters that another live subscription of the customer bills too."""
    return (METER_SHARED,) if shared_meters(made, held.subscriptions_of(made.payer_id)) else ()
