"""Usage for billing: the reader of `billing.ports` over rows that were metered.

It asks `operators.answers`, as `tally meter` does, so that an invoice bills the number that a usage
query shows.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from billing.ports import UsageBucket, UsageQuantity
from operators.answers import answer
from operators.cells import cut_minutes
from operators.partials import Partials, empty
from operators.usage import Usage, by_customer, of_customers
from schemas.meter import Meter
from schemas.period import Interval


class CountedUsage(Protocol):
    """What was counted: the rows of each meter, and the pairs that an edge cuts out."""

    def usage(self, meter: Meter) -> Partials:
        """Return all rows of a meter."""
        ...

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        """Return the counted pairs of the base windows that the interval cuts. out: PAIRS."""
        ...


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
