"""Numbers of a whole column: properties to values, exactly (metering.md 5.1).

Most numbers are plain digits, which Arrow reads as exactly as the scalar rule does. Exponents,
padded or overlong texts and everything that is skipped go through `read_number`, once for each
distinct text.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from operators.columns import Column
from operators.columns import compute as pc
from operators.kinds import Kind
from schemas.decimals import VALUE
from schemas.number import Number, read_number
from schemas.verdict import Skip

__all__ = ["Number", "Values", "by_distinct_text", "read_number", "to_values"]

# What Arrow's cast to 20 digits before the point and 18 after reads without any rounding.
_SIMPLE = r"^-?[0-9]{1,20}(\.[0-9]{1,18})?$"


@dataclass(frozen=True, slots=True)
class Values:
    """The column of values of one property: of each row either `value` or `skip` is null."""

    value: Column
    skip: Column
    rounded: Column


def to_values(kinds: Column, texts: Column) -> Values:
    """Read a property as a number in each row, or tell why the row is skipped.

    in:  kinds (see `Kind`), texts (the literal of a number, the content of a text)
    out: value decimal128(38, 18), null where skipped; skip, null where counted; rounded

    >>> kinds = pa.array([Kind.NUMBER, Kind.TEXT, Kind.TRUE], pa.uint8())
    >>> values = to_values(kinds, pa.array(["0.10", "many", None]))
    >>> values.value[0].as_py(), values.skip.to_pylist()
    (Decimal('0.100000000000000000'), [None, 'not_a_number', 'wrong_type'])
    """
    readable = pc.or_(pc.equal(kinds, Kind.NUMBER), pc.equal(kinds, Kind.TEXT))
    plain = pc.fill_null(pc.match_substring_regex(texts, _SIMPLE), fill_value=False)
    simple = pc.and_(readable, plain)
    value = pc.cast(pc.if_else(simple, texts, pa.scalar(None, pa.string())), VALUE)
    skip = pa.nulls(len(texts), pa.string())
    rounded = pa.repeat(pa.scalar(value=False), len(texts))
    if pc.all(simple).as_py() is not False:
        return Values(value, skip, rounded)
    unread = pc.if_else(
        pc.equal(kinds, Kind.MISSING), Skip.MISSING_FIELD.value, Skip.WRONG_TYPE.value
    )
    skip = pc.if_else(readable, skip, unread)
    hard = pc.and_not(readable, simple)
    if not pc.any(hard).as_py():
        return Values(value, skip, rounded)
    read = by_distinct_text(pc.filter(texts, hard), _read)
    return Values(
        pc.replace_with_mask(value, hard, pc.struct_field(read, "value")),
        pc.replace_with_mask(skip, hard, pc.struct_field(read, "skip")),
        pc.replace_with_mask(rounded, hard, pc.struct_field(read, "rounded")),
    )


def by_distinct_text(texts: Column, read: Callable[[list[str]], Column]) -> Column:
    """Apply a scalar rule to each distinct text once, and spread the answers over the rows."""
    encoded = pc.dictionary_encode(texts)
    return read(encoded.dictionary.to_pylist()).take(encoded.indices)


def _read(texts: list[str]) -> Column:
    """Apply `read_number` to texts that are distinct already."""
    numbers = [read_number(text) for text in texts]
    return pa.StructArray.from_arrays(
        [
            pa.array([n.value if isinstance(n, Number) else None for n in numbers], VALUE),
            pa.array([n.value if isinstance(n, Skip) else None for n in numbers], pa.string()),
            pa.array([isinstance(n, Number) and n.rounded for n in numbers], pa.bool_()),
        ],
        names=["value", "skip", "rounded"],
    )
