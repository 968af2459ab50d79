"""One connection to ClickHouse, embedded or over HTTP: Arrow in, Arrow out, failures StoreErrors.

The same client library, SQL and tables serve both. The embedded engine (chDB) holds its folder for
one process; a second process, and a second folder in this one, are refused.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from pyarrow import csv

from flows.stores.tables import COLUMNS
from schemas.errors import StoreError

SETTINGS = {
    # An insert returns when its part is on the disk, not when it is queued.
    "async_insert": "0",
    # Collapsing equal keys inside one insert costs 40 % of its time, and FINAL reads do it anyway.
    "optimize_on_insert": "0",
    # Raw bytes are no text; casting to the declared schema decides what is.
    "output_format_arrow_string_as_string": "0",
    # Filter on key columns before the wide ones are read, which FINAL would forbid otherwise.
    "optimize_move_to_prewhere_if_final": "1",
    # Without it a minute after 2106 wraps around.
    "enable_extended_results_for_datetime_functions": "1",
    # A read names its cells or ids inside the statement.
    "max_query_size": str(1 << 30),
}


class Engine:
    """A connection; cheap enough for one per thread, since calls on one wait for each other."""

    def __init__(self, client: Client):
        self._client = client

    def command(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing. Raises StoreError."""
        with _failures(statement):
            self._client.command(statement, dict(parameters or {}))

    def insert(self, table: str, rows: pa.Table) -> None:
        """Append rows, durable on return; an empty table is no statement. Raises StoreError."""
        if not rows.num_rows:
            return
        names = [COLUMNS.get(name, name) for name in rows.column_names]
        with _failures(f"insert into {table}"):
            self._client.insert_arrow(table, rows.rename_columns(names))

    def read(
        self, statement: str, schema: pa.Schema, parameters: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """Run a query whose columns come in the order of `schema`, and return it in those types."""
        with _failures(statement):
            answer = self._client.raw_query(statement, dict(parameters or {}), fmt="Arrow")
            if not answer:
                return schema.empty_table()
            table = pa.ipc.open_file(pa.BufferReader(answer)).read_all()
            return table.rename_columns(schema.names).cast(schema)

    def use(self, database: str) -> None:
        """Create a database if there is none of the name, and stay in it."""
        with _failures(f"create database {database}"):
            self._client.command(
                f"CREATE DATABASE IF NOT EXISTS {quoted_name(database)}", use_database=False
            )
            self._client.database = database

    def close(self) -> None:
        """Let go of the engine; of the last connection of a process, of its folder as well."""
        with _failures("close"):
            self._client.close()


@contextmanager
def _failures(doing: str) -> Iterator[None]:
    """Raise what the client and the engine raise as StoreError from its cause."""
    try:
        yield
    except (ClickHouseError, ImportError, OSError, RuntimeError, pa.ArrowException) as error:
        raise StoreError(f"the store refused {doing[:200]!r}: {str(error)[:500]}") from error


def connect(location: str) -> Engine:
    """Connect to a folder (embedded) or to `http(s)://user:password@host:port[?compress=lz4]`.

    Raises StoreError where the folder is held by another process or the server does not answer.
    """
    with _failures(f"connect to {urlsplit(location).hostname or location}"):
        if not location.startswith(("http://", "https://")):
            return Engine(
                clickhouse_connect.get_client(interface="chdb", path=location, settings=SETTINGS)
            )
        address = urlsplit(location)
        return Engine(
            clickhouse_connect.get_client(
                interface=address.scheme,
                host=address.hostname or "127.0.0.1",
                port=address.port or 0,
                username=address.username,
                password=address.password or "",
                compress=parse_qs(address.query).get("compress", [False])[0],
                # A session lets one query run at a time, and nothing here needs one.
                autogenerate_session_id=False,
                settings=SETTINGS,
            )
        )


def quoted_name(name: str) -> str:
    """Return an identifier as SQL writes it.

    >>> print(quoted_name("group"))
    `group`
    """
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def selected(schema: pa.Schema) -> str:
    """Return the select list that reads the columns of a schema in their order.

    >>> selected(pa.schema([("offset", pa.int64()), ("reason", pa.string())]))
    '`log_offset`, `reason`'
    """
    return ", ".join(quoted_name(COLUMNS.get(name, name)) for name in schema.names)


def select(schema: pa.Schema, source: str, *conditions: str, order: str = "") -> str:
    """Return the statement that reads the columns of a schema, in their order, from a table.

    The texts are of this program; what comes from outside is a parameter or `inline`.

    >>> select(pa.schema([("offset", pa.int64())]), "skips FINAL", "a = 1", "b", order="offset")
    'SELECT `log_offset` FROM skips FINAL WHERE a = 1 AND b ORDER BY offset'
    """
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    ordered = f" ORDER BY {order}" if order else ""
    # Nothing that a caller of the store gave is in these texts.
    return f"SELECT {selected(schema)} FROM {source}{where}{ordered}"


def inline(rows: pa.Table, structure: str) -> str:
    r"""Return rows as a table inside a statement, in the one form that both engines read.

    External tables are not to be had embedded, and temporary ones need a session over HTTP. A
    single literal costs the parser nothing, however many rows it holds.

    >>> print(inline(pa.table({"name": ["it's"], "i": [5]}), "name String, i Int64"))
    format(CSV, 'name String, i Int64', '"it\'s",5
    ')
    """
    text = io.BytesIO()
    csv.write_csv(rows, text, csv.WriteOptions(include_header=False, quoting_style="needed"))
    literal = text.getvalue().decode().replace("\\", "\\\\").replace("'", "\\'")
    return f"format(CSV, '{structure}', '{literal}')"


def among(rows: pa.Table, structure: str, columns: str) -> str:
    """Return rows as the right side of IN, with the expressions over their columns to compare.

    >>> among(pa.table({"i": [5]}), "i Int64", "i + 1").splitlines()
    ["(SELECT i + 1 FROM format(CSV, 'i Int64', '5", "'))"]
    """
    # What comes from outside is in the literal, where quotes and backslashes are escaped.
    return f"(SELECT {columns} FROM {inline(rows, structure)})"
