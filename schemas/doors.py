"""How single values are read at the doors: exact decimals, whole numbers, words and instants.

A door is a pydantic model with `DOOR` as its configuration and these types as its fields. Texts and
numbers are taken exactly as written: a binary float has lost digits already and is refused, so JSON
and YAML must be parsed into Decimal, int and str. Source: api.md 1.4 to 1.7.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict

from schemas.errors import ValidationFailed
from schemas.period import Interval

# Unknown members are ignored; who must refuse them passes extra="forbid" to model_validate, which
# reaches nested models too.
DOOR = ConfigDict(extra="ignore", frozen=True)

# What one number may have on either side of the point. Wide enough for any price, and narrow enough
# that the product of a price and a quantity (76 digits) is still exact in `LOSSLESS`.
DIGITS_MAX = 40

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def read_decimal(value: object) -> Decimal:
    """Return a number or its text as the exact decimal that was written.

    Exponents and surrounding spaces are accepted; "", NaN, infinities, booleans, floats and more
    than `DIGITS_MAX` digits before or after the point raise ValueError. Source: api.md 1.4.

    >>> read_decimal(" 1e+06 "), read_decimal(3)
    (Decimal('1E+6'), Decimal('3'))
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be a decimal, as a text or an exact number")
    if isinstance(value, str):
        text = value.strip(" ")
        if len(text) > 2 * DIGITS_MAX + 8 or _DECIMAL.fullmatch(text) is None:
            raise ValueError("is no decimal number")
        value = text
    elif isinstance(value, int) and abs(value) >= 10**DIGITS_MAX:
        raise ValueError(f"has more than {DIGITS_MAX} digits on one side of the point")
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError("must be finite")
    if number and (number.adjusted() >= DIGITS_MAX or exponent < -DIGITS_MAX):
        raise ValueError(f"has more than {DIGITS_MAX} digits on one side of the point")
    # A zero carries no digits, but its exponent would still swell every sum that it enters.
    return number or Decimal(0)


def read_integer(value: object) -> int:
    """Return a JSON integer, which an exact parser may have given as a Decimal.

    Texts, booleans, floats and fractions raise ValueError. Source: api.md 1.4.

    >>> read_integer(Decimal("12")), read_integer(7)
    (12, 7)
    """
    if isinstance(value, str):
        raise ValueError("must be an integer, not a text")
    number = read_decimal(value)
    if number != number.to_integral_value():
        raise ValueError("must be a whole number")
    return int(number)


def read_instant(value: object) -> datetime:
    """Return an RFC 3339 time with its zone as an instant in UTC, cut to whole seconds.

    A time without a zone, a date alone, a number or any other text raises ValueError. Fractions are
    dropped: instants that bound periods, lines and phases are whole seconds (billing.md 5).

    >>> read_instant("2026-02-08T02:30:00.999-05:00")
    datetime.datetime(2026, 2, 8, 7, 30, tzinfo=datetime.timezone.utc)
    """
    if isinstance(value, datetime):
        # YAML reads unquoted times by itself; those without a zone are refused like their texts.
        if value.tzinfo is None:
            raise ValueError("needs a zone, as in 2026-01-01T00:00:00Z")
        return value.astimezone(UTC).replace(microsecond=0)
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("must be an RFC 3339 time with a zone, as 2026-01-01T00:00:00Z")
    day, clock, _, offset = found.groups()
    try:
        return datetime.fromisoformat(f"{day}T{clock}{offset.upper()}").astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999") from error


def read_upper(value: object) -> object:
    """Return a word in upper case, the case of most enumerations; other values as they are.

    >>> read_upper("flat_fee")
    'FLAT_FEE'
    """
    return value.upper() if isinstance(value, str) else value


def read_lower(value: object) -> object:
    """Return a word in lower case; other values as they are.

    >>> read_lower("UP")
    'up'
    """
    return value.lower() if isinstance(value, str) else value


def read_metadata(value: object) -> object:
    """Return a map whose numbers and booleans are turned into their JSON text (api.md 1.6).

    Nested values stay what they are, so that the door's type refuses them.

    >>> read_metadata({"paid": True, "seats": 3})
    {'paid': 'true', 'seats': '3'}
    """
    if not isinstance(value, Mapping):
        return value
    return {key: _json_text(part) for key, part in value.items()}


def _json_text(value: object) -> object:
    """Return the JSON text of a boolean or a number; other values as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | Decimal) else value


def given(body: object) -> object:
    """Drop the members of a create request that mean "not given": null and the empty text.

    A decimal that is the empty text is refused elsewhere, so members named `amount` keep it
    (api.md 1.4 and 1.6).

    >>> given({"lookup_key": "", "tier_mode": None, "type": "USAGE"})
    {'type': 'USAGE'}
    """
    if not isinstance(body, Mapping):
        return body
    return {
        key: value
        for key, value in body.items()
        if value is not None and (value != "" or key in DECIMAL_NAMES)
    }


# Members whose empty text is a fault and not an absence.
DECIMAL_NAMES = frozenset({"amount", "unit_amount", "flat_amount"})

DecimalField = Annotated[Decimal, BeforeValidator(read_decimal)]
IntegerField = Annotated[int, BeforeValidator(read_integer)]
InstantField = Annotated[datetime, BeforeValidator(read_instant)]
MetadataField = Annotated[dict[str, str], BeforeValidator(read_metadata)]


def read_interval(start: datetime, end: datetime, *, field: str) -> Interval:
    """Return the half-open interval of two instants; equal ones are an empty interval.

    Raises ValidationFailed, naming the field, where the end comes before the start. Source:
    api.md 1.5.

    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> read_interval(noon, noon, field="period").holds(noon)
    False
    """
    if end < start:
        raise ValidationFailed(f"{field} must not end before it starts", field=field)
    return Interval(start, end)
