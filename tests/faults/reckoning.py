"""What metering the log must come to, in plain Python: no code of the program takes part.

Of each id the copy with the lowest (receipt time, partition, offset) counts.
"""

import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext

from nasty_log import Log

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60_000_000
# Meter → event name, and the property that it reads.
METERS = {
    "calls": ("call", None),
    "total": ("call", "amount"),
    "highest": ("call", "amount"),
    "users": ("call", "user"),
    "reading": ("level", "amount"),
    "average_level": ("level", "amount"),
}


@dataclass(slots=True)
class Reckoned:
    """Usage rows by cell, members by cell, positions by what became of them."""

    usage: dict[tuple, dict[str, object]] = field(default_factory=dict)
    members: set[tuple] = field(default_factory=set)
    accepted: dict[tuple[int, int], tuple] = field(default_factory=dict)
    refused: set[tuple[int, int]] = field(default_factory=set)
    rejected: set[tuple[int, int]] = field(default_factory=set)


def reckon(log: Log) -> Reckoned:
    """Return what the log comes to."""
    found = Reckoned()
    copies = []
    for partition, records in enumerate(log):
        for offset, record in enumerate(records):
            if record.event is None:
                found.rejected.add((partition, offset))
                continue
            event = json.loads(record.value, parse_float=Decimal, parse_int=Decimal)
            copies.append((record.received_at, partition, offset, event))
    cells = defaultdict(list)
    known = set()
    for received, partition, offset, event in sorted(copies, key=lambda copy: copy[:3]):
        if event["event_id"] in known:
            found.refused.add((partition, offset))
            continue
        known.add(event["event_id"])
        at = datetime.fromisoformat(event["timestamp"]) if "timestamp" in event else received
        instant = (at - EPOCH) // MICROSECOND
        customer = event["external_customer_id"]
        found.accepted[partition, offset] = (event["event_id"], customer, instant)
        for meter, (name, _) in METERS.items():
            if event["event_name"] == name:
                group = event["properties"]["zone"] if meter == "highest" else ""
                cell = (meter, customer, group, instant // MINUTE * MINUTE)
                cells[cell].append((instant, event["event_id"], event["properties"]))
    with localcontext(Context(prec=120)):
        for cell, events in cells.items():
            _reckon_cell(found, cell, events)
    return found


def _reckon_cell(found: Reckoned, cell: tuple, events: list[tuple]) -> None:
    """Add the row of one cell, if any of its events counts."""
    meter = cell[0]
    read = METERS[meter][1]
    if meter == "users":
        texts = [_canonical(properties[read]) for _, _, properties in events]
        found.members |= {(*cell, hashlib.md5(text.encode()).digest()) for text in texts}  # noqa: S324 - it names things and guards nothing
        found.usage[cell] = {"counted": len(events)}
        return
    values = [(at, event_id, _value(p.get(read))) for at, event_id, p in events]
    if read is not None:
        values = [each for each in values if each[2] is not None]
    if not values:
        return
    row: dict[str, object] = {"counted": len(values)}
    if meter in ("total", "average_level"):
        row["sum"] = sum((value for _, _, value in values), Decimal(0))
    if meter == "average_level":
        row["moment"] = sum((value * (at - cell[3]) for at, _, value in values), Decimal(0))
    if meter == "highest":
        row["maximum"] = max(value for _, _, value in values)
    if meter == "reading":
        at, event_id, value = max(values, key=lambda each: (each[0], each[1].encode()))
        row |= {"latest_at": at, "latest_id": event_id, "latest_value": value}
    found.usage[cell] = row


def _value(sent: object) -> Decimal | None:
    """Return a number or a text as a value, if it is one."""
    if isinstance(sent, str) and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", sent):
        return None
    return None if sent is None else Decimal(sent)  # type: ignore[arg-type]  # JSON gives any value


def _canonical(sent: object) -> str:
    """Return the canonical text; numbers of users are whole."""
    return sent if isinstance(sent, str) else str(int(sent))  # type: ignore[call-overload]  # JSON gives any value
