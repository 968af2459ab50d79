"""Reading quantities for bills, each as often as its usage changes and not as often as it is asked.

A customer is billed from its first period on, so almost all it asks for are periods that have
ended. What they came to is remembered until a row in them changes, which makes the cost of billing
again that of the open period. Numbers are those of `flows.billing_usage`: both ask
`operators.answers`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from billing.ports import UsageBucket, UsageQuantity
from flows.billing.cumulative import Change
from operators.answers import answer
from operators.cells import cut_minutes
from operators.partials import Partials, empty
from operators.usage import Usage, of_customers
from schemas.meter import Meter, ResetUsage
from schemas.period import Interval
from schemas.usage import BASE_WINDOW

# (meter, interval, customers) → the counted pairs of the base windows that the interval cuts
# (PAIRS), at least those of the customers.
Edges = Callable[[Meter, Interval, Sequence[str]], pa.Table]


@dataclass(frozen=True, slots=True)
class Question:
    """What a quantity is asked by; meters are told apart by generation too."""

    meter_id: str
    generation: int
    running: bool
    interval: Interval
    timezone: str
    billing_anchor: datetime | None

    def touched(self, change: Change) -> bool:
        """Tell whether the answer may change; one to a running total does with all before it."""
        if change.meter_id != self.meter_id:
            return False
        before_end = change.windows.start < self.interval.end
        return before_end and (self.running or change.windows.end > self.interval.start)


@dataclass(slots=True)
class Remembered:
    """The answers that the last bill of each customer rests on."""

    answers: dict[str, dict[Question, UsageQuantity]] = field(default_factory=dict)
    # What was asked for last, also where the answer is forgotten, and the end of what ran then.
    asked: dict[str, tuple[Question, ...]] = field(default_factory=dict)
    running_end: dict[str, datetime] = field(default_factory=dict)

    def forget(self, changes: Iterable[Change]) -> None:
        """Forget what the changed rows are a part of."""
        for change in changes:
            known = self.answers.get(change.external_customer_id)
            if known:
                stale = [question for question in known if question.touched(change)]
                for question in stale:
                    del known[question]


class CustomerRows(Protocol):
    """The rows of customers, as far as a period needs them."""

    def usage(self, meter: Meter, external_customer_id: str, period: Interval) -> Partials:
        """Return what is needed of a customer's usage of a meter for a period."""
        ...


class BillUsage:
    """The usage of one customer for one bill; `keep` lets the next bill have what it read.

    With `running_minute`, an interval that ends at that instant reaches to the end of its minute.
    """

    def __init__(
        self,
        usage: CustomerRows,
        edges: Edges,
        known: Remembered,
        external_customer_id: str,
        *,
        running_minute: datetime | None = None,
    ) -> None:
        self._usage = usage
        self._edges = edges
        self._known = known
        self._customer = external_customer_id
        self._running_minute = running_minute
        self._read: dict[Question, UsageQuantity] = {}

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
        if interval.end == self._running_minute:
            interval = Interval(interval.start, end_of_minute(interval.end))
        running = meter.reset_usage is ResetUsage.NEVER
        asked = Question(meter.id, meter.generation, running, interval, timezone, billing_anchor)
        if tuple(external_customer_ids) != (self._customer,):
            return self._answer(meter, external_customer_ids, asked)
        known = self._known.answers.get(self._customer, {})
        if asked not in self._read:
            found = known.get(asked)
            if found is None:
                found = self._answer(meter, external_customer_ids, asked)
            self._read[asked] = found
        return self._read[asked]

    def keep(self) -> None:
        """Remember what this bill has read, in the place of what the one before it had."""
        self._known.answers[self._customer] = self._read
        self._known.asked[self._customer] = tuple(self._read)
        if self._running_minute is not None:
            self._known.running_end[self._customer] = end_of_minute(self._running_minute)

    def _answer(self, meter: Meter, customers: Sequence[str], asked: Question) -> UsageQuantity:
        """Answer from the rows, and from counted pairs where an edge cuts a base window."""
        interval, timezone, anchor = asked.interval, asked.timezone, asked.billing_anchor
        rows = self._rows(meter, customers, interval)
        pairs = None
        if cut_minutes(meter, interval, timezone=timezone, anchor=anchor):
            edges = Usage(None, self._edges(meter, interval, customers))
            pairs = of_customers(edges, customers).pairs
        found = answer(meter, Usage(rows, pairs), interval, timezone=timezone, anchor=anchor)
        buckets = tuple(UsageBucket(each.start, each.group, each.value) for each in found.buckets)
        return UsageQuantity(found.value, found.quantity_signed, found.counted, buckets)

    def _rows(self, meter: Meter, customers: Sequence[str], interval: Interval) -> Partials:
        """Return the rows of some customers; several are answered for together."""
        found = [self._usage.usage(meter, each, interval) for each in dict.fromkeys(customers)]
        if not found:
            return empty(meter.aggregation.type)
        members = [each.members for each in found if each.members is not None]
        return Partials(
            pa.concat_tables([each.table for each in found]),
            pa.concat_tables(members) if members else None,
        )


def end_of_minute(at: datetime) -> datetime:
    """Return the end of the minute that an instant cuts, or the instant if it cuts none.

    >>> from datetime import UTC
    >>> end_of_minute(datetime(2026, 1, 1, 9, 30, 1, tzinfo=UTC)).minute
    31
    >>> end_of_minute(datetime(2026, 1, 1, 9, 30, tzinfo=UTC)).minute
    30
    """
    rest = timedelta(seconds=at.second, microseconds=at.microsecond)
    return at - rest + BASE_WINDOW if rest else at
