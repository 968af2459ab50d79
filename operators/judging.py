"""The events of a request, judged and written as records of the log, or rejected with a reason.

A request is a small batch: up to some thousand events it costs less to read them one at a time than
to make columns ready, so only larger ones go through `operators.decoding`. Both ways give the same
records, which the tests prove.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.decoding import EVENT_BYTES_MAX, Door, decode
from operators.exact import Event, Form, decode_form
from operators.ordinary import ordinary_event
from operators.records import record_key, record_keys, record_value, record_values
from schemas.event import INSTANT, RECORDS
from schemas.scope import Scope
from schemas.verdict import Rejection

# Columns cost 8 ms before the first event (a regular expression and a query are made ready) and then
# 6 µs each, one by one 9 µs each: measured with 290-byte events, when much else was running.
COLUMNS_FROM = 2000


@dataclass(frozen=True, slots=True)
class Judging:
    """How the events of a request are judged, and what is filled in where they say nothing.

    `new_ids` makes so many ids for events without one; they are asked for in no certain order.
    """

    scope: Scope
    form: Form
    received_at: datetime
    new_ids: Callable[[int], Sequence[str]]
    event_bytes_max: int = EVENT_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Judged:
    """What the events of a request turned out to be, each in the order they came.

    `indexes`, `event_ids`, `made`, `values` and `keys` are the good ones: where they stood in the
    request, their ids, whether those were made here, and what goes into the log. `rejected` are the
    others.
    """

    indexes: npt.NDArray[np.int64]
    event_ids: pa.Array
    made: npt.NDArray[np.bool_]
    values: pa.Array
    keys: pa.Array
    rejected: tuple[tuple[int, Rejection], ...]


def judge(events: Sequence[bytes], judging: Judging) -> Judged:
    """Judge each event of a request and write the good ones as records.

    An event is too large if it, or the record that it makes, has more bytes than there may be.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> judging = Judging(Scope("t", "v"), Form.BODY, noon, lambda count: ["made"] * count)
    >>> judged = judge([b'{"event_name": "call", "external_customer_id": "c"}', b"{}"], judging)
    >>> judged.event_ids.to_pylist(), judged.keys.to_pylist(), judged.rejected[0][1].value
    (['made'], [b't:v:c'], 'event_name_required')
    """
    columns = len(events) >= COLUMNS_FROM and judging.form is not Form.CLOUD_EVENT
    judged = judge_columns(events, judging) if columns else judge_singly(events, judging)
    return _without_large_records(judged, judging.event_bytes_max)


def judge_singly(events: Sequence[bytes], judging: Judging) -> Judged:
    """Judge events one at a time: for requests that are small, and for CloudEvents."""
    good: list[tuple[int, Event]] = []
    rejected: list[tuple[int, Rejection]] = []
    for index, value in enumerate(events):
        event = _judged(value, judging)
        if isinstance(event, Rejection):
            rejected.append((index, event))
        else:
            good.append((index, event))
    made = [event.event_id is None for _, event in good]
    new_ids = iter(judging.new_ids(sum(made)) if any(made) else ())
    ids = [event.event_id or next(new_ids) for _, event in good]
    scope = judging.scope
    values = [record_value(event, id_, scope) for (_, event), id_ in zip(good, ids, strict=True)]
    keys = [record_key(scope, event.external_customer_id) for _, event in good]
    return Judged(
        np.array([index for index, _ in good], np.int64),
        pa.array(ids, pa.string()),
        np.array(made, bool),
        pa.array(values, pa.large_binary()),
        pa.array(keys, pa.binary()),
        tuple(rejected),
    )


def _judged(value: bytes, judging: Judging) -> Event | Rejection:
    """Read one event, by the quick reader where it can."""
    bytes_max = judging.event_bytes_max
    event = None
    if judging.form is Form.BODY:
        event = ordinary_event(value, event_bytes_max=bytes_max)
    if event is not None:
        return event
    return decode_form(
        value, judging.form, received_at=judging.received_at, event_bytes_max=bytes_max
    )


def judge_columns(events: Sequence[bytes], judging: Judging) -> Judged:
    """Judge events as columns: for requests that are large."""
    made = np.zeros(len(events), bool)

    def fill_ids(missing: pa.Table) -> pa.Array:
        made[missing["offset"].to_numpy()] = True
        return pa.array(judging.new_ids(missing.num_rows), pa.string())

    scope = judging.scope
    door = Door(
        scope.tenant_id,
        scope.environment_id,
        fill_ids,
        event_bytes_max=judging.event_bytes_max,
        form=judging.form,
    )
    decoded = decode(_records(events, judging.received_at), door)
    offsets = decoded.rejected["offset"].to_pylist()
    reasons = map(Rejection, decoded.rejected["reason"].to_pylist())
    return Judged(
        decoded.event_rows,
        decoded.events["event_id"].combine_chunks(),
        made[decoded.event_rows],
        record_values(decoded.events),
        record_keys(decoded.events),
        tuple(zip(offsets, reasons, strict=True)),
    )


def _records(events: Sequence[bytes], received_at: datetime) -> pa.Table:
    """Return the events as RECORDS whose offsets are their indexes."""
    rows = len(events)
    columns = [
        pa.array(np.zeros(rows, np.int32)),
        pa.array(np.arange(rows)),
        pa.array(events, pa.large_binary()),
        pa.nulls(rows, pa.binary()),
        pa.repeat(pa.scalar(received_at, INSTANT), rows),
    ]
    return pa.table(columns, schema=RECORDS)


def _without_large_records(judged: Judged, bytes_max: int) -> Judged:
    """Reject the events whose records are larger than the log's readers take."""
    # All of them together are mostly smaller than one may be.
    if judged.values.nbytes <= bytes_max:
        return judged
    large = pc.greater(pc.binary_length(judged.values), bytes_max)
    if not large.true_count:
        return judged
    kept = pc.invert(large)
    rows = kept.to_numpy(zero_copy_only=False)
    refused = ((int(index), Rejection.EVENT_TOO_LARGE) for index in judged.indexes[~rows])
    return Judged(
        judged.indexes[rows],
        judged.event_ids.filter(kept),
        judged.made[rows],
        judged.values.filter(kept),
        judged.keys.filter(kept),
        tuple(sorted((*judged.rejected, *refused))),
    )
