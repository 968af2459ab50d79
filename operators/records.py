"""Events as records of the log: the stored event of metering.md 2.3, as the doors that append write it.

A record says all that its event says, so that reading it back gives the event again, by the fast
path of `operators.decoding` where the properties allow it. Columns and single events are written
alike to the last byte, so that a copy that comes again in another request has the same bytes.
"""

from datetime import datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from operators.exact import Event
from schemas.scope import Scope

# What cannot stand in a JSON text as it is.
_TO_ESCAPE = r'["\\\x00-\x1f]'
# Zeros at the end of a fraction say nothing, nor does the point before them.
_ZEROS = r"(\.[0-9]*[1-9])0*Z$|\.0+Z$"


class _Record(msgspec.Struct, gc=False, omit_defaults=True):
    """The members of a record in their order; what is empty by default is left out."""

    event_id: str
    event_name: str
    external_customer_id: str
    customer_id: str = ""
    source: str = ""
    timestamp: str = ""
    # These always differ from what is never written.
    tenant_id: str | None = None
    environment_id: str | None = None
    properties: msgspec.Raw | None = None


def record_values(events: pa.Table) -> pa.Array:
    """Return the value of each event's record: JSON with the properties as they are written.

    Decoding it with the same receipt time gives the event back. A timestamp that the door filled in
    is left out, because the receipt time stands for it and no sender said it.

    in:  EVENTS but partition, offset, ingested_at
    out: large_binary, in the order of the events
    """
    if not events.num_rows:
        return pa.array([], pa.large_binary())
    parts = [
        '{"event_id":',
        _quoted(events, "event_id"),
        ',"event_name":',
        _quoted(events, "event_name"),
        ',"external_customer_id":',
        _quoted(events, "external_customer_id"),
        *_optional(events, "customer_id"),
        *_optional(events, "source"),
        *_timestamps(events),
        ',"tenant_id":',
        _quoted(events, "tenant_id"),
        ',"environment_id":',
        _quoted(events, "environment_id"),
        ',"properties":',
        _column(events, "properties"),
        "}",
    ]
    return pc.cast(_joined(parts), pa.large_binary())


def record_keys(events: pa.Table) -> pa.Array:
    """Return the key of each event's record: tenant, environment and customer (metering.md 13).

    in:  tenant_id, environment_id, external_customer_id
    out: binary
    """
    if not events.num_rows:
        return pa.array([], pa.binary())
    names = ("tenant_id", "environment_id", "external_customer_id")
    tenants, environments, customers = (_column(events, name) for name in names)
    return pc.cast(_joined([tenants, ":", environments, ":", customers]), pa.binary())


def record_value(event: Event, event_id: str, scope: Scope) -> bytes:
    """Return the value of the record of one event, with an id and a scope that the door knows.

    >>> event = Event(None, "call", "c", properties='{"n":1.50}')
    >>> record_value(event, "e", Scope("t", "v"))[:54]
    b'{"event_id":"e","event_name":"call","external_customer'
    """
    timestamp = "" if event.timestamp is None else _instant_text(event.timestamp)
    return msgspec.json.encode(
        _Record(
            event_id,
            event.event_name,
            event.external_customer_id,
            event.customer_id,
            event.source,
            timestamp,
            scope.tenant_id,
            scope.environment_id,
            msgspec.Raw(event.properties.encode()),
        )
    )


def record_key(scope: Scope, external_customer_id: str) -> bytes:
    """Return the key of the record of one event (metering.md 13).

    >>> record_key(Scope("t", "v"), "acme")
    b't:v:acme'
    """
    return f"{scope.tenant_id}:{scope.environment_id}:{external_customer_id}".encode()


def _joined(parts: list[str | pa.Array]) -> pa.Array:
    """Join texts and columns of them, row by row."""
    return pc.binary_join_element_wise(
        *(pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts),
        pa.scalar("", pa.large_string()),
    )


def _column(events: pa.Table, name: str) -> pa.Array:
    """Return a column of texts, whose offsets do not end at 2 GiB."""
    return pc.cast(events[name], pa.large_string()).combine_chunks()


def _quoted(events: pa.Table, name: str) -> pa.Array:
    """Write a column of texts as JSON."""
    texts = _column(events, name)
    quoted = _joined(['"', texts, '"'])
    unusual = pc.match_substring_regex(texts, _TO_ESCAPE)
    if not pc.any(unusual).as_py():
        return quoted
    # Texts with quotes or control characters are rare; each is written by the exact writer.
    escaped = [_escaped(text) for text in texts.filter(unusual).to_pylist()]
    return pc.replace_with_mask(quoted, unusual, pa.array(escaped, pa.large_string()))


def _optional(events: pa.Table, name: str) -> list[str | pa.Array]:
    """Write a member that is left out where the text is empty."""
    given = pc.greater(pc.binary_length(events[name]), 0).combine_chunks()
    return _where(given, [f',"{name}":', _quoted(events, name)])


def _timestamps(events: pa.Table) -> list[str | pa.Array]:
    """Write the timestamps that were given, in UTC, with no more digits than they need."""
    texts = pc.cast(pc.cast(events["timestamp"], pa.string()), pa.large_string())
    texts = pc.replace_substring_regex(texts.combine_chunks(), _ZEROS, r"\1Z")
    texts = pc.replace_substring(texts, " ", "T")
    return _where(events["timestamp_given"].combine_chunks(), [',"timestamp":"', texts, '"'])


def _where(given: pa.Array, parts: list[str | pa.Array]) -> list[str | pa.Array]:
    """Keep the joined parts in the given rows, and nothing in the others."""
    count = given.true_count
    if count == len(given):
        return parts
    return [pc.if_else(given, _joined(parts), pa.scalar("", pa.large_string()))] if count else []


def _escaped(text: str) -> str:
    """Write one text as JSON."""
    return msgspec.json.encode(text).decode()


def _instant_text(instant: datetime) -> str:
    """Write an instant of UTC as RFC 3339, with no more digits than it needs."""
    text = instant.isoformat().removesuffix("+00:00")
    return (text.rstrip("0") if "." in text else text) + "Z"
