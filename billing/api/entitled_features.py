"""Features as they are granted: all entitlements of one, over some subscriptions, as one answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from billing.pricing.entitlements import RESET_ORDER, combine
from schemas.api.answers.effective_entitlements import (
    AggregatedEntitlement,
    AggregatedEntitlementBucket,
    AggregatedFeature,
    EntitlementSource,
)
from schemas.api.answers.features import FeatureResponse
from schemas.api.words import EntitlementSourceEntityType
from schemas.entitlement_grant import EntitlementGrant, GrantAggregation
from schemas.money import total
from schemas.subscription import (
    Entitlement,
    EntitlementEntityType,
    FeatureType,
    ResetPeriod,
    Subscription,
)

SOURCES: Mapping[EntitlementEntityType, EntitlementSourceEntityType] = {
    EntitlementEntityType.PLAN: "plan",
    EntitlementEntityType.ADDON: "addon",
    EntitlementEntityType.SUBSCRIPTION: "subscription",
}


@dataclass(frozen=True, slots=True)
class Held:
    """An entitlement of a subscription."""

    subscription: Subscription
    entitlement: Entitlement

    @property
    def reset(self) -> ResetPeriod:
        """Return when its allowance starts anew; the billing period if it does not say."""
        said = self.entitlement.usage_reset_period
        return said or ResetPeriod(self.subscription.billing_period.value)

    @property
    def length(self) -> int:
        """Return the place of its reset period among all; disabled ones come first."""
        return RESET_ORDER.index(self.reset) if self.entitlement.is_enabled else -1


def held_by(
    subscriptions: Sequence[Subscription], feature_ids: Collection[str] = ()
) -> Mapping[str, list[Held]]:
    """Return the entitlements that subscriptions have, by feature, in the order they came."""
    found: dict[str, list[Held]] = {}
    for subscription in subscriptions:
        for entitlement in subscription.entitlements:
            if not feature_ids or entitlement.feature_id in feature_ids:
                held = found.setdefault(entitlement.feature_id, [])
                held.append(Held(subscription, entitlement))
    return found


def aggregated(
    feature: FeatureResponse, held: Sequence[Held], plan_names: Mapping[str, str]
) -> AggregatedFeature:
    """Return a feature with what all its entitlements grant together. Source: billing.md 12."""
    enabled = [each.entitlement for each in held if each.entitlement.is_enabled]
    counted = [replace(each.entitlement, usage_reset_period=each.reset) for each in held]
    granted = combine(counted, ResetPeriod.MONTHLY)
    metered = feature.type == FeatureType.METERED.value
    statics = dict.fromkeys(each.static_value for each in enabled if each.static_value)
    configs = [dict(each.config_value) for each in enabled if each.config_value is not None]
    return AggregatedFeature(
        feature=feature,
        entitlement=AggregatedEntitlement(
            is_enabled=granted.enabled,
            is_soft_limit=granted.soft,
            usage_limit=granted.limit if metered else None,
            usage_reset_period=granted.reset_period.value
            if metered and granted.reset_period
            else None,
            static_values=list(statics) or None,
            config_values=_distinct(configs) or None,
            **_grants(enabled),
        ),
        sources=[_source(each, plan_names) for each in held],
    )


def _distinct(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each value once."""
    found: list[dict[str, Any]] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _grants(enabled: Sequence[Entitlement]) -> dict[str, Any]:
    """Return the grants among entitlements: additive ones as one, else each in a bucket."""
    grants = [each.grant for each in enabled if each.grant is not None]
    if not grants:
        return {}
    if all(each.aggregation is GrantAggregation.ADDITIVE for each in grants):
        unlimited = any(each.unlimited for each in grants)
        quota = None if unlimited else total(each.quota for each in grants if each.quota)
        members = {**_terms(grants[0]), "grant_quota": quota, "grant_unlimited": unlimited}
        return {"aggregation_mode": GrantAggregation.ADDITIVE.value, **members}
    buckets = [
        AggregatedEntitlementBucket(
            entitlement_id=each.id,
            source_entity_id=each.entity_id,
            usage_limit=each.usage_limit,
            **_terms(each.grant),
        )
        for each in enabled
        if each.grant is not None
    ]
    return {"aggregation_mode": GrantAggregation.PARALLEL.value, "buckets": buckets}


def _terms(grant: EntitlementGrant) -> dict[str, Any]:
    """Return what a grant says of itself."""
    return {
        "grant_measure": grant.measure.value,
        "grant_quota": grant.quota,
        "grant_duration_value": grant.duration_value,
        "grant_duration_unit": grant.duration_unit.value,
        "grant_unlimited": grant.unlimited,
    }


def _source(held: Held, plan_names: Mapping[str, str]) -> EntitlementSource:
    """Return where an entitlement comes from."""
    subscription, entitlement = held.subscription, held.entitlement
    kind = SOURCES[entitlement.entity_type]
    owner = entitlement.entity_id or subscription.plan_id or ""
    name = plan_names.get(owner, "")
    if kind == "subscription":
        owner, name = subscription.id, subscription.lookup_key or subscription.id
    reset = entitlement.usage_reset_period
    config = entitlement.config_value
    return EntitlementSource(
        subscription_id=subscription.id,
        entity_type=kind,
        entity_id=owner,
        entity_name=name,
        entitlement_id=entitlement.id,
        quantity=1,
        is_enabled=entitlement.is_enabled,
        usage_limit=entitlement.usage_limit,
        usage_reset_period=reset.value if reset else None,
        static_value=entitlement.static_value or None,
        config_value=None if config is None else dict(config),
    )
