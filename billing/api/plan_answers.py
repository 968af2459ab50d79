"""Plans as answers show them, with what hangs on them where it was asked for."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from billing.api import entitlement_answers, price_answers
from billing.api.entitlement_answers import entitlement_answer, granted
from billing.api.price_answers import around, not_ended, price_answer
from billing.api.records import record_members
from billing.catalog import FIRST_MADE, IN_SEQUENCE, live
from billing.ports.objects import Objects
from schemas.api.answers.entitlements import EntitlementResponse
from schemas.api.answers.plans import PlanResponse
from schemas.api.answers.prices import PriceResponse
from schemas.object_query import Condition, Operator
from schemas.scope import Scope
from schemas.stored import Stored
from schemas.subscription import Plan

PRICES, ENTITLEMENTS = "prices", "entitlements"
# What hangs on what hangs on a plan.
METERS, GROUPS = f"{PRICES}.{price_answers.METERS}", f"{PRICES}.{price_answers.GROUPS}"
FEATURES = f"{ENTITLEMENTS}.{entitlement_answers.FEATURES}"
EXPANDS = frozenset({PRICES, ENTITLEMENTS, METERS, GROUPS, FEATURES})
WHOLE = frozenset({PRICES, ENTITLEMENTS, METERS, FEATURES})


def plan_answer(
    stored: Stored[Plan],
    scope: Scope,
    prices: list[PriceResponse] | None = None,
    entitlements: list[EntitlementResponse] | None = None,
) -> PlanResponse:
    """Return a plan; what hangs on it is left out where it is None."""
    plan = stored.record
    return PlanResponse(
        **record_members(stored, scope),
        name=plan.name,
        lookup_key=plan.lookup_key,
        description=plan.description,
        display_order=plan.display_order,
        metadata=dict(plan.metadata),
        prices=prices,
        entitlements=entitlements,
    )


def plan_answers(
    objects: Objects,
    scope: Scope,
    plans: Sequence[Stored[Plan]],
    wanted: Collection[str],
    at: datetime,
) -> list[PlanResponse]:
    """Return plans with what hangs on them as far as it is wanted, each kind read once.

    Prices that have ended at an instant are left out, as in lists of prices.
    """
    names = [each.record.id for each in plans]
    prices = _prices(objects, scope, names, wanted, at)
    entitlements = _entitlements(objects, scope, names, wanted)
    return [
        plan_answer(
            each,
            scope,
            None if prices is None else prices[each.record.id],
            None if entitlements is None else entitlements[each.record.id],
        )
        for each in plans
    ]


def plans_by_id(
    objects: Objects, scope: Scope, plan_ids: Iterable[str]
) -> Mapping[str, PlanResponse]:
    """Return those of the plans that there are, without what hangs on them."""
    found = objects.plans.those(set(plan_ids))
    return {name: plan_answer(each, scope) for name, each in found.items()}


def _prices(
    objects: Objects,
    scope: Scope,
    plan_ids: Sequence[str],
    wanted: Collection[str],
    at: datetime,
) -> Mapping[str, list[PriceResponse]] | None:
    """Return the live prices of plans in their sequence, None if they are not wanted."""
    if not {PRICES, METERS, GROUPS} & set(wanted):
        return None
    rows = live(objects.prices, _on(plan_ids), not_ended(at), sort=IN_SEQUENCE)
    parts = {each.removeprefix(f"{PRICES}.") for each in wanted}
    near = around(objects, rows, parts)
    found: dict[str, list[PriceResponse]] = {name: [] for name in plan_ids}
    for each in rows:
        found[each.record.entity_id].append(price_answer(each, scope, near))
    return found


def _entitlements(
    objects: Objects, scope: Scope, plan_ids: Sequence[str], wanted: Collection[str]
) -> Mapping[str, list[EntitlementResponse]] | None:
    """Return the live entitlements of plans in the order they came, None if they are not wanted."""
    if not {ENTITLEMENTS, FEATURES} & set(wanted):
        return None
    rows = live(objects.entitlements, _on(plan_ids), sort=FIRST_MADE)
    parts = {each.removeprefix(f"{ENTITLEMENTS}.") for each in wanted}
    near = granted(objects, rows, parts, scope)
    found: dict[str, list[EntitlementResponse]] = {name: [] for name in plan_ids}
    for each in rows:
        found[each.record.entity_id].append(entitlement_answer(each, scope, near))
    return found


def _on(plan_ids: Sequence[str]) -> Condition:
    return Condition("parent_id", Operator.IN, tuple(plan_ids))
