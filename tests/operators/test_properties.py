"""Properties: kinds and texts of any JSON, judged by an independent reader."""

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.plain_properties import readable
from operators.properties import Kind, canonical_text, property_columns, property_columns_exact
from schemas.decimals import plain
from schemas.number import Number, read_number

NAMES = ["a", "a.b", 'quoted "a"', "é", ""]

literals = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?", fullmatch=True
)
valid_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
scalars = st.one_of(
    literals,
    valid_texts.map(json.dumps),
    valid_texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(["null", "true", "false", "[]", "{}", '[1, "a"]', '{"a": 1.50}']),
)
members = st.lists(st.tuples(st.sampled_from([*NAMES, "other"]), scalars), max_size=6)


def written(pairs: list[tuple[str, str]]) -> str:
    return "{ " + " , ".join(f"{json.dumps(key)}: {value}" for key, value in pairs) + " }"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("1.50", Kind.NUMBER, "1.50"),
        ("-1E400", Kind.NUMBER, "-1E400"),
        ('"1.50"', Kind.TEXT, "1.50"),
        (r'"a\"\u00e9\n"', Kind.TEXT, 'a"é\n'),
        ('""', Kind.TEXT, ""),
        ("true", Kind.TRUE, None),
        ("false", Kind.FALSE, None),
        ("null", Kind.NULL, None),
        ("[1]", Kind.ARRAY, None),
        ('{"a": 2}', Kind.OBJECT, None),
    ],
)
def test_a_value_is_a_kind_and_a_text_with_all_digits(
    value: str, kind: Kind, text: str | None
) -> None:
    rows = pa.array([f'{{"a":  {value} }}'])
    exact = property_columns_exact(rows, ["a"])["a"]
    assert (exact.kind.to_pylist(), exact.text.to_pylist()) == ([kind], [text])
    quick = property_columns(rows, ["a"])["a"]
    assert quick.kind.to_pylist() == [kind]
    assert meaning(kind, quick.text[0].as_py()) == meaning(kind, text)


def meaning(kind: Kind, text: str | None) -> Decimal | str | None:
    """Return what is promised of a text: the value of a number, however it is written."""
    return Decimal(text) if kind == Kind.NUMBER and text is not None else text


def test_a_name_is_a_top_level_key_taken_literally() -> None:
    columns = property_columns(pa.array(['{"a.b": 3, "a": {"b": 5}}']), ["a.b", "b"])
    assert columns["a.b"].text.to_pylist() == ["3"]
    assert columns["b"].kind.to_pylist() == [Kind.MISSING]


def test_no_rows_give_empty_columns() -> None:
    column = property_columns(pa.array([], pa.string()), ["a"])["a"]
    assert (len(column.kind), len(column.text)) == (0, 0)


@given(st.lists(members, max_size=8))
def test_any_object_reads_as_an_independent_reader_reads_it(
    rows: list[list[tuple[str, str]]],
) -> None:
    properties = pa.array([written(pairs) for pairs in rows], pa.string())
    for columns in (property_columns_exact(properties, NAMES), property_columns(properties, NAMES)):
        for name in NAMES:
            for row, pairs in enumerate(rows):
                kind, text = expected(dict(pairs).get(name))
                assert columns[name].kind[row].as_py() == kind
                assert columns[name].text[row].as_py() == text


@given(st.lists(st.dictionaries(st.sampled_from(["a", "a.b", "é", "other"]), scalars), max_size=8))
def test_the_quick_reader_keeps_every_digit(rows: list[dict[str, str]]) -> None:
    properties = pa.array([written(list(pairs.items())) for pairs in rows], pa.string())
    names = ["a", "a.b", "é"]
    assert all(readable(name) for name in names)
    columns = property_columns(properties, names)
    for name in names:
        for row, pairs in enumerate(rows):
            kind, text = expected(pairs.get(name))
            assert columns[name].kind[row].as_py() == kind
            assert meaning(kind, columns[name].text[row].as_py()) == meaning(kind, text)


def expected(value: str | None) -> tuple[Kind, str | None]:
    """Say what a JSON value is, by the standard library."""
    if value is None:
        return Kind.MISSING, None
    read = json.loads(value, parse_float=Decimal, parse_int=Decimal)
    if isinstance(read, Decimal):
        return Kind.NUMBER, value
    if isinstance(read, str):
        return Kind.TEXT, read
    plain_kinds = {None: Kind.NULL, True: Kind.TRUE, False: Kind.FALSE}
    kind = Kind.ARRAY if isinstance(read, list) else Kind.OBJECT
    return (kind if isinstance(read, list | dict) else plain_kinds[read]), None


@pytest.mark.parametrize(
    ("kind", "text", "canonical"),
    [
        (Kind.NUMBER, "1", "1"),
        (Kind.NUMBER, "1.0", "1"),
        (Kind.NUMBER, "1e0", "1"),
        (Kind.NUMBER, "0.10", "0.1"),
        (Kind.NUMBER, "-0", "0"),
        (Kind.NUMBER, "-0.0", "0"),
        (Kind.NUMBER, "1e-7", "0.0000001"),
        (Kind.NUMBER, "1.1e-18", "0.000000000000000001"),
        (Kind.NUMBER, "1e20", None),
        (Kind.TEXT, "1.10", "1.10"),
        (Kind.TEXT, " A ", " A "),
        (Kind.TEXT, "", ""),
        (Kind.TRUE, None, "true"),
        (Kind.FALSE, None, "false"),
        (Kind.NULL, None, None),
        (Kind.ARRAY, None, None),
        (Kind.OBJECT, None, None),
        (Kind.MISSING, None, None),
    ],
)
def test_what_is_compared_is_the_canonical_text(
    kind: Kind, text: str | None, canonical: str | None
) -> None:
    column = canonical_text(pa.array([kind], pa.uint8()), pa.array([text], pa.string()))
    assert column.to_pylist() == [canonical]


@given(st.lists(literals, max_size=20))
def test_numbers_of_one_value_have_one_canonical_text(numbers: list[str]) -> None:
    kinds = pa.array([Kind.NUMBER] * len(numbers), pa.uint8())
    for literal, text in zip(
        numbers, canonical_text(kinds, pa.array(numbers, pa.string())).to_pylist(), strict=True
    ):
        number = read_number(literal)
        assert text == (plain(number.value) if isinstance(number, Number) else None)
