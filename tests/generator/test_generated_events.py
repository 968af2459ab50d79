"""The generator is itself checked: what it writes, read by Python's own JSON, is what it drew."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation, localcontext

import generated_events
import pyarrow as pa
import pytest
import written_records
from expected_usage import UNIT, Cell, Row, members, usage

COUNT, SEED = 6000, 11
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METERS = {
    "api.call": ("calls", "failures", "mean_amount"),
    "llm.completion": ("tokens", "spend", "users"),
    "job.run": ("peak", "floor", "compute", "peak_by_zone"),
    "storage.level": ("reading", "storage"),
    "audit.entry": (),
}


@pytest.fixture(scope="module")
def drawn() -> pa.Table:
    return generated_events.values(COUNT, SEED)


@pytest.fixture(scope="module")
def written(drawn: pa.Table) -> pa.Table:
    return written_records.records(drawn, SEED)


def test_the_same_seed_gives_the_same_events(drawn: pa.Table, written: pa.Table) -> None:
    assert generated_events.values(COUNT, SEED).equals(drawn)
    assert written_records.records(drawn, SEED).equals(written)
    assert not generated_events.values(COUNT, SEED + 1).equals(drawn)


def test_each_kind_has_its_share(written: pa.Table) -> None:
    kinds = written["kind"].to_pylist()
    assert {kind: kinds.count(kind) for kind in written_records.KINDS} == {
        "event": COUNT,
        "copy": COUNT // 100,
        "conflict": COUNT // 2000,
        "malformed": COUNT // 1000,
    }


def test_a_copy_has_the_bytes_and_the_key_of_an_earlier_event(written: pa.Table) -> None:
    earlier = set()
    for record in written.to_pylist():
        if record["kind"] == "copy":
            assert (record["key"], record["value"]) in earlier
        elif record["kind"] == "event":
            earlier.add((record["key"], record["value"]))


def test_a_conflict_has_the_id_of_an_earlier_event_and_other_bytes(written: pa.Table) -> None:
    earlier: dict[str, bytes] = {}
    for record in written.to_pylist():
        if record["kind"] == "malformed":
            continue
        event_id, *_ = read(record)
        if record["kind"] == "conflict":
            assert earlier[event_id] != record["value"]
        earlier.setdefault(event_id, record["value"])


def test_all_malformed_bytes_differ_but_the_empty_ones() -> None:
    bad = written_records.malformed(200, door="kafka").to_pylist()
    texts = [record["value"] for record in bad if record["value"]]
    assert len(set(texts)) == len(texts)
    assert {record["reason"] for record in bad} >= {"invalid_json", "too_deep", "event_too_large"}
    assert all(
        record["value"] for record in written_records.malformed(200, door="file").to_pylist()
    )


def read(record: dict[str, bytes]) -> tuple[str, str, str, int, dict[str, object]]:
    """Read a well-formed record: event id, name, customer, microseconds and properties."""
    body = json.loads(record["value"], parse_float=Decimal, parse_int=Decimal)
    if "specversion" in body:
        tail = body["id"].replace("%", "%25").replace("/", "%2F")
        event_id, name, moment = f"{body['source']}/{tail}", body["type"], body.get("time")
        customer = body.get("externalcustomerid") or body["subject"]
        properties = body["data"]
    else:
        event_id = body.get("event_id") or body["id"]
        name, moment = body["event_name"].strip(), body.get("timestamp")
        customer, properties = body["external_customer_id"], body["properties"]
    if moment is None:
        return event_id, name, customer, int(record["stamp"]) * 1000, properties
    # Python cuts no nanoseconds by itself.
    moment = moment.replace("987Z", "Z") if len(moment) == 30 else moment
    at = (datetime.fromisoformat(moment) - EPOCH) // timedelta(microseconds=1)
    return event_id, name, customer, at, properties


def number(found: object) -> int | None:
    """Return a property in units of 10^-18, rounded half to even, or None if it is no number."""
    if isinstance(found, bool) or not isinstance(found, str | Decimal):
        return None
    try:
        read = Decimal(found.strip().replace(",", "_x")) if isinstance(found, str) else found
    except InvalidOperation:
        return None
    if not read.is_finite() or abs(read) >= 10**20:
        return None
    with localcontext(Context(prec=100)):
        return int((read * UNIT).to_integral_value())


def canonical(found: object) -> str | None:
    if isinstance(found, Decimal):
        return str(int(found)) if found == found.to_integral_value() else f"{found.normalize():f}"
    return found if isinstance(found, str) else None


def quantity(meter: str, properties: dict[str, object]) -> tuple[str, int] | None:
    """Return group and value of an event for a meter, or None where it does not count."""
    amount = number(properties.get("amount"))
    if meter in ("calls", "failures", "users"):
        counts = {
            "calls": True,
            "failures": canonical(properties["status"]) in ("500", "503"),
            "users": canonical(properties["user"]) is not None,
        }[meter]
        return ("", 0) if counts else None
    if meter == "tokens":
        tokens = number(properties["tokens"])
        return ("", tokens or 0) if properties.get("model") in ("large", "médium") else None
    if amount is None:
        return None
    return (canonical(properties.get("zone")) or "" if meter == "peak_by_zone" else "", amount)


def figures(meter: str, pairs: list[tuple[int, str, int]], start: int) -> Row:
    """Return the row that these (time, id, value) make."""
    values = [value for _, _, value in pairs]
    if meter in ("calls", "failures", "users"):
        return Row(len(pairs))
    if meter in ("peak", "peak_by_zone"):
        return Row(len(pairs), maximum=max(values))
    if meter == "floor":
        return Row(len(pairs), minimum=min(values))
    if meter == "reading":
        at, event_id, value = max(pairs, key=lambda pair: (pair[0], pair[1].encode()))
        return Row(len(pairs), latest_at=at, latest_id=event_id, latest_value=value)
    if meter == "storage":
        moment = sum(value * (at - start) for at, _, value in pairs)
        return Row(len(pairs), sum=sum(values), moment=moment)
    return Row(len(pairs), sum=sum(values))


def test_the_expected_usage_is_what_the_records_say(drawn: pa.Table, written: pa.Table) -> None:
    cells: dict[Cell, list[tuple[int, str, int]]] = defaultdict(list)
    for record in written.to_pylist():
        if record["kind"] != "event":
            continue
        event_id, name, customer, at, properties = read(record)
        for meter in METERS[name]:
            counted = quantity(meter, properties)
            if counted is not None:
                cell = Cell(meter, customer, counted[0], at - at % 60_000_000)
                cells[cell].append((at, event_id, counted[1]))
    found = {cell: figures(cell.meter, pairs, cell.window_start) for cell, pairs in cells.items()}
    assert found == usage(drawn)


def test_busy_minutes_need_more_than_the_digits_of_a_value() -> None:
    rows = usage(generated_events.values(300_000, SEED)).values()
    assert max(row.sum or 0 for row in rows) >= 10**20 * UNIT


def test_members_are_as_many_as_there_are_users(drawn: pa.Table) -> None:
    cells = {cell for cell, _ in members(drawn)}
    assert cells == {cell for cell in usage(drawn) if cell.meter == "users"}
    assert all(len(digest) == 16 for _, digest in members(drawn))
