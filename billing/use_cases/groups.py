"""Groups: made, and removed from under their members, which stay (api.md 4.21)."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from billing.catalog import live
from billing.ports.objects import Objects
from billing.use_cases import telling_objects as telling
from billing.use_cases.found import subject
from schemas.errors import ValidationFailed
from schemas.group import Group, GroupEntityType
from schemas.object_query import Condition, Operator, Query
from schemas.scope import Scope
from schemas.stored import Status, Stored, changed, made

BY_GROUP = "group_id"


def create_group(objects: Objects, group: Group, *, at: datetime, by: str) -> Stored[Group]:
    """Add a group. Raises AlreadyExists for a lookup key that a live one has."""
    stored = made(group, at, by)
    objects.groups.add(stored)
    return stored


def group_for(
    objects: Objects, group_id: str, entity_type: GroupEntityType, field: str = BY_GROUP
) -> Stored[Group]:
    """Return the live group of a kind that a body names. Raises ValidationFailed naming the field."""
    found = objects.groups.get(group_id)
    if found is None or not found.is_live or found.record.entity_type is not entity_type:
        raise ValidationFailed(
            f"{field} {group_id!r} names no group of {entity_type.value}s", field=field
        )
    return found


def members_of(objects: Objects, group_ids: Collection[str]) -> Mapping[str, list[str]]:
    """Return the ids of the live members of groups, those first that were made first."""
    found: dict[str, list[str]] = {name: [] for name in group_ids}
    if not found:
        return found
    inside = Condition(BY_GROUP, Operator.IN, tuple(found))
    members: list[tuple[str | None, str]] = [
        *((each.record.group_id, each.record.id) for each in live(objects.features, inside)),
        *((each.record.group_id, each.record.id) for each in live(objects.prices, inside)),
    ]
    for group_id, name in members:
        assert group_id is not None, "the query asked for members"
        found[group_id].append(name)
    return found


def delete_group(objects: Objects, group_id: str, *, scope: Scope, at: datetime, by: str) -> None:
    """Delete a group; its members are in none afterwards. Raises NotFound."""
    with objects.writing() as inside:
        before = subject(inside.groups, group_id, "group")
        inside.groups.replace(changed(before, before.record, at, by, Status.DELETED))
        member = Condition(BY_GROUP, Operator.EQ, group_id)
        for price in inside.prices.page(Query((member,))).rows:
            alone = replace(price.record, group_id=None)
            inside.prices.replace(changed(price, alone, at, by))
        for feature in inside.features.page(Query((member,))).rows:
            after = changed(feature, replace(feature.record, group_id=None), at, by)
            inside.features.replace(after)
            if after.is_live:
                row = telling.feature_row(telling.FEATURE_UPDATED, after, scope, at)
                inside.tell([row])
