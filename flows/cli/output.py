"""Writers of answers: rows as a table for people, or as JSON, CSV or Parquet for machines.

Answers go to stdout and nothing else does; progress and counts go to stderr. Rows are mappings of
one set of columns; a Decimal is shown in plain digits and an instant in RFC 3339 with Z.
"""

# ruff: noqa: PLC0415 - what is heavy is imported where it is needed: --help must not load it.

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, object]


class Figure(str):
    """A number that is shown as it is written, with the zeros at its end."""

    __slots__ = ()


# Wide enough that nothing is cut where stdout is a file or a pipe.
PIPE_COLUMNS = 240


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def instant_text(at: datetime) -> str:
    """Return an aware UTC instant as the wire shows it; a fraction only where there is one.

    >>> from datetime import UTC
    >>> instant_text(datetime(2026, 1, 1, tzinfo=UTC))
    '2026-01-01T00:00:00Z'
    """
    return at.isoformat().replace("+00:00", "Z")


def shown(value: object) -> object:
    """Return a value as machines read it: decimals and instants as text, the rest as it is.

    >>> shown(Decimal("2.50")), shown(None)
    ('2.5', None)
    """
    if isinstance(value, Decimal):
        from schemas.decimals import plain

        return plain(value)
    if isinstance(value, datetime):
        return instant_text(value)
    return value


def write_json(document: object) -> None:
    """Write one JSON document; each member of a list is a line of its own, so it can be grepped."""
    if isinstance(document, list):
        lines = ",\n".join(json.dumps(member, ensure_ascii=False) for member in document)
        sys.stdout.write(f"[\n{lines}\n]\n" if document else "[]\n")
    else:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def csv_text(columns: Sequence[str], rows: Iterable[Row]) -> str:
    r"""Return rows as CSV (RFC 4180 quoting, lines end in LF) with a header; null is an empty cell.

    >>> csv_text(["customer", "value"], [{"customer": "a,b", "value": Decimal("1.0")}])
    'customer,value\n"a,b",1\n'
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if (cell := shown(row[name])) is None else cell for name in columns])
    return out.getvalue()


def write_parquet(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as one Parquet file; decimals are texts, since a sum may need over 38 digits."""
    import pyarrow as pa
    from pyarrow import parquet

    def typed(name: str) -> "pa.Array[Any]":
        cells = [row[name] for row in rows]
        if any(isinstance(cell, datetime) for cell in cells):
            return pa.array(cells, pa.timestamp("us", "UTC"))
        if any(isinstance(cell, int) for cell in cells):
            return pa.array(cells, pa.int64())
        return pa.array([shown(cell) for cell in cells], pa.string())

    buffer = io.BytesIO()
    parquet.write_table(pa.table({name: typed(name) for name in columns}), buffer)
    sys.stdout.buffer.write(buffer.getvalue())
    sys.stdout.buffer.flush()


def write_rows(columns: Sequence[str], rows: Sequence[Row], form: Format, *, title: str) -> None:
    """Write rows to stdout in the asked form; `title` heads the table for people."""
    if form is Format.JSON:
        write_json([{name: shown(row[name]) for name in columns} for row in rows])
    elif form is Format.CSV:
        sys.stdout.write(csv_text(columns, rows))
    elif form is Format.PARQUET:
        write_parquet(columns, rows)
    else:
        write_table(columns, rows, title=title)


def write_table(columns: Sequence[str], rows: Sequence[Row], *, title: str) -> None:
    """Write rows as a table for people; numbers stand to the right.

    NO_COLOR and a stdout that is no terminal are respected by the console itself.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold")
    for name in columns:
        numeric = any(isinstance(row[name], int | Decimal | Figure) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        # Text keeps square brackets of data from being read as markup.
        cells = ("" if (cell := shown(row[name])) is None else str(cell) for name in columns)
        table.add_row(*map(Text, cells))
    console().print(table)


def console() -> "Console":
    """Return the console of stdout, as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def say(text: str) -> None:
    """Write one line of progress or counts to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
