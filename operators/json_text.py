"""JSON texts, judged strictly and without recursion: JSON at all, Unicode text, not too deep.

The reader behind this module (msgspec) is strict about grammar, but stops at a half surrogate as if
it were bad grammar, lets U+0000 and (in what it does not decode) bytes that are no UTF-8 through,
and gives up on deep nesting. So a text is first made plain: what is wrong with its characters is
replaced by the escape of U+0000, which is wrong in itself, and what lies very deep is cut. The
grammar stays as it was.
"""

import re

import msgspec

from schemas.verdict import Rejection

DEPTH_MAX = 32

# What lies deeper than this is cut: more than any limit allows, and well within the reader's own.
_KEPT_DEPTH = 64

# A longer text that is also too deep for the reader is an attack; it is not looked through token by
# token, which would take seconds, and counts as no JSON.
_LOOKED_THROUGH_BYTES_MAX = 2_000_000

_READER = msgspec.json.Decoder(msgspec.Raw)
_NUL = b"\\u0000"

# An escaped backslash and a whole pair are stepped over, so that what is left is a half.
_HALF_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NUL_ESCAPE = re.compile(rb"\\\\|(?P<nul>\\u0000)")
# Bytes that are no UTF-8, as Python's "surrogateescape" shows them.
_BAD_BYTE = re.compile(r"\\.|[\udc80-\udcff]", re.DOTALL)

_STRING_PATTERN = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_STRING = re.compile(_STRING_PATTERN)
_TOKEN = re.compile(
    rb"[ \t\n\r]*+(?:"
    rb"(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|(?P<colon>:)"
    rb"|(?P<string>" + _STRING_PATTERN + rb")"
    rb"|(?P<scalar>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?|true|false|null)"
    rb")"
)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))

# What may stand where: (state, token) → state. What is not in this table, and is neither a bracket
# nor the comma after a value, is not JSON.
_STEPS = {
    ("value", "string"): "after",
    ("value", "scalar"): "after",
    ("first item", "string"): "after",
    ("first item", "scalar"): "after",
    ("first key", "string"): "colon",
    ("key", "string"): "colon",
    ("colon", "colon"): "value",
}
_OPENED = {b"[": ("first item", b"]"), b"{": ("first key", b"}")}
_MAY_OPEN = frozenset({"value", "first item"})
_MAY_CLOSE = frozenset({"first item", "first key", "after"})
_AFTER_COMMA = {b"]": "value", b"}": "key"}


def plain_json(value: bytes) -> bytes | None:
    r"""Return a JSON text with its flaws made plain, or None if it is not one JSON text at all.

    What is no Unicode text becomes `\u0000`, and what lies deeper than 64 levels one scalar;
    nothing else changes. So the result can be read without an error, and judged by `has_bad_text`
    and `is_deeper`.

    >>> plain_json(rb'["\ud800"]'), plain_json(b"[NaN]")
    (b'["\\u0000"]', None)
    """
    text = _readable(value)
    try:
        _READER.decode(text)
    except RecursionError:
        return _cut(text) if len(text) <= _LOOKED_THROUGH_BYTES_MAX else None
    except msgspec.DecodeError:
        return None
    return text


def flaw_of(value: bytes) -> Rejection | None:
    """Return why bytes are no acceptable JSON text, in the order of metering.md 3, or None.

    >>> flaw_of(b'{"a": 01}'), flaw_of(b"[" * 33 + b"]" * 33), flaw_of(b'{"a": 1}')
    (<Rejection.INVALID_JSON: 'invalid_json'>, <Rejection.TOO_DEEP: 'too_deep'>, None)
    """
    text = plain_json(value)
    return Rejection.INVALID_JSON if text is None else flaw_of_plain(text)


def flaw_of_plain(text: bytes) -> Rejection | None:
    """Return what is wrong with a text from `plain_json`, or with a part of it, or None."""
    if has_bad_text(text):
        return Rejection.INVALID_TEXT
    return Rejection.TOO_DEEP if is_deeper(text, DEPTH_MAX) else None


def has_bad_text(text: bytes) -> bool:
    r"""Tell whether a plain JSON text holds U+0000, which stands for every flaw of its characters.

    >>> has_bad_text(rb'"\u0000"'), has_bad_text(rb'"\\u0000"')
    (True, False)
    """
    return _NUL in text and any(match["nul"] for match in _NUL_ESCAPE.finditer(text))


def is_deeper(text: bytes, levels: int) -> bool:
    """Tell whether a JSON text is nested deeper than some levels; a scalar has none.

    >>> is_deeper(b'{"a": [1, "[["]}', 2), is_deeper(b"[[[]]]", 2)
    (False, True)
    """
    # A text cannot be deeper than it has openings, which settles nearly every text.
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    level = 0
    for bracket in _STRING.sub(b"", text).translate(None, delete=_NO_BRACKETS):
        level += 1 if bracket in b"[{" else -1
        if level > levels:
            return True
    return False


def _readable(value: bytes) -> bytes:
    r"""Replace bytes that are no UTF-8, and half surrogates, by the escape of U+0000.

    Outside of a string an escape is as wrong as the byte was, so the grammar does not change.
    """
    try:
        value.decode()
    except UnicodeDecodeError:
        value = _BAD_BYTE.sub(_marked, value.decode(errors="surrogateescape")).encode()
    if b"\\u" not in value:
        return value
    return _HALF_SURROGATE.sub(lambda match: _NUL if match["half"] else match[0], value)


def _marked(match: re.Match[str]) -> str:
    r"""Replace a bad byte by `\u0000`; after a backslash it stays an escape that is unknown."""
    if not match[0].startswith("\\"):
        return "\\u0000"
    return match[0] if match[0].isprintable() else "\\?"


def _cut(text: bytes) -> bytes | None:
    """Replace what lies below the kept depth by one scalar; None if the text is not JSON.

    Only texts that are too deep for the reader come here, so a loop over their tokens is fine.
    """
    kept: list[bytes] = []
    closers: list[bytes] = []
    state, kept_from, cut_from, position = "value", 0, 0, 0
    while match := _TOKEN.match(text, position):
        kind, token, position = match.lastgroup or "", match[match.lastgroup or 0], match.end()
        if kind == "open" and state in _MAY_OPEN:
            if len(closers) == _KEPT_DEPTH:
                cut_from = match.start(kind)
                kept.append(text[kept_from:cut_from])
            state, closer = _OPENED[token]
            closers.append(closer)
        elif kind == "close" and state in _MAY_CLOSE and closers and closers.pop() == token:
            state = "after"
            if len(closers) == _KEPT_DEPTH:
                kept_from = position
                # A flaw of the characters must not be lost with what is cut.
                kept.append(b'"\\u0000"' if has_bad_text(text[cut_from:position]) else b"null")
        elif kind == "comma" and state == "after" and closers:
            state = _AFTER_COMMA[closers[-1]]
        elif (state, kind) in _STEPS:
            state = _STEPS[state, kind]
        else:
            return None
    whole = state == "after" and not closers and not text[position:].strip(b" \t\n\r")
    return b"".join(kept) + text[kept_from:] if whole else None
