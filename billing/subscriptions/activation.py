"""Activation: whether a subscription goes live, by its opening invoice and how that is collected.

The same rule holds at creation, when a draft is activated and when a trial ends (billing.md 7).
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from billing.periods.grid import days_later
from schemas.collection import CollectionMethod, PaymentBehavior
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.price import BillingPeriod, Price, PriceType
from schemas.subscription import (
    Subscription,
    SubscriptionAction,
    SubscriptionLine,
    SubscriptionStatus,
    after,
)
from schemas.zones import zone

# The pairs that a subscription may have; all others are refused.
BEHAVIORS = {
    CollectionMethod.CHARGE_AUTOMATICALLY: frozenset(
        {
            PaymentBehavior.ALLOW_INCOMPLETE,
            PaymentBehavior.ERROR_IF_INCOMPLETE,
            PaymentBehavior.DEFAULT_ACTIVE,
        }
    ),
    CollectionMethod.SEND_INVOICE: frozenset(
        {PaymentBehavior.DEFAULT_ACTIVE, PaymentBehavior.DEFAULT_INCOMPLETE}
    ),
}


def check_collection(method: CollectionMethod, behavior: PaymentBehavior) -> None:
    """Refuse a pair of collection method and payment behavior that makes no sense together.

    Raises ValidationFailed (field `payment_behavior`). Source: billing.md 7.

    >>> check_collection(CollectionMethod.SEND_INVOICE, PaymentBehavior.DEFAULT_ACTIVE)
    """
    if behavior not in BEHAVIORS[method]:
        raise ValidationFailed(
            f"{behavior} is not possible with collection method {method}",
            field="payment_behavior",
        )


def activation_action(
    method: CollectionMethod, behavior: PaymentBehavior, amount_due: Decimal, *, paid: bool
) -> SubscriptionAction:
    """Return what the opening invoice does to a subscription that exists: go live, or wait.

    `amount_due` is 0 where there is no opening invoice. Raises ValidationFailed for a pair that is
    not allowed, also where nothing is due. Source: billing.md 7.

    >>> activation_action(CollectionMethod.CHARGE_AUTOMATICALLY, PaymentBehavior.ALLOW_INCOMPLETE,
    ...                   Decimal(25), paid=False).value
    'await_payment'
    """
    check_collection(method, behavior)
    if behavior is PaymentBehavior.DEFAULT_ACTIVE or paid or amount_due <= 0:
        return SubscriptionAction.ACTIVATE
    return SubscriptionAction.AWAIT_PAYMENT


def check_creation(
    method: CollectionMethod, behavior: PaymentBehavior, amount_due: Decimal, *, paid: bool
) -> None:
    """Refuse to create a subscription whose opening invoice cannot be paid, if it asked for that.

    Raises ValidationFailed (field `payment_behavior`) for `error_if_incomplete`: nothing of the
    subscription must be left. Any other behavior creates it, active or incomplete.
    Source: billing.md 7.
    """
    action = activation_action(method, behavior, amount_due, paid=paid)
    waits = action is SubscriptionAction.AWAIT_PAYMENT
    if waits and behavior is PaymentBehavior.ERROR_IF_INCOMPLETE:
        raise ValidationFailed(
            "the opening invoice is not paid, so nothing was created", field="payment_behavior"
        )


def activated(
    subscription: Subscription,
    method: CollectionMethod,
    behavior: PaymentBehavior,
    amount_due: Decimal,
    *,
    paid: bool,
) -> Subscription:
    """Return a draft or trialing subscription as its opening invoice leaves it.

    Raises ValidationFailed as `check_collection` does, InvalidOperation for any other status.
    """
    action = activation_action(method, behavior, amount_due, paid=paid)
    return replace(subscription, status=after(subscription.status, action))


def opening_paid(subscription: Subscription) -> Subscription:
    """Return a subscription whose opening invoice has been paid: what waited for it goes live.

    Any other subscription stays as it is, so that telling it twice is telling it once.
    """
    if subscription.status is not SubscriptionStatus.INCOMPLETE:
        return subscription
    return replace(
        subscription, status=after(SubscriptionStatus.INCOMPLETE, SubscriptionAction.ACTIVATE)
    )


def trial_days(requested: int | None, prices: Iterable[Price]) -> int:
    """Return the days of a subscription's trial: those asked for, else those of its plan.

    A plan's are those of its recurring fixed prices, which must agree. Raises ValidationFailed
    (field `trial_period_days`) where they differ, or for a negative request. Source: billing.md 7.

    >>> trial_days(14, []), trial_days(None, [])
    (14, 0)
    """
    if requested is not None:
        if requested < 0:
            raise ValidationFailed("must not be negative", field="trial_period_days")
        return requested
    found = {
        price.trial_period_days
        for price in prices
        if price.type is PriceType.FIXED and price.billing_period is not BillingPeriod.ONETIME
    }
    if len(found) > 1:
        raise ValidationFailed(
            "the plan's prices have trials of different lengths: give trial_period_days",
            field="trial_period_days",
        )
    return max(found, default=0)


def with_trial(subscription: Subscription, days: int) -> Subscription:
    """Return a draft that is on trial for so many local days; 0 is no trial and changes nothing.

    Nothing in the trial is charged; billing begins, and the anchor lies, at its end.
    Source: billing.md 7.
    """
    if days == 0:
        return subscription
    return replace(
        subscription,
        trial_end=days_later(subscription.start_date, days, subscription.timezone),
        status=after(subscription.status, SubscriptionAction.START_TRIAL),
    )


def trial_ended(subscription: Subscription, at: datetime) -> Subscription:
    """Return a trialing subscription whose trial ends at an instant, which may be early.

    Its opening invoice then says by `activated` whether it goes live. Raises InvalidOperation for
    one that is not trialing, ValidationFailed (field `trial_end`) for an instant that is not inside
    the trial or its end. Source: billing.md 7.
    """
    if subscription.status is not SubscriptionStatus.TRIALING:
        raise InvalidOperation(f"subscription {subscription.id} is {subscription.status}")
    planned = subscription.trial_end
    assert planned is not None, "what is trialing has an end of its trial"
    if not subscription.start_date < at <= planned:
        raise ValidationFailed("must lie inside the trial", field="trial_end")
    return _begun(replace(subscription, trial_end=at), planned, at)


def restarted(subscription: Subscription, start: datetime) -> Subscription:
    """Return a draft that begins at another instant; its trial, if it has one, is as long.

    Lines, grants and coupons that began with it begin with it. Raises InvalidOperation for what is
    no draft, ValidationFailed (`start_date`) where it would end first or its anchor lies before.
    Source: api.md 4.10.
    """
    if subscription.status is not SubscriptionStatus.DRAFT:
        raise InvalidOperation(f"subscription {subscription.id} is {subscription.status}")
    ends, anchor = subscription.end_date, subscription.billing_anchor
    if ends is not None and ends <= start:
        raise ValidationFailed("must lie before the end", field="start_date")
    if anchor is not None and anchor < start:
        raise ValidationFailed("must not lie after the billing anchor", field="start_date")
    former, trial_end = subscription.starts_at, subscription.trial_end
    if trial_end is not None:
        known = zone(subscription.timezone)
        first, last = (each.astimezone(known) for each in (subscription.start_date, trial_end))
        days = (last.date() - first.date()).days
        trial_end = days_later(start, days, subscription.timezone)
    coupons = tuple(
        replace(each, start_date=start) if each.start_date == subscription.start_date else each
        for each in subscription.coupons
    )
    changes = tuple(
        replace(each, decided_at=min(each.decided_at, start)) for each in subscription.changes
    )
    moved = replace(
        subscription, start_date=start, trial_end=trial_end, coupons=coupons, changes=changes
    )
    return _begun(moved, former, moved.starts_at)


def _begun(subscription: Subscription, planned: datetime, at: datetime) -> Subscription:
    """Return a subscription whose billing begins at an instant, and what began with it too."""
    lines = tuple(_moved(line, planned, at) for line in subscription.lines)
    grants = tuple(
        replace(grant, start_date=at) if grant.start_date == planned else grant
        for grant in subscription.credit_grants
    )
    return replace(subscription, lines=lines, credit_grants=grants)


def _moved(line: SubscriptionLine, planned: datetime, at: datetime) -> SubscriptionLine:
    """Return a line that began with billing as it begins when that begins at another instant."""
    if (line.start_date, line.chain_start) != (planned, planned):
        return line
    start = max(at, line.price.start_date or at)
    return replace(line, start_date=start, chain_start=start)
