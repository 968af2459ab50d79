"""Answers about entitlements, with the fields of api-fields.md."""

from typing import TYPE_CHECKING

from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.objects import PaginationResponse
from schemas.api.values import ApiAnswer, IfSet, Record, WireDecimal, WireTime
from schemas.api.words import (
    EntitlementAggregationMode,
    EntitlementEntityType,
    EntitlementGrantAllocationBehavior,
    EntitlementGrantDurationUnit,
    EntitlementGrantMeasure,
    EntitlementUsageResetPeriod,
    FeatureType,
)

if TYPE_CHECKING:
    from schemas.api.answers.plans import PlanResponse


class EntitlementResponse(Record):
    """What an answer says of: entitlement."""

    feature_id: str
    feature_type: FeatureType
    feature: IfSet[FeatureResponse] = None
    entity_type: EntitlementEntityType
    entity_id: str
    plan_id: IfSet[str] = None
    plan: "IfSet[PlanResponse]" = None
    is_enabled: bool
    is_soft_limit: bool
    usage_limit: int | None
    usage_reset_period: EntitlementUsageResetPeriod
    static_value: str
    config_value: IfSet[dict[str, object]] = None
    display_order: int
    parent_entitlement_id: IfSet[str] = None
    start_date: IfSet[WireTime] = None
    end_date: IfSet[WireTime] = None
    grant_measure: IfSet[EntitlementGrantMeasure] = None
    grant_quota: IfSet[WireDecimal] = None
    grant_duration_value: IfSet[int] = None
    grant_duration_unit: IfSet[EntitlementGrantDurationUnit] = None
    grant_allocation_behavior: IfSet[EntitlementGrantAllocationBehavior] = None
    aggregation_mode: IfSet[EntitlementAggregationMode] = None


class CreateBulkEntitlementResponse(ApiAnswer):
    """What an answer says of: create bulk entitlement."""

    items: list[EntitlementResponse]


class ListEntitlementsResponse(ApiAnswer):
    """What an answer says of: list entitlements."""

    items: list[EntitlementResponse]
    pagination: PaginationResponse
