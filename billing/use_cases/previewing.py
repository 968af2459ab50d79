"""Previews: what a subscription's invoice would be now, by the function that drafts it."""

from dataclasses import replace
from datetime import datetime

from billing.invoices.computing import Background, computed
from billing.periods.services import Window, open_window
from billing.ports import Stores, UsageReader
from schemas.errors import InvalidOperation, NotFound, ValidationFailed
from schemas.ids import SubscriptionId
from schemas.invoice import Invoice
from schemas.subscription import Subscription

IS_PREVIEW = "is_preview"


def preview(
    stores: Stores,
    usage: UsageReader,
    subscription_id: SubscriptionId,
    at: datetime,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Invoice:
    """Return the invoice of a subscription's billing period with the usage known now.

    That is the current period, unless `start` and `end` name another. Nothing is stored. Raises
    NotFound, InvalidOperation where no period is open, and ValidationFailed for what is no period.
    Source: billing.md 8 and 15.5.
    """
    subscription = stores.subscription(subscription_id)
    if subscription is None:
        raise NotFound(f"there is no subscription {subscription_id}")
    window = _window(subscription, start or at, asked=start is not None)
    if end is not None and end != window.period.end:
        text = f"the billing period ends at {window.period.end.isoformat()}"
        raise ValidationFailed(text, field="period_end")
    if start is not None and start != window.period.start:
        text = f"the billing period starts at {window.period.start.isoformat()}"
        raise ValidationFailed(text, field="period_start")
    config = stores.config()
    background = Background(
        stores.invoices_of(subscription.id),
        stores.wallets_of(subscription.payer_id),
        config.tax_base,
        config.finalization_delay,
    )
    made = computed(subscription, window, usage, background, at)
    return replace(made, metadata={**made.metadata, IS_PREVIEW: "true"})


def _window(subscription: Subscription, at: datetime, *, asked: bool) -> Window:
    """Return the billing period that holds an instant, as the window of its preview."""
    window = open_window(subscription, at)
    if window is not None:
        return window
    text = f"subscription {subscription.id} has no billing period at {at.isoformat()}"
    if asked:
        raise ValidationFailed(text, field="period_start")
    raise InvalidOperation(text, reason="no_open_period")
