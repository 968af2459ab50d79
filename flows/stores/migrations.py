"""Bringing a database to the newest numbered DDL, each file once."""

from importlib.resources import files
from threading import Lock

import pyarrow as pa

from flows.stores.engine import Engine

# Threads of one process open their own connections to one engine at the same time.
_ONE_AT_A_TIME = Lock()

APPLIED = pa.schema([pa.field("number", pa.int32(), nullable=False)])


def migrate(engine: Engine) -> list[int]:
    """Apply the files of schemas/sql/clickhouse that are new here, and return their numbers.

    Each statement creates what is not there yet, so that a file whose application was cut short, or
    was begun by two processes, can be applied again. Raises StoreError.
    """
    with _ONE_AT_A_TIME:
        engine.command(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number Int32, name String) "
            "ENGINE = ReplacingMergeTree ORDER BY number"
        )
        applied = engine.read("SELECT number FROM schema_migrations FINAL", APPLIED)
        seen = set(applied["number"].to_pylist())
        pending = {
            number: (name, text)
            for name, text in numbered_files()
            if (number := int(name[:4])) not in seen
        }
        for number, (name, text) in pending.items():
            for statement in statements(text):
                engine.command(statement)
            engine.insert(
                "schema_migrations",
                pa.table({"number": pa.array([number], pa.int32()), "name": [name]}),
            )
        return list(pending)


def numbered_files() -> list[tuple[str, str]]:
    """Return name and text of each DDL file, in the order of their numbers."""
    folder = files("schemas") / "sql" / "clickhouse"
    return sorted(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )


def statements(text: str) -> list[str]:
    r"""Split a DDL file at the semicolons that end a line; comment lines are left out.

    >>> statements("-- One.\nCREATE a;\nCREATE b\n(c);\n")
    ['CREATE a', 'CREATE b\n(c)']
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = "\n".join(lines).split(";\n")
    return [part.strip().rstrip(";") for part in parts if part.strip()]
