"""Cursors: places in a list of events, as the opaque texts that callers send back."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.stores.choosing import microseconds
from schemas.errors import ValidationFailed
from schemas.event_query import EventSort

# The first instant that no event can have, in microseconds (metering.md 2.1).
_END = microseconds(datetime(2200, 1, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list of events, whatever the list is ordered by."""

    at_microseconds: int
    event_name: str
    event_id: str

    def key(self, sort: EventSort) -> tuple[int | str, str]:
        """Return what the place is in one order."""
        first = self.at_microseconds if sort is EventSort.TIMESTAMP else self.event_name
        return first, self.event_id


def cursor_text(cursor: Cursor) -> str:
    """Return a cursor as the opaque text that callers send back.

    >>> read_cursor(cursor_text(Cursor(5, "call", "é::1")), "iter_last_key").event_id
    'é::1'
    """
    parts = [cursor.at_microseconds, cursor.event_name, cursor.event_id]
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, field: str) -> Cursor:
    """Return the place that a cursor names. Raises ValidationFailed about `field` if it names none.

    >>> read_cursor("no cursor", "iter_last_key")
    Traceback (most recent call last):
        ...
    schemas.errors.ValidationFailed: iter_last_key is no cursor of this list
    """
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (ValueError, binascii.Error, RecursionError):
        found = None
    match found:
        case [int() as at, str() as name, str() as event_id] if not isinstance(at, bool):
            if 0 <= at < _END and "\0" not in name + event_id and _is_unicode(name + event_id):
                return Cursor(at, name, event_id)
    raise ValidationFailed(f"{field} is no cursor of this list", field=field)


def _is_unicode(text: str) -> bool:
    """Tell whether a text is free of half surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
