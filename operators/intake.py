"""Requests with events: what they hold, and bulk requests judged (metering.md 2.4, api.md 2).

`events_of` takes a request of any form apart, without a look into the events; `operators.judging`
looks. `validate_bulk` is both for the plainest bulk request, event by event: what the others are
judged by.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

import msgspec
import numpy as np

from operators.exact import EVENT_BYTES_MAX, Event, decode_body
from operators.json_text import plain_json
from operators.raw_json import ARRAY
from schemas.intake import EventForm
from schemas.verdict import Rejection

BULK_EVENTS_MAX = 1000

# More commas than this for each event that a request may hold, and its list is measured before it
# is read: a list of millions of zeros would take a gigabyte of memory before it is refused.
_COMMAS_AN_EVENT: Final = 100

_SPACE = b" \t\n\r"
# One line with something on it. Only for texts that end with something, or the search is quadratic.
_LINE = re.compile(rb"[ \t\r\n]*+([^\n]++)")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_PLACE = re.compile(r"\(byte (?P<place>[0-9]+)\)")


class _Bulk(msgspec.Struct):
    """The body of a bulk request; of two lists the last counts, whatever else is in it."""

    events: msgspec.Raw = msgspec.Raw(b"")


_BULK = msgspec.json.Decoder(_Bulk)
_ANY = msgspec.json.Decoder(msgspec.Raw)


class BulkError(StrEnum):
    """Why nothing of a request is appended."""

    INVALID_JSON = "invalid_json"
    EVENTS_REQUIRED = "events_required"
    TOO_MANY_EVENTS = "too_many_events"
    INVALID_EVENTS = "invalid_events"
    ONE_EVENT_REQUIRED = "one_event_required"
    BATCH_NOT_TAKEN = "batch_not_taken"


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
    events = events_of(body, EventForm.JSON, single=False, events_max=max_events)
    if isinstance(events, BulkError):
        return BulkVerdict(events)
    appended: list[tuple[int, Event]] = []
    rejected: list[tuple[int, Rejection]] = []
    # At most a few thousand events a request, each judged with a reason of its own.
    for index, value in enumerate(events):
        event = decode_body(value, event_bytes_max=event_bytes_max)
        if isinstance(event, Rejection):
            rejected.append((index, event))
        else:
            appended.append((index, event))
    if rejected and not partial:
        return BulkVerdict(BulkError.INVALID_EVENTS, rejected=tuple(rejected))
    return BulkVerdict(None, tuple(appended), tuple(rejected))


def events_of(
    body: bytes, form: EventForm, *, single: bool, events_max: int
) -> list[bytes] | BulkError:
    r"""Return the text of each event of a request, in the order they came, or why there is none.

    The events themselves are not judged. In NDJSON each line stands for itself, so a line that is no
    JSON is an event that is wrong; the other forms are one JSON text, or nothing of them is read.

    >>> events_of(b"{}\n\n[1", EventForm.NDJSON, single=False, events_max=1000)
    [b'{}', b'[1']
    >>> events_of(b'{"events": [{}]}', EventForm.JSON, single=False, events_max=1000)
    [b'{}']
    >>> events_of(b"[1", EventForm.JSON, single=True, events_max=1000).value
    'invalid_json'
    """
    if form is EventForm.NDJSON:
        events = _lines(body, events_max)
    elif single and form is EventForm.CLOUD_EVENTS:
        return BulkError.BATCH_NOT_TAKEN
    else:
        text = plain_json(body)
        if text is None:
            return BulkError.INVALID_JSON
        if single or form is EventForm.CLOUD_EVENT:
            return [body]
        events = _elements(text, form, events_max)
    if single:
        return events if len(events) == 1 else BulkError.ONE_EVENT_REQUIRED
    if len(events) > events_max:
        return BulkError.TOO_MANY_EVENTS
    return events or BulkError.EVENTS_REQUIRED


def place_of_fault(body: bytes) -> str:
    """Tell where a text that is no JSON stops being it.

    >>> place_of_fault(b'{"a": tru}'), place_of_fault(b'{"a": '), place_of_fault(b"")
    ('near byte 7', 'at its end', 'at its end')
    """
    try:
        _ANY.decode(body)
    except RecursionError:
        return "below its first levels"
    except msgspec.DecodeError as error:
        place = _PLACE.search(str(error))
        return "at its end" if place is None else f"near byte {place['place']}"
    # Bad characters came first, and this reader steps over them.
    return "where its characters are wrong"


def _lines(body: bytes, events_max: int) -> list[bytes]:
    """Return the lines with something on them, at most one more than there may be."""
    lines = _LINE.finditer(body.rstrip(_SPACE))
    return [line[1] for line in islice(lines, events_max + 1)]


def _elements(text: bytes, form: EventForm, events_max: int) -> list[bytes]:
    """Return the elements of the list of events; none where the body has no such list."""
    if form is EventForm.JSON:
        text = bytes(_BULK.decode(text).events) if text.lstrip(_SPACE).startswith(b"{") else b""
    if not text.lstrip(_SPACE).startswith(b"["):
        return []
    if text.count(b",") > _COMMAS_AN_EVENT * events_max and _length(text) > events_max:
        return [b""] * (events_max + 1)
    return list(map(bytes, ARRAY.decode(text)))


def _length(array: bytes) -> int:
    """Count the elements of a JSON array that is not empty, without making any of them."""
    marks = np.frombuffer(_STRING.sub(b"", array), np.uint8)
    opened = (marks == ord("[")) | (marks == ord("{"))
    closed = (marks == ord("]")) | (marks == ord("}"))
    # No text from plain_json is deeper than the reader's own recursion, some thousand levels.
    level = np.cumsum(opened.view(np.int8) - closed.view(np.int8), dtype=np.int16)
    return 1 + int(np.count_nonzero((marks == ord(",")) & (level == 1)))
