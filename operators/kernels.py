"""Columns through DuckDB: one in-memory engine a borrower, used for its vectorised functions only.

A kernel is borrowed for one call, so that threads never share one and none is made anew for each
batch.
"""

import atexit
from collections import deque
from collections.abc import Mapping

import duckdb
import pyarrow as pa

_idle: deque[duckdb.DuckDBPyConnection] = deque()
# The interpreter takes modules apart before it closes what they hold, and DuckDB complains of that.
atexit.register(_idle.clear)


def _made() -> duckdb.DuckDBPyConnection:
    """Make an engine of one thread: flows run several batches at once instead."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET threads = 1")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def select(query: str, **tables: pa.Table) -> pa.Table:
    """Run a query over Arrow tables, each known in it by its keyword; rows keep their order.

    >>> select("SELECT a + 1 AS b FROM rows", rows=pa.table({"a": [1]}))["b"].to_pylist()
    [2]
    """
    return select_with(query, tables)


def select_with(query: str, tables: Mapping[str, pa.Table]) -> pa.Table:
    """Run a query over Arrow tables that are named in a mapping; see `select`."""
    try:
        connection = _idle.pop()
    except IndexError:
        connection = _made()
    try:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(query).to_arrow_table()
    finally:
        for name in tables:
            connection.unregister(name)
        _idle.append(connection)
