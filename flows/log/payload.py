"""The form of one accepted batch in the embedded log: its records as an Arrow stream, with a checksum.

The checksum covers the place of the batch as well as its bytes, so that a row which was torn, or moved,
or cut is told from one that is whole.
"""

import struct
import zlib
from dataclasses import dataclass

import pyarrow as pa

from flows.log.event_log import APPENDED

# Small batches take fewer bytes as they are; large ones an eighth of them, in less time than the disk needs
# for the rest.
COMPRESSED_BYTES_MIN = 16 * 1024
_PLACE = struct.Struct("<qqq")


class Damaged(Exception):
    """The bytes of a batch are not those that were appended; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One accepted batch as it is kept, before it has a place; `appended_at_us` is its last receipt time."""

    record_count: int
    appended_at_us: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A batch in its place, as the file gives it back; nothing in it is trusted before it is verified."""

    first_offset: int
    record_count: int
    appended_at_us: int
    checksum: int
    payload: bytes


def pack(records: pa.Table) -> Batch:
    """Return records as the log keeps them; there is at least one.

    in: APPENDED
    """
    assert records.schema.equals(APPENDED), records.schema
    compression = "zstd" if records.get_total_buffer_size() >= COMPRESSED_BYTES_MIN else None
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, APPENDED, options=options) as stream:
        stream.write_table(records.combine_chunks())
    # For a single record a kernel of Arrow takes longer to call than all the rest.
    received = records["received_at"].to_numpy().max().astype("datetime64[us]").astype("int64")
    return Batch(records.num_rows, int(received), sink.getvalue().to_pybytes())


def checksum_of(batch: Batch, first_offset: int) -> int:
    """Return the checksum of a batch in its place.

    >>> batch = Batch(1, 0, b"records")
    >>> checksum_of(batch, 7) == checksum_of(batch, 8)
    False
    """
    place = _PLACE.pack(first_offset, batch.record_count, batch.appended_at_us)
    return zlib.crc32(place, zlib.crc32(batch.payload))


def unpack(row: Row) -> pa.RecordBatch:
    """Return the records of a row, after a look at its checksum.

    out: APPENDED

    Raises Damaged if they are not what was appended.
    """
    batch = Batch(row.record_count, row.appended_at_us, row.payload)
    if checksum_of(batch, row.first_offset) != row.checksum:
        raise Damaged("its checksum does not fit")
    try:
        records = pa.ipc.open_stream(row.payload).read_next_batch()
    except (pa.ArrowException, OSError, StopIteration) as cause:
        raise Damaged(f"it cannot be decoded: {cause}") from cause
    if not records.schema.equals(APPENDED):
        raise Damaged("it holds other columns")
    if records.num_rows != row.record_count:
        raise Damaged(f"it holds {records.num_rows} records where {row.record_count} were appended")
    return records
