"""Adapters for periods.json: the grid, billing periods, periods of lines, reset windows."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from billing.periods.schedules import (
    Schedule,
    anchored,
    first_periods,
    line_periods,
    period_at,
    period_multiple,
    reset_window,
    schedule,
)
from schemas.doors import read_instant
from schemas.errors import Refused
from schemas.period import Interval
from schemas.price import InvoiceCadence

FILES = ("periods.json",)

Body = Mapping[str, Any]
Answer = dict[str, Any]


def bound(text: str | None) -> datetime | None:
    """Read an instant that bounds something, as the door does, or an open end."""
    return None if text is None else read_instant(text)


def refusing(adapter: Callable[[Body], Answer]) -> Callable[[Body], Answer]:
    """Answer a refusal with its code."""

    def answer(body: Body) -> Answer:
        try:
            return adapter(body)
        except Refused as refused:
            return {"error": refused.code}

    return answer


def pair(interval: Interval) -> list[str]:
    """Return an interval as the vectors show it."""
    return [interval.start.isoformat(), interval.end.isoformat()]


def schedule_of(body: Body) -> Schedule:
    """Read the subscription of a vector."""
    return schedule(
        body["billing_cycle"],
        body["billing_period"],
        int(body["billing_period_count"]),
        read_instant(body["start"]),
        anchor=bound(body["billing_anchor"]),
        end=bound(body["end"]),
        timezone=body["timezone"],
    )


def _periods(body: Body) -> Answer:
    made = schedule_of(body)
    return {
        "anchor": made.grid.first.isoformat(),
        "periods": [pair(span.period) for span in first_periods(made, int(body["take"]))],
    }


def _period_at(body: Body) -> Answer:
    found = period_at(schedule_of(body), datetime.fromisoformat(body["at"]))
    start, end = pair(found.period)
    grid_start, grid_end = pair(found.full)
    return {
        "start": start,
        "end": end,
        "grid_start": grid_start,
        "grid_end": grid_end,
        "index": found.index,
    }


def _line_periods(body: Body) -> Answer:
    start = read_instant(body["line_start"])
    grid = anchored(
        start, body["billing_period"], int(body["billing_period_count"]), body["timezone"]
    )
    found = line_periods(
        grid,
        start,
        bound(body["line_end"]),
        cadence=InvoiceCadence(body["invoice_cadence"]),
        window=Interval(*map(read_instant, body["window"])),
    )
    return {"periods": [pair(span.period) for span in found]}


def _reset_window(body: Body) -> Answer:
    grid = anchored(read_instant(body["billing_anchor"]), "MONTHLY", 1, body["timezone"])
    window = reset_window(
        grid,
        body["reset_period"],
        read_instant(body["subscription_start"]),
        bound(body["subscription_end"]),
        datetime.fromisoformat(body["at"]),
    )
    return {
        "start": window.start.isoformat(),
        "end": window.end and window.end.isoformat(),
    }


def _period_multiple(body: Body) -> Answer:
    longer, shorter = (
        (body[name]["period"], int(body[name]["count"])) for name in ("longer", "shorter")
    )
    factor = period_multiple(longer, shorter)
    return {"multiple": factor is not None, "factor": factor}


OPS: dict[str, Callable[[Body], Answer]] = {
    "periods": refusing(_periods),
    "period_at": refusing(_period_at),
    "line_periods": refusing(_line_periods),
    "reset_window": refusing(_reset_window),
    "period_multiple": refusing(_period_multiple),
}
