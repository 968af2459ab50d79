"""Column types that give the same values in SQLite and PostgreSQL."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import JSON, DateTime, Dialect, Numeric, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from schemas.access import Role
from schemas.decimals import plain

# Of fixed width, so that SQLite's order of texts is the order of the instants.
SQLITE_INSTANT_CHARACTERS = 27

W = TypeVar("W", bound=StrEnum)


class Instant(TypeDecorator[datetime]):
    """An instant to the microsecond: aware UTC in and out, in both databases.

    PostgreSQL keeps a timestamptz; SQLite, which has no such type, RFC 3339 text of fixed width.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that a database has for an instant."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(SQLITE_INSTANT_CHARACTERS))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what is stored; an instant without a zone is a bug of its caller."""
        if value is None:
            return None
        assert value.tzinfo is not None, "an instant needs a zone"
        at = value.astimezone(UTC)
        # isoformat keeps the zeros before a year below 1000, which strftime drops.
        return (
            at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
            if dialect.name == "sqlite"
            else at
        )

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return the instant that was stored."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value).astimezone(UTC)
        stored: datetime = value
        return stored.astimezone(UTC)


class Roles(TypeDecorator[tuple[Role, ...]]):
    """The roles of a key, in one text; they are fixed when the key is made and read as a whole."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[Role, ...] | None, dialect: Dialect) -> str | None:
        """Return the roles as one text."""
        del dialect
        return None if value is None else " ".join(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[Role, ...] | None:
        """Return the roles that were stored."""
        del dialect
        return None if value is None else tuple(Role(name) for name in str(value).split())


class Identifier(TypeDecorator[str]):
    """A text that is ordered by its characters' numbers, as Python and SQLite order texts.

    PostgreSQL would order by the language of its cluster, and pages would differ.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that a database has for such a text."""
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(collation=collation))


class Word(TypeDecorator[W], Generic[W]):
    """A word of a closed list, stored as its value."""

    impl = String
    cache_ok = True

    def __init__(self, words: type[W]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: W | None, dialect: Dialect) -> str | None:
        """Return the word as a plain text; a driver may store the name of a member otherwise."""
        del dialect
        return None if value is None else value.value

    def process_result_value(self, value: Any, dialect: Dialect) -> W | None:
        """Return the word that was stored."""
        del dialect
        return None if value is None else self.words(value)


class Exact(TypeDecorator[Decimal]):
    """An exact decimal of any length: NUMERIC in PostgreSQL, plain text in SQLite.

    SQLite has no decimals, and would make binary floats of them; so sums are made in Python.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that a database has for a decimal."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Return what is stored."""
        if value is None or dialect.name != "sqlite":
            return value
        return plain(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the number that was stored."""
        del dialect
        return None if value is None else Decimal(value)


class Document(TypeDecorator[Any]):
    """A record as one JSON document, which comes back equal to what was stored.

    `shape` is the record's type: frozen dataclasses of decimals (texts), instants, words and
    mappings of those. Queries may look inside by `column["member"].as_string()`. The engine must
    hand JSON texts through as they are (`billing.stores.database`).
    """

    impl = JSON
    cache_ok = True

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self._decoder = msgspec.json.Decoder(shape)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Return the JSON of a record."""
        del dialect
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return the record of a JSON text."""
        del dialect
        return None if value is None else self._decoder.decode(value)
