"""What the tables of a scope share: a key that begins with the scope, and references within it."""

from typing import Annotated

from sqlalchemy import ForeignKeyConstraint, Index, Table, and_, bindparam, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.elements import ColumnElement

from billing.stores.columns import Identifier

# A name that rows are looked up, joined and ordered by.
Id = Annotated[str, mapped_column(Identifier)]


class Scoped:
    """A row of one environment: ids that are derived from facts may be equal in two of them."""

    tenant_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-2)
    environment_id: Mapped[str] = mapped_column(primary_key=True, sort_order=-1)


def refers_to(table: str, column: str) -> ForeignKeyConstraint:
    """Return the constraint of a column that names the id of a row in the same scope."""
    return ForeignKeyConstraint(
        ["tenant_id", "environment_id", column],
        [f"{table}.tenant_id", f"{table}.environment_id", f"{table}.id"],
    )


def index(name: str, *columns: str, where: str | None = None, unique: bool = False) -> Index:
    """Return an index on columns within the scope, of the rows that a condition picks."""
    condition = None if where is None else text(where)
    return Index(
        name,
        "tenant_id",
        "environment_id",
        *columns,
        unique=unique,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def table_of(row: type[DeclarativeBase]) -> Table:
    """Return the table of a model, for statements about many rows."""
    table = row.__table__
    assert isinstance(table, Table)
    return table


def here(row: type[Scoped]) -> ColumnElement[bool]:
    """Return the condition that every statement has: the rows of the scope it is run in.

    Its parameters are not called as the columns, which an UPDATE would set.
    """
    return and_(
        row.tenant_id == bindparam("in_tenant"),
        row.environment_id == bindparam("in_environment"),
    )
