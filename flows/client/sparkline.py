"""Sparklines: values over time as one line of blocks, drawn from exact ratios."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import ceil

BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[Decimal | None]) -> str:
    """Return one block for each value; the greatest is full, and only nothing is as low as 0.

    None is a gap. Values are never below 0 (metering.md 7).

    >>> sparkline([Decimal(0), Decimal("0.001"), Decimal(5), None, Decimal(10)])
    '▁▂▅ █'
    >>> sparkline([]), sparkline([Decimal(0)] * 3)
    ('', '▁▁▁')
    """
    greatest = max((value for value in values if value is not None), default=Decimal(0))
    return "".join(_block(value, greatest) for value in values)


def _block(value: Decimal | None, greatest: Decimal) -> str:
    """Return the block of a value beside the greatest of its line."""
    if value is None:
        return " "
    if value <= 0:
        return BLOCKS[0]
    # A fraction of decimals has all their digits, as a division of decimals has not.
    return BLOCKS[ceil(Fraction(value) / Fraction(greatest) * (len(BLOCKS) - 1))]
