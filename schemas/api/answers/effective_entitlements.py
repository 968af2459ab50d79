"""Answers about effective entitlements, with the fields of api-fields.md."""

from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.subscriptions import SubscriptionResponse
from schemas.api.values import ApiAnswer, IfSet, WireDecimal
from schemas.api.words import (
    BillingPeriod,
    EntitlementAggregationMode,
    EntitlementGrantDurationUnit,
    EntitlementGrantMeasure,
    EntitlementSourceEntityType,
    EntitlementUsageResetPeriod,
)


class AggregatedEntitlementBucket(ApiAnswer):
    """What an answer says of: aggregated entitlement bucket."""

    entitlement_id: str
    source_entity_id: str
    usage_limit: IfSet[int] = None
    grant_measure: IfSet[EntitlementGrantMeasure] = None
    grant_quota: IfSet[WireDecimal] = None
    grant_duration_value: IfSet[int] = None
    grant_duration_unit: IfSet[EntitlementGrantDurationUnit] = None
    grant_unlimited: IfSet[bool] = None


class AggregatedEntitlement(ApiAnswer):
    """What an answer says of: aggregated entitlement."""

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
    """What an answer says of: entitlement source."""

    subscription_id: str
    entity_type: EntitlementSourceEntityType
    entity_id: str
    entity_name: str
    entitlement_id: str
    quantity: int
    is_enabled: bool
    usage_limit: IfSet[int] = None
    usage_reset_period: IfSet[BillingPeriod] = None
    static_value: IfSet[str] = None
    config_value: IfSet[dict[str, object]] = None


class AggregatedFeature(ApiAnswer):
    """What an answer says of: aggregated feature."""

    feature: FeatureResponse
    entitlement: AggregatedEntitlement
    sources: list[EntitlementSource]


class CustomerEntitlementsResponse(ApiAnswer):
    """What an answer says of: customer entitlements."""

    customer_id: str
    features: list[AggregatedFeature]
    subscriptions: list[SubscriptionResponse]


class SubscriptionEntitlementsResponse(ApiAnswer):
    """What an answer says of: subscription entitlements."""

    subscription_id: str
    plan_id: str
    features: list[AggregatedFeature]
