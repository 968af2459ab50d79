"""The catalog as billing reads it: plans joined with what hangs on them."""

from collections.abc import Iterable

from billing.ports.objects import Objects, ObjectStore, Record
from schemas.object_query import Condition, Either, Operator, Query, Sort
from schemas.price import Price
from schemas.stored import Status, Stored
from schemas.subscription import Plan

LIVE = Condition("status", Operator.EQ, Status.PUBLISHED.value)
FIRST_MADE = (Sort("created_at"),)
# Lines of invoices come in the order of the prices of their plan.
IN_SEQUENCE = (Sort("sequence"), Sort("created_at"))


def live(
    store: ObjectStore[Record], *conditions: Condition | Either, sort: tuple[Sort, ...] = FIRST_MADE
) -> tuple[Stored[Record], ...]:
    """Return the live objects that conditions hold for, those first that were made first."""
    return store.page(Query((LIVE, *conditions), sort)).rows


def hanging_on(parent_id: str) -> Condition:
    """Return the condition of what hangs on an object."""
    return Condition("parent_id", Operator.EQ, parent_id)


def prices_of(objects: Objects, plan_id: str) -> tuple[Stored[Price], ...]:
    """Return all versions of the live prices of a plan, in their sequence."""
    return live(objects.prices, hanging_on(plan_id), sort=IN_SEQUENCE)


def whole_plan(objects: Objects, plan_id: str) -> Plan | None:
    """Return a live plan as one subscribes to it, None if there is none.

    With all versions of its prices, its entitlements, its credit grants and the meters of both.
    Read in one state where `objects` came from `reading()` or `writing()`.
    """
    plan = objects.plans.get(plan_id)
    if plan is None or not plan.is_live:
        return None
    prices = tuple(each.record for each in prices_of(objects, plan_id))
    entitlements = tuple(each.record for each in live(objects.entitlements, hanging_on(plan_id)))
    grants = tuple(each.record for each in live(objects.credit_grants, hanging_on(plan_id)))
    counted = (*(each.meter_id for each in prices), *(each.meter_id for each in entitlements))
    meters = objects.meters.those([name for name in counted if name])
    record = plan.record
    return Plan(
        record.id,
        record.name,
        record.lookup_key,
        prices,
        entitlements,
        {name: each.record for name, each in meters.items()},
        grants,
        record.description,
        record.display_order,
        record.metadata,
    )


def next_sequence(prices: Iterable[Price]) -> int:
    """Return the place of a price that comes to a plan after these.

    >>> next_sequence([])
    1
    """
    return max((price.sequence or 0 for price in prices), default=0) + 1
