"""JSON texts: what is none, no Unicode or too deep, judged by an independent reader."""

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from operators.json_text import DEPTH_MAX, flaw_of, plain_json
from operators.raw_json import without_repeats
from schemas.verdict import Rejection

NUL = rb"\u0000"

# Pieces that JSON, and what nearly is JSON, is made of.
SYNTAX = [b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":', b" ", b"\t", b"\n"]
SCALARS = [b"1", b"-", b"0", b".5", b"e+1", b"true", b"null", b"NaN"]
ODDITIES = [b"\x0c", b"\0", b"\x80", b"\xff", b"\\", b"u", b"/", b"\xed\xa0\x80", b"\xef\xbf\xbd"]
ESCAPES = [rb"\u0041", rb"\ud83d", rb"\ude00", NUL, b"\xc3\xa9"]
pieces = st.lists(st.sampled_from([*SYNTAX, *SCALARS, *ODDITIES, *ESCAPES]), max_size=12).map(
    b"".join
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def nested(levels: int, core: bytes = b"") -> bytes:
    return b"[" * levels + core + b"]" * levels


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (b"", Rejection.INVALID_JSON),
        (b"\xef\xbb\xbf{}", Rejection.INVALID_JSON),  # A byte order mark is no part of JSON.
        (b"[NaN]", Rejection.INVALID_JSON),
        (b"[01]", Rejection.INVALID_JSON),
        (b"[1.]", Rejection.INVALID_JSON),
        (b"{} {}", Rejection.INVALID_JSON),
        (b'["a\nb"]', Rejection.INVALID_JSON),
        (b'["\0"]', Rejection.INVALID_JSON),  # A control character as it is, not escaped.
        (b'["\xff]', Rejection.INVALID_JSON),  # No Unicode, but no JSON comes first.
        (rb'["\ud800]', Rejection.INVALID_JSON),
        (b"[\xff]", Rejection.INVALID_JSON),
        (b'["\\\xff"]', Rejection.INVALID_JSON),  # An escape that JSON does not know.
        (b"[" * 100_000, Rejection.INVALID_JSON),
        (nested(100_000) + b"x", Rejection.INVALID_JSON),
        (nested(2_000, b"1 2"), Rejection.INVALID_JSON),
        (b"[" * 2_000 + b"}" * 2_000, Rejection.INVALID_JSON),
        (b'["\xff"]', Rejection.INVALID_TEXT),
        (b'["\xed\xa0\x80"]', Rejection.INVALID_TEXT),  # A half surrogate in bytes.
        (b'{"\xff": 1}', Rejection.INVALID_TEXT),
        (rb'["\ud800"]', Rejection.INVALID_TEXT),
        (rb'["\ud800\u0041"]', Rejection.INVALID_TEXT),
        (rb'["\ude00\ud83d"]', Rejection.INVALID_TEXT),
        (rb'["\u0000"]', Rejection.INVALID_TEXT),
        (rb'["\\\u0000"]', Rejection.INVALID_TEXT),
        (nested(100_000, rb'"\ud800"'), Rejection.INVALID_TEXT),  # Before its depth.
        (nested(100_000, b'"\xff"'), Rejection.INVALID_TEXT),
        (nested(33), Rejection.TOO_DEEP),
        (nested(100_000), Rejection.TOO_DEEP),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, Rejection.TOO_DEEP),
        (nested(32), None),
        (nested(31, b'"' + b"[" * 40 + b'"'), None),  # What a text says is no nesting.
        (b"[" + b",".join([b"[]"] * 1000) + b"]", None),
        (rb'["\\u0000", "\\ud800", "\ud83d\ude00"]', None),
        (b'[1e999999999, "\xef\xbf\xbd"]', None),
        (b"1" * 5000, None),
    ],
)
def test_the_first_flaw_is_named(text: bytes, flaw: Rejection | None) -> None:
    assert flaw_of(text) is flaw


def constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def independent_flaw(text: bytes) -> Rejection | None:
    """Judge a shallow text by the standard library."""
    try:
        # Bytes that are no UTF-8 become half surrogates, which the library lets through in texts.
        shown = text.decode(errors="surrogateescape")
        value = json.loads(
            shown,
            parse_int=str,
            parse_float=str,
            parse_constant=constant,
            object_pairs_hook=list,
        )
    except ValueError:
        return Rejection.INVALID_JSON
    said = json.dumps(value, ensure_ascii=False)
    try:
        said.encode()
    except UnicodeEncodeError:
        return Rejection.INVALID_TEXT
    return Rejection.INVALID_TEXT if r"\u0000" in said.replace(r"\\", "") else None


@given(pieces | st.binary(max_size=12))
@example(b'"\\"')
@example(rb'"\\ud800"')
def test_any_bytes_are_judged_as_an_independent_reader_judges_them(text: bytes) -> None:
    assert flaw_of(text) is independent_flaw(text)


# More levels than the pieces could close, so that what surrounds them is nesting and nothing else.
CORE = 13


@given(pieces, st.integers(0, 30))
def test_nesting_changes_the_verdict_only_by_its_depth(text: bytes, levels: int) -> None:
    inner, outer = flaw_of(nested(CORE, text)), flaw_of(nested(CORE + levels, text))
    if inner is None and CORE + levels > DEPTH_MAX:
        assert outer is Rejection.TOO_DEEP
    elif inner is None:
        assert outer in (None, Rejection.TOO_DEEP)
    else:
        assert outer is inner


@given(pieces)
def test_very_deep_texts_keep_their_verdict(text: bytes) -> None:
    assert flaw_of(nested(1_500, text)) is (flaw_of(nested(CORE, text)) or Rejection.TOO_DEEP)
    assert flaw_of(b"[" * 1_500 + text) is Rejection.INVALID_JSON


@given(values)
def test_a_good_text_is_left_as_it_is(value: object) -> None:
    text = json.dumps(value).encode()
    if flaw_of(text) is None:
        assert plain_json(text) == text


@given(values)
def test_writing_without_repeats_keeps_what_is_said(value: object) -> None:
    text = json.dumps(value).encode()
    if flaw_of(text) is None:
        assert json.loads(without_repeats(text)) == value


def test_of_a_repeated_key_the_last_counts_at_every_level() -> None:
    text = b'{"a": [{"n": 1, "n": 2.50}], "a\\u0062": 1, "ab": {"x": 1, "x": 0.10}}'
    assert without_repeats(text) == b'{"a":[{"n":2.50}],"ab":{"x":0.10}}'
    read = json.loads(without_repeats(text), parse_float=Decimal)
    assert read == json.loads(text, parse_float=Decimal)


def test_a_text_of_nothing_but_depth_is_refused_without_being_looked_through() -> None:
    deep = b"[" * 10_000_000 + b"]" * 10_000_000
    assert flaw_of(deep) is Rejection.INVALID_JSON
    shallower = deep[9_950_000:-9_950_000]
    assert flaw_of(shallower) is Rejection.TOO_DEEP
