"""Plans: changed, and archived with what hangs on them once nobody uses them (api.md 4.7)."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.catalog import hanging_on, live
from billing.ports.attached import AttachedReader
from billing.ports.objects import Objects, ObjectStore, Record
from billing.use_cases.found import subject
from schemas.errors import InvalidOperation
from schemas.ids import PlanId
from schemas.stored import Status, Stored, changed
from schemas.subscription import Plan, SubscriptionStatus

IN_USE = "in_use"


def update_plan(
    objects: Objects, plan_id: str, changes: Mapping[str, Any], *, at: datetime, by: str
) -> Stored[Plan]:
    """Change members of a plan; a change of nothing writes nothing.

    Raises NotFound, and AlreadyExists for a lookup key that a live plan has.
    """
    with objects.writing() as inside:
        before = subject(inside.plans, plan_id, "plan")
        record = replace(before.record, **changes)
        if record == before.record:
            return before
        after = changed(before, record, at, by)
        inside.plans.replace(after)
    return after


def archive_plan(
    objects: Objects, attached: AttachedReader, plan_id: str, *, at: datetime, by: str
) -> None:
    """Archive a plan with its prices, entitlements and credit grants.

    Raises NotFound, and InvalidOperation (in_use) while a subscription that is not cancelled is to
    the plan; a draft is one as well.
    """
    subject(objects.plans, plan_id, "plan")
    for each in attached.subscriptions_to(PlanId(plan_id)):
        if each.status is not SubscriptionStatus.CANCELLED:
            raise InvalidOperation(
                f"the subscription {each.id} uses plan {plan_id}: cancel it first", reason=IN_USE
            )
    with objects.writing() as inside:
        _archive(inside.plans, subject(inside.plans, plan_id, "plan"), at, by)
        for price in live(inside.prices, hanging_on(plan_id)):
            _archive(inside.prices, price, at, by)
        for entitlement in live(inside.entitlements, hanging_on(plan_id)):
            _archive(inside.entitlements, entitlement, at, by)
        for grant in live(inside.credit_grants, hanging_on(plan_id)):
            _archive(inside.credit_grants, grant, at, by)


def _archive(store: ObjectStore[Record], stored: Stored[Record], at: datetime, by: str) -> None:
    store.replace(changed(stored, stored.record, at, by, Status.ARCHIVED))
