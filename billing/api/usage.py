"""Usage: what events of a name, or a stored meter, give for a range (api.md 4.3, metering.md 9)."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

from billing.api.reading import (
    PROPERTIES,
    SOURCE,
    Body,
    Filters,
    GroupBy,
    RequiredText,
    Text,
    Time,
    Timezone,
    Window,
    period_of,
    read,
    required_word_of,
)
from billing.api.routing import Built, Call
from billing.api.wire import Answer, answered, instant, number
from schemas.answer import Answer as UsageAnswer
from schemas.answer import Group, Point
from schemas.errors import NotFound, ValidationFailed
from schemas.event_query import UsageQuery
from schemas.meter import (
    WITH_BUCKET,
    Aggregation,
    AggregationRequest,
    AggregationType,
    Meter,
    MeterRequest,
    ResetUsage,
    WindowSize,
    meter_from,
)

# The member of this request for a member of a meter.
MEMBERS = {
    "event_name": "event_name",
    "aggregation.type": "aggregation_type",
    "aggregation.field": "property_name",
    "aggregation.multiplier": "multiplier",
    "aggregation.bucket_size": "bucket_size",
}

TypeWord = Annotated[str, BeforeValidator(required_word_of(AggregationType, cased=str.upper))]
Anything = Annotated[object, BeforeValidator(lambda value: value)]


class RangeRequest(Body):
    """What both questions about usage have in common."""

    external_customer_id: Text = None
    customer_id: Text = None
    start_time: Time = None
    end_time: Time = None
    window_size: Window = None
    bucket_size: Window = None
    filters: Filters = ()
    billing_anchor: Time = None
    timezone: Timezone = "UTC"


class UsageRequest(RangeRequest):
    """A GetUsageRequest (api-fields.md); a meter is made up from it."""

    event_name: RequiredText
    aggregation_type: TypeWord
    property_name: Text = None
    multiplier: Anything = None
    group_by: GroupBy = ()
    group_by_property: Text = None


class MeterUsageRequest(RangeRequest):
    """A GetUsageByMeterRequest (api-fields.md)."""

    meter_id: RequiredText


def usage_by_event(call: Call) -> Answer:
    """Answer what the events of a name give, added up as the request says."""
    asked = read(UsageRequest, call.json)
    meter = _made_up(asked, call)
    group_by = _grouping(asked)
    found = call.services.answers.answer(_query(call, asked, meter, group_by))
    return answered(_body(meter, found, asked.window_size, group_by))


def usage_by_meter(call: Call) -> Answer:
    """Answer what a stored meter gives; all that it says of itself applies."""
    asked = read(MeterUsageRequest, call.json)
    meters = call.services.catalog.meters(call.scope)
    meter = next((each for each in meters if each.id == asked.meter_id), None)
    if meter is None:
        raise NotFound(f"there is no meter {asked.meter_id}")
    meter = _with_bucket(meter, asked.bucket_size)
    found = call.services.answers.answer(_query(call, asked, meter, ()))
    return answered(_body(meter, found, asked.window_size, ()))


def _query(call: Call, asked: RangeRequest, meter: Meter, group_by: tuple[str, ...]) -> UsageQuery:
    customer = asked.external_customer_id
    return UsageQuery(
        scope=call.scope,
        meter=meter,
        period=period_of(asked.start_time, asked.end_time, call.services.clock()),
        external_customer_ids=None if customer is None else (customer,),
        customer_id=asked.customer_id,
        filters=asked.filters,
        group_by=group_by,
        window=asked.window_size,
        timezone=asked.timezone,
        anchor=asked.billing_anchor,
    )


def _made_up(asked: UsageRequest, call: Call) -> Meter:
    """Return the meter that a request describes; without a property it counts (metering.md 9).

    What the type may not have is refused first, so that it is not dropped with the type.
    """
    kind = AggregationType(asked.aggregation_type)
    multiplier = asked.multiplier
    if kind is AggregationType.SUM_WITH_MULTIPLIER and multiplier is None:
        multiplier = Decimal(1)
    counts = kind is AggregationType.COUNT
    described = MeterRequest(
        name="usage",
        event_name=asked.event_name,
        aggregation=AggregationRequest(
            type=kind.value,
            # The property may be missing here, and only here.
            field=asked.property_name or (None if counts else "-"),
            multiplier=multiplier,
            bucket_size=asked.bucket_size,
        ),
    )
    try:
        meter = meter_from(
            described,
            id="",
            tenant_id=call.scope.tenant_id,
            environment_id=call.scope.environment_id,
        )
    except ValidationFailed as error:
        place = MEMBERS.get(error.field or "", error.field)
        raise ValidationFailed(
            f"the usage request is not valid at {place}: {error.reason}",
            field=place,
            reason=error.reason,
        ) from error
    if asked.property_name is None:
        return replace(meter, aggregation=Aggregation(AggregationType.COUNT))
    return meter


def _grouping(asked: UsageRequest) -> tuple[str, ...]:
    """Return the group_by of a request; the older spelling names one property, or `source`."""
    older = asked.group_by_property
    if older is None:
        return asked.group_by
    is_whole = older == SOURCE or older.startswith(PROPERTIES)
    group_by = (older if is_whole else PROPERTIES + older,)
    if group_by == (PROPERTIES,) or (asked.group_by and asked.group_by != group_by):
        raise ValidationFailed(
            "group_by_property must say the same as group_by", field="group_by_property"
        )
    return group_by


def _with_bucket(meter: Meter, bucket: WindowSize | None) -> Meter:
    """Return a meter with the bucket of a request, unless it has its own (api-fields.md)."""
    if bucket is None or meter.aggregation.bucket_size is not None:
        return meter
    is_fit = meter.aggregation.type in WITH_BUCKET and meter.reset_usage is not ResetUsage.NEVER
    if not is_fit:
        raise ValidationFailed(
            f"a {meter.aggregation.type} meter takes no bucket_size",
            field="bucket_size",
            reason="bucket_size_not_allowed",
        )
    return replace(meter, aggregation=replace(meter.aggregation, bucket_size=bucket))


def _body(
    meter: Meter, found: UsageAnswer, window: WindowSize | None, group_by: tuple[str, ...]
) -> Mapping[str, object]:
    """Return a GetUsageResponse; values are JSON numbers with all their digits."""
    body: dict[str, object] = {
        "value": number(found.value),
        "quantity_signed": number(found.quantity_signed),
        "event_name": meter.event_name,
        "type": meter.aggregation.type.value,
    }
    if window is not None:
        body["results"] = [_result(point) for point in found.windows]
    if group_by:
        body["groups"] = [_group(each, group_by, window) for each in found.groups]
    return body


def _result(point: Point) -> Mapping[str, object]:
    return {"window_size": instant(point.start), "value": number(point.value)}


def _group(
    group: Group, group_by: tuple[str, ...], window: WindowSize | None
) -> Mapping[str, object]:
    """Return a group with its keys; a key that its events do not have is left out."""
    named = zip(group_by, group.group, strict=True)
    body: dict[str, object] = {
        "group": {name: text for name, text in named if text},
        "value": number(group.value),
        "quantity_signed": number(group.quantity_signed),
        "event_count": group.counted,
    }
    if window is not None:
        body["results"] = [_result(point) for point in group.windows]
    return body


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/events/usage"): Built(usage_by_event),
    ("POST", "/v1/events/usage/meter"): Built(usage_by_meter),
}
