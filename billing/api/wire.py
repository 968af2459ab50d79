"""How values are written in answers: exact decimals, instants, and JSON (api.md 1.4, 1.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from schemas.decimals import plain

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response before it is sent: status, body, what the body is, and further headers."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] | None = None


def _plain_kind(value: object) -> object:
    """Return what JSON knows for a value that it does not: mappings are objects."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain_kind)


def answered(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a value as an answer in JSON.

    >>> answered({"value": number(Decimal("1.50"))}).body
    b'{"value":1.5}'
    """
    return Answer(status, _ENCODER.encode(value), headers=headers)


def number(value: Decimal) -> msgspec.Raw:
    """Return a decimal as a JSON number with all its digits, for the few fields that are numbers.

    >>> bytes(number(Decimal("0.1234567890123456789012345678901234567890")))
    b'0.123456789012345678901234567890123456789'
    """
    return msgspec.Raw(plain(value).encode())


def instant(at: datetime) -> str:
    """Return an instant in UTC with `Z`, and with no more digits than it needs.

    >>> instant(datetime(2026, 1, 1, 12, 0, 0, 120000, tzinfo=UTC))
    '2026-01-01T12:00:00.12Z'
    >>> instant(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00Z'
    """
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if at.microsecond else text) + "Z"


def stored_object(text: str) -> msgspec.Raw:
    """Return the text of a stored JSON object as it is, with all digits that were sent.

    >>> bytes(stored_object("")), bytes(stored_object('{"n":1.10}'))
    (b'{}', b'{"n":1.10}')
    """
    return msgspec.Raw(text.encode() or b"{}")
