"""How bodies come in: read up to a bound, unpacked up to a bound, and parsed with all digits.

Source: api.md 1.3 and 2. The content type is of interest to intake only.
"""

import zlib
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from schemas.errors import ValidationFailed
from schemas.intake import EventForm

Receive = Callable[[], Awaitable[Mapping[str, object]]]

GZIP_WINDOW = 31  # zlib's word for a window of 32 KiB inside a gzip frame

_EXACT = msgspec.json.Decoder(float_hook=Decimal)

_FORMS = {
    "application/x-ndjson": EventForm.NDJSON,
    "application/ndjson": EventForm.NDJSON,
    "application/jsonl": EventForm.NDJSON,
    "application/cloudevents+json": EventForm.CLOUD_EVENT,
    "application/cloudevents-batch+json": EventForm.CLOUD_EVENTS,
}


class Encoding(StrEnum):
    """How a body is packed."""

    NONE = "identity"
    GZIP = "gzip"


class Disconnected(Exception):
    """The caller left before its body was complete; nobody is there to be answered."""


def encoding_of(header: str) -> Encoding:
    """Return how a body is packed by its Content-Encoding. Raises ValidationFailed for another.

    >>> encoding_of(""), encoding_of("GZIP")
    (<Encoding.NONE: 'identity'>, <Encoding.GZIP: 'gzip'>)
    """
    word = header.strip().lower()
    if word in {"", "identity"}:
        return Encoding.NONE
    if word in {"gzip", "x-gzip"}:
        return Encoding.GZIP
    raise ValidationFailed(
        f"content encoding {header!r} is not known: send gzip or none", field="content-encoding"
    )


def form_of(content_type: str) -> EventForm:
    """Return the form of an intake body; any type that is not named by api.md 2 is JSON.

    >>> form_of("application/x-ndjson; charset=utf-8").value, form_of("text/plain").value
    ('ndjson', 'json')
    """
    return _FORMS.get(content_type.partition(";")[0].strip().lower(), EventForm.JSON)


async def read_raw(receive: Receive, declared: str, encoding: Encoding, *, bytes_max: int) -> bytes:
    """Read a body as it comes, and stop as soon as it must be too long.

    A packed body may be a little longer than what it holds, if that cannot be packed. Raises
    ValidationFailed, and Disconnected if the caller leaves.
    """
    bound = bytes_max
    if encoding is Encoding.GZIP:
        bound += bytes_max // 1000 + 1024
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > bound:
        raise too_long(bytes_max)
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        assert isinstance(chunk, bytes)
        length += len(chunk)
        if length > bound:
            raise too_long(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def unpacked(raw: bytes, encoding: Encoding, *, bytes_max: int) -> bytes:
    """Return a body as its sender wrote it; unpacking stops at the bound, however long it would be.

    Several gzip members after each other are one body. Raises ValidationFailed for a body that is
    too long, broken or cut off.

    >>> import gzip
    >>> unpacked(gzip.compress(b"{}"), Encoding.GZIP, bytes_max=2)
    b'{}'
    """
    if encoding is Encoding.NONE or not raw:
        return raw
    parts: list[bytes] = []
    left = bytes_max
    while raw:
        member = zlib.decompressobj(wbits=GZIP_WINDOW)
        try:
            part = member.decompress(raw, left + 1)
        except zlib.error as error:
            raise ValidationFailed("the body is no valid gzip", field="body") from error
        left -= len(part)
        if left < 0:
            raise too_long(bytes_max)
        if not member.eof:
            raise ValidationFailed("the gzip body is cut off", field="body")
        parts.append(part)
        raw = member.unused_data
    return b"".join(parts)


def too_long(bytes_max: int) -> ValidationFailed:
    """Return the refusal of a body that is longer than this, unpacked."""
    return ValidationFailed(
        f"the body is longer than {bytes_max} bytes: send it in parts", field="body"
    )


def parsed_object(body: bytes) -> dict[str, object]:
    """Parse a JSON object with every number exact; an empty body and null are an empty one.

    Raises ValidationFailed for broken JSON, and for a value that is no object.

    >>> parsed_object(b'{"n": 0.10}'), parsed_object(b" null "), parsed_object(b"")
    ({'n': Decimal('0.10')}, {}, {})
    """
    if not body.strip():
        return {}
    try:
        value = _EXACT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValidationFailed(f"the body is no valid JSON: {error}", field="body") from error
    except RecursionError as error:
        raise ValidationFailed("the body is nested too deep", field="body") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValidationFailed("the body must be a JSON object", field="body")
    return value
