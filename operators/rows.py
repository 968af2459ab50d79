"""CSV rows as records: what a spreadsheet says, in JSON as every other door (metering.md 2.3).

The columns are the fields of an event, and either `properties.NAME`, one a property, or one column
`properties` with JSON in it. Cells are texts; blank cells are absent; other columns are ignored.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from operators.json_text import plain_json
from schemas.errors import ValidationFailed
from schemas.number import WHITE_SPACE

_FIELDS = frozenset(
    {
        "event_id",
        "event_name",
        "external_customer_id",
        "customer_id",
        "source",
        "timestamp",
    }
)
_PROPERTIES = "properties"
_PROPERTY = "properties."


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row each field and property stands; of two columns of one name the last counts."""

    width: int
    fields: dict[int, str]
    properties: dict[int, str]
    json: int | None


def csv_records(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[bytes]:
    """Turn the rows of a CSV file into records for `decode_record`, one for one and in order.

    A row that cannot be read (more or fewer cells than the header, a `properties` cell that is no
    JSON) becomes its own CSV line, which is no JSON, so that it is rejected with what it said.
    Characters that were no UTF-8 are to come as Python's "surrogateescape" gives them.

    Raises ValidationFailed if the header has both `properties` and `properties.NAME`, or no event
    name.

    >>> header = ["event_name", "external_customer_id", "source", "properties.tokens"]
    >>> list(csv_records(header, [["llm", "acme", "", "12"]]))
    [b'{"event_name":"llm","external_customer_id":"acme","properties":{"tokens":"12"}}']
    """
    columns = _columns(header)
    # The csv module hands out one row at a time; there is no column to compute on before this.
    for row in rows:
        yield _record(columns, row) if len(row) == columns.width else _refused(row)


def _columns(header: Sequence[str]) -> _Columns:
    """Find the columns by their names; a byte order mark before the first is no part of it."""
    names = [name.strip(WHITE_SPACE + "\ufeff") for name in header]
    places = {name: place for place, name in enumerate(names)}
    properties = {
        place: name.removeprefix(_PROPERTY)
        for name, place in places.items()
        if name.startswith(_PROPERTY)
    }
    if "event_name" not in places:
        raise ValidationFailed("the header names no column event_name", field="event_name")
    if _PROPERTIES in places and properties:
        raise ValidationFailed(
            "the header has both properties and properties.NAME; use one form", field=_PROPERTIES
        )
    fields = {place: name for name, place in places.items() if name in _FIELDS}
    return _Columns(len(header), fields, properties, places.get(_PROPERTIES))


def _record(columns: _Columns, row: Sequence[str]) -> bytes:
    """Write one row as the JSON text of an event."""
    members = _members(columns.fields, row)
    cell = "" if columns.json is None else row[columns.json].strip(WHITE_SPACE)
    if cell:
        # Judged alone, or a cell could close the object and add members of its own.
        written = _encoded(cell)
        if plain_json(written) is None:
            return _refused(row)
        return b"{" + b",".join([*members, b'"properties":' + written]) + b"}"
    if columns.properties:
        inner = b",".join(_members(columns.properties, row))
        members.append(b'"properties":{' + inner + b"}")
    return b"{" + b",".join(members) + b"}"


def _members(names: dict[int, str], row: Sequence[str]) -> list[bytes]:
    """Write the cells that are not blank as members of an object."""
    return [
        _text(name) + b":" + _text(row[place])
        for place, name in names.items()
        if row[place].strip(WHITE_SPACE)
    ]


def _text(text: str) -> bytes:
    return _encoded(json.dumps(text, ensure_ascii=False))


def _encoded(text: str) -> bytes:
    """Give bytes that were no UTF-8 back as they were, so that decode finds and names them."""
    return text.encode(errors="surrogateescape")


def _refused(row: Sequence[str]) -> bytes:
    """Write a row as a CSV line, every cell quoted: no JSON, but for the row of a single cell."""
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(row)
    # A comma in front, for the row with a single cell.
    return _encoded(line.getvalue() if len(row) > 1 else "," + line.getvalue())
