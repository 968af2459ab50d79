"""Decode: a batch of records to a batch of events, columnar where that is provably exact.

A record takes the fast path if it passes a guard: it is one line of a small sublanguage of JSON
(below), and no key is repeated in it or in its properties. Inside that sublanguage the vectorised
reader and the exact reader agree on every digit, which the tests prove against `operators.exact`.
Every other record, malformed or merely unusual, takes the exact path, one at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from operators.exact import Form, decode_form
from operators.guard import passes_guard, repeats_a_key
from operators.kernels import select
from schemas.event import EVENTS, INSTANT, RECORDS, REJECTED
from schemas.verdict import Rejection

EVENT_BYTES_MAX = 1_000_000
_FIELD_BYTES_MAX = 1024

_TEXTS = (
    "event_id",
    "event_name",
    "external_customer_id",
    "customer_id",
    "source",
    "timestamp",
    "id",
    "tenant_id",
    "environment_id",
    "ingested_at",
)
_SHAPE = ", ".join([*(f'"{name}": "VARCHAR"' for name in _TEXTS), '"properties": "JSON"'])
# The keys of both levels come as one text, so that each distinct list is looked at once.
_READ = f"""
SELECT
    array_to_string(keys[1], chr(31)) AS keys,
    array_to_string(keys[2], chr(31)) AS property_keys,
    unnest(json_transform(line, '{{{_SHAPE}}}'))
FROM (SELECT line, json_keys(line, ['$', '$.properties']) AS keys FROM records)
"""

# RFC 3339 in the years that lie whole within the accepted range; other spellings take the exact
# path.
_YEAR = "(?:19(?:7[1-9]|[89][0-9])|20[0-9]{2}|21(?:[0-8][0-9]|9[0-8]))"
_LEAP_YEAR = (
    "(?:19(?:7[26]|8[048]|9[26])|20(?:[02468][048]|[13579][26])"
    "|21(?:0[48]|[2468][048]|[13579][26]))"
)
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_INSTANT_TEXT = rf"^{_DATE}T{_CLOCK}(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
_INSTANT_TEXT_OR_NONE = rf"(?:{_INSTANT_TEXT})|^$"
_MICROSECOND_TEXT_BYTES = len("2026-02-03T04:05:06.123456Z")
_FINE_FRACTION = r"(\.[0-9]{6})[0-9]{1,3}"
_PADDED = r"^[\t-\r ]|[\t-\r ]$"


@dataclass(frozen=True, slots=True)
class Door:
    """Where records come in, and what it fills in where a sender left something out.

    `fill_ids` gets the RECORDS rows without an id and returns one id for each; it must answer the
    same on every replay (metering.md 2.3). `time_required` is true for files that are read in
    place. Of a `form` other than that of a record nobody names a tenant, an environment, a receipt
    time, or an id as `id`.
    """

    tenant_id: str
    environment_id: str
    fill_ids: Callable[[pa.Table], pa.Array]
    time_required: bool = False
    event_bytes_max: int = EVENT_BYTES_MAX
    form: Form = Form.RECORD


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of records turned out to be: EVENTS rows and REJECTED rows, each in log order.

    `event_rows` tells from which row of the batch each event came, `plain` which of them took the
    fast path.
    """

    events: pa.Table
    event_rows: np.ndarray
    plain: np.ndarray
    rejected: pa.Table


@dataclass(frozen=True, slots=True)
class Lines:
    """The records of a batch that passed the guard: their rows, and what the quick reader found there."""

    rows: np.ndarray
    read: pa.Table | None


def read_lines(records: pa.Table, event_bytes_max: int) -> Lines:
    """Do the larger part of `decode`, which depends on nothing but the records, perhaps ahead of it.

    in:  RECORDS
    """
    if not records.num_rows:
        return Lines(np.empty(0, np.int64), None)
    lines, rows = passes_guard(records["value"].combine_chunks(), event_bytes_max)
    if not len(rows):
        return Lines(rows, None)
    read = select(_READ, records=pa.table({"line": lines})).combine_chunks()
    distinct = _keys_are_distinct(read)
    if pc.all(distinct).as_py():
        return Lines(rows, read)
    kept = pc.indices_nonzero(distinct)
    return Lines(rows[kept.to_numpy()], read.take(kept))


def decode(records: pa.Table, door: Door, lines: Lines | None = None) -> Decoded:
    """Decode records; each becomes one event or one rejection, and none is lost.

    `lines` is what `read_lines` made of the same records, if it was asked before.

    in:  RECORDS
    out: EVENTS and REJECTED
    """
    records = records.combine_chunks()
    if door.form is Form.CLOUD_EVENT:
        # The quick reader knows the fields of an event only, and must not take them for attributes.
        lines = Lines(np.empty(0, np.int64), None)
    fast_rows, fast = _fast(records, door, lines or read_lines(records, door.event_bytes_max))
    slow_rows = np.setdiff1d(np.arange(records.num_rows), fast_rows, assume_unique=True)
    slow_good_rows, slow, rejected = _exact(records, slow_rows, door)
    if not len(slow_rows):
        return Decoded(fast, fast_rows, np.ones(fast_rows.size, bool), rejected)
    rows = np.concatenate([fast_rows, slow_good_rows])
    order = np.argsort(rows, kind="stable")
    events = pa.concat_tables([fast, slow]).take(pa.array(order)).combine_chunks()
    return Decoded(events, rows[order], order < fast_rows.size, rejected)


