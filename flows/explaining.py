"""Explaining a line down to its events, and pricing it again: what `tally explain` shows.

The arithmetic comes from the explanation that the line stores, the amount from the independent
pricer, and the usage from the events of each window as they are now (DESIGN, G8). Events that came
after the line was computed are no fault of it: what they make of the usage is told.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

import pyarrow as pa

from billing.explaining import Sentence, day, explain
from billing.inconsistencies import problems
from billing.repricing import reprice
from flows.cli.output import instant_text
from operators.matching import pair, properties_of
from operators.properties import property_columns
from schemas.decimals import EXACT, plain
from schemas.errors import ValidationFailed
from schemas.event import INSTANT
from schemas.event_query import EventPage, StoredEvent
from schemas.meter import AggregationType, Meter, ResetUsage
from schemas.period import Interval

PAGE_SIZE_MAX = 1000

# What an event brings to one of these is added up, so that events can be summed by hand.
SUMS = frozenset({AggregationType.COUNT, AggregationType.SUM, AggregationType.SUM_WITH_MULTIPLIER})
ONE = Decimal(1)

_LOOKED_AT = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("external_customer_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("timestamp", INSTANT, nullable=False),
        pa.field("properties", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class FoundLine:
    """An invoice line with what its usage is read by; `meter` is None for fees.

    `timezone` and `anchor` are those of the subscription, which cut the buckets of a meter.
    """

    invoice_id: str
    line_id: str
    name: str
    period: Interval
    explanation: Mapping[str, Any]
    customer: str
    meter: Meter | None = None
    timezone: str = "UTC"
    anchor: datetime | None = None


class LineSource(Protocol):
    """Where lines and the events behind them are read: an instance, or the stores of a folder."""

    def line(self, reference: str) -> FoundLine:
        """Return the line that `LINE` or `INVOICE/LINE` names. Raises NotFound."""
        ...

    def value(self, found: FoundLine, period: Interval) -> Decimal:
        """Return what the line's meter gives its customer for a period now."""
        ...

    def events(self, found: FoundLine, period: Interval, size: int, offset: int) -> EventPage:
        """Return a page of the events behind a line in a period, the oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event, and what it brings to the meter; None where the meter skips it."""

    event_id: str
    at: datetime
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class ResolvedWindow:
    """The events behind the usage of a window: what was told of it, and what they give now.

    `events` counts all of them, `shown` are the first. `added` is what they add up to by hand, where
    all are shown and the meter adds them up.
    """

    period: Interval
    told: Decimal
    value: Decimal
    events: int
    shown: tuple[ShownEvent, ...]
    added: Decimal | None


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """A line with everything that speaks for its amount; `repriced` is None where nothing can."""

    found: FoundLine
    arithmetic: Sentence
    repriced: Decimal | None
    problems: tuple[str, ...]
    usage: tuple[ResolvedWindow, ...]

    @property
    def agrees(self) -> bool:
        """Tell whether the independent pricer comes to the amount, and every figure to the others."""
        return not self.problems and self.repriced == Decimal(self.found.explanation["amount"])


def explain_line(source: LineSource, reference: str, *, events_max: int) -> ExplainedLine:
    """Return a line explained, priced again, and resolved to its first `events_max` events.

    Raises NotFound, and StoreError where what it asks does not answer.
    """
    found = source.line(reference)
    told = found.explanation
    start, end = instant_text(found.period.start), instant_text(found.period.end)
    try:
        repriced = reprice(told)
    except ValidationFailed as refused:
        return ExplainedLine(found, Sentence(found.name), None, (str(refused),), ())
    arithmetic = explain(found.name, start, end, told)
    usage = tuple(resolved(source, found, events_max))
    return ExplainedLine(found, arithmetic, repriced, problems(told), usage)


def resolved(source: LineSource, found: FoundLine, events_max: int) -> Iterator[ResolvedWindow]:
    """Yield each window of a line's usage with the events behind it, the first ones shown."""
    if found.meter is None:
        return
    left = events_max
    for period, told in windows_of(found):
        rows, total = _first_events(source, found, period, left)
        shown = tuple(shown_events(found.meter, rows))
        left -= len(shown)
        added = added_up(found.meter, shown) if len(shown) == total else None
        yield ResolvedWindow(period, told, source.value(found, period), total, shown, added)


def windows_of(found: FoundLine) -> Iterator[tuple[Interval, Decimal]]:
    """Yield the times that a line's usage is of, with the usage: its windows, or its service period.

    Of a window that reaches beyond the service period only what lies inside was billed.
    """
    used = found.explanation.get("usage")
    if used is None:
        return
    if not used["windows"]:
        yield found.period, Decimal(used["total"])
    for each in used["windows"]:
        start, end = (datetime.fromisoformat(each[name]) for name in ("start", "end"))
        inside = Interval(start, end).cut(found.period)
        if inside is not None:
            yield inside, Decimal(each["usage"])


