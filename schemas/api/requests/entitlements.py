"""Requests about entitlements, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import (
    EntitlementAggregationModeWord,
    EntitlementEntityTypeWord,
    EntitlementGrantAllocationBehaviorWord,
    EntitlementGrantDurationUnitWord,
    EntitlementGrantMeasureWord,
    EntitlementUsageResetPeriodWord,
    FeatureTypeWord,
)
from schemas.doors import DecimalField, IntegerField


class CreateEntitlementRequest(ApiRequest):
    """What a request says of: create entitlement."""

    LATER: ClassVar[Mapping[str, str]] = {"start_date": "M2", "end_date": "M2"}

    feature_id: RequiredText
    feature_type: FeatureTypeWord
    entity_type: EntitlementEntityTypeWord | None = None
    entity_id: str | None = None
    plan_id: str | None = None
    is_enabled: StrictBool = True
    usage_limit: IntegerField | None = None
    usage_reset_period: EntitlementUsageResetPeriodWord | None = None
    is_soft_limit: StrictBool = False
    static_value: str | None = None
    config_value: dict[str, object] | None = None
    parent_entitlement_id: str | None = None
    grant_measure: EntitlementGrantMeasureWord | None = None
    grant_quota: DecimalField | None = None
    grant_duration_value: IntegerField | None = None
    grant_duration_unit: EntitlementGrantDurationUnitWord | None = None
    grant_allocation_behavior: EntitlementGrantAllocationBehaviorWord | None = None
    aggregation_mode: EntitlementAggregationModeWord | None = None
    grant_unlimited: StrictBool = False


class CreateBulkEntitlementRequest(ApiRequest):
    """What a request says of: create bulk entitlement."""

    items: list[CreateEntitlementRequest]


class UpdateEntitlementRequest(ApiUpdate):
    """What a request says of: update entitlement."""

    usage_limit: IntegerField | None = None
    usage_reset_period: EntitlementUsageResetPeriodWord | None = None
    is_soft_limit: StrictBool | None = None
    is_enabled: StrictBool | None = None
    static_value: str | None = None
    config_value: dict[str, object] | None = None
    grant_measure: EntitlementGrantMeasureWord | None = None
    grant_quota: DecimalField | None = None
    grant_duration_value: IntegerField | None = None
    grant_duration_unit: EntitlementGrantDurationUnitWord | None = None
    grant_allocation_behavior: EntitlementGrantAllocationBehaviorWord | None = None
    aggregation_mode: EntitlementAggregationModeWord | None = None
    grant_unlimited: StrictBool | None = None
    clear_grant_config: StrictBool = False


class EntitlementFilter(ApiSearch):
    """What a search asks of: entitlement."""

    plan_ids: list[str] | None = None
    entity_type: EntitlementEntityTypeWord | None = None
    entity_ids: list[str] | None = None
    feature_ids: list[str] | None = None
    feature_type: FeatureTypeWord | None = None
    is_enabled: StrictBool | None = None
    has_grant_config: StrictBool | None = None
