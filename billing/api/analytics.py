"""Analytics: usage per feature, in groups and windows (api.md 4.4); costs are "0" until priced."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator

from billing.analytics import AnalyticsItem, AnalyticsQuery, analyse
from billing.api.meters import meter_body, record
from billing.api.reading import (
    Body,
    Filters,
    Text,
    Texts,
    Time,
    Window,
    grouping_of,
    period_of,
    read,
)
from billing.api.routing import Built, Call
from billing.api.wire import Answer, answered, instant
from schemas.answer import Point
from schemas.decimals import plain
from schemas.errors import NotBuiltYet, ValidationFailed
from schemas.scope import Scope
from schemas.subscription import Feature

EXPANSIONS = ("price", "meter", "feature", "subscription_line_item", "plan", "addon", "source")

GroupBy = Annotated[tuple[str, ...], BeforeValidator(grouping_of(("feature_id", "meter_id")))]
Flag = Annotated[bool, BeforeValidator(lambda value: False if value is None else value)]


class AnalyticsRequest(Body):
    """A GetUsageAnalyticsRequest (api-fields.md)."""

    external_customer_id: Text = None
    feature_ids: Texts = []  # noqa: RUF012 - pydantic copies the default of each field
    sources: Texts = []  # noqa: RUF012 - as above
    start_time: Time = None
    end_time: Time = None
    window_size: Window = None
    group_by: GroupBy = ()
    property_filters: Filters = ()
    expand: Texts = []  # noqa: RUF012 - as above
    include_children: Flag = False
    breakdown_bucket: Flag = False


def analytics(call: Call) -> Answer:
    """Answer the usage of each feature; no customer of this environment inherits from another yet."""
    asked = read(AnalyticsRequest, call.json)
    unknown = [name for name in asked.expand if name not in EXPANSIONS]
    if unknown:
        raise ValidationFailed(
            f"expand does not know {', '.join(unknown)}",
            details={
                "fields": [
                    {"field": "expand", "problem": "unknown_name", "accepted": list(EXPANSIONS)}
                ]
            },
        )
    if asked.breakdown_bucket:
        raise NotBuiltYet("breakdown_bucket belongs to a later milestone")
    items = analyse(
        AnalyticsQuery(
            scope=call.scope,
            period=period_of(asked.start_time, asked.end_time, call.services.clock()),
            external_customer_id=asked.external_customer_id,
            feature_ids=frozenset(asked.feature_ids) or None,
            sources=tuple(asked.sources) or None,
            filters=asked.property_filters,
            group_by=asked.group_by,
            window=asked.window_size,
            with_sources="source" in asked.expand,
        ),
        call.services.catalog,
        call.services.answers,
    )
    body = {
        "items": [_item_body(item, call.scope, asked.expand) for item in items],
        "currency": "",
        "subtotal": "0",
        "total_discount": "0",
        "total_cost": "0",
    }
    return answered(body)


def _item_body(item: AnalyticsItem, scope: Scope, expand: list[str]) -> Mapping[str, object]:
    """Return a UsageAnalyticItem; what has no value is left out."""
    usage = plain(item.value)
    line, subscription = item.line, item.subscription
    body: dict[str, object] = {
        "feature_id": item.feature.id,
        "name": item.feature.name,
        "event_name": item.meter.event_name,
        "meter_id": item.meter.id,
        "aggregation_type": item.meter.aggregation.type.value,
        "total_usage": usage,
        "quantity_signed": plain(item.quantity_signed),
        "total_usage_display": usage,
        "subtotal": "0",
        "total_discount": "0",
        "total_cost": "0",
        "event_count": item.counted,
    }
    further = {
        "source": item.source,
        "sources": None if item.sources is None else list(item.sources),
        "properties": item.properties or None,
        "price_id": line.price.id if line else None,
        "plan_id": subscription.plan_id if subscription else None,
        "subscription_id": subscription.id if subscription else None,
        "sub_line_item_id": line.id if line else None,
        "external_customer_id": item.external_customer_id,
        "meter": meter_body(item.meter) if "meter" in expand else None,
        "feature": _feature_body(item.feature, scope) if "feature" in expand else None,
    }
    body |= {name: value for name, value in further.items() if value is not None}
    if item.window is not None:
        body["window_size"] = item.window.value
        body["points"] = [_point_body(point) for point in item.points]
    return body


def _point_body(point: Point) -> Mapping[str, object]:
    return {
        "timestamp": instant(point.start),
        "usage": plain(point.value),
        "subtotal": "0",
        "discount": "0",
        "cost": "0",
        "event_count": point.counted,
    }


def _feature_body(feature: Feature, scope: Scope) -> Mapping[str, object]:
    return {
        **record(feature.id, scope.tenant_id, scope.environment_id),
        "name": feature.name,
        "type": feature.type.value,
        "lookup_key": feature.lookup_key,
        "description": "",
        "meter_id": feature.meter_id or "",
        "unit_singular": "",
        "unit_plural": "",
        "metadata": {},
    }


BUILT: Mapping[tuple[str, str], Built] = {("POST", "/v1/events/analytics"): Built(analytics)}
