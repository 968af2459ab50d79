"""Features: made with their meters, changed, and archived when nothing grants or prices them.

Source: api.md 4.5, metering.md 6.4.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from billing.alerts.levels import check_settings
from billing.catalog import LIVE, hanging_on, live
from billing.ports.objects import Objects
from billing.use_cases import telling_objects as telling
from billing.use_cases.found import referred, subject
from billing.use_cases.groups import group_for
from schemas.errors import InvalidOperation, ValidationFailed
from schemas.group import GroupEntityType
from schemas.meter import Filter, Meter
from schemas.object_query import Condition, Either, Operator, Query
from schemas.scope import Scope
from schemas.stored import Status, Stored, changed, made
from schemas.subscription import Feature, FeatureType

IN_USE = "in_use"


def create_meter(objects: Objects, meter: Meter, *, at: datetime, by: str) -> Stored[Meter]:
    """Add a meter, which is live at once."""
    stored = made(meter, at, by)
    objects.meters.add(stored)
    return stored


def create_feature(
    objects: Objects,
    feature: Feature,
    meter: Meter | None = None,
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> Stored[Feature]:
    """Add a feature, with the meter that comes with it: both, or none of them.

    Raises AlreadyExists for a lookup key that a live feature has, and ValidationFailed for what
    contradicts itself or names nothing (`meter`, `meter_id`, `group_id`, unit labels, thresholds).
    """
    _check(feature)
    stored = made(feature, at, by)
    with objects.writing() as inside:
        if meter is not None:
            inside.meters.add(made(meter, at, by))
        elif feature.meter_id is not None:
            referred(inside.meters, feature.meter_id, "meter_id")
        if feature.group_id is not None:
            group_for(inside, feature.group_id, GroupEntityType.FEATURE)
        inside.features.add(stored)
        inside.tell([telling.feature_row(telling.FEATURE_CREATED, stored, scope, at)])
    return stored


def update_feature(
    objects: Objects,
    feature_id: str,
    changes: Mapping[str, Any],
    filters: Iterable[Filter] = (),
    *,
    scope: Scope,
    at: datetime,
    by: str,
) -> Stored[Feature]:
    """Change members of a feature, and add filters to its meter; a change of nothing writes nothing.

    Raises NotFound, and ValidationFailed as `create_feature` does (`filters` without a meter).
    """
    with objects.writing() as inside:
        before = subject(inside.features, feature_id, "feature")
        record = replace(before.record, **changes)
        _check(record)
        if record.group_id is not None and record.group_id != before.record.group_id:
            group_for(inside, record.group_id, GroupEntityType.FEATURE)
        refined = _refine(inside, record, tuple(filters), at, by)
        if record == before.record and not refined:
            return before
        after = changed(before, record, at, by)
        inside.features.replace(after)
        inside.tell([telling.feature_row(telling.FEATURE_UPDATED, after, scope, at)])
    return after


def delete_feature(
    objects: Objects, feature_id: str, *, scope: Scope, at: datetime, by: str
) -> None:
    """Archive a feature, with its meter unless another live feature has it.

    Raises NotFound, and InvalidOperation (in_use) while a live entitlement grants the feature, or a
    price that has not ended counts a meter that would go with it.
    """
    with objects.writing() as inside:
        before = subject(inside.features, feature_id, "feature")
        granting = Condition("feature_id", Operator.EQ, feature_id)
        if inside.entitlements.page(Query((LIVE, granting), limit=1)).rows:
            raise InvalidOperation(
                f"feature {feature_id} is granted by an entitlement: delete that first",
                reason=IN_USE,
            )
        after = changed(before, before.record, at, by, Status.ARCHIVED)
        inside.features.replace(after)
        _archive_meter(inside, before.record.meter_id, at, by)
        inside.tell([telling.feature_row(telling.FEATURE_DELETED, after, scope, at)])


def merged(filters: tuple[Filter, ...], added: Iterable[Filter]) -> tuple[Filter, ...]:
    """Return filters with further values of their keys, and with further keys; none is removed.

    >>> merged((Filter("model", ("a",)),), [Filter("model", ("a", "b")), Filter("tier", ("x",))])
    (Filter(key='model', values=('a', 'b')), Filter(key='tier', values=('x',)))
    """
    found = list(filters)
    for each in added:
        place = next((n for n, known in enumerate(found) if known.key == each.key), None)
        if place is None:
            found.append(Filter(each.key, tuple(dict.fromkeys(each.values))))
        else:
            values = (*found[place].values, *each.values)
            found[place] = Filter(each.key, tuple(dict.fromkeys(values)))
    return tuple(found)


def _check(feature: Feature) -> None:
    """Refuse what contradicts itself."""
    if feature.type is FeatureType.METERED and feature.meter_id is None:
        raise ValidationFailed(
            "a metered feature needs meter or meter_id", field="meter", reason="is required"
        )
    if feature.type is not FeatureType.METERED and feature.meter_id is not None:
        raise ValidationFailed("only metered features have a meter", field="meter")
    if bool(feature.unit_singular) != bool(feature.unit_plural):
        missing = "unit_plural" if feature.unit_singular else "unit_singular"
        raise ValidationFailed("give both labels of a unit, or none", field=missing)
    if feature.alert_settings is not None:
        check_settings(feature.alert_settings)


def _refine(
    inside: Objects, feature: Feature, filters: tuple[Filter, ...], at: datetime, by: str
) -> bool:
    """Add filters to the meter of a feature, and tell whether that changed it."""
    if not filters:
        return False
    if feature.meter_id is None:
        raise ValidationFailed("the feature has no meter to filter", field="filters")
    before = referred(inside.meters, feature.meter_id, "filters")
    meter = replace(before.record, filters=merged(before.record.filters, filters))
    if meter == before.record:
        return False
    inside.meters.replace(changed(before, meter, at, by))
    return True


def _archive_meter(inside: Objects, meter_id: str | None, at: datetime, by: str) -> None:
    """Archive a meter that no live feature has any more. Raises InvalidOperation (in_use)."""
    meter = None if meter_id is None else inside.meters.get(meter_id)
    if meter_id is None or meter is None or not meter.is_live:
        return
    if live(inside.features, hanging_on(meter_id)):
        return
    counting = Condition("meter_id", Operator.EQ, meter_id)
    goes_on = Either(
        (
            Condition("end_date", Operator.EQ, None),
            Condition("end_date", Operator.GT, at),
        )
    )
    price = next(iter(live(inside.prices, counting, goes_on)), None)
    if price is not None:
        raise InvalidOperation(
            f"the price {price.record.id} counts the meter of the feature: end it first",
            reason=IN_USE,
        )
    inside.meters.replace(changed(meter, meter.record, at, by, Status.ARCHIVED))
