"""Answers of the HTTP API. Some hold each other, so importing any of them completes all of them."""

from schemas.api.answers import (
    alerts,
    coupons,
    customer_usage,
    customers,
    effective_entitlements,
    entitlements,
    events,
    features,
    groups,
    invoices,
    meters,
    objects,
    plans,
    prices,
    settings,
    subscription_usage,
    subscriptions,
    taxes,
    wallets,
    webhooks,
)
from schemas.api.values import completed

# Every answer by its name, which is that of api-fields.md.
ANSWERS = completed(
    alerts,
    coupons,
    customer_usage,
    customers,
    effective_entitlements,
    entitlements,
    events,
    features,
    groups,
    invoices,
    meters,
    objects,
    plans,
    prices,
    settings,
    subscription_usage,
    subscriptions,
    taxes,
    wallets,
    webhooks,
)
