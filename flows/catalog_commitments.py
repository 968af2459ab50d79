"""Commitments of a catalog file: what a subscription, or its lines by their prices, have promised.

A line is named by the lookup key of its price in the plan.
"""

from billing.pricing.commitment_terms import commit_line, commit_subscription
from flows.catalog_names import Findings, identity
from schemas.catalog import CatalogSubscription
from schemas.commitment import line_commitment_of, subscription_commitment_of
from schemas.subscription import Plan, Subscription


def with_commitments(
    subscription: Subscription,
    entry: CatalogSubscription,
    index: int,
    plan: Plan,
    found: Findings,
) -> Subscription:
    """Return a subscription, with its lines, that has promised what its entry says.

    What is wrong with a line's commitment is noted at its key. Raises as `commit_subscription`
    does.
    """
    plan_key = plan.lookup_key or plan.name
    for key, config in entry.line_item_commitments.items():
        with found.at("subscriptions", index, "line_item_commitments", key):
            promised = line_commitment_of(config)
            subscription = commit_line(subscription, identity("price", plan_key, key), promised)
    whole = subscription_commitment_of(
        entry.commitment_amount,
        entry.overage_factor,
        true_up=entry.enable_true_up,
        duration=entry.commitment_duration,
    )
    return commit_subscription(subscription, whole) if whole else subscription
