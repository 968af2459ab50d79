"""Bulk requests: every event is judged before anything is appended (metering.md 2.4)."""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from operators.exact import EVENT_BYTES_MAX, Event, decode_body
from operators.json_text import plain_json
from operators.raw_json import ARRAY, OBJECT
from schemas.verdict import Rejection

BULK_EVENTS_MAX = 1000


class BulkError(StrEnum):
    """Why nothing of a request is appended."""

    INVALID_JSON = "invalid_json"
    EVENTS_REQUIRED = "events_required"
    TOO_MANY_EVENTS = "too_many_events"
    INVALID_EVENTS = "invalid_events"


@dataclass(frozen=True, slots=True)
class BulkVerdict:
    """What becomes of a request: `appended` and `rejected` hold indexes in the order they came.

    With an `error` nothing is appended; then `appended` is empty.
    """

    error: BulkError | None
    appended: tuple[tuple[int, Event], ...] = ()
    rejected: tuple[tuple[int, Rejection], ...] = ()

    @property
    def status(self) -> int:
        """The HTTP status that answers the request."""
        return 202 if self.error is None else 400


def validate_bulk(
    body: bytes,
    *,
    partial: bool,
    max_events: int = BULK_EVENTS_MAX,
    event_bytes_max: int = EVENT_BYTES_MAX,
) -> BulkVerdict:
    """Judge the body `{"events": [...]}` of a bulk request.

    If any event is invalid, nothing is appended and every invalid one is named; with `partial` the
    valid ones are appended all the same. No events and too many are refused either way. A flaw of
    characters or of depth belongs to the event that has it; bad grammar belongs to the whole body.

    >>> body = b'{"events": [{"event_name": "a", "external_customer_id": "c"}, {}]}'
    >>> verdict = validate_bulk(body, partial=True)
    >>> [index for index, event in verdict.appended], verdict.rejected
    ([0], ((1, <Rejection.EVENT_NAME_REQUIRED: 'event_name_required'>),))
    >>> validate_bulk(body, partial=False).error
    <BulkError.INVALID_EVENTS: 'invalid_events'>
    """
    text = plain_json(body)
    if text is None:
        return BulkVerdict(BulkError.INVALID_JSON)
    events = _events(text)
    if not events:
        return BulkVerdict(BulkError.EVENTS_REQUIRED)
    if len(events) > max_events:
        return BulkVerdict(BulkError.TOO_MANY_EVENTS)
    appended: list[tuple[int, Event]] = []
    rejected: list[tuple[int, Rejection]] = []
    # At most a few thousand events a request, each judged with a reason of its own.
    for index, raw in enumerate(events):
        event = decode_body(bytes(raw), event_bytes_max=event_bytes_max)
        if isinstance(event, Rejection):
            rejected.append((index, event))
        else:
            appended.append((index, event))
    if rejected and not partial:
        return BulkVerdict(BulkError.INVALID_EVENTS, rejected=tuple(rejected))
    return BulkVerdict(None, tuple(appended), tuple(rejected))


def _events(text: bytes) -> list[msgspec.Raw]:
    """Return the elements of the member `events`; none where the body has no such list."""
    if not text.lstrip(b" \t\n\r").startswith(b"{"):
        return []
    raw = OBJECT.decode(text).get("events")
    return ARRAY.decode(raw) if raw is not None and bytes(raw).startswith(b"[") else []
