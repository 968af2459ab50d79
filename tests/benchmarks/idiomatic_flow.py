"""The flow that Bytewax's guide would have one write, tuned: lines in batches, one dict an event.

    python -m bytewax.run "tests/benchmarks/idiomatic_flow.py:flow('EVENTS', 'ANSWER')"

Counts the events and adds the tokens of each customer. It neither deduplicates nor keeps digits.
"""

import json
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.files import FileSink, FileSource
from bytewax.dataflow import Dataflow

Total = tuple[int, int]


def read(line: str) -> dict[str, Any] | None:
    """Return the event of a line, or None if there is none in it."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if event.get("event_name") == "llm.completion" else None


def add(total: Total, event: dict[str, Any]) -> Total:
    """Return the total with one more event."""
    return total[0] + 1, total[1] + event["properties"]["tokens"]


def flow(events: str, answer: str) -> Dataflow:
    """Build the flow over a file of events that writes one line a customer."""
    built = Dataflow("idiomatic")
    lines = op.input("read", built, FileSource(Path(events), batch_size=10_000))
    decoded = op.filter_map("decode", lines, read)
    keyed = op.key_on("key", decoded, lambda event: event["external_customer_id"])
    folded = op.fold_final("add", keyed, lambda: (0, 0), add)
    written = op.map(
        "write", folded, lambda each: (each[0], f"{each[0]} {each[1][0]} {each[1][1]}")
    )
    op.output("answer", written, FileSink(Path(answer)))
    return built
