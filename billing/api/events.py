"""Events: taken in, and read back (api.md 2, 4.1 and 4.2)."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from billing.api.bodies import form_of
from billing.api.reading import (
    PAGE_SIZE,
    Filters,
    Offset,
    Order,
    PageSize,
    Search,
    Text,
    Time,
    period_of,
    query_of,
    read,
)
from billing.api.routing import Built, Call, Room
from billing.api.wire import Answer, answered, instant, stored_object
from schemas.api.fields import word_of
from schemas.errors import ValidationFailed
from schemas.event_query import EventPage, EventQuery, EventSort, StoredEvent
from schemas.intake import EventForm, IntakeRequest
from schemas.scope import Scope

TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def take_one(call: Call) -> Answer:
    """Take one event in, in any of its forms but a batch."""
    if form_of(call.content_type) is EventForm.CLOUD_EVENTS:
        raise ValidationFailed(
            "a batch of CloudEvents goes to /v1/events/bulk", field="content-type"
        )
    return _taken(call, single=True, partial=False)


def take_many(call: Call) -> Answer:
    """Take a batch of events in: all of them, or with `?partial=true` the valid ones."""
    return _taken(call, single=False, partial=_partial(call))


def _taken(call: Call, *, single: bool, partial: bool) -> Answer:
    """Hand events to the door; it comes back when they are in the durable log."""
    receipt = call.services.door.take(
        IntakeRequest(
            scope=call.scope,
            body=call.body,
            form=form_of(call.content_type),
            single=single,
            partial=partial,
            request_id=call.request_id,
        )
    )
    counts = {
        "x-tally-appended": str(receipt.appended),
        "x-tally-rejected": str(receipt.rejected),
    }
    return answered(receipt.answer, 202, counts)


def _partial(call: Call) -> bool:
    """Tell whether the valid events are wanted although others are not; the request says last."""
    said = query_of(call.query).get("partial")
    if said is None:
        return call.services.intake_partial
    word = str(said).lower()
    if word not in TRUTHS:
        raise ValidationFailed("partial must be true or false", field="partial")
    return TRUTHS[word]


Sort = Annotated[
    Literal["timestamp", "event_name"] | None,
    BeforeValidator(word_of(EventSort, cased=str.lower)),
]


class EventsRequest(Search):
    """A GetEventsRequest (api-fields.md); it filters a list, so what it does not know is refused."""

    external_customer_id: Text = None
    event_name: Text = None
    event_id: Text = None
    source: Text = None
    property_filters: Filters = ()
    start_time: Time = None
    end_time: Time = None
    page_size: PageSize = None
    offset: Offset = None
    iter_first_key: Text = None
    iter_last_key: Text = None
    sort: Sort = None
    order: Order = None


def list_events(call: Call) -> Answer:
    """Show a page of stored events, each once."""
    asked = read(EventsRequest, call.json)
    by_cursor = asked.iter_first_key is not None or asked.iter_last_key is not None
    if asked.iter_first_key is not None and asked.iter_last_key is not None:
        raise ValidationFailed("give iter_first_key or iter_last_key", field="iter_first_key")
    offset = asked.offset or 0
    if by_cursor and offset:
        raise ValidationFailed("give a cursor or an offset", field="offset")
    page_size = asked.page_size or PAGE_SIZE
    page = call.services.answers.events(
        EventQuery(
            scope=call.scope,
            period=period_of(asked.start_time, asked.end_time, call.services.clock()),
            external_customer_id=asked.external_customer_id,
            event_name=asked.event_name,
            event_id=asked.event_id,
            source=asked.source,
            property_filters=asked.property_filters,
            page_size=page_size,
            offset=offset,
            newer_than=asked.iter_first_key,
            older_than=asked.iter_last_key,
            sort=EventSort(asked.sort or EventSort.TIMESTAMP),
            descending=asked.order != "asc",
        )
    )
    return answered(_page_body(page, call.scope, None if by_cursor else offset + page_size))


def _page_body(page: EventPage, scope: Scope, next_offset: int | None) -> Mapping[str, object]:
    body: dict[str, object] = {
        "events": [_event_body(each, scope) for each in page.events],
        "has_more": page.has_more,
        "total_count": page.total_count,
    }
    if page.first_key is not None:
        body["iter_first_key"] = page.first_key
    if page.last_key is not None:
        body["iter_last_key"] = page.last_key
    if next_offset is not None:
        body["offset"] = next_offset
    return body


def _event_body(event: StoredEvent, scope: Scope) -> Mapping[str, object]:
    return {
        "id": event.event_id,
        "event_name": event.event_name,
        "external_customer_id": event.external_customer_id,
        "customer_id": event.customer_id,
        "source": event.source,
        "timestamp": instant(event.timestamp),
        "ingested_at": instant(event.ingested_at),
        "properties": stored_object(event.properties),
        "environment_id": scope.environment_id,
    }


BUILT: Mapping[tuple[str, str], Built] = {
    ("POST", "/v1/events"): Built(take_one, Room.INTAKE),
    ("POST", "/v1/events/bulk"): Built(take_many, Room.INTAKE),
    ("POST", "/v1/events/query"): Built(list_events),
}
