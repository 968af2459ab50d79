"""Answering many customers at once: they ask the same, as most do who have bought the same.

The numbers are those of `flows.billing.reading`, which asks for one customer at a time: both ask
`operators.quantities`, whose answers for several customers are those of each.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billing.ports import UsageBucket, UsageQuantity
from flows.billing.reading import Question, Remembered, end_of_minute
from operators.cells import cut_minutes
from operators.partials import Partials
from operators.quantities import buckets, quantities
from operators.usage import Usage
from schemas.meter import Meter
from schemas.period import Interval

BY = ("external_customer_id",)
NOTHING = UsageQuantity(Decimal(0), Decimal(0), 0)


def questions_at(known: Remembered, name: str, at: datetime) -> Iterator[Question]:
    """Yield what a customer will ask at an instant, if it asks the same as last time."""
    ended, end = known.running_end.get(name), end_of_minute(at)
    for question in known.asked.get(name, ()):
        interval = question.interval
        if interval.end == ended and interval.start < end:
            yield replace(question, interval=Interval(interval.start, end))
        else:
            yield question


def answers_together(
    meter: Meter, names: Sequence[str], rows: Partials, question: Question
) -> Mapping[str, UsageQuantity]:
    """Return the answer of each customer to one question, none where an edge cuts a base window.

    `rows` are those of all of them.
    """
    interval, timezone, anchor = question.interval, question.timezone, question.billing_anchor
    if cut_minutes(meter, interval, timezone=timezone, anchor=anchor):
        return {}
    usage = Usage(rows)
    totals = quantities(meter, usage, interval, by=BY, timezone=timezone, anchor=anchor)
    listed: dict[str, list[UsageBucket]] = {}
    if meter.aggregation.bucket_size is not None:
        found = buckets(meter, usage, interval, by=BY, timezone=timezone, anchor=anchor)
        for row in found.to_pylist():
            start = row["bucket_start"].astimezone(UTC)
            bucket = UsageBucket(start, row["group"], row["value"])
            listed.setdefault(row["external_customer_id"], []).append(bucket)
    answers = dict.fromkeys(names, NOTHING)
    for row in totals.to_pylist():
        name = row["external_customer_id"]
        answers[name] = _quantity(row, tuple(listed.get(name, ())))
    return answers


def _quantity(row: dict[str, Any], buckets: tuple[UsageBucket, ...]) -> UsageQuantity:
    """Return a row of totals as billing reads it."""
    return UsageQuantity(row["value"], row["quantity_signed"], row["counted"], buckets)
