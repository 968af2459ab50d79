"""Adapters for window_start, aggregate and windows of metering.json, through the real path.

Events are read as records, identified, matched, made into partials in several batches, merged in
another order than they came in, and finished; the same question asked of the bare pairs must agree.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from operators.answers import Answer, answer
from operators.exact import Event, content_equal, decode_record
from operators.grouping import group_properties, with_groups
from operators.matching import match
from operators.partials import merge, start
from operators.properties import property_columns
from operators.usage import Usage, of_customers, usage_of_pairs
from operators.windows import window_of, window_size
from schemas.decimals import plain
from schemas.errors import ValidationFailed
from schemas.event import EVENTS
from schemas.meter import Filter, Meter, ResetUsage, meter_from
from schemas.period import Interval

FILES = ("metering.json",)

Body = Mapping[str, Any]

BATCH = 2


def instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def json_text(value: object) -> str:
    """Write JSON with every digit of a decimal, which json.dumps would not."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(k)}:{json_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(json_text(each) for each in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def identified(copies: list[Body]) -> tuple[pa.Table, list[str]]:
    """Return the accepted events and the verdict of each copy: the first of an id wins."""
    accepted: dict[str, Event] = {}
    rows: list[dict[str, object]] = []
    verdicts: list[str] = []
    for offset, copy in enumerate(copies):
        body = {name: value for name, value in copy.items() if name != "received_at"}
        received_at = instant(copy.get("received_at"))
        event = decode_record(json_text(body).encode(), received_at=received_at)
        assert isinstance(event, Event), event
        assert event.event_id is not None
        first = accepted.get(event.event_id)
        if first is not None:
            verdicts.append("duplicate" if content_equal(first, event) else "conflict")
            continue
        verdicts.append("accepted")
        accepted[event.event_id] = event
        timestamp = event.timestamp or received_at
        rows.append(
            {
                "partition": 0,
                "offset": offset,
                "tenant_id": "t",
                "environment_id": "e",
                "event_id": event.event_id,
                "event_name": event.event_name,
                "external_customer_id": event.external_customer_id,
                "customer_id": event.customer_id,
                "source": event.source,
                "timestamp": timestamp,
                "timestamp_given": event.timestamp is not None,
                "ingested_at": received_at or timestamp,
                "properties": event.properties,
            }
        )
    return pa.Table.from_pylist(rows, schema=EVENTS), verdicts


def asked_meter(body: Body) -> Meter:
    """Return the meter with the filters of the query on top of its own."""
    meter = meter_from(
        {"name": "meter", **body["meter"]}, id="m", tenant_id="t", environment_id="e"
    )
    extra = [Filter(each["key"], tuple(each["values"])) for each in body.get("filters") or ()]
    return replace(meter, filters=(*meter.filters, *extra))


def merged(meter: Meter, pairs: pa.Table) -> Usage:
    """Return usage made in small batches and merged from the last to the first, by halves."""
    kind = meter.aggregation.type
    batches = [
        start(kind, pairs.slice(row, BATCH)) for row in range(0, max(pairs.num_rows, 1), BATCH)
    ]
    middle = len(batches) // 2
    halves = [merge(kind, batches[middle:]), merge(kind, batches[:middle][::-1])]
    return Usage(merge(kind, halves), pairs)


def scoped_skips(
    body: Body, meter: Meter, events: pa.Table, skipped: pa.Table
) -> list[dict[str, str]]:
    """Return the skips of events that the question is about."""
    asked = body.get("external_customer_ids")
    rows = {row["event_id"]: row for row in events.to_pylist()}
    begin, end = instant(body["start"]), instant(body["end"])
    never = meter.reset_usage is ResetUsage.NEVER
    found = []
    for row in skipped.to_pylist():
        event = rows[row["event_id"]]
        inside = event["timestamp"] < end and (never or event["timestamp"] >= begin)
        if inside and (asked is None or event["external_customer_id"] in asked):
            found.append({"event_id": row["event_id"], "reason": row["reason"]})
    return found


def ask(body: Body) -> tuple[Answer, list[dict[str, str]], list[str], Meter]:
    """Answer the question of a vector, from rows and from pairs alone, which must agree."""
    events, verdicts = identified(body["events"])
    meter = asked_meter(body)
    matched = match([meter], events)
    pairs = matched.counted
    group_by = body.get("group_by") or ()
    columns = property_columns(events["properties"].combine_chunks(), group_properties(group_by))
    usages = [merged(meter, pairs), usage_of_pairs(with_groups(pairs, events, columns, group_by))]
    if body.get("external_customer_ids") is not None:
        usages = [of_customers(usage, body["external_customer_ids"]) for usage in usages]
    begin, end = instant(body["start"]), instant(body["end"])
    assert begin is not None
    assert end is not None
    window = body.get("window")
    asked = {
        "window": None if window is None else window_size(window),
        "timezone": body.get("timezone") or "UTC",
        "anchor": instant(body.get("billing_anchor")),
        "fill": body.get("fill", False),
    }
    period = Interval(begin, end)
    of_rows = answer(meter, usages[0], period, **asked)
    of_pairs = answer(meter, usages[1], period, **asked, group_by=group_by)
    assert replace(of_pairs, groups=()) == of_rows
    skipped = scoped_skips(body, meter, events, matched.skipped)
    return of_pairs, skipped, verdicts, meter


def aggregate(body: Body) -> dict[str, Any]:
    found, skipped, verdicts, meter = ask(body)
    groups = meter.aggregation.group_by is not None
    return {
        "value": plain(found.value),
        "quantity_signed": plain(found.quantity_signed),
        "counted": found.counted,
        "skipped": skipped,
        "verdicts": verdicts,
        "buckets": [
            {"start": each.start, "value": plain(each.value)}
            | ({"group": each.group} if groups else {})
            for each in found.buckets
        ],
        "groups": [
            {"group": list(each.group), "value": plain(each.value)} for each in found.groups
        ],
    }


def windows(body: Body) -> dict[str, Any]:
    found, _, _, _ = ask(body)
    return {
        "value": plain(found.value),
        "quantity_signed": plain(found.quantity_signed),
        "window": found.window,
        "windows": [{"start": each.start, "value": plain(each.value)} for each in found.windows],
    }


def window_start(body: Body) -> dict[str, Any]:
    at = instant(body["timestamp"])
    assert at is not None
    try:
        window = window_of(
            window_size(body["window"]),
            at,
            timezone=body.get("timezone") or "UTC",
            anchor=instant(body.get("billing_anchor")),
        )
    except ValidationFailed as refused:
        return {"error": refused.reason}
    return {"start": window.start, "end": window.end}


OPS: dict[str, Callable[[Body], dict[str, Any]]] = {
    "aggregate": aggregate,
    "windows": windows,
    "window_start": window_start,
}