def _first_events(
    source: LineSource, found: FoundLine, period: Interval, wanted: int
) -> tuple[list[StoredEvent], int]:
    """Return the first events of a period, read by pages, and how many there are."""
    # Where none is wanted one is read all the same: its page tells how many there are.
    page = source.events(found, period, max(min(wanted, PAGE_SIZE_MAX), 1), 0)
    rows = list(page.events)
    while page.has_more and len(rows) < wanted:
        page = source.events(found, period, PAGE_SIZE_MAX, len(rows))
        rows += page.events
    return rows[:wanted], page.total_count


def shown_events(meter: Meter, rows: Sequence[StoredEvent]) -> Iterator[ShownEvent]:
    """Yield events with what each brings to a meter, by the rule that metering itself goes by."""
    if not rows:
        return
    table = pa.Table.from_pylist(
        [{name: getattr(row, name) for name in _LOOKED_AT.names} for row in rows], _LOOKED_AT
    )
    columns = property_columns(table["properties"], properties_of([meter]))
    pairs = pair(meter, table, columns).counted
    values = dict(zip(pairs["event_id"].to_pylist(), pairs["value"].to_pylist(), strict=True))
    factor = meter.aggregation.multiplier or ONE
    for row in rows:
        value = values.get(row.event_id)
        if row.event_id in values:
            value = EXACT.multiply(ONE if value is None else value, factor)
        yield ShownEvent(row.event_id, row.timestamp, value)


def added_up(meter: Meter, shown: Sequence[ShownEvent]) -> Decimal | None:
    """Return what events add up to, never below 0; None for a meter that does not just add.

    >>> from schemas.meter import Aggregation
    >>> calls = Meter("m", "t", "e", "Calls", "call", Aggregation(AggregationType.COUNT))
    >>> added_up(calls, [])
    Decimal('0')
    """
    simple = meter.aggregation.bucket_size is None and meter.reset_usage is not ResetUsage.NEVER
    if meter.aggregation.type not in SUMS or not simple:
        return None
    summed = Decimal(0)
    for each in shown:
        summed = EXACT.add(summed, each.value or Decimal(0))
    return max(summed, Decimal(0))


def verdict(line: ExplainedLine) -> Sentence:
    """Return whether the independent pricer agrees, with what does not."""
    below = tuple(Sentence(each) for each in line.problems)
    if line.agrees:
        return Sentence(f"re-priced independently: {line.repriced:f}, agrees")
    if line.repriced is None:
        return Sentence("re-priced independently: impossible", below)
    told = line.found.explanation["amount"]
    return Sentence(f"re-priced independently: {line.repriced:f}, the line says {told}", below)


def usage_sentence(line: ExplainedLine) -> Sentence:
    """Return the events behind a line, window by window."""
    meter = line.found.meter
    name = meter.name if meter else ""
    text = f"events of {line.found.customer} behind {name}"
    return Sentence(text, tuple(map(_window_sentence, line.usage)))


def _window_sentence(window: ResolvedWindow) -> Sentence:
    """Return the events of a window, and whether they still give what was told."""
    period = f"{day(instant_text(window.period.start))} to {day(instant_text(window.period.end))}"
    text = f"{period}: {window.events} events give {plain(window.value)}"
    more = EXACT.subtract(window.value, window.told)
    if not more:
        text += ", as the line says"
    else:
        word = "more" if more > 0 else "less"
        text += f", {plain(abs(more))} {word} than the line says: others have come since"
    if window.added is not None:
        text += f"; added up one by one: {plain(window.added)}"
    below = [
        Sentence(f"{each.event_id} at {instant_text(each.at)}: {_brought(each)}")
        for each in window.shown
    ]
    if window.events > len(window.shown):
        below.append(Sentence(f"… and {window.events - len(window.shown)} more"))
    return Sentence(text, tuple(below))


def _brought(event: ShownEvent) -> str:
    return "skipped" if event.value is None else plain(event.value)


def document_of(line: ExplainedLine) -> dict[str, object]:
    """Return an explained line as machines read it; quantities and amounts are decimal texts."""
    found = line.found
    return {
        "invoice_id": found.invoice_id,
        "line_id": found.line_id,
        "display_name": found.name,
        "external_customer_id": found.customer,
        "period_start": instant_text(found.period.start),
        "period_end": instant_text(found.period.end),
        "amount": found.explanation.get("amount"),
        "repriced": None if line.repriced is None else f"{line.repriced:f}",
        "agrees": line.agrees,
        "problems": list(line.problems),
        "arithmetic": _nested(line.arithmetic),
        "explanation": dict(found.explanation),
        "usage": [
            {
                "start": instant_text(each.period.start),
                "end": instant_text(each.period.end),
                "usage": plain(each.told),
                "usage_now": plain(each.value),
                "event_count": each.events,
                "added_up": None if each.added is None else plain(each.added),
                "events": [
                    {
                        "event_id": event.event_id,
                        "timestamp": instant_text(event.at),
                        "value": None if event.value is None else plain(event.value),
                    }
                    for event in each.shown
                ],
            }
            for each in line.usage
        ],
    }


def _nested(sentence: Sentence) -> dict[str, object]:
    return {"text": sentence.text, "below": [_nested(each) for each in sentence.below]}