def _fast(records: pa.Table, door: Door, lines: Lines) -> tuple[np.ndarray, pa.Table]:
    """Make events of the lines that need no second thought; return their rows, and the events."""
    read, rows = lines.read, lines.rows
    if read is None or not len(rows):
        return np.empty(0, np.int64), EVENTS.empty_table()
    keep = _fields_are_plain(read, records, rows, door)
    if not pc.all(keep).as_py():
        kept = pc.indices_nonzero(keep)
        read, rows = read.take(kept), rows[kept.to_numpy()]
    taken = records if len(rows) == records.num_rows else records.take(pa.array(rows))
    return rows, _events(read, taken, door)


def _keys_are_distinct(read: pa.Table) -> pa.Array:
    """Tell which rows repeat no key, looking at each distinct list of keys once."""
    distinct = pa.array([True] * read.num_rows)
    for column in ("keys", "property_keys"):
        encoded = read[column].combine_chunks().dictionary_encode()
        good = pa.array(
            [not repeats_a_key(keys) for keys in encoded.dictionary.to_pylist()], pa.bool_()
        )
        distinct = pc.and_(distinct, pc.fill_null(good.take(encoded.indices), fill_value=True))
    return distinct


def _fields_are_plain(read: pa.Table, records: pa.Table, rows: np.ndarray, door: Door) -> pa.Array:
    """Tell which rows need no second thought: present, trimmed, short, with times in plain UTC."""
    name, customer = read["event_name"], read["external_customer_id"]
    plain = pc.and_(_given(name), _given(customer))
    plain = pc.and_(plain, _unpadded(name))
    for column in _TEXTS:
        lengths = pc.binary_length(read[column])
        if (pc.max(lengths).as_py() or 0) > _FIELD_BYTES_MAX:
            short = pc.less_equal(lengths, _FIELD_BYTES_MAX)
            plain = pc.and_(plain, pc.fill_null(short, fill_value=True))
    times = pc.match_substring_regex(read["timestamp"], _INSTANT_TEXT)
    if door.time_required:
        plain = pc.and_(plain, pc.fill_null(times, fill_value=False))
    else:
        received = records["received_at"].is_valid().take(pa.array(rows))
        plain = pc.and_(plain, pc.if_else(read["timestamp"].is_valid(), times, received))
    if read["ingested_at"].null_count == read.num_rows:
        return plain.combine_chunks()
    # An absent receipt time is fine, and so is an empty one.
    stored = pc.match_substring_regex(pc.fill_null(read["ingested_at"], ""), _INSTANT_TEXT_OR_NONE)
    return pc.and_(plain, stored).combine_chunks()


def _unpadded(names: pa.ChunkedArray) -> pa.Array:
    """Tell which names have no white space around them; each distinct one is looked at once."""
    encoded = pc.dictionary_encode(pc.fill_null(names, "")).combine_chunks()
    padded = pc.match_substring_regex(encoded.dictionary, _PADDED)
    return pc.invert(padded).take(encoded.indices)


