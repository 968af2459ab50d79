"""The door for events over HTTP: a request judged as a whole, appended to the log, then answered."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.log.event_log import APPENDED, EventLog
from operators.decoding import EVENT_BYTES_MAX
from operators.exact import Form, field_at_fault
from operators.intake import BULK_EVENTS_MAX, BulkError, events_of, place_of_fault
from operators.judging import Judged, Judging, judge
from operators.records import record_keys, record_values
from schemas.errors import ValidationFailed
from schemas.event import INSTANT, REJECTED
from schemas.intake import EventForm, IntakeReceipt, IntakeRequest
from schemas.scope import Scope

# What a door tells those who count: scope, events appended, bytes of the body, rejections by reason.
Observe = Callable[[Scope, int, int, Mapping[str, int]], None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE_32 = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
_TIME_DIGITS, _CHANCE_DIGITS, _CHANCE_BYTES = 10, 16, 10

_FORMS = {
    EventForm.JSON: Form.BODY,
    EventForm.NDJSON: Form.BODY,
    EventForm.CLOUD_EVENT: Form.CLOUD_EVENT,
    EventForm.CLOUD_EVENTS: Form.CLOUD_EVENT,
}
# No record of the log has this partition, so these dead letters meet none that came from there.
_REFUSED_PARTITION = -1


LOG = logging.getLogger("tally.intake")


class LogDoor:
    """Takes events in and appends them to a log; an `EventDoor` that many threads may use at once.

    `dead_letters` gets REJECTED rows of events that a partial request leaves out, before the others
    are appended, and the same rows again when the request is sent again. `clock` is asked once a
    request. `observe` is told of every request that was judged, also of a refused one.
    """

    def __init__(
        self,
        log: EventLog,
        dead_letters: Callable[[pa.Table], None],
        *,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = os.urandom,
        events_max: int = BULK_EVENTS_MAX,
        event_bytes_max: int = EVENT_BYTES_MAX,
        observe: Observe | None = None,
    ):
        self._log = log
        self._dead_letters = dead_letters
        self._clock = clock
        self._chance = chance
        self._events_max = events_max
        self._event_bytes_max = event_bytes_max
        self._observe = observe or (lambda *_: None)

    def take(self, request: IntakeRequest) -> IntakeReceipt:
        """Return what became of a request whose valid events are in the log.

        Raises ValidationFailed where nothing was appended; `details` names every event that is
        wrong. Raises StoreError where the log did not confirm, or the dead letters could not be kept.
        """
        events = events_of(
            request.body, request.form, single=request.single, events_max=self._events_max
        )
        if isinstance(events, BulkError):
            raise _refused(events, request, self._events_max)
        received_at = self._clock()
        judged = judge(events, self._judging(request, received_at))
        reasons = Counter(reason.value for _, reason in judged.rejected)
        partial = request.partial and not request.single
        if judged.rejected and not partial:
            self._observe(request.scope, 0, len(request.body), reasons)
            raise _invalid(events, judged, request)
        if judged.rejected:
            self._dead_letters(rejected_rows(events, judged, request.scope, received_at))
        appended = len(judged.values)
        if appended:
            self._log.append(_appended(judged.values, judged.keys, received_at))
        self._observe(request.scope, appended, len(request.body), reasons)
        LOG.debug(
            "batch appended",
            extra={
                "request_id": request.request_id,
                "tenant_id": request.scope.tenant_id,
                "environment_id": request.scope.environment_id,
                "received_at": received_at.isoformat(),
                "records": appended,
            },
        )
        answer = _answer(judged, single=request.single, partial=partial)
        return IntakeReceipt(appended, len(judged.rejected), answer)

    def _judging(self, request: IntakeRequest, received_at: datetime) -> Judging:
        """Return how the events of a request are judged."""
        return Judging(
            scope=request.scope,
            form=_FORMS[request.form],
            received_at=received_at,
            new_ids=lambda count: made_ids(received_at, count, self._chance),
            event_bytes_max=self._event_bytes_max,
        )


def appended(events: pa.Table, received_at: datetime) -> pa.Table:
    """Return events as records to append, all received at one instant.

    in:  EVENTS but partition, offset, ingested_at
    out: APPENDED
    """
    return _appended(record_values(events), record_keys(events), received_at)


def made_ids(
    at: datetime, count: int, chance: Callable[[int], bytes] = os.urandom
) -> Sequence[str]:
    """Return ids for events that came without: `event_` and a ULID, in ascending order.

    A ULID is 10 digits of base 32 (Crockford's) for the milliseconds since 1970 and 16 of chance.

    >>> made_ids(datetime(2026, 3, 1, 12, tzinfo=UTC), 2, bytes)
    ['event_01KJMMA2G00000000000000000', 'event_01KJMMA2G00000000000000000']
    """
    milliseconds = int((at - _EPOCH).total_seconds()) * 1000 + at.microsecond // 1000
    places = range(_TIME_DIGITS - 1, -1, -1)
    prefix = "event_" + "".join(chr(_BASE_32[milliseconds >> 5 * place & 31]) for place in places)
    bits = np.unpackbits(np.frombuffer(chance(count * _CHANCE_BYTES), np.uint8))
    digits = bits.reshape(count, _CHANCE_DIGITS, 5) @ np.array([16, 8, 4, 2, 1], np.uint8)
    tails = np.sort(_BASE_32[digits].view(f"S{_CHANCE_DIGITS}").ravel())
    ids: list[str] = np.char.add(prefix, tails.astype(str)).tolist()
    return ids


def rejected_rows(
    events: Sequence[bytes], judged: Judged, scope: Scope, received_at: datetime
) -> pa.Table:
    """Return the rejected events of a request as dead letters.

    Their place is a digest of the scope and the bytes, so that the same event sent again is the same
    row again.

    out: REJECTED
    """
    # These are few, or the sender has other worries than our speed.
    values = [events[index] for index, _ in judged.rejected]
    rows = len(values)
    key = f"{scope.tenant_id}:{scope.environment_id}:".encode()
    columns = [
        pa.array(np.full(rows, _REFUSED_PARTITION, np.int32)),
        pa.array([_place(key, value) for value in values], pa.int64()),
        pa.array([reason.value for _, reason in judged.rejected], pa.string()),
        pa.array(values, pa.large_binary()),
        pa.repeat(pa.scalar(key, pa.binary()), rows),
        pa.repeat(pa.scalar(received_at, INSTANT), rows),
    ]
    return pa.table(columns, schema=REJECTED)


def _place(key: bytes, value: bytes) -> int:
    """Return 63 bits that stand for a scope and the bytes of an event."""
    digest = hashlib.blake2b(value, digest_size=8, key=hashlib.blake2b(key).digest())
    return int.from_bytes(digest.digest(), "big") >> 1


def _appended(values: pa.Array, keys: pa.Array, received_at: datetime) -> pa.Table:
    """Return records to append, all received at one instant."""
    instants = pa.repeat(pa.scalar(received_at, INSTANT), len(values))
    return pa.table([values, keys, instants], schema=APPENDED)


def _answer(judged: Judged, *, single: bool, partial: bool) -> Mapping[str, str]:
    """Return the body of the answer: an object of texts (metering.md 2.4)."""
    count = len(judged.values)
    if single:
        return {"message": "1 event accepted", "event_id": judged.event_ids[0].as_py()}
    events = f"{count} event{'' if count == 1 else 's'} accepted"
    if partial:
        ids = pc.binary_join_element_wise("accepted", judged.event_ids, ":").to_pylist()
        entries = dict(zip(judged.indexes.tolist(), ids, strict=True))
        entries |= {index: f"rejected:{reason.value}" for index, reason in judged.rejected}
        message = f"{events}, {len(judged.rejected)} rejected"
        return {"message": message} | {str(index): entries[index] for index in sorted(entries)}
    made = np.flatnonzero(judged.made)
    ids = judged.event_ids.take(pa.array(made)).to_pylist()
    return {"message": events} | dict(zip(map(str, judged.indexes[made]), ids, strict=True))


def _refused(error: BulkError, request: IntakeRequest, events_max: int) -> ValidationFailed:
    """Return the refusal of a request whose events were not even looked at."""
    field, problem = "events", ""
    match error:
        case BulkError.INVALID_JSON:
            field, problem = "body", f"is not JSON {place_of_fault(request.body)}"
        case BulkError.EVENTS_REQUIRED:
            problem = "must hold at least one event"
        case BulkError.TOO_MANY_EVENTS:
            problem = f"must hold at most {events_max} events; send them in several requests"
        case BulkError.ONE_EVENT_REQUIRED:
            field, problem = "body", "must hold exactly one event; send several to /v1/events/bulk"
        case BulkError.BATCH_NOT_TAKEN:
            field, problem = "body", "is a batch of CloudEvents; send it to /v1/events/bulk"
        case BulkError.INVALID_EVENTS:
            raise AssertionError(error)
    return ValidationFailed(
        f"{field} {problem}",
        field=field,
        reason=error.value,
        details={"reason": error.value, "fields": [{"field": field, "problem": problem}]},
    )


def _invalid(events: Sequence[bytes], judged: Judged, request: IntakeRequest) -> ValidationFailed:
    """Return the refusal of a request with invalid events: every one is named."""
    form = _FORMS[request.form]
    found = [
        (index, reason.value, field_at_fault(events[index], form, reason))
        for index, reason in judged.rejected
    ]
    index, reason, field = found[0]
    if request.single:
        place = field or "body"
        return ValidationFailed(
            f"the event is invalid: {reason} ({place}); nothing was stored",
            field=place,
            reason=reason,
            details={"fields": [{"field": place, "problem": reason}]},
        )
    invalid = [
        {"index": index, "reason": reason} | ({"field": field} if field else {})
        for index, reason, field in found
    ]
    fields = [
        {"field": _place_of(index, field), "problem": reason} for index, reason, field in found
    ]
    return ValidationFailed(
        f"{len(found)} of {len(events)} events are invalid, the first is {_place_of(index, field)}: "
        f"{reason}; nothing was stored",
        field=_place_of(index, field),
        reason=BulkError.INVALID_EVENTS.value,
        details={"events": invalid, "fields": fields},
    )


def _place_of(index: int, field: str | None) -> str:
    """Name the place of a field in a bulk request."""
    return f"events[{index}].{field}" if field else f"events[{index}]"
