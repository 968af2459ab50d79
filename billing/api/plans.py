"""Plans: what is sold, with the prices and entitlements that hang on it (api.md 4.7 and 4.9)."""

from collections.abc import Mapping

from billing.api import entitlement_answers
from billing.api.entitlement_answers import entitlement_answer, granted
from billing.api.listing import Listing, expanded, page_of, query_for, said
from billing.api.plan_answers import EXPANDS, WHOLE, plan_answer, plan_answers
from billing.api.reading import query_of, read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.catalog import hanging_on
from billing.use_cases.found import subject
from billing.use_cases.plans import archive_plan, update_plan
from schemas.api.answers.entitlements import ListEntitlementsResponse
from schemas.api.answers.objects import SuccessResponse
from schemas.api.answers.plans import ListPlansResponse, PlanResponse
from schemas.api.requests.plans import CreatePlanRequest, PlanFilter, UpdatePlanRequest
from schemas.api.searching import ApiSearch
from schemas.errors import ValidationFailed
from schemas.ids import PlanId
from schemas.object_query import Condition, Operator
from schemas.stored import made
from schemas.subscription import Entitlement, Plan

PLANS = Listing(
    Plan,
    {"name": "name", "lookup_key": "lookup_key", "display_order": "display_order"},
    EXPANDS,
)
ENTITLEMENTS = Listing(
    Entitlement,
    {"feature_id": "feature_id", "display_order": "display_order"},
    entitlement_answers.EXPANDS,
)


def create_plan(call: Call) -> Answer:
    """Add a plan."""
    asked = read(CreatePlanRequest, call.json)
    kept = call.environment
    plan = Plan(
        PlanId(kept.new_id("plan")),
        asked.name,
        asked.lookup_key,
        description=asked.description,
        display_order=asked.display_order,
        metadata=asked.metadata,
    )
    stored = made(plan, call.services.clock(), call.caller)
    kept.objects.plans.add(stored)
    return shown(plan_answer(stored, call.scope), 201)


def read_plan(call: Call) -> Answer:
    """Show a plan with its prices and what it grants."""
    objects = call.environment.objects
    with objects.reading() as inside:
        stored = subject(inside.plans, call.parameters["id"], "plan")
        answers = plan_answers(inside, call.scope, [stored], WHOLE, call.services.clock())
    return shown(answers[0])


def change_plan(call: Call) -> Answer:
    """Change the members of a plan that the body has."""
    changes = read(UpdatePlanRequest, call.json).changes()
    if changes.get("name") == "":
        raise ValidationFailed("must not be empty", field="name")
    stored = update_plan(
        call.environment.objects,
        call.parameters["id"],
        changes,
        at=call.services.clock(),
        by=call.caller,
    )
    return shown(plan_answer(stored, call.scope))


def delete_plan(call: Call) -> Answer:
    """Archive a plan that no subscription uses."""
    kept, name = call.environment, call.parameters["id"]
    archive_plan(kept.objects, kept.reader, name, at=call.services.clock(), by=call.caller)
    return shown(SuccessResponse(message=f"plan {name} is archived"))


def search_plans(call: Call) -> Answer:
    """Show a page of the plans that a search is after."""
    asked = read(PlanFilter, call.json)
    wanted = expanded(asked.expand, PLANS.expands)
    conditions = said({"id": asked.plan_ids, "lookup_key": asked.lookup_key})
    conditions += [
        Condition(("metadata", name), Operator.EQ, value)
        for name, value in (asked.metadata or {}).items()
    ]
    with call.environment.objects.reading() as inside:
        page = inside.plans.page(query_for(asked, PLANS, conditions))
        answers = plan_answers(inside, call.scope, page.rows, wanted, call.services.clock())
    return page_of(answers, page.total, asked, lambda each: each)


def plan_entitlements(call: Call) -> Answer:
    """Show what a plan grants, with the features."""
    asked = read(ApiSearch, query_of(call.query, lists=["expand"]))
    expanded(asked.expand, ENTITLEMENTS.expands)
    name = call.parameters["id"]
    with call.environment.objects.reading() as inside:
        subject(inside.plans, name, "plan")
        page = inside.entitlements.page(query_for(asked, ENTITLEMENTS, [hanging_on(name)]))
        near = granted(inside, page.rows, entitlement_answers.EXPANDS, call.scope)
    return page_of(
        page.rows, page.total, asked, lambda each: entitlement_answer(each, call.scope, near)
    )


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/plans"): Built(create_plan, takes=CreatePlanRequest, gives=PlanResponse),
    ("POST", "/v1/plans/search"): Built(search_plans, takes=PlanFilter, gives=ListPlansResponse),
    ("GET", "/v1/plans/{id}"): Built(read_plan, gives=PlanResponse),
    ("PUT", "/v1/plans/{id}"): Built(change_plan, takes=UpdatePlanRequest, gives=PlanResponse),
    ("DELETE", "/v1/plans/{id}"): Built(delete_plan, gives=SuccessResponse),
    ("GET", "/v1/plans/{id}/entitlements"): Built(
        plan_entitlements, asks=ApiSearch, gives=ListEntitlementsResponse
    ),
}
