"""Properties: from the JSON text of an event to columns of kinds and texts, with every digit kept.

Behind this module nobody looks at JSON again: a property is a kind and a text, and what filters,
groups and unique counts compare is its canonical text (metering.md 5.2).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
import pyarrow as pa

from operators.columns import Chunks, Column
from operators.columns import compute as pc
from operators.kinds import Kind
from operators.numbers import by_distinct_text
from operators.plain_properties import first_bytes, hard_rows, raw_values, readable
from schemas.decimals import plain
from schemas.number import Number, read_number

__all__ = ["Kind", "Property", "canonical_text", "property_columns", "property_columns_exact"]

_NONE = b""
_ABSENT = msgspec.Raw(_NONE)
_TEXT = msgspec.json.Decoder(str)

# The first character of a JSON value tells its kind; no character at all stands for a missing
# property.
_KINDS = np.full(256, Kind.NUMBER, np.uint8)
for _character, _kind in zip(
    b'nft"[{', (Kind.NULL, Kind.FALSE, Kind.TRUE, Kind.TEXT, Kind.ARRAY, Kind.OBJECT), strict=True
):
    _KINDS[_character] = _kind
_KINDS[0] = Kind.MISSING

# A number that is written as its own canonical text already.
_CANONICAL = r"^(0|-?[1-9][0-9]{0,19}|-?(0|[1-9][0-9]{0,19})\.[0-9]{0,17}[1-9])$"


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a batch of events.

    kind: uint8, see `Kind`. text: of a text its content, of a number a literal of the same value
    with all its digits, else null.
    """

    kind: Column
    text: Column


def property_columns(
    properties: Column | Chunks, names: Sequence[str], plain: Column | None = None
) -> dict[str, Property]:
    """Read the named top-level properties of each event.

    `plain` tells which rows are known to have only numbers that the quick reader keeps.

    in:  properties: the JSON text of one object a row, as decode accepted it; names: dots are
    literal
    out: one `Property` a name, with a row for each event; a repeated key counts with its last value

    >>> rows = pa.array(['{"a": 1.50, "a.b": "x"}', "{}"])
    >>> columns = property_columns(rows, ["a", "a.b"])
    >>> columns["a"].text.to_pylist(), columns["a.b"].kind.to_pylist()
    (['1.5', None], [5, 0])
    """
    distinct = list(dict.fromkeys(names))
    rows = properties.combine_chunks() if isinstance(properties, pa.ChunkedArray) else properties
    if not distinct:
        return {}
    if not len(rows) or not all(readable(name) for name in distinct):
        return property_columns_exact(rows, distinct)
    raw = raw_values(rows, distinct)
    hard = hard_rows(rows) if plain is None else pc.invert(plain)
    if hard.true_count:
        exact = _exact_raw(pc.filter(rows, hard), distinct)
        raw = [
            pc.replace_with_mask(quick, hard, slow) for quick, slow in zip(raw, exact, strict=True)
        ]
    return {name: _property(column) for name, column in zip(distinct, raw, strict=True)}


def property_columns_exact(
    properties: Column | Chunks, names: Sequence[str]
) -> dict[str, Property]:
    """Read properties by the exact JSON reader: the reference of `property_columns`."""
    distinct = list(dict.fromkeys(names))
    if isinstance(properties, pa.ChunkedArray):
        properties = properties.combine_chunks()
    raw = _exact_raw(properties, distinct)
    return {name: _property(column) for name, column in zip(distinct, raw, strict=True)}


def _exact_raw(properties: Column, names: Sequence[str]) -> list[Column]:
    """Return the raw JSON of the named properties by the exact reader, null where missing."""
    # One call reads the whole batch; only the named members are kept, each as its bytes.
    batch = b"[" + b",".join(pc.cast(properties, pa.binary()).to_pylist()) + b"]"
    columns = _reader(tuple(names))(batch)
    found = [pa.array(column, pa.binary()).cast(pa.string()) for column in columns]
    return [pc.if_else(pc.equal(column, ""), None, column) for column in found]


