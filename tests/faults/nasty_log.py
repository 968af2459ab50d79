"""A small log with everything that makes metering hard, the same on every call.

Three partitions whose receipt times rise, but not in step: what partition 2 holds was mostly received
before what partition 0 holds at the same place. Copies of one id lie in one partition and in several,
with equal and with other content, so that it matters which was first; events come late for minutes that
have long left memory; some have no timestamp; some customers have a single event, which a copy takes away
from them; and malformed records come alone, in runs, and last.
"""

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PARTITIONS = 3
RECORDS_EACH = 36
START = datetime(2026, 3, 1, tzinfo=UTC)
RECEIVED = START + timedelta(hours=1)
# How far the receipt times of each partition are from those of partition 0.
SHIFTS = (timedelta(), timedelta(seconds=40), timedelta(seconds=-70))
MALFORMED = (b"{", b'{"event_name": "call"}', b"\xff\xfe", b"[]", b'{"event_name": 1}')


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the log; `event` is what was written into it, None if it is malformed."""

    value: bytes
    received_at: datetime
    event: dict[str, object] | None


Log = list[list[Record]]


def nasty_log(*, seed: int = 7) -> Log:
    """Return the records of each partition."""
    chance = random.Random(seed)  # noqa: S311 - the same log on every call
    log: Log = [[] for _ in range(PARTITIONS)]
    for index in range(RECORDS_EACH):
        for partition in range(PARTITIONS):
            received = RECEIVED + timedelta(seconds=7 * index) + SHIFTS[partition]
            event = _event(chance, log, partition, index)
            # Runs that fill whole batches, and the ends of two partitions.
            run = partition == 1 and 12 <= index < 22
            if run or (index >= RECORDS_EACH - 2 and partition < 2) or chance.random() < 0.04:
                log[partition].append(Record(chance.choice(MALFORMED), received, None))
                continue
            value = json.dumps(event).replace('"#', "").replace('#"', "").encode()
            log[partition].append(Record(value, received, event))
    return log


def _event(chance: random.Random, log: Log, partition: int, index: int) -> dict[str, object]:
    """Return a new event or a copy of one."""
    own = [record.event for record in log[partition] if record.event]
    others = [
        r.event
        for number, part in enumerate(log)
        if number != partition
        for r in part[-30:]
        if r.event
    ]
    if partition == 2 and 22 <= index < 32 and own:
        return chance.choice(own)
    draw = chance.random()
    if own and draw < 0.06:
        return chance.choice(own)
    if own and draw < 0.10:
        return {**_new(chance, partition, index), "event_id": chance.choice(own)["event_id"]}
    if others and draw < 0.30:
        return _across(chance, chance.choice(others), partition, index)
    return _new(chance, partition, index)


def _across(
    chance: random.Random, first: dict[str, object], partition: int, index: int
) -> dict[str, object]:
    """Return a copy, in another partition, of an event."""
    new = _new(chance, partition, index)
    kind = chance.randrange(6)
    if kind == 0:
        return {**first, "external_customer_id": f"lonely-{partition}-{index}"}
    if kind == 1:
        return {**first, "timestamp": new.get("timestamp", _written(START))}
    if kind == 2:
        return {**new, "event_id": first["event_id"], "external_customer_id": f"lone-{index}"}
    if kind == 3:
        # Receipt times differ, and so do the timestamps that the door fills in.
        return {name: value for name, value in first.items() if name != "timestamp"}
    return first if kind == 4 else {**first, "properties": new["properties"]}


def _new(chance: random.Random, partition: int, index: int) -> dict[str, object]:
    """Return an event that there was not before; `#…#` are numbers to be written as they stand."""
    late = chance.random() < 0.15
    minute = chance.uniform(0, 8) if late else 8 * index / RECORDS_EACH
    number = f"{chance.randrange(-500, 9_999)}.{chance.randrange(10**17)}"
    event: dict[str, object] = {
        "event_id": f"event-{partition}-{index}",
        "event_name": chance.choice(["call", "call", "level"]),
        "external_customer_id": f"customer-{chance.randrange(4)}",
        "properties": {
            "amount": chance.choice([f"#{number}#", number, f"#{chance.randrange(100)}#", "none"]),
            "user": chance.choice(["ann", "bo", "#1#", "#1.0#", "cy"]),
            "zone": chance.choice(["eu", "us"]),
        },
    }
    if chance.random() < 0.95:
        event["timestamp"] = _written(START + timedelta(minutes=minute, microseconds=index))
    return event


def _written(at: datetime) -> str:
    """Write an instant as senders do."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
