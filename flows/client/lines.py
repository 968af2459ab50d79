"""Files taken apart for sending: decoded columns, with the ids that `tally meter` gives the same lines.

A line without an id gets it from the name of its file, its bytes and how many equal lines came before
(metering.md 2.3), so that the same file sent again holds nothing new. A record without a timestamp
keeps none: the door stamps it, and what a door fills in is no content.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flows.connectors.file_source import (
    LINE_BYTES_MAX,
    STDIN,
    FileSettings,
    base_name,
    batches_of_lines,
    in_log_order,
    line_id,
    records_of_lines,
)
from operators.decoding import Door, decode
from operators.windows import EPOCH
from schemas.errors import InputUnreadable
from schemas.event import INSTANT

BATCH_LINES = 20_000

__all__ = ["STDIN", "FileBatch", "expect_readable", "file_batches", "in_log_order", "known_bytes"]


@dataclass(frozen=True, slots=True)
class FileBatch:
    """The records of lines that stand after each other; `end_line` is the first line behind them.

    `events` (EVENTS) have their ids; their tenant and environment are what the record names, "" if it
    names none. Of an event without a timestamp `timestamp_given` is false, and the time means nothing.
    `rejected` (REJECTED) are the malformed ones. In both `offset` is the number of the line.
    `sizes` holds the bytes of every line from `first_line` on, its line feed included.
    """

    first_line: int
    end_line: int
    events: pa.Table
    rejected: pa.Table
    sizes: npt.NDArray[np.int64]

    def bytes_between(self, start: int, end: int) -> int:
        """Return how many bytes some lines have."""
        return int(self.sizes[start - self.first_line : end - self.first_line].sum())


def file_batches(path: str, after_lines: int = 0) -> Iterator[FileBatch]:
    """Yield the records of a file behind its first `after_lines`, a batch at a time.

    Those first lines are read all the same: the ids of later lines count them. How long a line may be
    is left to who takes it. Standard input is read in blocks of 16 MiB or to its end. Raises
    InputUnreadable.
    """
    seen: Counter[bytes] = Counter()
    name = base_name(path)

    def fill_ids(records: pa.Table) -> pa.Array:
        return pa.array([line_id(name, line, seen) for line in records["value"].to_pylist()])

    door = Door("", "", fill_ids, event_bytes_max=LINE_BYTES_MAX)
    settings = FileSettings("", "", BATCH_LINES, LINE_BYTES_MAX, 0)
    for first_line, lines in batches_of_lines(path, settings, lambda _: None):
        decoded = decode(_stamped(records_of_lines(0, first_line, lines)), door)
        end_line = first_line + len(lines)
        if end_line > after_lines:
            sizes = pc.binary_length(lines).to_numpy(zero_copy_only=False).astype(np.int64) + 1
            events, rejected = decoded.events, decoded.rejected
            if first_line < after_lines:
                events, rejected = (_from_line(rows, after_lines) for rows in (events, rejected))
            yield FileBatch(first_line, end_line, events, rejected, sizes)


def _stamped(records: pa.Table) -> pa.Table:
    """Return records with some receipt time, so that they need none of their own."""
    received = pa.repeat(pa.scalar(EPOCH, INSTANT), records.num_rows)
    return records.set_column(
        records.schema.get_field_index("received_at"), records.schema.field("received_at"), received
    )


def _from_line(rows: pa.Table, line: int) -> pa.Table:
    """Return the rows that stand at a line or behind it."""
    return rows.filter(pc.greater_equal(rows["offset"], line)).combine_chunks()


def expect_readable(paths: list[str]) -> None:
    """Raise InputUnreadable for the first path that is no file: better now than after an hour."""
    for path in paths:
        if path != STDIN and not Path(path).exists():
            raise InputUnreadable(f"{path}: no such file")
        if Path(path).is_dir():
            raise InputUnreadable(f"{path}: is a folder")


def known_bytes(path: str) -> int | None:
    """Return how many bytes the lines of a file have; None where that is not known before they are read.

    A row of CSV and its record differ in length, and a packed file says nothing of what it holds.
    """
    is_plain = path != STDIN and not path.endswith(".gz") and not base_name(path).endswith(".csv")
    return Path(path).stat().st_size if is_plain and Path(path).is_file() else None
