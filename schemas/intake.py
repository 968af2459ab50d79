"""What comes to the door for events, and what it answers (metering.md 2.4, api.md 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from schemas.scope import Scope


class EventForm(StrEnum):
    """The forms that a request may have, told by its content type (api.md 2)."""

    JSON = "json"
    NDJSON = "ndjson"
    CLOUD_EVENT = "cloud_event"
    CLOUD_EVENTS = "cloud_events"


@dataclass(frozen=True, slots=True)
class IntakeRequest:
    """Events that somebody sends: the unpacked body as it came, its form, and whose they are.

    `single` is true for `/v1/events`, where there must be exactly one event. `partial` takes the
    valid events of a bulk request although others are invalid. `request_id` goes into the logs.
    """

    scope: Scope
    body: bytes
    form: EventForm
    single: bool
    partial: bool
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class IntakeReceipt:
    """What became of a request whose valid events are in the durable log.

    `answer` is the body of the response, an object of texts (metering.md 2.4).
    """

    appended: int
    rejected: int
    answer: Mapping[str, str]
