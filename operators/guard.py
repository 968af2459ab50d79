"""The guard of the fast path: which lines a vectorised JSON reader reads exactly.

The guard is a regular expression for a sublanguage of JSON: one object with the known members of an
event, each once at most a text or null, and properties of texts, numbers, truth values, nulls, and
flat arrays and objects. Numbers have at most 15 significant digits and no exponent, so that a
double holds and prints them exactly. Texts have no control character, no half surrogate and no
U+0000; keys have no escape at all. So what a lax reader lets through (NaN, trailing commas,
comments) never reaches it. Repeated keys are beyond a regular expression: `repeats_a_key` finds
them in the list of keys.
"""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SPACE = r"[ \t\n\r]*"
_KEY = r'"[^"\\[:cntrl:]]*"'
# Escapes of one letter, and \u of anything but U+0000 and the surrogates.
_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:000[1-9a-fA-F]|00[1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F][0-9a-fA-F]{2}'
    r"|[1-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))"
)
_TEXT = rf'"(?:[^"\\[:cntrl:]]|{_ESCAPE})*"'
_NUMBER = r"-?(?:(?:0|[1-9][0-9]{0,14})|(?:0|[1-9][0-9]{0,6})\.[0-9]{1,8})"
_SCALAR = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"


def _list_of(item: str) -> str:
    """Return the pattern of items between commas, none allowed."""
    return rf"{_SPACE}(?:{item}(?:{_SPACE},{_SPACE}{item})*)?{_SPACE}"


def _member(key: str, value: str) -> str:
    """Return the pattern of one member of an object."""
    return rf"{key}{_SPACE}:{_SPACE}{value}"


_ARRAY = rf"\[{_list_of(_SCALAR)}\]"
_OBJECT = rf"\{{{_list_of(_member(_KEY, _SCALAR))}\}}"
_PROPERTIES = rf"\{{{_list_of(_member(_KEY, rf'(?:{_SCALAR}|{_ARRAY}|{_OBJECT})'))}\}}"
_TEXT_MEMBERS = (
    r'"(?:event_id|event_name|external_customer_id|customer_id|timestamp|source|id|tenant_id'
    r'|environment_id|ingested_at)"'
)
_TEXT_MEMBER = _member(_TEXT_MEMBERS, rf"(?:{_TEXT}|null)")
_PROPERTIES_MEMBER = _member('"properties"', rf"(?:{_PROPERTIES}|null)")
_MEMBER = rf"(?:{_TEXT_MEMBER}|{_PROPERTIES_MEMBER})"
GUARD = rf"^{_SPACE}\{{{_list_of(_MEMBER)}\}}{_SPACE}$"


def passes_guard(values: pa.Array, bytes_max: int) -> tuple[pa.Array, np.ndarray]:
    """Return the lines that pass the guard as text, and their rows.

    in:  values, large_binary
    """
    lines, rows = _as_text(values)
    good = pc.and_(
        pc.less_equal(pc.binary_length(lines), bytes_max), pc.match_substring_regex(lines, GUARD)
    )
    if good.true_count == len(values):
        return lines, rows
    kept = pc.indices_nonzero(good)
    return lines.take(kept), rows[kept.to_numpy()]


def _as_text(values: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Return the values that are UTF-8 as text, and their rows."""
    rows = np.arange(len(values))
    try:
        return pc.cast(values, pa.large_string()), rows
    except pa.ArrowInvalid:
        # Somewhere in the batch is a byte that is no UTF-8: rare, so each value is tried.
        good = np.array([_is_utf8(value) for value in values.to_pylist()], bool)
        rows = np.flatnonzero(good)
        return pc.cast(values.take(pa.array(rows)), pa.large_string()), rows


def _is_utf8(value: bytes | None) -> bool:
    """Tell whether a value is there and is UTF-8."""
    try:
        return value is not None and value.decode() is not None
    except UnicodeDecodeError:
        return False


@lru_cache(maxsize=65_536)
def repeats_a_key(keys: str | None) -> bool:
    r"""Tell whether a list of keys, joined by U+001F, holds one of them twice.

    >>> repeats_a_key("a\x1fb"), repeats_a_key("a\x1fa")
    (False, True)
    """
    if keys is None:
        return False
    names = keys.split("\x1f")
    return len(names) != len(set(names))
