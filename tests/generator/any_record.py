"""Any record of a type, as Hypothesis makes them: every member of every kind that records have."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Whatever a body may hold; PostgreSQL has no texts with zeros in them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PLAIN: dict[object, SearchStrategy[Any]] = {
    str: TEXTS,
    int: st.integers(0, 2**31 - 1),
    bool: st.booleans(),
    Decimal: st.decimals(-(10**18), 10**18, allow_nan=False, places=9),
    datetime: st.datetimes(
        datetime(1, 1, 2, tzinfo=UTC).replace(tzinfo=None),
        datetime(9999, 12, 30, tzinfo=UTC).replace(tzinfo=None),
        timezones=st.just(UTC),
    ),
    type(None): st.none(),
}


def any_record(shape: Any, **members: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return records of a type, with some members of one's own."""
    if shape in PLAIN:
        return PLAIN[shape]
    if hasattr(shape, "__supertype__"):
        return any_record(shape.__supertype__)
    origin, parts = get_origin(shape), get_args(shape)
    if origin is not None:
        return _composed(origin, [any_record(part) for part in parts if part is not Ellipsis])
    if isinstance(shape, type) and issubclass(shape, StrEnum):
        return st.sampled_from(shape)
    assert is_dataclass(shape), shape
    hints = get_type_hints(shape)
    drawn = {each.name: any_record(hints[each.name]) for each in fields(shape)}
    return st.builds(shape, **{**drawn, **members})


def _composed(origin: Any, parts: list[SearchStrategy[Any]]) -> SearchStrategy[Any]:
    """Return one of several shapes, or a few of one."""
    if origin in (Union, types.UnionType):
        return st.one_of(*parts)
    if origin is tuple:
        return st.lists(parts[0], max_size=3).map(tuple)
    assert origin is Mapping, origin
    return st.dictionaries(parts[0], parts[1], max_size=3)
