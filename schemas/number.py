"""One number as senders write it, read exactly (metering.md 5.1)."""

import re
from dataclasses import dataclass
from decimal import Decimal

from schemas.decimals import EXACT, rounded
from schemas.verdict import Skip

# What the specification calls white space: U+0009 to U+000D and U+0020.
WHITE_SPACE = "\t\n\v\f\r "

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]*))?|\.(?P<only_part>[0-9]+))"
    r"(?:[eE](?P<power>[+-]?[0-9]+))?"
)
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)

# A value has at most 20 digits before the point.
_WHOLE_DIGITS_MAX = 20
# Below this order of magnitude a number is less than half of the last of 18 places.
_SMALLEST_ORDER = -18
# An exponent with more digits than this outweighs the digits of any text that fits in memory.
_POWER_DIGITS_MAX = 17


@dataclass(frozen=True, slots=True)
class Number:
    """A value of at most 18 places; `rounded` tells whether that changed what was sent."""

    value: Decimal
    rounded: bool


def read_number(text: str) -> Number | Skip:
    """Read a JSON number or a text as a value, or say why it is none (metering.md 5.1).

    White space around it is removed. Beyond 18 places it is rounded half to even; from 10^20 on it
    is out of range. Exponents are never expanded, so that `1e999999999` costs nothing. -0 is 0.

    >>> read_number(" 1.5e3 ")
    Number(value=Decimal('1500.000000000000000000'), rounded=False)
    >>> [read_number(text).value for text in ("1e999999999", "NaN", "5 GB")]
    ['out_of_range', 'not_finite', 'not_a_number']
    """
    trimmed = text.strip(WHITE_SPACE)
    match = _NUMBER.fullmatch(trimmed)
    if match is None:
        return Skip.NOT_FINITE if _NOT_FINITE.fullmatch(trimmed) else Skip.NOT_A_NUMBER
    part = match["part"] or match["only_part"] or ""
    digits = ((match["whole"] or "") + part).lstrip("0")
    if not digits:
        return Number(rounded(Decimal(0)), rounded=False)
    order = len(digits) - len(part) + _power(match["power"] or "0")
    if order > _WHOLE_DIGITS_MAX:
        return Skip.OUT_OF_RANGE
    if order < _SMALLEST_ORDER:
        return Number(rounded(Decimal(0)), rounded=True)
    sent = Decimal(trimmed)
    value = rounded(sent)
    if value.adjusted() >= _WHOLE_DIGITS_MAX:
        return Skip.OUT_OF_RANGE
    # Adding zero takes the sign from a zero.
    return Number(EXACT.add(value, Decimal(0)), rounded=value != sent)


def _power(text: str) -> int:
    """Return an exponent, or one of the same sign that is as good where it is absurdly long."""
    digits = text.lstrip("+-").lstrip("0")[: _POWER_DIGITS_MAX + 1]
    magnitude = int(digits or "0")
    return -magnitude if text.startswith("-") else magnitude
