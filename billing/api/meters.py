"""Meters over HTTP: made, read, and pages of all (api.md 1.11, 4.5)."""

from collections.abc import Mapping
from typing import Any

from billing.api.listing import Listing, expanded, page_of, query_for
from billing.api.reading import query_of, read
from billing.api.records import record_members
from billing.api.routing import Built, Call
from billing.api.wire import Answer, shown
from billing.use_cases.features import create_meter
from billing.use_cases.found import subject
from schemas.api.answers.meters import (
    AnsweredMeterAggregation,
    AnsweredMeterFilter,
    ListMetersResponse,
    MeterResponse,
)
from schemas.api.requests.meters import MetersQuery
from schemas.meter import Aggregation, Meter, MeterRequest, meter_from
from schemas.scope import Scope
from schemas.stored import Status, Stored

METERS = Listing(
    Meter,
    {
        "name": "name",
        "event_name": "event_name",
        "reset_usage": "reset_usage",
        "aggregation.type": ("aggregation", "type"),
        "aggregation.field": ("aggregation", "field"),
    },
)


def record(id: str, tenant_id: str, environment_id: str) -> Mapping[str, object]:  # noqa: A002 - the field's own name
    """Return the members that every record has, where its life is not known.

    >>> record("m", "t", "e")["created_at"] is None
    True
    """
    return {
        "id": id,
        "tenant_id": tenant_id,
        "environment_id": environment_id,
        "status": Status.PUBLISHED.value,
        "created_at": None,
        "updated_at": None,
        "created_by": "",
        "updated_by": "",
    }


def meter_body(meter: Meter) -> Mapping[str, object]:
    """Return a meter of which nothing but its definition is known (api-fields.md)."""
    life: dict[str, Any] = dict(record(meter.id, meter.tenant_id, meter.environment_id))
    return MeterResponse(**life, **_definition(meter)).model_dump()


def meter_answer(stored: Stored[Meter], scope: Scope) -> MeterResponse:
    """Return a meter as answers show it."""
    return MeterResponse(**record_members(stored, scope), **_definition(stored.record))


def _definition(meter: Meter) -> dict[str, Any]:
    """Return the members of a meter that are not those of every record."""
    return {
        "name": meter.name,
        "event_name": meter.event_name,
        "aggregation": _aggregation(meter.aggregation),
        "filters": [
            AnsweredMeterFilter(key=each.key, values=list(each.values)) for each in meter.filters
        ],
        "reset_usage": meter.reset_usage.value,
    }


def _aggregation(aggregation: Aggregation) -> AnsweredMeterAggregation:
    """Return an aggregation with the options that it was given."""
    size = aggregation.bucket_size
    return AnsweredMeterAggregation(
        type=aggregation.type.value,
        field=aggregation.field,
        expression=aggregation.expression,
        multiplier=aggregation.multiplier,
        bucket_size=None if size is None else size.value,
        group_by=aggregation.group_by,
    )


def add_meter(call: Call) -> Answer:
    """Create a meter; a refusal has the words of metering.md 6.1, all of them at once."""
    kept, scope = call.environment, call.scope
    meter = meter_from(
        call.json,
        id=kept.new_id("meter"),
        tenant_id=scope.tenant_id,
        environment_id=scope.environment_id,
    )
    stored = create_meter(kept.objects, meter, at=call.services.clock(), by=call.caller)
    return shown(meter_answer(stored, scope), 201)


def read_meter(call: Call) -> Answer:
    """Show one meter."""
    stored = subject(call.environment.objects.meters, call.parameters["id"], "meter")
    return shown(meter_answer(stored, call.scope))


def list_meters(call: Call) -> Answer:
    """Show a page of the meters."""
    asked = read(MetersQuery, query_of(call.query, lists=["expand"]))
    expanded(asked.expand, METERS.expands)
    page = call.environment.objects.meters.page(query_for(asked, METERS))
    scope = call.scope
    return page_of(page.rows, page.total, asked, lambda each: meter_answer(each, scope))


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/meters"): Built(add_meter, takes=MeterRequest, gives=MeterResponse),
    ("GET", "/v1/meters"): Built(list_meters, asks=MetersQuery, gives=ListMetersResponse),
    ("GET", "/v1/meters/{id}"): Built(read_meter, gives=MeterResponse),
}
