"""Entitlements as answers show them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from billing.api.features import feature_answers
from billing.api.records import record_members
from billing.ports.objects import Objects
from schemas.api.answers.entitlements import EntitlementResponse
from schemas.api.answers.features import FeatureResponse
from schemas.api.answers.plans import PlanResponse
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Entitlement, EntitlementEntityType

FEATURES, PLANS = "features", "plans"
EXPANDS = frozenset({FEATURES, PLANS})


@dataclass(frozen=True, slots=True)
class Granted:
    """The objects around some entitlements, each by its id."""

    features: Mapping[str, FeatureResponse] = field(default_factory=dict)
    plans: Mapping[str, PlanResponse] = field(default_factory=dict)


def granted(
    objects: Objects,
    entitlements: Sequence[Stored[Entitlement]],
    wanted: Collection[str],
    scope: Scope,
) -> Granted:
    """Return the features of entitlements, if they are wanted."""
    if FEATURES not in wanted:
        return Granted()
    names = {each.record.feature_id for each in entitlements}
    found = list(objects.features.those(names).values())
    answers = feature_answers(objects, found, scope)
    return Granted(features={each.id: each for each in answers})


def entitlement_answer(
    stored: Stored[Entitlement], scope: Scope, near: Granted | None = None
) -> EntitlementResponse:
    """Return an entitlement; the terms of a grant are there exactly where it is one."""
    record, near = stored.record, near or Granted()
    is_plan = record.entity_type is EntitlementEntityType.PLAN
    reset, grant = record.usage_reset_period, record.grant
    return EntitlementResponse(
        **record_members(stored, scope),
        feature_id=record.feature_id,
        feature_type=record.feature_type.value,
        feature=near.features.get(record.feature_id),
        entity_type=record.entity_type.value,
        entity_id=record.entity_id,
        plan_id=record.entity_id if is_plan else None,
        plan=near.plans.get(record.entity_id),
        is_enabled=record.is_enabled,
        is_soft_limit=record.is_soft_limit,
        usage_limit=record.usage_limit,
        usage_reset_period="" if reset is None else reset.value,
        static_value=record.static_value,
        config_value=None if record.config_value is None else dict(record.config_value),
        display_order=record.display_order,
        parent_entitlement_id=record.parent_entitlement_id,
        grant_measure=None if grant is None else grant.measure.value,
        grant_quota=None if grant is None else grant.quota,
        grant_duration_value=None if grant is None else grant.duration_value,
        grant_duration_unit=None if grant is None else grant.duration_unit.value,
        grant_allocation_behavior=None if grant is None else grant.allocation.value,
        aggregation_mode=None if grant is None else grant.aggregation.value,
    )
