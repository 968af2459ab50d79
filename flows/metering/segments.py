"""Durable segments: what a shard of cells has taken in since its last snapshot, as an Arrow file.

A snapshot holds the names of segments, never their rows: each is written once, synced, and immutable. All
segments of a manifest merged together are the state, because partials merge in any order.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from operators.partials import Partials, empty
from schemas.errors import StoreError

_TYPE = b"aggregation_type"
_KIND = b"kind"


@dataclass(frozen=True, slots=True)
class Segment:
    """The name of one segment in its folder, and how many rows it has."""

    name: str
    row_count: int


def write_segment(folder: Path, name: str, parts: Mapping[str, Partials]) -> Segment:
    """Write partials by aggregation type; they are on the disk when this returns.

    A file of the same name is replaced: what a crashed run left behind was never named by a snapshot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, draft = folder / name, folder / f"{name}.draft"
    rows = 0
    with draft.open("wb") as file:
        for aggregation_type, partials in parts.items():
            for kind, table in ((b"rows", partials.table), (b"members", partials.members)):
                if table is not None and table.num_rows:
                    _append(file, table, {_TYPE: aggregation_type.encode(), _KIND: kind})
                    rows += table.num_rows
        file.flush()
        os.fsync(file.fileno())
    draft.rename(target)
    sync_folder(folder)
    return Segment(name, rows)


def _append(file: object, table: pa.Table, metadata: dict[bytes, bytes]) -> None:
    """Write one table as an Arrow stream of its own."""
    described = table.combine_chunks().replace_schema_metadata(metadata)
    with pa.ipc.new_stream(file, described.schema) as writer:
        writer.write_table(described)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_segment(folder: Path, segment: Segment) -> dict[str, Partials]:
    """Read a segment back. Raises StoreError if it is not whole."""
    tables: dict[tuple[str, bytes], pa.Table] = {}
    path = folder / segment.name
    try:
        with path.open("rb") as file:
            end = path.stat().st_size
            while file.tell() < end:
                with pa.ipc.open_stream(file) as reader:
                    table = reader.read_all()
                metadata = table.schema.metadata
                key = (metadata[_TYPE].decode(), metadata[_KIND])
                tables[key] = table.replace_schema_metadata(None)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as cause:
        raise StoreError(f"the segment {segment.name} cannot be read: {cause}") from cause
    if sum(table.num_rows for table in tables.values()) != segment.row_count:
        raise StoreError(f"the segment {segment.name} is not whole: rows are missing")
    types = dict.fromkeys(aggregation_type for aggregation_type, _ in tables)
    return {
        name: Partials(tables[name, b"rows"], tables.get((name, b"members"), empty(name).members))
        for name in types
    }
