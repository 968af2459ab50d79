"""Telling of subscriptions: the webhooks of their life, with what they are at that instant."""

from datetime import datetime

from billing.ports import OutboxRow
from billing.pricing.explanation import instant
from billing.subscriptions.current import current_period
from billing.use_cases.telling import webhook
from schemas.subscription import Subscription

CREATED = "subscription.created"
DRAFT_CREATED = "subscription.draft.created"
ACTIVATED = "subscription.activated"
UPDATED = "subscription.updated"
CANCELLED = "subscription.cancelled"


def subscription_row(event: str, subscription: Subscription, at: datetime) -> OutboxRow:
    """Return the webhook of a subscription as it is after what happened."""
    body = {"subscription": subscription_snapshot(subscription, at)}
    return webhook(event, subscription.payer_id, at, body, subscription.id, subscription.version)


def subscription_snapshot(subscription: Subscription, at: datetime) -> dict[str, object]:
    """Return a subscription as webhooks show it, with the fields of api-fields.md."""
    period = current_period(subscription, at)
    cancelled = subscription.status.value == "cancelled"
    return {
        "id": subscription.id,
        "customer_id": subscription.customer_id,
        "plan_id": subscription.plan_id,
        "lookup_key": subscription.lookup_key,
        "subscription_status": subscription.status.value,
        "currency": subscription.currency.lower(),
        "billing_period": subscription.billing_period.value,
        "billing_period_count": subscription.billing_period_count,
        "billing_cycle": subscription.billing_cycle.value,
        "start_date": instant(subscription.start_date),
        "end_date": instant(subscription.end_date),
        "current_period_start": instant(period.start),
        "current_period_end": instant(period.end),
        "cancel_at": None if cancelled else instant(subscription.cancelled_at),
        "cancelled_at": instant(subscription.cancelled_at) if cancelled else None,
        "trial_end": instant(subscription.trial_end),
        "timezone": subscription.timezone,
        "version": subscription.version,
        "metadata": dict(subscription.metadata),
    }
