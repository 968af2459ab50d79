"""Meters, to be read: one, and pages of all (api.md 1.11, 4.5)."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from billing.api.reading import PAGE_SIZE, PAGE_SIZE_MAX, Order, Search, query_of, read
from billing.api.routing import Built, Call
from billing.api.wire import Answer, answered
from schemas.api.fields import word_of
from schemas.decimals import plain
from schemas.errors import NotBuiltYet, NotFound, ValidationFailed
from schemas.meter import Aggregation, Meter

PUBLISHED = "published"
STATUSES = (PUBLISHED, "deleted", "archived")
SORTS = ("created_at", "id", "name", "event_name")

# Conditions on when a meter was made need an instant that the catalog does not keep yet.
LATER = ("start_time", "end_time", "filters")


def record(id: str, tenant_id: str, environment_id: str) -> Mapping[str, object]:  # noqa: A002 - the field's own name
    """Return the fields that every record has; who made it and when is not known yet.

    >>> record("m", "t", "e")["created_at"] is None
    True
    """
    return {
        "id": id,
        "tenant_id": tenant_id,
        "environment_id": environment_id,
        "status": PUBLISHED,
        "created_at": None,
        "updated_at": None,
        "created_by": "",
        "updated_by": "",
    }


def meter_body(meter: Meter) -> Mapping[str, object]:
    """Return a MeterResponse (api-fields.md)."""
    return {
        **record(meter.id, meter.tenant_id, meter.environment_id),
        "name": meter.name,
        "event_name": meter.event_name,
        "aggregation": _aggregation_body(meter.aggregation),
        "filters": [{"key": each.key, "values": list(each.values)} for each in meter.filters],
        "reset_usage": meter.reset_usage.value,
    }


def _aggregation_body(aggregation: Aggregation) -> Mapping[str, object]:
    given = {
        "field": aggregation.field,
        "expression": aggregation.expression,
        "multiplier": None if aggregation.multiplier is None else plain(aggregation.multiplier),
        "bucket_size": aggregation.bucket_size and aggregation.bucket_size.value,
        "group_by": aggregation.group_by,
    }
    return {
        "type": aggregation.type.value,
        **{name: value for name, value in given.items() if value is not None},
    }


def read_meter(call: Call) -> Answer:
    """Show one meter."""
    wanted = call.parameters["id"]
    for meter in call.services.catalog.meters(call.scope):
        if meter.id == wanted:
            return answered(meter_body(meter))
    raise NotFound(f"there is no meter {wanted}")


def _digits(least: int, most: int) -> BeforeValidator:
    """Return the reader of a whole number in a query, where everything is text."""

    def read_digits(value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit()) or not least <= int(text[:20]) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(text)

    return BeforeValidator(read_digits)


class MetersQuery(Search):
    """The list parameters of `GET /v1/meters`; what it does not know is refused."""

    limit: Annotated[int, _digits(1, PAGE_SIZE_MAX)] = PAGE_SIZE
    offset: Annotated[int, _digits(0, 2**53)] = 0
    sort: Annotated[
        Literal["created_at", "id", "name", "event_name"] | None,
        BeforeValidator(word_of(SORTS, cased=None)),
    ] = None
    order: Order = None
    status: Annotated[
        Literal["published", "deleted", "archived"] | None,
        BeforeValidator(word_of(STATUSES, cased=str.lower)),
    ] = None
    expand: list[str] = []  # noqa: RUF012 - pydantic copies the default of each field
    start_time: str | None = None
    end_time: str | None = None
    filters: str | None = None


def list_meters(call: Call) -> Answer:
    """Show a page of the meters; ids are sortable by time, so they stand for `created_at`."""
    asked = read(MetersQuery, query_of(call.query, lists=["expand"]))
    if asked.expand:
        raise ValidationFailed(f"expand knows nothing here, not {asked.expand[0]}", field="expand")
    for name in LATER:
        if getattr(asked, name):
            raise NotBuiltYet(f"meters cannot be filtered by {name} yet")
    meters = list(call.services.catalog.meters(call.scope))
    if asked.status not in {None, PUBLISHED}:
        meters = []
    if asked.sort in {None, "created_at", "id"}:
        meters.sort(key=lambda meter: meter.id)
    else:
        meters.sort(key=lambda meter: (getattr(meter, str(asked.sort)), meter.id))
    if asked.order != "asc":
        meters.reverse()
    page = meters[asked.offset : asked.offset + asked.limit]
    pagination = {
        "total": len(meters),
        "limit": asked.limit,
        "offset": asked.offset + asked.limit,
    }
    return answered({"items": [meter_body(meter) for meter in page], "pagination": pagination})


BUILT: Mapping[tuple[str, str], Built] = {
    ("GET", "/v1/meters"): Built(list_meters),
    ("GET", "/v1/meters/{id}"): Built(read_meter),
}
