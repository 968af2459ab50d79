"""Adapters of the vectors about single events: decode, filters, quantities, meters, bulk."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from operators.exact import Event, decode_record
from operators.intake import validate_bulk
from operators.matching import match, matches
from operators.properties import canonical_text, property_columns
from schemas.decimals import EXACT
from schemas.event import EVENTS
from schemas.meter import AggregationType, Filter, Meter, meter_from, validate_meter
from schemas.verdict import Rejection

FILES = ("metering.json",)

Vector = dict[str, Any]

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def written(value: object) -> str:
    """Write a value of a vector as the JSON it was read from: numbers with all their digits."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(item) for item in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def read(text: str) -> object:
    """Read JSON as the vectors are read: numbers are exact decimals."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def events_table(properties: object, source: str = "") -> pa.Table:
    """Return one accepted event of tenant `t` and environment `e` as EVENTS."""
    row = {
        "partition": 0,
        "offset": 0,
        "tenant_id": "t",
        "environment_id": "e",
        "event_id": "event",
        "event_name": "evt",
        "external_customer_id": "customer",
        "customer_id": "",
        "source": source,
        "timestamp": _AT,
        "timestamp_given": True,
        "ingested_at": _AT,
        "properties": written(properties),
    }
    return pa.Table.from_pylist([row], schema=EVENTS)


def decode(case: Vector) -> Vector:
    """One log record, read by the exact path."""
    received_at = datetime.fromisoformat(str(case["received_at"]))
    event = decode_record(str(case["raw"]).encode(errors="surrogatepass"), received_at=received_at)
    if isinstance(event, Rejection):
        return {"verdict": "rejected", "reason": event.value}
    filled = {"event_id": event.event_id, "timestamp": event.timestamp}
    return {
        "verdict": "accepted",
        "event": _stored(event, received_at),
        "generated": [name for name, given in filled.items() if given is None],
    }


def _stored(event: Event, received_at: datetime) -> Vector:
    """Show an event as it is stored, the generated id left out."""
    members: Vector = {
        "event_name": event.event_name,
        "external_customer_id": event.external_customer_id,
        "customer_id": event.customer_id,
        "source": event.source,
        "timestamp": (event.timestamp or received_at).isoformat(),
        "properties": read(event.properties),
    }
    optional = {
        "event_id": event.event_id,
        "tenant_id": event.tenant_id,
        "environment_id": event.environment_id,
        "ingested_at": event.ingested_at and event.ingested_at.isoformat(),
    }
    return members | {name: value for name, value in optional.items() if value is not None}


def filter_match(case: Vector) -> Vector:
    """One event against filters, by the columnar rule."""
    filters = [Filter(each["key"], tuple(each["values"])) for each in case["filters"]]
    events = events_table(case["properties"], str(case.get("source", "")))
    columns = property_columns(events["properties"], [each.key for each in filters])
    return {"match": matches(filters, events, columns)[0].as_py()}


def event_quantity(case: Vector) -> Vector:
    """What one event brings to one meter, through the columnar match."""
    body = {"name": "meter", **case["meter"]}
    meter = meter_from(body, id="m", tenant_id="t", environment_id="e")
    events = events_table(case["properties"])
    matched = match([meter], events)
    if matched.skipped.num_rows:
        return {"state": "skipped", "reason": matched.skipped["reason"][0].as_py()}
    assert matched.counted.num_rows == 1
    return {"state": "counted", **_quantity(meter, events, matched.counted, matched.rounded)}


def _quantity(meter: Meter, events: pa.Table, pairs: pa.Table, rounded: int) -> Vector:
    """Show the contribution of the one counted event."""
    aggregation = meter.aggregation
    if aggregation.type is AggregationType.COUNT:
        return {"quantity": "1", "rounded": False}
    assert aggregation.field is not None
    if aggregation.type is AggregationType.COUNT_UNIQUE:
        column = property_columns(events["properties"], [aggregation.field])[aggregation.field]
        assert pairs["member"][0].is_valid
        return {"text": canonical_text(column.kind, column.text)[0].as_py()}
    factor = aggregation.multiplier or Decimal(1)
    quantity = EXACT.multiply(pairs["value"][0].as_py(), factor)
    return {"quantity": str(quantity), "rounded": bool(rounded)}


def meter_validate(case: Vector) -> Vector:
    """The body of a create request."""
    reason = validate_meter(case["meter"])
    return {"valid": True} if reason is None else {"valid": False, "reason": reason}


def bulk_validate(case: Vector) -> Vector:
    """A bulk request, read from the bytes of its body."""
    valid = {"event_name": "a", "external_customer_id": "c"}
    events = case["events"] if "events" in case else [valid] * int(case.get("count", 0))
    verdict = validate_bulk(
        written(case.get("body", {"events": events})).encode(),
        partial=bool(case.get("partial", False)),
        max_events=int(case.get("max_events", 1000)),
    )
    error = {} if verdict.error is None else {"error": verdict.error.value}
    return {
        "status": verdict.status,
        "appended_count": len(verdict.appended),
        "appended": [index for index, _ in verdict.appended],
        "rejected": [{"index": i, "reason": reason.value} for i, reason in verdict.rejected],
        **error,
    }


OPS: dict[str, Callable[[Vector], Vector]] = {
    "decode": decode,
    "filter_match": filter_match,
    "event_quantity": event_quantity,
    "meter_validate": meter_validate,
    "bulk_validate": bulk_validate,
}
