"""Ordinary events of a request, read one at a time at a tenth of the exact reader's cost.

What is in any way unusual (escapes of code points, many brackets, a value of another type, anything
wrong) is left to `operators.exact`. Of everything else this reader says what the exact one says,
which the tests prove.
"""

from datetime import datetime

import msgspec

from operators.exact import EVENT_BYTES_MAX, FIELD_BYTES_MAX, Event
from operators.json_text import DEPTH_MAX
from operators.raw_json import without_repeats
from operators.timestamps import read_timestamp
from schemas.number import WHITE_SPACE
from schemas.verdict import Rejection

# Of a timestamp in UTC with no fraction, with milliseconds and with microseconds.
_USUAL_LENGTHS = (20, 24, 27)


class _Body(msgspec.Struct, gc=False):
    """The fields of a body; of a field that comes twice the last counts, others are not looked at."""

    event_name: str
    external_customer_id: str
    event_id: str | None = None
    customer_id: str | None = None
    source: str | None = None
    timestamp: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"null")


_BODY = msgspec.json.Decoder(_Body)


def ordinary_event(value: bytes, *, event_bytes_max: int = EVENT_BYTES_MAX) -> Event | None:
    """Return what `decode_body` makes of an ordinary event, None where the event is not ordinary.

    >>> ordinary_event(b'{"event_name": "call", "external_customer_id": "c"}').event_name
    'call'
    >>> ordinary_event(b'{"event_name": "call"}') is None
    True
    """
    # Such escapes may be halves of a pair or U+0000; openings may be nested.
    if len(value) > event_bytes_max or b"\\u" in value:
        return None
    if value.count(b"{") + value.count(b"[") > DEPTH_MAX:
        return None
    try:
        if not value.isascii():
            value.decode()
        body = _BODY.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _event(body)


def _event(body: _Body) -> Event | None:
    """Make the event of a body, if nothing is wrong with its fields."""
    name, customer = body.event_name.strip(WHITE_SPACE), body.external_customer_id
    event_id, customer_id, source = body.event_id or "", body.customer_id or "", body.source or ""
    if not name or not customer or _is_long(name, customer, event_id, customer_id, source):
        return None
    timestamp = None if body.timestamp is None else _instant(body.timestamp)
    properties = bytes(body.properties)
    if properties == b"null":
        properties = b"{}"
    if isinstance(timestamp, Rejection) or not properties.startswith(b"{"):
        return None
    return Event(
        event_id=event_id or None,
        event_name=name,
        external_customer_id=customer,
        customer_id=customer_id,
        source=source,
        timestamp=timestamp,
        properties=without_repeats(properties).decode(),
    )


def _instant(text: str) -> datetime | Rejection | None:
    """Read a timestamp as `read_timestamp` does; the usual spelling by the quick reader of Python."""
    usual = (
        len(text) in _USUAL_LENGTHS
        and "1970" <= text < "2200"
        and text[4] == text[7] == "-"
        and text[10] == "T"
        and text[13] == text[16] == ":"
        and text[-1] == "Z"
        and (len(text) == _USUAL_LENGTHS[0] or (text[19] == "." and text[20:-1].isdecimal()))
        and text.isascii()
    )
    try:
        return datetime.fromisoformat(text) if usual else read_timestamp(text)
    except ValueError:
        return read_timestamp(text)


def _is_long(*texts: str) -> bool:
    """Tell whether some text may have more bytes than a field may have."""
    # No character takes more than four bytes.
    return max(map(len, texts)) > FIELD_BYTES_MAX // 4
