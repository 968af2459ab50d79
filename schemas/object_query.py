"""What a list of stored objects is asked: conditions, order, page; and what each field may be asked.

A field is one that every stored object has (`status`, `created_at` …), a member of its record
(`billing_model`), or a path into it (`("metadata", "team")`). Lists are strict: what does not fit
its field is refused and named (platform.md 5, api.md 1.11).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Generic, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from schemas.errors import ValidationFailed
from schemas.stored import Stored

Record = TypeVar("Record")

Field: TypeAlias = str | tuple[str, ...]
Value: TypeAlias = str | int | Decimal | bool | datetime | tuple[str, ...] | None


class FieldKind(StrEnum):
    """What the values of a field are, which decides what may be asked of it."""

    TEXT = "text"
    NUMBER = "number"
    INSTANT = "instant"
    TRUTH = "truth"


class Operator(StrEnum):
    """How a field is compared; those for texts go by letters without regard to case."""

    EQ = "eq"
    IN = "in"
    NOT_IN = "not_in"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    BEFORE = "before"
    AFTER = "after"


# What may be asked of each kind.
OPERATORS: Mapping[FieldKind, frozenset[Operator]] = {
    FieldKind.TEXT: frozenset(
        {
            Operator.EQ,
            Operator.IN,
            Operator.NOT_IN,
            Operator.CONTAINS,
            Operator.NOT_CONTAINS,
        }
    ),
    FieldKind.NUMBER: frozenset(
        {Operator.EQ, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE}
    ),
    FieldKind.INSTANT: frozenset(
        {
            Operator.EQ,
            Operator.GT,
            Operator.GTE,
            Operator.LT,
            Operator.LTE,
            Operator.BEFORE,
            Operator.AFTER,
        }
    ),
    FieldKind.TRUTH: frozenset({Operator.EQ}),
}

# What every stored object has beside its record.
COLUMNS: Mapping[str, FieldKind] = {
    "id": FieldKind.TEXT,
    "lookup_key": FieldKind.TEXT,
    "name": FieldKind.TEXT,
    "parent_id": FieldKind.TEXT,
    "status": FieldKind.TEXT,
    "created_at": FieldKind.INSTANT,
    "updated_at": FieldKind.INSTANT,
    "created_by": FieldKind.TEXT,
    "updated_by": FieldKind.TEXT,
    "version": FieldKind.NUMBER,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold. An absent value is equal to None, and otherwise to nothing."""

    field: Field
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class Either:
    """Conditions of which one must hold, as "not ended yet" is "no end, or a later one"."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Sort:
    """A field that decides the order; absent values come last in either direction."""

    field: Field
    descending: bool = False


NEWEST_FIRST = (Sort("created_at", descending=True),)


@dataclass(frozen=True, slots=True)
class Query:
    """All conditions must hold; ties of the order are broken by id, in its last direction.

    A `limit` of None is no limit.
    """

    filters: tuple[Condition | Either, ...] = ()
    sort: tuple[Sort, ...] = NEWEST_FIRST
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page(Generic[Record]):
    """One page of a list, and how many objects its conditions hold for."""

    rows: tuple[Stored[Record], ...]
    total: int


def shown(field: Field) -> str:
    """Return a field as a caller writes it.

    >>> shown(("metadata", "team"))
    'metadata.team'
    """
    return field if isinstance(field, str) else ".".join(field)


def kind_of(record: type, field: Field) -> FieldKind:
    """Return what the values of a field of a record are.

    Raises ValidationFailed (field `field`) for one that it has not, or that is no single value.

    >>> from schemas.price import Price
    >>> kind_of(Price, "amount").value, kind_of(Price, ("metadata", "team")).value
    ('number', 'text')
    """
    if isinstance(field, str) and field in COLUMNS:
        return COLUMNS[field]
    path = (field,) if isinstance(field, str) else field
    shape: Any = record
    for part in path:
        shape = _member(_present(shape), part)
        if shape is None:
            break
    kind = _kind(_present(shape))
    if kind is None:
        raise ValidationFailed(f"there is no field {shown(field)!r} to ask for", field="field")
    return kind


_KINDS: Mapping[Any, FieldKind] = {
    int: FieldKind.NUMBER,
    Decimal: FieldKind.NUMBER,
    datetime: FieldKind.INSTANT,
    bool: FieldKind.TRUTH,
}


def _kind(shape: Any) -> FieldKind | None:
    """Return what values of a type are; words are texts."""
    if isinstance(shape, type) and issubclass(shape, str):
        return FieldKind.TEXT
    return _KINDS.get(shape)


def _present(shape: Any) -> Any:
    """Return a type without None and without the name that a NewType gives it."""
    if get_origin(shape) in (Union, UnionType):
        rest = [each for each in get_args(shape) if each is not NoneType]
        shape = rest[0] if len(rest) == 1 else None
    return getattr(shape, "__supertype__", shape)


def _member(shape: Any, name: str) -> Any:
    """Return the type of a member, None where there is none."""
    origin = get_origin(shape)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return get_args(shape)[1]
    if is_dataclass(shape) and name in {each.name for each in fields(shape)}:
        return get_type_hints(shape)[name]
    return None


def check_query(record: type, query: Query) -> None:
    """Refuse what does not fit a record, naming it: an unknown field, an operator, a value.

    Raises ValidationFailed (`field`, `operator`, `value`).
    """
    for each in query.filters:
        for condition in each.conditions if isinstance(each, Either) else (each,):
            _check(kind_of(record, condition.field), condition)
    for sort in query.sort:
        kind_of(record, sort.field)


def _check(kind: FieldKind, condition: Condition) -> None:
    """Refuse an operator or a value that does not fit the field of a condition."""
    name, operator, value = shown(condition.field), condition.operator, condition.value
    if operator not in OPERATORS[kind]:
        allowed = ", ".join(sorted(OPERATORS[kind]))
        raise ValidationFailed(f"{name} takes {allowed}, not {operator}", field="operator")
    if value is None and operator is Operator.EQ:
        return
    if operator in (Operator.IN, Operator.NOT_IN):
        fits = isinstance(value, tuple)
    elif kind is FieldKind.NUMBER:
        fits = isinstance(value, int | Decimal) and not isinstance(value, bool)
    else:
        wanted = {FieldKind.TEXT: str, FieldKind.INSTANT: datetime, FieldKind.TRUTH: bool}[kind]
        fits = isinstance(value, wanted)
    if not fits:
        expected = "a list" if operator in (Operator.IN, Operator.NOT_IN) else f"a {kind}"
        raise ValidationFailed(f"{name} is compared with {expected}", field="value")
