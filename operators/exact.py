"""One record, read exactly: an API body, stored event or CloudEvent, to an event or a rejection.

This is the reference that the columnar path is judged by, and the path that every unusual record
takes. Any bytes get an answer. Reasons are checked in the order of metering.md 3.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from operators.cloudevents import cloud_event_fields
from operators.content import content_of
from operators.json_text import flaw_of
from operators.raw_json import OBJECT, is_absent, text_of, without_repeats
from operators.timestamps import read_timestamp
from schemas.number import WHITE_SPACE
from schemas.verdict import Rejection

EVENT_BYTES_MAX = 1_000_000
FIELD_BYTES_MAX = 1024

# What each form reads, by the name of the field; a later name is read where the earlier ones are
# absent.
_BODY: Final = {
    "event_id": ("event_id",),
    "event_name": ("event_name",),
    "external_customer_id": ("external_customer_id",),
    "customer_id": ("customer_id",),
    "source": ("source",),
}
_RECORD: Final = {
    **_BODY,
    "event_id": ("event_id", "id"),
    "tenant_id": ("tenant_id",),
    "environment_id": ("environment_id",),
}

# Where a reason says by itself which field it is about.
_FIELD_OF: Final = {
    Rejection.EVENT_NAME_REQUIRED: "event_name",
    Rejection.EXTERNAL_CUSTOMER_ID_REQUIRED: "external_customer_id",
    Rejection.TIMESTAMP_INVALID: "timestamp",
    Rejection.TIMESTAMP_OUT_OF_RANGE: "timestamp",
    Rejection.TIMESTAMP_REQUIRED: "timestamp",
}
_ATTRIBUTE_OF: Final = {
    "event_id": "id",
    "event_name": "type",
    "external_customer_id": "subject",
    "timestamp": "time",
    "properties": "data",
}


class Form(StrEnum):
    """How a text is read (metering.md 2.3).

    A RECORD of the log or line of a file tells its form itself and may name its tenant; the BODY of
    a request and a CLOUD_EVENT of a request are read as what their content type says.
    """

    RECORD = "record"
    BODY = "body"
    CLOUD_EVENT = "cloud_event"


@dataclass(frozen=True, slots=True)
class Event:
    """What one record says; None where it says nothing and the door fills something in.

    `timestamp` is None where none was given, `properties` is the JSON text of one object with all
    digits.
    """

    event_id: str | None
    event_name: str
    external_customer_id: str
    customer_id: str = ""
    source: str = ""
    timestamp: datetime | None = None
    tenant_id: str | None = None
    environment_id: str | None = None
    ingested_at: datetime | None = None
    properties: str = "{}"


def decode_record(
    value: bytes, *, received_at: datetime | None, event_bytes_max: int = EVENT_BYTES_MAX
) -> Event | Rejection:
    """Read one record of the log or line of a file, in whichever form of metering.md 2.3 it is.

    A CloudEvent is told by its key `specversion`; a stored event has `id`, `tenant_id`,
    `environment_id` and `ingested_at` beside the fields of a body. Without `received_at`, as in a
    file that is read in place, a record must have a timestamp.

    >>> decode_record(b'{"event_name": " call ", "external_customer_id": "c"}', received_at=None)
    <Rejection.TIMESTAMP_REQUIRED: 'timestamp_required'>
    """
    return decode_form(value, Form.RECORD, received_at=received_at, event_bytes_max=event_bytes_max)


def decode_body(value: bytes, *, event_bytes_max: int = EVENT_BYTES_MAX) -> Event | Rejection:
    """Read one event of an HTTP request, where no caller may name a tenant or a receipt time.

    >>> body = b'{"event_name": "call", "external_customer_id": "c", "tenant_id": "x"}'
    >>> decode_body(body).tenant_id
    """
    reading = _reading(value, Form.BODY)
    limits = _Limits(time_required=False, event_bytes_max=event_bytes_max)
    return reading if isinstance(reading, Rejection) else _event(reading, len(value), limits)


def decode_form(
    value: bytes, form: Form, *, received_at: datetime | None, event_bytes_max: int
) -> Event | Rejection:
    """Read one event in a form that is known from elsewhere; see `decode_record`.

    >>> body = b'{"event_name": "call", "external_customer_id": "c"}'
    >>> noon = datetime(2026, 3, 1, 12)
    >>> decode_form(body, Form.CLOUD_EVENT, received_at=noon, event_bytes_max=1000)
    <Rejection.CLOUDEVENT_INVALID: 'cloudevent_invalid'>
    """
    reading = _reading(value, form)
    if isinstance(reading, Rejection):
        return reading
    limits = _Limits(time_required=received_at is None, event_bytes_max=event_bytes_max)
    return _event(reading, len(value), limits)


def field_at_fault(value: bytes, form: Form, reason: Rejection) -> str | None:
    """Return the field, by the name that its sender gave it, that an event was rejected for.

    None where the reason is about the event as a whole.

    >>> field_at_fault(b'{"source": 5}', Form.BODY, Rejection.FIELD_WRONG_TYPE)
    'source'
    """
    field = _FIELD_OF.get(reason)
    if reason in (Rejection.FIELD_WRONG_TYPE, Rejection.FIELD_TOO_LONG):
        reading = _reading(value, form)
        assert not isinstance(reading, Rejection)
        wrong = reason is Rejection.FIELD_WRONG_TYPE
        texts = reading.texts.items()
        field = next((name for name, text in texts if (text is None if wrong else _long(text))), "")
        field = field or "properties"
    return _ATTRIBUTE_OF.get(field or "", field) if form is Form.CLOUD_EVENT else field


def content_equal(one: Event, other: Event) -> bool:
    """Tell whether two copies say the same (metering.md 4): then the later one is a duplicate.

    Keys in any order, numbers by value, texts byte by byte; a timestamp counts if it was given.

    >>> five = Event("e", "call", "c", properties='{"v": 5, "k": "x"}')
    >>> content_equal(five, Event("e", "call", "c", properties='{"k": "x", "v": 5.0}'))
    True
    >>> content_equal(five, Event("e", "call", "c", properties='{"k": "x", "v": "5"}'))
    False
    """
    return _content(one) == _content(other)


def _content(event: Event) -> bytes:
    """Return the canonical content of an event."""
    return content_of(
        event_name=event.event_name,
        external_customer_id=event.external_customer_id,
        customer_id=event.customer_id,
        source=event.source,
        timestamp=event.timestamp,
        properties=event.properties,
    )


@dataclass(frozen=True, slots=True)
class _Limits:
    """What a door asks of a record beside its form."""

    time_required: bool
    event_bytes_max: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """The fields of a record before they are judged; None is a value of the wrong type."""

    texts: Mapping[str, str | None]
    properties: str | None
    timestamp: datetime | Rejection | None
    ingested_at: datetime | Rejection | None


def _members(value: bytes) -> Mapping[str, msgspec.Raw] | Rejection:
    """Return the members of the object that a text is; of a repeated key the last."""
    flaw = flaw_of(value)
    if flaw is not None:
        return flaw
    if not value.lstrip(b" \t\n\r").startswith(b"{"):
        return Rejection.NOT_AN_OBJECT
    return OBJECT.decode(value)


def _reading(value: bytes, form: Form) -> _Reading | Rejection:
    """Read the fields of a text of some form, or say why it has none."""
    members = _members(value)
    if isinstance(members, Rejection):
        return members
    if form is Form.CLOUD_EVENT or (form is Form.RECORD and "specversion" in members):
        fields = cloud_event_fields(members)
        return fields if isinstance(fields, Rejection) else _read(fields, _BODY)
    return _read(members, _RECORD if form is Form.RECORD else _BODY)


def _event(reading: _Reading, size: int, limits: _Limits) -> Event | Rejection:
    """Make the event of a reading, or return the first reason against it."""
    reason = next(_reasons(reading, size, limits), None)
    if reason is not None:
        return reason
    texts = {name: text or "" for name, text in reading.texts.items()}
    assert reading.properties is not None
    assert not isinstance(reading.timestamp, Rejection)
    assert not isinstance(reading.ingested_at, Rejection)
    return Event(
        event_id=texts["event_id"] or None,
        event_name=texts["event_name"],
        external_customer_id=texts["external_customer_id"],
        customer_id=texts["customer_id"],
        source=texts["source"],
        timestamp=reading.timestamp,
        tenant_id=texts.get("tenant_id") or None,
        environment_id=texts.get("environment_id") or None,
        ingested_at=reading.ingested_at,
        properties=reading.properties,
    )


def _reasons(reading: _Reading, size: int, limits: _Limits) -> Iterator[Rejection]:
    """Yield what is wrong with a reading, in the order of metering.md 3."""
    texts, times = reading.texts, (reading.timestamp, reading.ingested_at)
    if reading.properties is None or None in texts.values():
        yield Rejection.FIELD_WRONG_TYPE
    if not texts["event_name"]:
        yield Rejection.EVENT_NAME_REQUIRED
    if not texts["external_customer_id"]:
        yield Rejection.EXTERNAL_CUSTOMER_ID_REQUIRED
    for reason in (Rejection.TIMESTAMP_INVALID, Rejection.TIMESTAMP_OUT_OF_RANGE):
        if reason in times:
            yield reason
    if reading.timestamp is None and limits.time_required:
        yield Rejection.TIMESTAMP_REQUIRED
    if any(map(_long, texts.values())):
        yield Rejection.FIELD_TOO_LONG
    if size > limits.event_bytes_max:
        yield Rejection.EVENT_TOO_LARGE


def _long(text: str | None) -> bool:
    """Tell whether a text field has more bytes than a field may have."""
    return len((text or "").encode()) > FIELD_BYTES_MAX


def _read(members: Mapping[str, msgspec.Raw], names: Mapping[str, tuple[str, ...]]) -> _Reading:
    """Read the fields of one form from the members of a record."""
    texts = {field: _text(members, sources) for field, sources in names.items()}
    texts["event_name"] = texts["event_name"] and texts["event_name"].strip(WHITE_SPACE)
    received = members.get("ingested_at")
    # Only a stored event has a receipt time; an empty one is none, unlike an empty timestamp.
    has_receipt = names is _RECORD and not is_absent(received)
    return _Reading(
        texts=texts,
        properties=_properties(members.get("properties")),
        timestamp=_time(members.get("timestamp")),
        ingested_at=_time(received) if has_receipt else None,
    )


def _text(members: Mapping[str, msgspec.Raw], names: tuple[str, ...]) -> str | None:
    """Read a text from the first member that has one: "" if none has, None if it is no text."""
    given = (members[name] for name in names if not is_absent(members.get(name)))
    raw = next(given, None)
    return "" if raw is None else text_of(raw)


def _properties(raw: msgspec.Raw | None) -> str | None:
    """Read the properties: the text of one object in which no key repeats, or None."""
    written = b"null" if raw is None else bytes(raw)
    if written == b"null":
        return "{}"
    return without_repeats(written).decode() if written.startswith(b"{") else None


def _time(raw: msgspec.Raw | None) -> datetime | Rejection | None:
    """Read a timestamp; None where none was given."""
    if raw is None or bytes(raw) == b"null":
        return None
    text = text_of(raw)
    return Rejection.TIMESTAMP_INVALID if text is None else read_timestamp(text)
