"""Entitlements: granted by plans and subscriptions, changed, removed and found (api.md 4.9)."""

from collections.abc import Mapping, Sequence
from typing import Any

from billing.api.entitlement_answers import (
    EXPANDS,
    FEATURES,
    PLANS,
    Granted,
    entitlement_answer,
    granted,
)
from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.plan_answers import plans_by_id
from billing.api.reading import read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.ports.objects import Objects
from billing.subscriptions.granting import GRANT_MEMBERS, grant_from
from billing.use_cases.entitlements import (
    create_entitlements,
    delete_entitlement,
    update_entitlement,
)
from billing.use_cases.found import subject
from schemas.api.answers.entitlements import (
    CreateBulkEntitlementResponse,
    EntitlementResponse,
    ListEntitlementsResponse,
)
from schemas.api.answers.objects import SuccessResponse
from schemas.api.requests.entitlements import (
    CreateBulkEntitlementRequest,
    CreateEntitlementRequest,
    EntitlementFilter,
    UpdateEntitlementRequest,
)
from schemas.entitlement_grant import GrantMeasure
from schemas.errors import NotBuiltYet, ValidationFailed
from schemas.ids import EntitlementId, FeatureId
from schemas.object_query import Condition, Operator
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Entitlement, EntitlementEntityType

ENTITLEMENTS = Listing(
    Entitlement,
    {
        **{
            name: name
            for name in (
                "feature_id", "feature_type", "entity_type", "entity_id", "is_enabled",
                "is_soft_limit", "usage_limit", "usage_reset_period", "static_value",
                "display_order", "parent_entitlement_id",
            )
        },
        **{wire: ("grant", member) for wire, member in GRANT_MEMBERS.items()},
    },
    EXPANDS,
)  # fmt: skip
READ = frozenset({FEATURES})
IN_PLACE = ("usage_reset_period", "is_soft_limit", "is_enabled", "static_value", "config_value")


def create_entitlement(call: Call) -> Answer:
    """Grant a feature."""
    asked = read(CreateEntitlementRequest, call.json)
    stored = _create(call, [_entitlement(call, asked)])
    return shown(_shown(call, stored)[0], 201)


def create_entitlements_together(call: Call) -> Answer:
    """Grant several features, all of them or none."""
    asked = read(CreateBulkEntitlementRequest, call.json)
    wanted = []
    for number, each in enumerate(asked.items):
        try:
            wanted.append(_entitlement(call, each))
        except ValidationFailed as error:
            field = f"items.{number}.{error.field}"
            raise ValidationFailed(f"item {number}: {error}", field=field) from error
    stored = _create(call, wanted)
    return shown(CreateBulkEntitlementResponse(items=_shown(call, stored)), 201)


def read_entitlement(call: Call) -> Answer:
    """Show an entitlement with its feature, and as a grant if it is one."""
    stored = subject(call.environment.objects.entitlements, call.parameters["id"], "entitlement")
    return shown(_shown(call, [stored])[0])


