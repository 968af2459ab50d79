"""Exact decimals: the types that quantities have in Arrow and in Python, and their plain text.

A value has 20 digits before the point and 18 after at most (metering.md 5.1: decimal128(38, 18));
sums and moments are wider, so that no intermediate overflows in one order of events and not in
another.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal

import pyarrow as pa

VALUE = pa.decimal128(38, 18)
WIDE = pa.decimal256(76, 18)

# Enough for exact products and sums of wide values; the default of 28 digits loses some.
EXACT = Context(prec=160, rounding=ROUND_HALF_EVEN)

SCALE = Decimal(1).scaleb(-18)


def plain(number: Decimal) -> str:
    """Return a decimal as the wire shows it: plain digits, no exponent, no trailing zeros.

    >>> plain(Decimal("1.500")), plain(Decimal("1E+3")), plain(Decimal("-0.0"))
    ('1.5', '1000', '0')
    """
    if not number:
        return "0"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(number: Decimal) -> Decimal:
    """Round half to even at 18 digits, the one rounding of quantities (metering.md 5.1).

    >>> rounded(Decimal(1) / Decimal(3))
    Decimal('0.333333333333333333')
    """
    return number.quantize(SCALE, context=EXACT)
