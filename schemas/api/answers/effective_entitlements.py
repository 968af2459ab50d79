"""Answers about effective entitlements, with the fields of api-fields.md."""

from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.subscriptions import SubscriptionResponse
from schemas.api.values import ApiAnswer, IfSet, WireDecimal
from schemas.api.words import (
    EntitlementAggregationMode,
    EntitlementGrantDurationUnit,
    EntitlementGrantMeasure,
    EntitlementSourceEntityType,
    EntitlementUsageResetPeriod,
)


class AggregatedEntitlementBucket(ApiAnswer):
    """One grant of several that are counted each by itself."""

    entitlement_id: str
    source_entity_id: str
    usage_limit: IfSet[int] = None
    grant_measure: IfSet[EntitlementGrantMeasure] = None
    grant_quota: IfSet[WireDecimal] = None
    grant_duration_value: IfSet[int] = None
    grant_duration_unit: IfSet[EntitlementGrantDurationUnit] = None
    grant_unlimited: IfSet[bool] = None


class AggregatedEntitlement(ApiAnswer):
    """What all entitlements of one feature grant together."""

    is_enabled: bool
    is_soft_limit: bool
    usage_limit: IfSet[int] = None
    usage_reset_period: IfSet[EntitlementUsageResetPeriod] = None
    static_values: IfSet[list[str]] = None
    config_values: IfSet[list[dict[str, object]]] = None
    aggregation_mode: IfSet[EntitlementAggregationMode] = None
    buckets: IfSet[list[AggregatedEntitlementBucket]] = None
    grant_measure: IfSet[EntitlementGrantMeasure] = None
    grant_quota: IfSet[WireDecimal] = None
    grant_duration_value: IfSet[int] = None
    grant_duration_unit: IfSet[EntitlementGrantDurationUnit] = None
    grant_unlimited: IfSet[bool] = None


class EntitlementSource(ApiAnswer):
    """Where an entitlement of a feature comes from."""

    subscription_id: str
    entity_type: EntitlementSourceEntityType
    entity_id: str
    entity_name: str
    entitlement_id: str
    quantity: int
    is_enabled: bool
    usage_limit: IfSet[int] = None
    usage_reset_period: IfSet[EntitlementUsageResetPeriod] = None
    static_value: IfSet[str] = None
    config_value: IfSet[dict[str, object]] = None


class AggregatedFeature(ApiAnswer):
    """A feature, what is granted of it, and by what."""

    feature: FeatureResponse
    entitlement: AggregatedEntitlement
    sources: list[EntitlementSource]


class CustomerEntitlementsResponse(ApiAnswer):
    """What a customer may use, over all its active and trialing subscriptions."""

    customer_id: str
    features: list[AggregatedFeature]
    subscriptions: list[SubscriptionResponse]


class SubscriptionEntitlementsResponse(ApiAnswer):
    """What one subscription grants."""

    subscription_id: str
    plan_id: str
    features: list[AggregatedFeature]
