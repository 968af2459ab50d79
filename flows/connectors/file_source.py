"""Files as a log: NDJSON and CSV, plain or gzip, read in the order of their base names.

The position of a record is (rank of its file, number of its line). Files of one partition are read
one after the other, so that the order of the log does not depend on how the command line named
them.
"""

import csv
import gzip
import hashlib
import io
import sys
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bytewax.inputs import FixedPartitionedSource

from flows.connectors.reading import ReadAheadPartition, Reading, read_batch
from flows.metering.batches import ReadBatch
from operators.decoding import Door, Lines, read_lines
from operators.lateness import BEGINNING
from operators.rows import csv_records
from schemas.errors import InputUnreadable, ValidationFailed
from schemas.event import INSTANT, RECORDS

# While one batch is made events of, the next is looked through.
BATCHES_AHEAD = 1
BLOCK_BYTES = 1 << 24
# Far above what an event may have, so that a line is refused for what is wrong with the whole of
# it.
LINE_BYTES_MAX = 1 << 26
STDIN = "-"


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How files are read: whose events they are, how many records make a batch, and when one is late."""

    tenant_id: str
    environment_id: str
    batch_records_max: int
    event_bytes_max: int
    lateness_microseconds: int


@dataclass(frozen=True, slots=True)
class FilePosition:
    """Where to go on: the rank of the file, and how many of its lines have been read."""

    rank: int = 0
    lines: int = 0
    watermark: int = BEGINNING
    # How often each line without an id has come in this file, by its digest.
    seen: dict[bytes, int] = field(default_factory=dict)


class FileSource(FixedPartitionedSource[ReadBatch, FilePosition]):
    """The records of some files as one partition.

    `on_bytes` is told how many bytes of input have been read, from the reading thread. A file that
    cannot be read to its end ends the input there, and `failure` says why: an exception inside the
    flow would be wrapped and told twice.
    """

    def __init__(
        self,
        paths: Sequence[str],
        settings: FileSettings,
        on_bytes: Callable[[int], None] | None = None,
    ):
        self._paths = in_log_order(paths)
        self._settings = settings
        self._on_bytes = on_bytes or (lambda _: None)
        self.failure: InputUnreadable | None = None

    def list_parts(self) -> list[str]:
        """Return the one partition that all files make up."""
        return ["files"]

    def build_part(
        self, step_id: str, for_part: str, resume_state: FilePosition | None
    ) -> ReadAheadPartition[FilePosition]:
        """Read from the beginning, or from where a snapshot was."""
        return ReadAheadPartition(for_part, resume_state or FilePosition(), self._readings)

    def _readings(
        self, start: FilePosition, stop: threading.Event
    ) -> Iterator[Reading[FilePosition]]:
        """Yield batches of all files from a position on, up to the first that is broken."""
        try:
            yield from self._batches_of_files(start, stop)
        except InputUnreadable as failure:
            self.failure = failure

    def _batches_of_files(
        self, start: FilePosition, stop: threading.Event
    ) -> Iterator[Reading[FilePosition]]:
        """Yield batches of all files from a position on. Raises InputUnreadable."""
        for rank, path in enumerate(self._paths):
            if rank < start.rank or stop.is_set():
                continue
            position = start if rank == start.rank else FilePosition(rank)
            seen = Counter(position.seen)
            door = self._door(path, seen)
            watermark = position.watermark
            for after, records, lines in self._lines_ahead(rank, path, position):
                batch, watermark = read_batch(
                    records, door, watermark, self._settings.lateness_microseconds, lines
                )
                yield Reading(batch, FilePosition(rank, after, watermark, dict(seen)))

    def _lines_ahead(
        self, rank: int, path: str, position: FilePosition
    ) -> Iterator[tuple[int, pa.Table, Lines]]:
        """Yield (lines so far, RECORDS, what is in them) of a file; the next batch is read meanwhile."""
        waiting: deque[tuple[int, pa.Table, Future[Lines]]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="read lines") as reader:
            for first_line, lines in batches_of_lines(path, self._settings, self._on_bytes):
                after = first_line + len(lines)
                if after <= position.lines:
                    continue
                records = records_of_lines(rank, first_line, lines)
                records = records.slice(max(position.lines - first_line, 0))
                work = reader.submit(read_lines, records, self._settings.event_bytes_max)
                waiting.append((after, records, work))
                if len(waiting) > BATCHES_AHEAD:
                    yield _done(waiting)
            while waiting:
                yield _done(waiting)

    def _door(self, path: str, seen: Counter[bytes]) -> Door:
        """Return the door of one file: ids come from its name, the line, and how often that came before."""
        name = base_name(path)

        def fill_ids(records: pa.Table) -> pa.Array:
            return pa.array([line_id(name, line, seen) for line in records["value"].to_pylist()])

        settings = self._settings
        return Door(
            settings.tenant_id,
            settings.environment_id,
            fill_ids,
            time_required=True,
            event_bytes_max=settings.event_bytes_max,
        )


def _done(waiting: deque[tuple[int, pa.Table, Future[Lines]]]) -> tuple[int, pa.Table, Lines]:
    """Return the batch that has waited longest, when it has been read."""
    after, records, work = waiting.popleft()
    return after, records, work.result()


def line_id(name: str, line: bytes, seen: Counter[bytes]) -> str:
    """Return the id of a line without one (metering.md 2.3); each depends on the equal ones before."""
    digest = hashlib.md5(line, usedforsecurity=False).digest()
    number = seen[digest]
    seen[digest] += 1
    facts = f"{name}\x1f{number}\x1f".encode() + digest
    return f"event_{hashlib.md5(facts, usedforsecurity=False).hexdigest()}"


def base_name(path: str) -> str:
    """Return the name of a file without folder and `.gz`.

    >>> base_name("/tmp/events.ndjson.gz"), base_name("-")
    ('events.ndjson', '-')
    """
    return Path(path).name.removesuffix(".gz")


def in_log_order(paths: Sequence[str]) -> list[str]:
    """Return paths in the order of their base names, then of the paths.

    >>> in_log_order(["b/1.ndjson", "a/2.ndjson"])
    ['b/1.ndjson', 'a/2.ndjson']
    """
    return sorted(paths, key=lambda path: (base_name(path), path))


def records_of_lines(rank: int, first_line: int, lines: pa.Array) -> pa.Table:
    """Return lines as RECORDS; blank ones are left out but keep their numbers."""
    rows = len(lines)
    table = pa.table(
        [
            pa.repeat(pa.scalar(rank, pa.int32()), rows),
            pa.array(np.arange(first_line, first_line + rows, dtype=np.int64)),
            lines,
            pa.nulls(rows, pa.binary()),
            pa.nulls(rows, INSTANT),
        ],
        schema=RECORDS,
    )
    blank = pc.or_(
        pc.equal(pc.binary_length(lines), 0), pc.equal(lines, pa.scalar(b"\r", lines.type))
    )
    return table.filter(pc.invert(blank)) if pc.any(blank).as_py() else table


def batches_of_lines(
    path: str, settings: FileSettings, on_bytes: Callable[[int], None]
) -> Iterator[tuple[int, pa.Array]]:
    """Yield (number of the first line, lines) of a file, a batch at a time."""
    name = base_name(path)
    try:
        with _opened(path) as file:
            if name.endswith(".csv"):
                yield from _csv_batches(file, settings)
            else:
                yield from _line_batches(file, settings, on_bytes)
    except (OSError, EOFError, zlib.error, csv.Error, ValidationFailed) as cause:
        raise InputUnreadable(f"{path}: cannot be read to its end: {_why(cause)}") from cause


def _why(cause: BaseException) -> str:
    """Return the reason of a failed read in words."""
    if isinstance(cause, EOFError):
        return "the gzip data is cut off"
    return getattr(cause, "strerror", None) or str(cause)


def _opened(path: str) -> IO[bytes]:
    """Open a file, its unpacked form if it is gzip, or standard input."""
    if path == STDIN:
        return sys.stdin.buffer
    if path.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return Path(path).open("rb")


def _line_batches(
    file: IO[bytes], settings: FileSettings, on_bytes: Callable[[int], None]
) -> Iterator[tuple[int, pa.Array]]:
    """Yield the lines of an NDJSON file; of a monstrous line only the beginning, which is refused."""
    number = 0
    block = _Block()
    while block.fill(file, on_bytes):
        lines = block.lines()
        for start in range(0, len(lines), settings.batch_records_max):
            part = lines[start : start + settings.batch_records_max]
            yield number, part
            number += len(part)
    if block.held:
        yield number, pa.array([block.rest()], pa.large_binary())


class _Block:
    """A buffer that blocks of a file are read into, one after the other.

    It is used again for each block: fresh pages for every one would cost more than reading them.
    """

    def __init__(self) -> None:
        self._bytes = bytearray(2 * BLOCK_BYTES)
        # How many bytes at the front are the beginning of a line whose end has not been read.
        self.held = 0
        self._end = 0

    def fill(self, file: IO[bytes], on_bytes: Callable[[int], None]) -> bool:
        """Read the next block behind what is held; False at the end of the file."""
        if len(self._bytes) < self.held + BLOCK_BYTES:
            self._bytes.extend(bytes(len(self._bytes)))
        with memoryview(self._bytes) as view:
            read = cast("io.BufferedIOBase", file).readinto(
                view[self.held : self.held + BLOCK_BYTES]
            )
        self._end = self.held + read
        on_bytes(read)
        return bool(read)

    def lines(self) -> pa.Array:
        """Return the whole lines that were read, copied, and hold the beginning of the next."""
        content = np.frombuffer(self._bytes, np.uint8, self._end)
        breaks = np.flatnonzero(content == ord("\n"))
        offsets = np.zeros(breaks.size + 1, np.int64)
        offsets[1:] = breaks + 1
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
        with_breaks = pa.LargeBinaryArray.from_buffers(pa.large_binary(), breaks.size, buffers)
        lines = pc.binary_slice(with_breaks, 0, -1)
        del content, buffers, with_breaks
        end = int(offsets[-1])
        self.held = min(self._end - end, LINE_BYTES_MAX)
        self._bytes[: self.held] = self._bytes[end : end + self.held]
        return lines

    def rest(self) -> bytes:
        """Return the last line, which has no line feed behind it."""
        return bytes(self._bytes[: self.held])


def _csv_batches(file: IO[bytes], settings: FileSettings) -> Iterator[tuple[int, pa.Array]]:
    """Yield the rows of a CSV file as the JSON records that they stand for."""
    number = 0
    rows: list[bytes] = []
    # Bytes that are no UTF-8 become half surrogates, which decode refuses row by row.
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text)
        for record in csv_records(next(reader, []), reader):
            rows.append(record)
            if len(rows) == settings.batch_records_max:
                yield number, pa.array(rows, pa.large_binary())
                number, rows = number + len(rows), []
    if rows:
        yield number, pa.array(rows, pa.large_binary())


def total_bytes(paths: Sequence[str]) -> int | None:
    """Return how many bytes files unpack to, or None where that is not known before they are read."""
    if any(path == STDIN or path.endswith(".gz") or not Path(path).is_file() for path in paths):
        return None
    return sum(Path(path).stat().st_size for path in paths)
