"""One transaction of one scope: its reads, its writes, and the locks that PostgreSQL needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Insert, Row, Select, literal_column, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase

from billing.stores.database import WAIT_SECONDS_MAX
from billing.stores.failures import REFUSALS, code_of
from billing.stores.scoped import table_of
from schemas.errors import AlreadyExists, Refused, VersionConflict
from schemas.ids import CustomerId
from schemas.scope import Scope

T = TypeVar("T")
Values = Mapping[str, object]

# Rows named in one statement: SQLite takes 32,766 parameters, and plans are kept by their number.
NAMED_ROWS_MAX = 500

# Waiting for anything is bounded from the first lock on, as it is in SQLite.
LOCK = text(
    f"SELECT set_config('lock_timeout', '{WAIT_SECONDS_MAX}s', true), pg_advisory_xact_lock(:lock)"
)


class Upsert:
    """A statement that inserts rows, or replaces those of their primary keys that a condition allows.

    The condition compares the old row, by the name of its table, with the one that comes, which is
    called `excluded`; a row that it does not allow is not counted. Without a condition any row is
    replaced; with `replaces=False` none is. `sets` says which columns become what, in place of all.
    """

    def __init__(
        self,
        row: type[DeclarativeBase],
        *,
        where: str | None = None,
        sets: Mapping[str, str] | None = None,
        replaces: bool = True,
    ) -> None:
        self._table = table_of(row)
        self._condition = None if where is None else text(where)
        self._sets = sets
        self._replaces = replaces
        self._made: dict[str, Executable] = {}

    def of(self, dialect: str) -> Executable:
        """Return the statement as a database has it."""
        found = self._made.get(dialect)
        if found is None:
            found = self._made[dialect] = self._make(dialect)
        return found

    def _make(self, dialect: str) -> Executable:
        make = sqlite.insert if dialect == "sqlite" else postgresql.insert
        statement = make(self._table)
        keys = [column.name for column in self._table.primary_key.columns]
        if not self._replaces:
            return statement.on_conflict_do_nothing(index_elements=keys)
        if self._sets is None:
            changed = [each.name for each in self._table.columns if each.name not in keys]
            sets = {name: statement.excluded[name] for name in changed}
        else:
            sets = {name: literal_column(value) for name, value in self._sets.items()}
        made: Executable = statement.on_conflict_do_update(
            index_elements=keys,
            set_=sets,
            where=self._condition,
        )
        return made.execution_options(preserve_rowcount=True)


def next_version(row: type[DeclarativeBase]) -> Upsert:
    """Return the statement that inserts rows, or replaces those that are one version behind."""
    return Upsert(row, where=f"{table_of(row).name}.version = excluded.version - 1")


class Transaction:
    """The open transaction of a connection; every statement is run for its scope."""

    def __init__(self, connection: Connection, scope: Scope) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._columns = {
            "tenant_id": scope.tenant_id,
            "environment_id": scope.environment_id,
        }
        self._here = {"in_tenant": scope.tenant_id, "in_environment": scope.environment_id}
        self._scope = {**self._columns, **self._here}
        self._accounts: set[CustomerId] = set()

    def one(self, statement: Select[T], **values: object) -> T | None:
        """Return the one value of the one row, None if there is none."""
        found: T | None = self._connection.scalar(statement, {**self._scope, **values})
        return found

    def all(self, statement: Select[T], **values: object) -> tuple[T, ...]:
        """Return the one value of each row."""
        return tuple(self._connection.scalars(statement, {**self._scope, **values}))

    def rows(self, statement: Executable, **values: object) -> Sequence[Row[Any]]:
        """Return rows of several values."""
        return self._connection.execute(statement, {**self._scope, **values}).all()

    def write(
        self,
        statement: Executable | Upsert,
        rows: Sequence[Values],
        *,
        taken: Refused | None = None,
    ) -> int:
        """Write rows in their order, and return how many were written.

        A row that a unique constraint refuses raises `taken`, or AlreadyExists.
        """
        if not rows:
            return 0
        made = statement.of(self._dialect) if isinstance(statement, Upsert) else statement
        scope = self._columns if isinstance(made, Insert) else self._here
        scoped = [{**scope, **row} for row in rows]
        try:
            return self._connection.execute(made, scoped).rowcount
        except IntegrityError as error:
            refusal = REFUSALS.get(code_of(error.orig))
            if taken is not None and refusal is not None and type(refusal()) is AlreadyExists:
                raise taken from error
            raise

    def advance(
        self,
        statement: Executable | Upsert,
        rows: Sequence[Values],
        what: str,
        *,
        taken: Refused | None = None,
    ) -> None:
        """Write all of the rows, which tell of `what`; raises VersionConflict where one was outrun."""
        if self.write(statement, rows, taken=taken) != len(rows):
            raise VersionConflict(f"{what} moved on meanwhile: read again and repeat")

    def named(self, statement: Executable, names: Sequence[str]) -> None:
        """Run a statement that is about the rows of many `names`, some at a time."""
        for first in range(0, len(names), NAMED_ROWS_MAX):
            some = names[first : first + NAMED_ROWS_MAX]
            self._connection.execute(statement, {**self._here, "names": some})

    def lock(self, kind: str, *name: str) -> None:
        """Let no other transaction hold this lock until the end; SQLite has one writer anyway.

        Raises StoreError for a lock that does not come in time.
        """
        if self._dialect == "sqlite":
            return
        digest = blake2b(digest_size=8)
        for part in (*self._columns.values(), kind, *name):
            digest.update(f"{len(part)}:{part}".encode())
        key = int.from_bytes(digest.digest(), "big", signed=True)
        self._connection.execute(LOCK, {"lock": key})

    def lock_accounts(self, customers: Iterable[CustomerId]) -> None:
        """Let nobody else change what these customers have, those first who come first by id."""
        for name in sorted(set(customers) - self._accounts):
            self.lock("account", name)
            self._accounts.add(name)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Do all that is inside, or nothing of it if anything is raised."""
        held = self._accounts.copy()
        try:
            with self._connection.begin_nested():
                yield
        except BaseException:
            # The locks that were taken inside went with the rest.
            self._accounts = held
            raise
