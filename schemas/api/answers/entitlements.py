"""Answers about entitlements, with the fields of api-fields.md."""

from typing import TYPE_CHECKING, Literal

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
    """An entitlement; the members of a grant are there exactly where it is one."""

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
    # "" where usage is not metered, or starts anew with the billing period.
    usage_reset_period: EntitlementUsageResetPeriod | Literal[""]
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
    """The entitlements that were added together, in the order of the request."""

    items: list[EntitlementResponse]


class ListEntitlementsResponse(ApiAnswer):
    """A page of entitlements."""

    items: list[EntitlementResponse]
    pagination: PaginationResponse
