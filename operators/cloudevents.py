"""CloudEvents 1.0 in JSON, read as the fields of an event (metering.md 2.3)."""

from collections.abc import Mapping

import msgspec

from operators.raw_json import is_absent, text_of
from schemas.verdict import Rejection


def cloud_event_fields(
    members: Mapping[str, msgspec.Raw],
) -> dict[str, msgspec.Raw] | Rejection:
    """Return the fields of an event that the attributes of a CloudEvent stand for.

    The event id is source and id together, written so that two pairs never meet in one text.
    Whether the fields themselves are right is judged like those of any event.

    >>> event = {"specversion": b'"1.0"', "id": b'"a/b"', "source": b'"/gw"', "type": b'"call"'}
    >>> fields = cloud_event_fields({key: msgspec.Raw(value) for key, value in event.items()})
    >>> bytes(fields["event_id"]), bytes(fields["event_name"])
    (b'"/gw/a%2Fb"', b'"call"')
    """
    own_id, source = _required_text(members, "id"), _required_text(members, "source")
    if _required_text(members, "specversion") != "1.0" or own_id is None or source is None:
        return Rejection.CLOUDEVENT_INVALID
    if not _is_json(members.get("datacontenttype")) or not _is_null(members.get("data_base64")):
        return Rejection.CLOUDEVENT_INVALID
    customer = members.get("externalcustomerid")
    fields = {
        "event_id": msgspec.Raw(msgspec.json.encode(f"{source}/{_escaped(own_id)}")),
        "event_name": members.get("type"),
        "external_customer_id": members.get("subject") if is_absent(customer) else customer,
        "source": members["source"],
        "timestamp": members.get("time"),
        "properties": members.get("data"),
    }
    return {name: raw for name, raw in fields.items() if raw is not None}


def _required_text(members: Mapping[str, msgspec.Raw], name: str) -> str | None:
    """Return a text that is not empty, or None."""
    raw = members.get(name)
    return None if raw is None else text_of(raw) or None


def _is_null(raw: msgspec.Raw | None) -> bool:
    return raw is None or bytes(raw) == b"null"


def _is_json(raw: msgspec.Raw | None) -> bool:
    """Tell whether a content type is absent or, parameters aside, a JSON one in any case."""
    if raw is None or _is_null(raw):
        return True
    media_type = (text_of(raw) or "").partition(";")[0].strip().lower()
    return media_type.endswith(("/json", "+json"))


def _escaped(own_id: str) -> str:
    """Write an id without a slash, so that the last slash of an event id ends the source."""
    return own_id.replace("%", "%25").replace("/", "%2F")