def _given(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Tell which texts are there and not empty."""
    return pc.greater(pc.binary_length(pc.fill_null(texts, "")), 0)


def _or_none(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the texts with null in place of the empty one."""
    return pc.if_else(_given(texts), texts, pa.scalar(None, pa.string()))


def _events(read: pa.Table, records: pa.Table, door: Door) -> pa.Table:
    """Build EVENTS from the columns that were read and from what the door fills in."""
    given = read["timestamp"].is_valid()
    received = pc.cast(records["received_at"], INSTANT)
    timestamp = pc.coalesce(_instants(read["timestamp"]), received)
    ids = _or_none(read["event_id"])
    tenants, environments = _scopes(records["key"], door)
    stored_at = pa.scalar(None, INSTANT)
    if door.form is Form.RECORD:
        ids = pc.coalesce(ids, _or_none(read["id"]))
        tenants = pc.coalesce(_or_none(read["tenant_id"]), tenants)
        environments = pc.coalesce(_or_none(read["environment_id"]), environments)
        stored_at = _instants(_or_none(read["ingested_at"]))
    columns = {
        "partition": records["partition"],
        "offset": records["offset"],
        "tenant_id": tenants,
        "environment_id": environments,
        "event_id": _with_ids(ids, records, door),
        "event_name": read["event_name"],
        "external_customer_id": read["external_customer_id"],
        "customer_id": pc.fill_null(read["customer_id"], ""),
        "source": pc.fill_null(read["source"], ""),
        "timestamp": timestamp,
        "timestamp_given": given,
        "ingested_at": pc.coalesce(stored_at, received, timestamp),
        "properties": pc.fill_null(pc.cast(read["properties"], pa.string()), "{}"),
    }
    return pa.table([columns[field.name] for field in EVENTS], schema=EVENTS).combine_chunks()


def _instants(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read plain texts as instants; digits beyond microseconds are cut, never rounded."""
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > _MICROSECOND_TEXT_BYTES:
        texts = pc.replace_substring_regex(texts, _FINE_FRACTION, r"\1")
    return pc.cast(texts, INSTANT)


def _with_ids(ids: pa.ChunkedArray, records: pa.Table, door: Door) -> pa.ChunkedArray:
    """Fill the ids that are missing in by the door's rule."""
    missing = ids.is_null()
    if not pc.any(missing).as_py():
        return ids
    filled = pc.replace_with_mask(
        ids.combine_chunks(), missing.combine_chunks(), door.fill_ids(records.filter(missing))
    )
    return pa.chunked_array([filled])


def _scopes(keys: pa.ChunkedArray, door: Door) -> tuple[pa.Array, pa.Array]:
    """Return tenant and environment by each record's key, or the door's where the key has none."""
    if keys.null_count == len(keys):
        rows = len(keys)
        return pa.repeat(pa.scalar(door.tenant_id), rows), pa.repeat(
            pa.scalar(door.environment_id), rows
        )
    encoded = keys.combine_chunks().dictionary_encode()
    scopes = [scope_of(key, door) for key in encoded.dictionary.to_pylist()]
    indices = encoded.indices
    tenants = pa.array([scope[0] for scope in scopes], pa.string()).take(indices)
    environments = pa.array([scope[1] for scope in scopes], pa.string()).take(indices)
    return pc.fill_null(tenants, door.tenant_id), pc.fill_null(environments, door.environment_id)


def scope_of(key: bytes | None, door: Door) -> tuple[str, str]:
    """Return what a key `tenant:environment:customer` names (metering.md 13), or the door's own."""
    parts = _key_parts(key) if key is not None else None
    return parts if parts is not None else (door.tenant_id, door.environment_id)


@lru_cache(maxsize=65_536)
def _key_parts(key: bytes) -> tuple[str, str] | None:
    """Split a record key; None if it is not of the form."""
    try:
        parts = key.decode().split(":", 2)
    except UnicodeDecodeError:
        return None
    return (parts[0], parts[1]) if len(parts) == 3 and parts[0] and parts[1] else None


def _exact(
    records: pa.Table, rows: np.ndarray, door: Door
) -> tuple[np.ndarray, pa.Table, pa.Table]:
    """Decode the records that the guard kept back, one at a time: they are few."""
    kept = records.take(pa.array(rows, pa.int64()))
    good: list[int] = []
    events: list[dict[str, object]] = []
    bad: list[int] = []
    reasons: list[str] = []
    for row, record in enumerate(kept.to_pylist()):
        result = _decode_one(record, door)
        if isinstance(result, Rejection):
            bad.append(row)
            reasons.append(result.value)
        else:
            good.append(row)
            events.append(result)
    ids = pa.array([event["event_id"] for event in events], pa.string())
    table = pa.Table.from_pylist(events, schema=_nullable(EVENTS))
    named = _with_ids(pa.chunked_array([ids]), kept.take(pa.array(good, pa.int64())), door)
    table = table.set_column(EVENTS.get_field_index("event_id"), "event_id", named).cast(EVENTS)
    rejected = kept.take(pa.array(bad, pa.int64())).append_column(
        "reason", pa.array(reasons, pa.string())
    )
    return rows[np.array(good, np.int64)], table, rejected.select(REJECTED.names).cast(REJECTED)


def _nullable(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose fields may all be null."""
    return pa.schema([field.with_nullable(True) for field in schema])  # noqa: FBT003 - Arrow's own


def _decode_one(record: dict[str, Any], door: Door) -> dict[str, object] | Rejection:
    """Decode one record exactly and fill in what the door fills in."""
    value, received = record["value"] or b"", record["received_at"]
    event = decode_form(
        value, door.form, received_at=received, event_bytes_max=door.event_bytes_max
    )
    if isinstance(event, Rejection):
        return event
    tenant_id, environment_id = scope_of(record["key"], door)
    timestamp = event.timestamp if event.timestamp is not None else received
    if timestamp is None:
        return Rejection.TIMESTAMP_REQUIRED
    return {
        "partition": record["partition"],
        "offset": record["offset"],
        "tenant_id": event.tenant_id or tenant_id,
        "environment_id": event.environment_id or environment_id,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "external_customer_id": event.external_customer_id,
        "customer_id": event.customer_id,
        "source": event.source,
        "timestamp": timestamp,
        "timestamp_given": event.timestamp is not None,
        "ingested_at": event.ingested_at or received or timestamp,
        "properties": event.properties,
    }


assert RECORDS.names == ["partition", "offset", "value", "key", "received_at"]
