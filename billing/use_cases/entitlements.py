"""Entitlements: added to plans and subscriptions, changed and removed (api.md 4.9).

What a plan grants holds for all its subscriptions that are not cancelled. They carry it, so it is
brought to each of them once it is stored; doing that again changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.catalog import hanging_on, live
from billing.ports import Changes, Stores
from billing.ports.attached import AttachedReader
from billing.ports.objects import Objects
from billing.subscriptions.granting import checked, regranted
from billing.use_cases.found import referred, subject
from billing.use_cases.telling_entitlements import (
    ENTITLEMENT_CREATED,
    ENTITLEMENT_DELETED,
    ENTITLEMENT_UPDATED,
    entitlement_row,
)
from billing.use_cases.transactions import retried
from schemas.entitlement_grant import GrantAggregation
from schemas.errors import AlreadyExists, InvalidOperation, NotFound, ValidationFailed
from schemas.ids import PlanId, SubscriptionId
from schemas.meter import Meter
from schemas.scope import Scope
from schemas.stored import Status, Stored, changed, made
from schemas.subscription import (
    Entitlement,
    EntitlementEntityType,
    Subscription,
    SubscriptionStatus,
)

PLAN, SUBSCRIPTION = EntitlementEntityType.PLAN, EntitlementEntityType.SUBSCRIPTION
CANCELLED = SubscriptionStatus.CANCELLED


def create_entitlements(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    asked: Sequence[Entitlement],
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> tuple[Stored[Entitlement], ...]:
    """Add entitlements to what they name, all of them or none.

    Raises ValidationFailed for a reference that names nothing and for what cannot be, with its
    place where there are several; AlreadyExists for a feature that the entity grants already, grants
    in parallel apart; InvalidOperation for a subscription that is cancelled.
    """
    found = []
    with objects.writing() as inside:
        for number, each in enumerate(asked):
            try:
                stored = made(_new(inside, stores, each), at, by)
            except ValidationFailed as error:
                raise error if len(asked) == 1 else _placed(error, number) from error
            inside.entitlements.add(stored)
            inside.tell([entitlement_row(ENTITLEMENT_CREATED, stored, scope, at)])
            found.append(stored)
    _bring(objects, stores, attached, [each.record for each in found], at)
    return tuple(found)


def _placed(error: ValidationFailed, number: int) -> ValidationFailed:
    """Return the refusal of one of several items, with its place."""
    field = f"items.{number}.{error.field}"
    return ValidationFailed(f"item {number}: {error}", field=field, reason=error.reason)


def _new(inside: Objects, stores: Stores, asked: Entitlement) -> Entitlement:
    """Return an entitlement as it is kept, once all that it names has been found."""
    feature = referred(inside.features, asked.feature_id, "feature_id").record
    if feature.type is not asked.feature_type:
        text = f"must be {feature.type}, the type of the feature"
        raise ValidationFailed(text, field="feature_type")
    entitlement = replace(asked, meter_id=feature.meter_id)
    if asked.entity_type is PLAN:
        referred(inside.plans, asked.entity_id, "entity_id")
        if asked.parent_entitlement_id is not None:
            text = "is for the entitlements of a subscription"
            raise ValidationFailed(text, field="parent_entitlement_id")
    else:
        _check_subscription(inside, stores, entitlement)
    return checked(entitlement, _meter(inside, entitlement))


def _check_subscription(inside: Objects, stores: Stores, asked: Entitlement) -> None:
    """Refuse an entitlement that a subscription cannot have."""
    known = stores.subscription(SubscriptionId(asked.entity_id))
    if known is None:
        raise ValidationFailed(f"there is no subscription {asked.entity_id}", field="entity_id")
    if known.status is CANCELLED:
        text = f"subscription {known.id} is cancelled, so it is granted nothing more"
        raise InvalidOperation(text, reason="illegal_transition")
    parent = asked.parent_entitlement_id
    if parent is not None:
        replaced = referred(inside.entitlements, parent, "parent_entitlement_id").record
        if (replaced.entity_id, replaced.feature_id) != (known.plan_id, asked.feature_id):
            text = "must be an entitlement of the subscription's plan to the same feature"
            raise ValidationFailed(text, field="parent_entitlement_id")
    parallel = asked.grant is not None and asked.grant.aggregation is GrantAggregation.PARALLEL
    for each in known.entitlements:
        same = each.entity_type is SUBSCRIPTION and each.feature_id == asked.feature_id
        if same and not parallel:
            text = f"subscription {known.id} grants the feature already: change {each.id}"
            raise AlreadyExists(text, field="feature_id", reason="unique")


def update_entitlement(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    entitlement_id: str,
    change: Callable[[Entitlement], Mapping[str, Any]],
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> Stored[Entitlement]:
    """Change an entitlement by the members that `change` gives for it; nothing new writes nothing.

    Raises NotFound, ValidationFailed for what cannot be, and AlreadyExists where a grant in parallel
    is to be the only one and is not.
    """
    with objects.writing() as inside:
        before = subject(inside.entitlements, entitlement_id, "entitlement")
        record = replace(before.record, **change(before.record))
        record = checked(record, _meter(inside, record))
        after = before if record == before.record else changed(before, record, at, by)
        if after is not before:
            inside.entitlements.replace(after)
            inside.tell([entitlement_row(ENTITLEMENT_UPDATED, after, scope, at)])
    _bring(objects, stores, attached, [record], at)
    return after


def delete_entitlement(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    entitlement_id: str,
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> None:
    """Remove an entitlement, also from the subscriptions of its plan. Raises NotFound."""
    with objects.writing() as inside:
        before = subject(inside.entitlements, entitlement_id, "entitlement")
        after = changed(before, before.record, at, by, Status.DELETED)
        inside.entitlements.replace(after)
        inside.tell([entitlement_row(ENTITLEMENT_DELETED, after, scope, at)])
    _bring(objects, stores, attached, [before.record], at)


def _meter(inside: Objects, entitlement: Entitlement) -> Meter | None:
    """Return the meter of what is entitled, None where it has none."""
    found = None if entitlement.meter_id is None else inside.meters.get(entitlement.meter_id)
    return None if found is None else found.record


def _bring(
    objects: Objects,
    stores: Stores,
    attached: AttachedReader,
    touched: Sequence[Entitlement],
    at: datetime,
) -> None:
    """Bring what is granted to the subscriptions that entitlements are for."""
    for plan_id in dict.fromkeys(each.entity_id for each in touched if each.entity_type is PLAN):
        for each in attached.subscriptions_to(PlanId(plan_id)):
            if each.status is not CANCELLED:
                _regrant(objects, stores, each, (), at)
    for name in dict.fromkeys(
        each.entity_id for each in touched if each.entity_type is SUBSCRIPTION
    ):
        known = stores.subscription(SubscriptionId(name))
        if known is not None and known.status is not CANCELLED:
            own = [each for each in touched if each.entity_id == name]
            _regrant(objects, stores, known, own, at)


def _regrant(
    objects: Objects,
    stores: Stores,
    subscription: Subscription,
    touched: Sequence[Entitlement],
    at: datetime,
) -> None:
    """Let a subscription carry what its plan grants now, and what of its own was touched."""
    with objects.reading() as inside:
        plan_id = subscription.plan_id
        rows = () if plan_id is None else live(inside.entitlements, hanging_on(plan_id))
        of_plan = [each.record for each in rows]
        kept = inside.entitlements.those([each.id for each in touched])
    own = [each.record for each in kept.values() if each.is_live]
    names = {each.id for each in touched}

    def decide() -> None:
        with stores.deciding(subscription.payer_id) as held:
            known = held.subscription(subscription.id)
            if known is None:
                raise NotFound(f"there is no subscription {subscription.id}")
            others = [each for each in known.entitlements if each.id not in names]
            granted = regranted((*others, *own), of_plan)
            if granted == known.entitlements or known.status is CANCELLED:
                return
            after = replace(known, entitlements=granted, version=known.version + 1)
            held.commit(Changes(subscriptions=(after,), wake={known.payer_id: at}))

    retried(decide)
