"""Activation: which opening invoices let a subscription go live, and where a trial ends."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest

from billing.periods.services import windows
from billing.subscriptions.activation import (
    BEHAVIORS,
    activated,
    activation_action,
    check_collection,
    check_creation,
    opening_paid,
    trial_days,
    trial_ended,
    with_trial,
)
from billing.subscriptions.subscribing import subscribe
from schemas.collection import CollectionMethod, PaymentBehavior
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.invoice import BillingReason
from schemas.price import Price
from schemas.subscription import Plan, Subscription, SubscriptionStatus

CHARGED, SENT = CollectionMethod.CHARGE_AUTOMATICALLY, CollectionMethod.SEND_INVOICE
ALLOW = PaymentBehavior.ALLOW_INCOMPLETE
INCOMPLETE = PaymentBehavior.DEFAULT_INCOMPLETE
ERROR = PaymentBehavior.ERROR_IF_INCOMPLETE
ACTIVE = PaymentBehavior.DEFAULT_ACTIVE


def at(month: int, day: int = 1) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@pytest.mark.parametrize(
    ("method", "behavior", "due", "paid", "action"),
    [
        (CHARGED, ACTIVE, "25", False, "activate"),  # Whatever is due.
        (CHARGED, ALLOW, "0", False, "activate"),  # Nothing is due.
        (CHARGED, ALLOW, "25", False, "await_payment"),
        (CHARGED, ALLOW, "25", True, "activate"),
        (CHARGED, ERROR, "25", False, "await_payment"),
        (SENT, INCOMPLETE, "25", False, "await_payment"),
        (SENT, INCOMPLETE, "25", True, "activate"),
        (SENT, ACTIVE, "25", False, "activate"),
    ],
)
def test_the_opening_invoice_decides(
    method: CollectionMethod, behavior: PaymentBehavior, due: str, paid: bool, action: str
) -> None:
    assert activation_action(method, behavior, Decimal(due), paid=paid) == action


@pytest.mark.parametrize(("method", "behavior"), list(product(CollectionMethod, PaymentBehavior)))
def test_a_pair_that_is_not_in_the_table_is_refused(
    method: CollectionMethod, behavior: PaymentBehavior
) -> None:
    if behavior in BEHAVIORS[method]:
        check_collection(method, behavior)
        return
    with pytest.raises(ValidationFailed) as refused:
        activation_action(method, behavior, Decimal(0), paid=True)
    assert refused.value.field == "payment_behavior"


def test_only_error_if_incomplete_refuses_a_creation() -> None:
    check_creation(CHARGED, ALLOW, Decimal(25), paid=False)
    check_creation(CHARGED, ERROR, Decimal(25), paid=True)
    with pytest.raises(ValidationFailed):
        check_creation(CHARGED, ERROR, Decimal(25), paid=False)


def test_what_waits_goes_live_when_it_is_paid_and_only_once(acme: Subscription) -> None:
    draft = replace(acme, status=SubscriptionStatus.DRAFT)
    waiting = activated(draft, CHARGED, ALLOW, Decimal(25), paid=False)
    assert waiting.status is SubscriptionStatus.INCOMPLETE
    live = opening_paid(waiting)
    assert live.status is SubscriptionStatus.ACTIVE
    assert opening_paid(live) is live
    with pytest.raises(InvalidOperation):
        activated(live, CHARGED, ACTIVE, Decimal(0), paid=False)


def price_with_trial(plan: Plan, days: int) -> Price:
    return replace(plan.prices[0], id=f"trial {days}", trial_period_days=days)


def test_the_days_of_a_trial_are_those_asked_for_else_those_of_the_plan(pro: Plan) -> None:
    fourteen = price_with_trial(pro, 14)
    usage = pro.prices[1]
    assert trial_days(None, [fourteen, usage]) == 14
    assert trial_days(0, [fourteen]) == 0
    assert trial_days(7, [fourteen, price_with_trial(pro, 30)]) == 7
    with pytest.raises(ValidationFailed):
        trial_days(None, [fourteen, price_with_trial(pro, 30)])
    with pytest.raises(ValidationFailed):
        trial_days(-1, [])


def test_a_trial_lasts_local_days(acme: Subscription) -> None:
    # New York goes to daylight time on 8 March: the local clock stays, the instant moves.
    start = datetime(2026, 3, 1, 17, tzinfo=UTC)
    draft = replace(
        acme, start_date=start, timezone="America/New_York", status=SubscriptionStatus.DRAFT
    )
    trialing = with_trial(draft, 14)
    assert trialing.trial_end == datetime(2026, 3, 15, 16, tzinfo=UTC)
    assert trialing.status is SubscriptionStatus.TRIALING
    assert with_trial(draft, 0) is draft


def test_a_trial_that_ends_early_bills_from_there(acme: Subscription, pro: Plan) -> None:
    trialing = subscribe(with_trial(replace(acme, status=SubscriptionStatus.DRAFT), 14), pro)
    ended = trial_ended(trialing, at(1, 5))
    assert {line.start_date for line in ended.lines} == {at(1, 5)}
    opening = next(windows(ended, at(1, 5)))
    assert (opening.reason, opening.period.start, opening.period.end) == (
        BillingReason.SUBSCRIPTION_TRIAL_END,
        at(1, 5),
        at(2, 5),
    )
    live = activated(ended, CHARGED, ACTIVE, Decimal(20), paid=False)
    assert live.status is SubscriptionStatus.ACTIVE
    for instant in (at(1), at(1, 16)):
        with pytest.raises(ValidationFailed):
            trial_ended(trialing, instant)
    with pytest.raises(InvalidOperation):
        trial_ended(live, at(1, 6))
