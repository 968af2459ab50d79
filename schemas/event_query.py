"""Questions about stored events and about usage, and pages of events (metering.md 9, 10)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.meter import Filter, Meter, WindowSize
from schemas.period import Interval
from schemas.scope import Scope


class EventSort(StrEnum):
    """What lists of events are ordered by; ties by event id in the same direction."""

    TIMESTAMP = "timestamp"
    EVENT_NAME = "event_name"


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Which accepted events of a scope are wanted, and which page of them; None asks for all.

    `property_filters` hold as the filters of meters do (metering.md 6.2). Of the cursors, `newer_than`
    is the `first_key` of a page and `older_than` the `last_key` of one; at most one is given, and
    then `offset` is 0.
    """

    scope: Scope
    period: Interval
    external_customer_id: str | None = None
    event_name: str | None = None
    event_id: str | None = None
    source: str | None = None
    property_filters: tuple[Filter, ...] = ()
    page_size: int = 50
    offset: int = 0
    newer_than: str | None = None
    older_than: str | None = None
    sort: EventSort = EventSort.TIMESTAMP
    descending: bool = True


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One accepted event as it is read back; `properties` is JSON text with all digits as sent."""

    event_id: str
    event_name: str
    external_customer_id: str
    customer_id: str
    source: str
    timestamp: datetime
    ingested_at: datetime
    properties: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events; the keys are opaque cursors, None where the page is empty."""

    events: tuple[StoredEvent, ...]
    total_count: int
    has_more: bool
    first_key: str | None
    last_key: str | None


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What a meter gives for a period: whose events, which of them, and in which parts.

    `meter` is a stored one, or one made up for the request. No external customer asks for the whole
    environment; `customer_id` compares with what events carried. `filters` narrow the meter's own, and
    `sources` keep events of these sources only. `group_by` holds `source` and `properties.NAME`.
    """

    scope: Scope
    meter: Meter
    period: Interval
    external_customer_ids: tuple[str, ...] | None = None
    customer_id: str | None = None
    filters: tuple[Filter, ...] = ()
    sources: tuple[str, ...] | None = None
    group_by: tuple[str, ...] = ()
    window: WindowSize | None = None
    timezone: str = "UTC"
    anchor: datetime | None = None