def change_entitlement(call: Call) -> Answer:
    """Change the members of an entitlement that the body has."""
    asked = read(UpdateEntitlementRequest, call.json)
    kept = call.environment
    stored = update_entitlement(
        kept.objects,
        kept.stores,
        kept.reader,
        call.parameters["id"],
        lambda before: _changes(asked, before),
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(_shown(call, [stored])[0])


def remove_entitlement(call: Call) -> Answer:
    """Remove an entitlement."""
    kept, name = call.environment, call.parameters["id"]
    delete_entitlement(
        kept.objects,
        kept.stores,
        kept.reader,
        name,
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(SuccessResponse(message=f"entitlement {name} is removed"))


def search_entitlements(call: Call) -> Answer:
    """Show a page of the entitlements that a search is after."""
    asked = read(EntitlementFilter, call.json)
    wanted = expanded(asked.expand, ENTITLEMENTS.expands)
    conditions = said(
        {
            "entity_type": asked.entity_type,
            "parent_id": asked.entity_ids,
            "feature_id": asked.feature_ids,
            "feature_type": asked.feature_type,
        }
    )
    if asked.plan_ids:
        conditions += said(
            {"entity_type": EntitlementEntityType.PLAN.value, "parent_id": asked.plan_ids}
        )
    if asked.is_enabled is not None:
        conditions.append(Condition("is_enabled", Operator.EQ, asked.is_enabled))
    if asked.has_grant_config is not None:
        conditions.append(_grants(wanted=asked.has_grant_config))
    with call.environment.objects.reading() as inside:
        page = inside.entitlements.page(query_for(asked, ENTITLEMENTS, conditions))
        answers = _answers(inside, call.scope, page.rows, wanted)
    return page_of(answers, page.total, asked, lambda each: each)


def _grants(*, wanted: bool) -> Condition:
    """Return the condition of grants, or of what is none."""
    measure = ("grant", "measure")
    if wanted:
        return Condition(measure, Operator.IN, tuple(each.value for each in GrantMeasure))
    return Condition(measure, Operator.EQ, None)


def _entitlement(call: Call, asked: CreateEntitlementRequest) -> Entitlement:
    """Return the entitlement that a request describes; what it names is not looked for yet."""
    kind, name = _entity(asked)
    parent = asked.parent_entitlement_id
    return Entitlement(
        id=EntitlementId(call.environment.new_id("ent")),
        feature_id=FeatureId(asked.feature_id),
        feature_type=asked.feature_type,
        is_enabled=asked.is_enabled,
        usage_limit=asked.usage_limit,
        usage_reset_period=asked.usage_reset_period,
        is_soft_limit=asked.is_soft_limit,
        static_value=asked.static_value,
        config_value=asked.config_value,
        entity_type=kind,
        entity_id=name,
        parent_entitlement_id=None if parent is None else EntitlementId(parent),
        grant=grant_from({each: getattr(asked, each) for each in GRANT_MEMBERS}),
    )


def _entity(asked: CreateEntitlementRequest) -> tuple[EntitlementEntityType, str]:
    """Return what grants the feature; `plan_id` is short for a plan. Raises ValidationFailed."""
    kind, name = asked.entity_type, asked.entity_id
    if asked.plan_id:
        plan = EntitlementEntityType.PLAN
        if kind not in (None, plan) or name not in ("", asked.plan_id):
            text = "must say the same as entity_type and entity_id"
            raise ValidationFailed(text, field="plan_id")
        return plan, asked.plan_id
    if kind is None:
        raise ValidationFailed("is required without plan_id", field="entity_type")
    if not name:
        raise ValidationFailed("is required", field="entity_id")
    if kind is EntitlementEntityType.ADDON:
        raise NotBuiltYet("add-ons belong to M2: not built yet", field="entity_type")
    return kind, name


def _create(call: Call, wanted: Sequence[Entitlement]) -> Sequence[Stored[Entitlement]]:
    kept = call.environment
    return create_entitlements(
        kept.objects,
        kept.stores,
        kept.reader,
        wanted,
        scope=call.scope,
        at=call.services.clock(),
        by=call.caller,
    )


def _changes(asked: UpdateEntitlementRequest, before: Entitlement) -> Mapping[str, Any]:
    """Return the members of an entitlement that a request changes; a limit of null is unlimited."""
    said_members = asked.changes()
    found = {name: value for name, value in said_members.items() if name in IN_PLACE}
    if "usage_limit" in asked.model_fields_set:
        found["usage_limit"] = asked.usage_limit
    former = None if asked.clear_grant_config else before.grant
    found["grant"] = grant_from(said_members, former)
    return found


def _shown(call: Call, rows: Sequence[Stored[Entitlement]]) -> list[EntitlementResponse]:
    """Return entitlements with what a reader of them sees."""
    with call.environment.objects.reading() as inside:
        return _answers(inside, call.scope, rows, READ)


def _answers(
    inside: Objects, scope: Scope, rows: Sequence[Stored[Entitlement]], wanted: frozenset[str]
) -> list[EntitlementResponse]:
    """Return entitlements with the objects around them that are wanted."""
    near = granted(inside, rows, wanted, scope)
    if PLANS in wanted:
        plan = EntitlementEntityType.PLAN
        owners = {each.record.entity_id for each in rows if each.record.entity_type is plan}
        near = Granted(near.features, plans_by_id(inside, scope, owners))
    return [entitlement_answer(each, scope, near) for each in rows]


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/entitlements"): Built(
        create_entitlement, takes=CreateEntitlementRequest, gives=EntitlementResponse
    ),
    ("POST", "/v1/entitlements/bulk"): Built(
        create_entitlements_together,
        takes=CreateBulkEntitlementRequest,
        gives=CreateBulkEntitlementResponse,
    ),
    ("POST", "/v1/entitlements/search"): Built(
        search_entitlements, takes=EntitlementFilter, gives=ListEntitlementsResponse
    ),
    ("GET", "/v1/entitlements/{id}"): Built(read_entitlement, gives=EntitlementResponse),
    ("PUT", "/v1/entitlements/{id}"): Built(
        change_entitlement, takes=UpdateEntitlementRequest, gives=EntitlementResponse
    ),
    ("DELETE", "/v1/entitlements/{id}"): Built(remove_entitlement, gives=SuccessResponse),
}
