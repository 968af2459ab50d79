"""How values are written in answers: exact decimals, instants, and JSON (api.md 1.4, 1.5)."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from schemas.api.values import ApiAnswer
from schemas.api.values import wire_number as number
from schemas.api.values import wire_time as instant

__all__ = ["JSON", "Answer", "answered", "instant", "number", "shown", "stored_object"]

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

    >>> from decimal import Decimal
    >>> answered({"value": number(Decimal("1.50"))}).body
    b'{"value":1.5}'
    """
    return Answer(status, _ENCODER.encode(value), headers=headers)


def shown(model: ApiAnswer, status: int = 200) -> Answer:
    """Return a model as an answer in JSON."""
    return answered(model.model_dump(), status)


def stored_object(text: str) -> msgspec.Raw:
    """Return the text of a stored JSON object as it is, with all digits that were sent.

    >>> bytes(stored_object("")), bytes(stored_object('{"n":1.10}'))
    (b'{}', b'{"n":1.10}')
    """
    return msgspec.Raw(text.encode() or b"{}")
