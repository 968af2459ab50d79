"""What billing asks of usage, and how usage is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, runtime_checkable

from schemas.answer import Answer
from schemas.event_query import EventPage, EventQuery, UsageQuery
from schemas.meter import Meter
from schemas.period import Interval


@dataclass(frozen=True, slots=True)
class UsageBucket:
    """One bucket, or one group of it, of a bucketed meter."""

    start: datetime
    group: str
    value: Decimal


@dataclass(frozen=True, slots=True)
class UsageQuantity:
    """What a meter gives for an interval: the value that is billed, never below 0, and its parts.

    `buckets` are in order of start and group, and only there for bucketed meters.
    """

    value: Decimal
    signed: Decimal
    counted: int
    buckets: tuple[UsageBucket, ...] = ()


class UsageReader(Protocol):
    """Reads quantities of meters, as the metering stage has them."""

    def quantities(
        self,
        meter: Meter,
        external_customer_ids: Sequence[str],
        interval: Interval,
        *,
        timezone: str,
        billing_anchor: datetime | None,
    ) -> UsageQuantity:
        """Return what the meter gives for these customers together over the interval."""
        ...


@runtime_checkable
class LateUsage(Protocol):
    """What a usage reader may also know: from where on its numbers have changed.

    With it the cost of finding late usage does not grow with the history; without it every final
    invoice is rated again.
    """

    def arrived_since(self, external_customer_ids: Sequence[str], at: datetime) -> datetime | None:
        """Return the time of the earliest event that has come into usage since an instant.

        None if none has. It may be told too early and never too late: what a reading at `at` did
        not have yet has come since.
        """
        ...


class UsageAnswers(Protocol):
    """Answers questions about usage and stored events, all by the same operators on the same rows."""

    def answer(self, query: UsageQuery) -> Answer:
        """Return what a meter gives for a period. Raises ValidationFailed and StoreError."""
        ...

    def events(self, query: EventQuery) -> EventPage:
        """Return a page of accepted events. Raises ValidationFailed (a cursor) and StoreError."""
        ...
