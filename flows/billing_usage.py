"""Usage for billing: readers of `billing.ports`, over rows in memory and over those of a store.

They ask `operators.answers`, as `tally meter` does, so that an invoice bills the number that a usage
query shows.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import pyarrow as pa

from billing.ports import UsageAnswers, UsageBucket, UsageQuantity
from operators.answers import answer
from operators.cells import cut_minutes
from operators.partials import Partials, empty
from operators.usage import Usage, by_customer, of_customers
from schemas.event_query import UsageQuery
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope

# Metering that is further behind than this is not waited for when usage is looked for that came late.
WAITED_MAX = timedelta(days=1)


class CountedUsage(Protocol):
    """What was counted: the rows of each meter, and the pairs that an edge cuts out."""

    def usage(self, meter: Meter) -> Partials:
        """Return all rows of a meter."""
        ...

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        """Return the counted pairs of the base windows that the interval cuts. out: PAIRS."""
        ...


class AnsweredUsage:
    """Reads quantities from the store of one scope, each of them when it is asked for.

    It knows what came late too (`billing.ports.LateUsage`). Every method may raise StoreError.
    """

    def __init__(
        self,
        answers: UsageAnswers,
        scope: Scope,
        received_since: Callable[[Sequence[str], datetime], datetime | None],
    ) -> None:
        self._answers = answers
        self._scope = scope
        self._received_since = received_since

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
        query = UsageQuery(
            self._scope,
            meter,
            interval,
            tuple(external_customer_ids),
            timezone=timezone,
            anchor=billing_anchor,
        )
        found = self._answers.answer(query)
        buckets = tuple(UsageBucket(each.start, each.group, each.value) for each in found.buckets)
        return UsageQuantity(found.value, found.quantity_signed, found.counted, buckets)

    def arrived_since(self, external_customer_ids: Sequence[str], at: datetime) -> datetime | None:
        """Return the time of the earliest event that has come into usage since an instant.

        Events are known by when they were received, and may have waited in the log after that.
        """
        return self._received_since(external_customer_ids, at - WAITED_MAX)


class MeteredUsage:
    """Reads quantities of meters from what was metered; the rows of a meter are read once."""

    def __init__(self, metered: CountedUsage) -> None:
        self.metered = metered
        self.rows: dict[str, dict[str, Partials]] = {}

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
        rows = self.rows_of(meter, external_customer_ids)
        pairs = None
        if cut_minutes(meter, interval, timezone=timezone, anchor=billing_anchor):
            edges = Usage(None, self.metered.edges(meter, interval))
            pairs = of_customers(edges, external_customer_ids).pairs
        found = answer(
            meter, Usage(rows, pairs), interval, timezone=timezone, anchor=billing_anchor
        )
        buckets = tuple(UsageBucket(each.start, each.group, each.value) for each in found.buckets)
        return UsageQuantity(found.value, found.quantity_signed, found.counted, buckets)

    def rows_of(self, meter: Meter, external_customer_ids: Sequence[str]) -> Partials:
        """Return the stored rows of some customers; several are answered for together."""
        if meter.id not in self.rows:
            customers = by_customer(Usage(self.metered.usage(meter)))
            self.rows[meter.id] = {
                customer: part.rows for customer, part in customers if part.rows is not None
            }
        known = self.rows[meter.id]
        found = [known[each] for each in dict.fromkeys(external_customer_ids) if each in known]
        if not found:
            return empty(meter.aggregation.type)
        if len(found) == 1:
            return found[0]
        members = [each.members for each in found if each.members is not None]
        return Partials(
            pa.concat_tables([each.table for each in found]),
            pa.concat_tables(members) if members else None,
        )