@lru_cache(maxsize=256)
def _reader(names: tuple[str, ...]) -> Callable[[bytes], list[list[bytes]]]:
    """Make a function from a JSON array of objects to one list of raw values a name."""
    fields = [(f"f{i}", msgspec.Raw, _ABSENT) for i in range(len(names))]
    renamed = {f"f{i}": name for i, name in enumerate(names)}
    try:
        row = msgspec.defstruct("Row", fields, rename=renamed, gc=False)
    except ValueError:
        # The reader's records have no member whose name needs escapes; plain mappings do.
        return _mapping_reader(names)
    # The record is made at run time, so no checker knows it.
    decoder = msgspec.json.Decoder(list[row])  # type: ignore[valid-type]  # see above

    def read(batch: bytes) -> list[list[bytes]]:
        rows = decoder.decode(batch)
        return [[bytes(getattr(each, field)) for each in rows] for field in renamed]

    return read


def _mapping_reader(names: tuple[str, ...]) -> Callable[[bytes], list[list[bytes]]]:
    """Make the function of `_reader` for names of any characters."""
    decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])

    def read(batch: bytes) -> list[list[bytes]]:
        rows = decoder.decode(batch)
        return [[bytes(each.get(name, _NONE)) for each in rows] for name in names]

    return read


def _property(literals: Column) -> Property:
    """Turn the raw JSON of one property, null where it is missing, into its kinds and texts."""
    kinds = _KINDS[first_bytes(literals)]
    is_text, is_number = kinds == Kind.TEXT, kinds == Kind.NUMBER
    if is_number.all():
        return Property(pa.array(kinds), literals)
    texts = pc.utf8_slice_codeunits(literals, 1, -1)
    if not is_text.all():
        texts = pc.if_else(pa.array(is_text), texts, literals)
        if not (is_text | is_number).all():
            texts = pc.if_else(pa.array(is_text | is_number), texts, None)
    escaped = pc.and_(
        pa.array(is_text), pc.fill_null(pc.match_substring(literals, "\\"), fill_value=False)
    )
    if escaped.true_count:
        # Only texts with escapes in them are decoded one by one.
        decoded = [_TEXT.decode(value) for value in pc.filter(literals, escaped).to_pylist()]
        texts = pc.replace_with_mask(texts, escaped, pa.array(decoded, pa.string()))
    return Property(pa.array(kinds), texts)


def canonical_text(kinds: Column, texts: Column) -> Column:
    """Return what filters, groups and unique counts compare, null where none (metering.md 5.2).

    A text is itself; a number is its value in plain digits; then true and false. Null, arrays,
    objects, numbers out of range and missing properties have none.

    >>> kinds = pa.array([Kind.NUMBER, Kind.TEXT, Kind.TRUE, Kind.NULL], pa.uint8())
    >>> canonical_text(kinds, pa.array(["1.0", "1.0", None, None])).to_pylist()
    ['1', '1.0', 'true', None]
    """
    number = pc.equal(kinds, Kind.NUMBER)
    hard = pc.and_not(
        number, pc.fill_null(pc.match_substring_regex(texts, _CANONICAL), fill_value=False)
    )
    if pc.any(hard).as_py():
        texts = pc.replace_with_mask(texts, hard, by_distinct_text(pc.filter(texts, hard), _plain))
    truth = pc.or_(pc.equal(kinds, Kind.TRUE), pc.equal(kinds, Kind.FALSE))
    if pc.any(truth).as_py():
        word = pc.if_else(pc.equal(kinds, Kind.TRUE), "true", "false")
        texts = pc.if_else(truth, word, texts)
    return texts


def _plain(literals: list[str]) -> Column:
    """Write distinct numbers in plain digits; null where the number is out of range."""
    numbers = [read_number(literal) for literal in literals]
    return pa.array(
        [plain(n.value) if isinstance(n, Number) else None for n in numbers], pa.string()
    )
