"""What a sender said, in one canonical form: copies of an event are duplicates if these are equal.

The form is metering.md 4: keys are sorted, numbers stand for their values however they were
written, and texts are byte by byte. It holds every digit; nothing is rounded, and no exponent is
expanded.
"""

from datetime import datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal

import msgspec

from operators.raw_json import ARRAY, OBJECT, TEXT

# Exponents may have as many digits as fit into an event; adding to them must stay exact.
_EXPONENTS = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)


def content_of(
    *,
    event_name: str,
    external_customer_id: str,
    customer_id: str,
    source: str,
    timestamp: datetime | None,
    properties: str,
) -> bytes:
    """Return the content of an event in its canonical form; without a given timestamp it is None.

    `properties` is the text of one JSON object, in order and of bounded depth as decode leaves it.

    >>> texts = {"event_name": "call", "external_customer_id": "c", "customer_id": "", "source": ""}
    >>> content_of(**texts, timestamp=None, properties='{"b": 5.0, "a": "5"}')
    b'["call","c","","",null,{"a":"5","b":5e0}]'
    """
    at = None if timestamp is None else timestamp.isoformat()
    head = msgspec.json.encode([event_name, external_customer_id, customer_id, source, at])
    return head[:-1] + b"," + _canonical(properties.encode().strip(b" \t\n\r")) + b"]"


def _canonical(written: bytes) -> bytes:
    """Return the canonical form of one JSON value; its depth has been checked."""
    if written.startswith(b"{"):
        members = OBJECT.decode(written)
        parts = [
            msgspec.json.encode(key) + b":" + _canonical(bytes(members[key]))
            for key in sorted(members)
        ]
        return b"{" + b",".join(parts) + b"}"
    if written.startswith(b"["):
        return b"[" + b",".join(_canonical(bytes(item)) for item in ARRAY.decode(written)) + b"]"
    if written.startswith(b'"'):
        return msgspec.json.encode(TEXT.decode(written))
    return written if written[:1] in b"tfn" else canonical_number(written.decode()).encode()


def canonical_number(literal: str) -> str:
    """Return one text for all literals of the same value: its digits and the exponent of the last.

    >>> [canonical_number(literal) for literal in ("5.0", "-0.050", "5e999", "-0")]
    ['5e0', '-5e-2', '5e999', '0']
    """
    mantissa, _, power = literal.lower().partition("e")
    whole, _, part = mantissa.removeprefix("-").partition(".")
    digits = (whole + part).lstrip("0")
    if not digits:
        return "0"
    shortest = digits.rstrip("0")
    shift = len(digits) - len(shortest) - len(part)
    exponent = _EXPONENTS.add(Decimal(power or "0"), Decimal(shift))
    sign = "-" if literal.startswith("-") else ""
    return f"{sign}{shortest}e{exponent:f}"
