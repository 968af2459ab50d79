"""Queries over named columns, for rows that are made of several tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, true

from billing.stores.object_statements import Statements
from schemas.object_query import Field, Query, Value


class ColumnStatements(Statements):
    """What a query asks, as SQL over columns; `ties` name those that decide between equal rows."""

    def __init__(
        self,
        columns: Mapping[str, ColumnElement[Any]],
        ties: Sequence[str] = ("id",),
        *,
        is_sqlite: bool,
    ) -> None:
        self._columns = columns
        self._ties = ties
        self._is_sqlite = is_sqlite

    def where(self, query: Query) -> ColumnElement[bool]:
        """Return the condition of all filters."""
        return and_(true(), *(self._filter(each) for each in query.filters))

    def order(self, query: Query) -> list[ColumnElement[Any]]:
        """Return what rows are ordered by, the ties in the direction of the last sort."""
        found: list[ColumnElement[Any]] = []
        for sort in query.sort:
            expression = self._expression(sort.field)
            ordered = expression.desc() if sort.descending else expression.asc()
            found.append(ordered.nulls_last())
        descending = bool(query.sort) and query.sort[-1].descending
        for name in self._ties:
            column = self._columns[name]
            found.append(column.desc() if descending else column.asc())
        return found

    def _expression(self, field: Field) -> ColumnElement[Any]:
        """Return the column of a field."""
        assert isinstance(field, str), "columns have names"
        return self._columns[field]

    def _operand(self, field: Field, value: Value) -> Any:
        """Return a value as its column compares it; a driver may take a word of ours for its name."""
        del field
        return str(value) if isinstance(value, str) else value
