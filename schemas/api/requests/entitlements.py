"""Requests about entitlements, with the fields of api-fields.md."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, StrictBool

from schemas.api.searching import ApiSearch
from schemas.api.values import ApiRequest, ApiUpdate, RequiredText
from schemas.api.words import EntitlementEntityTypeWord, FeatureTypeWord
from schemas.doors import DecimalField, IntegerField, read_lower, read_upper
from schemas.entitlement_grant import (
    GrantAggregation,
    GrantAllocation,
    GrantDurationUnit,
    GrantMeasure,
)
from schemas.subscription import EntitlementEntityType, FeatureType, ResetPeriod

Lower = BeforeValidator(read_lower)
Upper = BeforeValidator(read_upper)

BULK_MAX = 100


class CreateEntitlementRequest(ApiRequest):
    """How much of a feature a plan or a subscription includes, or the terms of a grant of it."""

    LATER: ClassVar[Mapping[str, str]] = {"start_date": "M2", "end_date": "M2"}

    feature_id: RequiredText
    feature_type: Annotated[FeatureType, Lower]
    entity_type: Annotated[EntitlementEntityType, Upper] | None = None
    entity_id: str = ""
    plan_id: str = ""
    is_enabled: StrictBool = True
    usage_limit: Annotated[IntegerField, Field(ge=0)] | None = None
    usage_reset_period: Annotated[ResetPeriod, Upper] | None = None
    is_soft_limit: StrictBool = False
    static_value: str = ""
    config_value: dict[str, object] | None = None
    parent_entitlement_id: str | None = None
    grant_measure: Annotated[GrantMeasure, Lower] | None = None
    grant_quota: DecimalField | None = None
    grant_duration_value: IntegerField | None = None
    grant_duration_unit: Annotated[GrantDurationUnit, Lower] | None = None
    grant_allocation_behavior: Annotated[GrantAllocation, Lower] | None = None
    aggregation_mode: Annotated[GrantAggregation, Lower] | None = None
    grant_unlimited: StrictBool | None = None


class CreateBulkEntitlementRequest(ApiRequest):
    """Several entitlements that are added together, or not at all."""

    items: Annotated[list[CreateEntitlementRequest], Field(min_length=1, max_length=BULK_MAX)]


class UpdateEntitlementRequest(ApiUpdate):
    """What is to be different about an entitlement; a limit of null is unlimited.

    `clear_grant_config` turns a grant back into a plain limit.
    """

    usage_limit: Annotated[IntegerField, Field(ge=0)] | None = None
    usage_reset_period: Annotated[ResetPeriod, Upper] | None = None
    is_soft_limit: StrictBool | None = None
    is_enabled: StrictBool | None = None
    static_value: str | None = None
    config_value: dict[str, object] | None = None
    grant_measure: Annotated[GrantMeasure, Lower] | None = None
    grant_quota: DecimalField | None = None
    grant_duration_value: IntegerField | None = None
    grant_duration_unit: Annotated[GrantDurationUnit, Lower] | None = None
    grant_allocation_behavior: Annotated[GrantAllocation, Lower] | None = None
    aggregation_mode: Annotated[GrantAggregation, Lower] | None = None
    grant_unlimited: StrictBool | None = None
    clear_grant_config: StrictBool = False


class EntitlementFilter(ApiSearch):
    """Which entitlements a search is after."""

    plan_ids: list[str] = []
    entity_type: EntitlementEntityTypeWord | None = None
    entity_ids: list[str] = []
    feature_ids: list[str] = []
    feature_type: FeatureTypeWord | None = None
    is_enabled: StrictBool | None = None
    has_grant_config: StrictBool | None = None
