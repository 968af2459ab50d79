"""Where usage rows come from: batches of what the metering flow has published.

Here the flow reads what is stored, once, and ends; `flows.billing.live_source` goes on with what is
published. Rows may come again, so the two may overlap.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pyarrow as pa
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.billing.batches import NOTHING, UsageBatch
from flows.billing_usage import CountedUsage
from flows.metering.usage_rows import usage_rows
from schemas.meter import Meter

BATCH_ROWS = 50_000


class UsageSource(FixedPartitionedSource[UsageBatch, int]):
    """Batches of usage as one partition; its position is how many of them it has given.

    `batches` gives the same ones each time it is called. There is always a batch, if only an empty
    one: customers without usage are billed too.
    """

    def __init__(self, batches: Callable[[], Iterable[UsageBatch]]):
        self._batches = batches

    def list_parts(self) -> list[str]:
        """Return the one partition that all rows make up."""
        return ["usage"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "UsagePartition":
        """Read from the beginning, or from where a snapshot was."""
        return UsagePartition(self._batches(), resume_state or 0)


class UsagePartition(StatefulSourcePartition[UsageBatch, int]):
    """The reader of the one partition."""

    def __init__(self, batches: Iterable[UsageBatch], given: int):
        self._rest = islice(batches, max(given - 1, 0), None)
        self._given = given

    def next_batch(self) -> list[UsageBatch]:
        """Return the next batch alone; the first is an empty one."""
        batch = NOTHING if self._given == 0 else next(self._rest)
        self._given += 1
        return [batch]

    def snapshot(self) -> int:
        """Return how many batches were given."""
        return self._given


def published(
    usage: CountedUsage, meters: Iterable[Meter], *, batch_rows_max: int = BATCH_ROWS
) -> Iterator[UsageBatch]:
    """Yield the usage of some meters as the metering flow publishes it, in order of their ids.

    What is read back holds each cell once, so the version of a row is the number of its events.
    """
    for meter in sorted(meters, key=lambda each: each.id):
        found = {str(meter.aggregation.type): usage.usage(meter)}
        rows, members = usage_rows(found, {meter.id: meter}, {})
        yield from _cut(rows, members, batch_rows_max)


def _cut(rows: pa.Table, members: pa.Table, rows_max: int) -> Iterator[UsageBatch]:
    """Yield rows and members in batches that are no longer than agreed."""
    for start in range(0, max(rows.num_rows, members.num_rows), rows_max):
        yield UsageBatch(rows.slice(start, rows_max), members.slice(start, rows_max))
