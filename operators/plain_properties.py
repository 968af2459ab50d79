"""Properties by the vectorised reader, for the rows in which it provably keeps every digit.

Decode has made sure that properties are one strict JSON object without a repeated key. What remains
is how numbers are kept: a double holds and prints at most 15 significant digits exactly, so a row
with a longer number or an exponent anywhere goes to the exact reader.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.kernels import select

# A number, after what may come before one, that is long or has an exponent. In a text it is no
# number, and then the row is read exactly for nothing.
_HARD_NUMBER = r"[:,\[][ \t\n\r]*-?[0-9.]*(?:[0-9.]{16}|[0-9][eE])"


def hard_rows(properties: pa.Array) -> pa.Array:
    """Tell which rows need the exact reader.

    >>> hard_rows(pa.array(['{"a":1.5}', '{"a":1e3}', '{"a":0.12345678901234567}'])).to_pylist()
    [False, True, True]
    """
    return pc.match_substring_regex(properties, _HARD_NUMBER)


def readable(name: str) -> bool:
    """Tell whether the reader's paths can name a property.

    >>> readable("a.b"), readable('say "hi"')
    (True, False)
    """
    return not any(character in '"\\*' or character < " " for character in name) and name != ""


def raw_values(properties: pa.Array, names: Sequence[str]) -> list[pa.Array]:
    """Return the raw JSON of the named properties, one column a name, null where one is missing."""
    paths = ", ".join(_quoted(f'$."{name}"') for name in names)
    found = ", ".join(f"found[{i + 1}] AS f{i}" for i in range(len(names)))
    query = f"SELECT {found} FROM (SELECT json_extract(text, [{paths}]) AS found FROM rows)"
    table = select(query, rows=pa.table({"text": properties}))
    return [pc.cast(table[f"f{i}"].combine_chunks(), pa.string()) for i in range(len(names))]


def _quoted(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def first_bytes(raw: pa.Array) -> np.ndarray:
    """Return the first byte of each raw value, 0 where it is missing."""
    if not len(raw):
        return np.empty(0, np.uint8)
    offsets = np.frombuffer(raw.buffers()[1], np.int32)[raw.offset :][: len(raw) + 1]
    data = raw.buffers()[2]
    content = (
        np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    )
    firsts = content[np.minimum(offsets[:-1], content.size - 1)]
    return np.where(offsets[1:] > offsets[:-1], firsts, 0).astype(np.uint8)
