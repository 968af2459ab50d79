"""Subscriptions and their lines as the wire shows them: from the record, and what stands beside it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from billing.api.coupon_answers import association_answer
from billing.api.customers import customer_answer
from billing.api.environment import Environment
from billing.api.meters import meter_answer
from billing.api.plan_answers import plans_by_id
from billing.api.routing import Call
from billing.api.subscription_line_answers import Beside, line_answer, record_of
from billing.periods.services import never_billed, schedule_of
from billing.ports.objects import Objects
from billing.subscriptions.cancelling import planned_at
from billing.subscriptions.current import current_period
from billing.use_cases.coupons import Attached
from schemas.api.answers.coupons import CouponAssociationResponse
from schemas.api.answers.invoices import InvoiceResponse
from schemas.api.answers.subscriptions import (
    SubscriptionResponse,
)
from schemas.coupon import CouponAttachment
from schemas.errors import NotFound
from schemas.ids import SubscriptionId
from schemas.scope import Scope
from schemas.subscription import Subscription, SubscriptionLine, SubscriptionStatus


def known(call: Call) -> Subscription:
    """Return the subscription of the path. Raises NotFound."""
    return found_by_id(call.environment, call.parameters["id"])


def found_by_id(kept: Environment, name: str) -> Subscription:
    """Return a subscription by its id. Raises NotFound."""
    found = kept.stores.subscription(SubscriptionId(name))
    if found is None:
        raise NotFound(f"there is no subscription {name}")
    return found


def beside(
    objects: Objects,
    scope: Scope,
    at: datetime,
    subscriptions: Sequence[Subscription],
    wanted: Collection[str] = (
        "customer",
        "plan",
        "subscription_line_items",
        "coupon_associations",
    ),
) -> Beside:
    """Return what stands beside some subscriptions as far as it is wanted, each kind read once."""
    plans = {each.plan_id for each in subscriptions if each.plan_id is not None}
    lines = [line for each in subscriptions for line in each.lines]
    owners = {line.price.entity_id for line in lines if line.price.entity_id}
    shown_plans = plans_by_id(objects, scope, plans | owners)
    customers, meters = {}, {}
    if "customer" in wanted:
        found = objects.customers.those({each.customer_id for each in subscriptions})
        customers = {name: customer_answer(each, scope) for name, each in found.items()}
    if "meters" in wanted:
        counted = objects.meters.those({line.meter.id for line in lines if line.meter is not None})
        meters = {name: meter_answer(each, scope) for name, each in counted.items()}
    return Beside(
        scope,
        at,
        customers,
        shown_plans if "plan" in wanted else {},
        {name: each.name for name, each in shown_plans.items()},
        meters,
        with_lines=bool({"subscription_line_items", "prices", "meters"} & set(wanted)),
        with_coupons="coupon_associations" in wanted,
    )


def subscription_answer(
    subscription: Subscription,
    near: Beside,
    *,
    invoice: InvoiceResponse | None = None,
    warnings: Sequence[str] = (),
) -> SubscriptionResponse:
    """Return a subscription as it is at the instant of the answer."""
    whole, at = subscription, near.at
    period = current_period(whole, at)
    promised, cancelled = whole.commitment, whole.status is SubscriptionStatus.CANCELLED
    lines = [line_answer(whole, line, near) for line in whole.lines] if near.with_lines else None
    return SubscriptionResponse(
        **record_of(whole.id, whole, near.scope),
        lookup_key=whole.lookup_key or None,
        customer_id=whole.customer_id,
        customer=near.customers.get(whole.customer_id),
        invoicing_customer_id=whole.invoicing_customer_id,
        plan_id=whole.plan_id or "",
        plan=near.plans.get(whole.plan_id or ""),
        subscription_status=whole.status.value,
        subscription_type="delegated_invoicing" if whole.invoicing_customer_id else "standalone",
        currency=whole.currency.lower(),
        billing_cadence="RECURRING",
        billing_period=whole.billing_period.value,
        billing_period_count=whole.billing_period_count,
        billing_cycle=whole.billing_cycle.value,
        billing_anchor=_anchor(whole),
        start_date=whole.start_date,
        end_date=whole.end_date,
        current_period_start=period.start,
        current_period_end=period.end,
        cancel_at=planned_at(whole),
        cancel_at_period_end=_ends_with_period(whole, at),
        cancelled_at=whole.cancelled_at if cancelled else None,
        trial_start=whole.start_date if whole.trial_end else None,
        trial_end=whole.trial_end,
        timezone=whole.timezone,
        collection_method=whole.collection_method.value,
        payment_behavior=whole.payment_behavior.value,
        payment_terms=whole.payment_terms.value if whole.payment_terms else None,
        proration_behavior=whole.proration_behavior.value,
        commitment_amount=promised.value if promised else None,
        commitment_duration=promised.duration.value if promised and promised.duration else None,
        overage_factor=promised.overage_factor if promised else None,
        enable_true_up=promised is not None and promised.true_up,
        pause_status="active" if whole.status is SubscriptionStatus.PAUSED else "none",
        line_items=lines,
        coupon_associations=_coupons(whole, near) if near.with_coupons else None,
        entitlements=near.entitlements.get(whole.id),
        latest_invoice=invoice,
        synced_price_sequence=_sequence(whole),
        line_item_grouping=whole.line_item_grouping or None,
        version=whole.version,
        metadata=dict(whole.metadata),
        warnings=list(warnings) or None,
    )


def _anchor(subscription: Subscription) -> datetime:
    """Return the instant that period boundaries follow."""
    if never_billed(subscription):
        return subscription.billing_anchor or subscription.starts_at
    return schedule_of(subscription).grid.first


def _ends_with_period(subscription: Subscription, at: datetime) -> bool:
    """Tell whether a cancellation is planned for the end of the current period."""
    planned = planned_at(subscription)
    if planned is None or planned <= at:
        return False
    return current_period(replace(subscription, cancelled_at=None), at).end == planned


def _sequence(subscription: Subscription) -> int | None:
    """Return the place of the last plan price that a subscription has, None for none."""
    places = [line.price.sequence for line in subscription.lines]
    return max((place for place in places if place is not None), default=None)


def _coupons(subscription: Subscription, near: Beside) -> list[CouponAssociationResponse]:
    """Return the coupons that a subscription has."""
    return [
        association_answer(
            Attached(subscription, each, _line_of(subscription, each, near.at)),
            near.scope,
            near.coupons.get(each.coupon.id),
        )
        for each in subscription.coupons
    ]


def _line_of(
    subscription: Subscription, attachment: CouponAttachment, at: datetime
) -> SubscriptionLine | None:
    """Return the version in force of the line that a coupon is for, or else the last one."""
    chain = [each for each in subscription.lines if each.chain_id == attachment.chain_id]
    begun = [each for each in chain if each.start_date <= at]
    return max(begun or chain, key=lambda each: each.start_date, default=None)
