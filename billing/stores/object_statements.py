"""What a query asks of stored objects, as SQL: the same rows in the same order in both databases.

Members of a record are read out of its document: texts as they are, numbers compared exactly,
instants as instants. `billing/stores/memory_objects.py` is the measure.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Numeric,
    Table,
    Text,
    and_,
    cast,
    false,
    func,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from billing.stores.database import EXACT_ORDER, LOWER
from schemas.decimals import plain
from schemas.object_query import (
    COLUMNS,
    Condition,
    Either,
    Field,
    FieldKind,
    Operator,
    Query,
    Value,
    kind_of,
)

# The letters of PostgreSQL's own lower() depend on how its cluster was made.
UNICODE = "und-x-icu"


COMPARISONS: Mapping[Operator, Callable[[Any, Any], ColumnElement[bool]]] = {
    Operator.EQ: operator.eq,
    Operator.GT: operator.gt,
    Operator.AFTER: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.BEFORE: operator.lt,
    Operator.LTE: operator.le,
}


class Statements:
    """The expressions of one table in one dialect, for records of one type."""

    def __init__(self, table: Table, record: type, *, is_sqlite: bool) -> None:
        self._table = table
        self._record = record
        self._is_sqlite = is_sqlite

    def where(self, query: Query) -> ColumnElement[bool]:
        """Return the condition of all filters."""
        return and_(true(), *(self._filter(each) for each in query.filters))

    def order(self, query: Query) -> list[ColumnElement[Any]]:
        """Return what rows are ordered by, at last their ids in the direction of the last sort."""
        found: list[ColumnElement[Any]] = []
        for sort in query.sort:
            expression = self._expression(sort.field)
            ordered = expression.desc() if sort.descending else expression.asc()
            found.append(ordered.nulls_last())
        name = self._table.c.id
        descending = bool(query.sort) and query.sort[-1].descending
        return [*found, name.desc() if descending else name.asc()]

    def _filter(self, each: Condition | Either) -> ColumnElement[bool]:
        """Return one condition, or several of which one must hold."""
        if isinstance(each, Either):
            return or_(false(), *(self._condition(part) for part in each.conditions))
        return self._condition(each)

    def _condition(self, condition: Condition) -> ColumnElement[bool]:
        """Return one condition. A comparison with what is absent does not hold."""
        expression, value = self._expression(condition.field), condition.value
        asked = condition.operator
        if asked in (Operator.IN, Operator.NOT_IN):
            among = expression.in_(_plain(value))
            return among if asked is Operator.IN else or_(expression.is_(None), not_(among))
        if asked in (Operator.CONTAINS, Operator.NOT_CONTAINS):
            position = self._position(expression, str(value))
            held = position > 0
            return held if asked is Operator.CONTAINS else or_(expression.is_(None), not_(held))
        if value is None:
            return expression.is_(None)
        return COMPARISONS[asked](expression, self._operand(condition.field, value))

    def _position(self, expression: ColumnElement[Any], part: str) -> ColumnElement[int]:
        """Return where a text holds another, in any case; 0 is nowhere."""
        if self._is_sqlite:
            return func.instr(getattr(func, LOWER)(expression), part.lower())
        return func.strpos(func.lower(expression.collate(UNICODE)), part.lower())

    def _expression(self, field: Field) -> ColumnElement[Any]:
        """Return a column, or a member of the record in a form that compares as its values do."""
        if isinstance(field, str) and field in COLUMNS:
            column: ColumnElement[Any] = self._table.c[field]
            return column
        text = self._member(field if isinstance(field, tuple) else (field,))
        kind = kind_of(self._record, field)
        if kind is FieldKind.TEXT:
            return text if self._is_sqlite else text.collate("C")
        if kind is FieldKind.NUMBER:
            exact = cast(text, Text).collate(EXACT_ORDER)
            return exact if self._is_sqlite else cast(text, Numeric)
        if kind is FieldKind.INSTANT:
            bare = func.rtrim(text, "Z")
            return bare if self._is_sqlite else cast(text, TIMESTAMP(timezone=True))
        return text if self._is_sqlite else cast(text, Boolean)

    def _member(self, path: tuple[str, ...]) -> ColumnElement[Any]:
        """Return a member of the record; the last name of a path may be any text of a caller."""
        record = self._table.c.record
        if not self._is_sqlite:
            return func.json_extract_path_text(record, *path, type_=Text)
        *parents, name = path
        if not parents:
            return func.json_extract(record, f"$.{name}")
        members = func.json_each(record, ".".join(("$", *parents))).table_valued("key", "value")
        return select(members.c.value).where(members.c.key == name).scalar_subquery()

    def _operand(self, field: Field, value: Value) -> Any:
        """Return a value in the form of its field; columns have types of their own."""
        if isinstance(value, str):
            return str(value)
        if not self._is_sqlite or (isinstance(field, str) and field in COLUMNS):
            return value
        if isinstance(value, datetime):
            # As documents have it: the whole second, or its microseconds.
            return value.astimezone(UTC).replace(tzinfo=None).isoformat()
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            return plain(Decimal(value))
        return value


def _plain(value: Value) -> list[str]:
    """Return the texts of a list; a driver may take a word of ours for its name."""
    assert isinstance(value, tuple), "checked with the query"
    return [str(each) for each in value]
