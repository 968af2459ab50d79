"""Answers about customer usage, with the fields of api-fields.md."""

from schemas.api.answers.effective_entitlements import (
    AggregatedEntitlementBucket,
    EntitlementSource,
)
from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, WireDecimal, WireTime
from schemas.api.words import EntitlementGrantDurationUnit, EntitlementGrantMeasure


class BillingPeriodInfo(ApiAnswer):
    """The current billing period that usage is shown beside."""

    start_time: WireTime
    end_time: WireTime
    period: str


class FeatureUsageSummary(ApiAnswer):
    """How much of one metered feature a customer has used in its reset window, and may."""

    feature: FeatureResponse
    current_usage: WireDecimal
    total_limit: int | None
    usage_percent: WireDecimal
    is_enabled: bool
    is_soft_limit: bool
    is_unlimited: bool
    next_usage_reset_at: WireTime | None
    sources: list[EntitlementSource]
    buckets: IfSet[list[AggregatedEntitlementBucket]] = None
    grant_measure: IfSet[EntitlementGrantMeasure] = None
    grant_quota: IfSet[WireDecimal] = None
    grant_duration_value: IfSet[int] = None
    grant_duration_unit: IfSet[EntitlementGrantDurationUnit] = None
    grant_unlimited: IfSet[bool] = None


class CustomerUsageSummaryResponse(ApiAnswer):
    """How much of each metered feature a customer has used."""

    customer_id: str
    features: list[FeatureUsageSummary]
    period: BillingPeriodInfo
    pagination: IfSet[PaginationResponse] = None
