"""The flow reads each record of the embedded log once, whenever it is stopped and started again."""

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

from flows.connectors.reading import ReadAheadPartition
from flows.log.embedded import EmbeddedLog, open_log
from flows.log.event_log import APPENDED
from flows.log.source import EmbeddedLogSource, LogPosition, LogSourceSettings
from flows.metering.batches import ReadBatch
from schemas.errors import StoreError

RECEIVED = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = LogSourceSettings(
    tenant_id="tenant",
    environment_id="environment",
    batch_records_max=7,
    event_bytes_max=1_000_000,
    lateness_microseconds=60_000_000,
    gather_seconds=0.01,
    idle_seconds=0.2,
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = open_log(tmp_path / "events.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    folder = tmp_path / "recovery"
    folder.mkdir()
    init_db_dir(folder, 2)
    return folder


def append(log: EmbeddedLog, ids: Sequence[str | None]) -> None:
    """Append events in one batch; None makes one without an id."""
    values = []
    for event_id in ids:
        event = {"event_name": "call", "external_customer_id": "acme", "event_id": event_id}
        values.append(json.dumps({name: text for name, text in event.items() if text}).encode())
    columns = [values, [b"tenant:environment:acme"] * len(values), [RECEIVED] * len(values)]
    log.append(pa.table(columns, schema=APPENDED))


def named(first: int, count: int) -> list[str]:
    return [f"event-{number}" for number in range(first, first + count)]


def run(source: EmbeddedLogSource, recovery: Path | None = None) -> list[ReadBatch]:
    """Run a flow that only reads, until its source ends."""
    batches: list[ReadBatch] = []
    flow = Dataflow("metering")
    op.output("keep", op.input("read", flow, source), TestingSink(batches))
    config = None if recovery is None else RecoveryConfig(recovery)
    run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    return batches


def drained(part: ReadAheadPartition[LogPosition]) -> list[ReadBatch]:
    """Ask a partition for batches, as the flow does, until it ends."""
    batches: list[ReadBatch] = []
    while True:
        try:
            batches += part.next_batch()
        except StopIteration:
            return batches


def ids_of(batches: Sequence[ReadBatch]) -> list[str]:
    return [event_id for batch in batches for event_id in batch.copies["event_id"].to_pylist()]


def test_records_come_in_their_order_in_batches_that_are_not_too_large(log: EmbeddedLog) -> None:
    append(log, named(0, 5))
    append(log, named(5, 12))
    batches = run(EmbeddedLogSource(log, SETTINGS, threading.Event()))
    assert ids_of(batches) == named(0, 17)
    assert [batch.copies.num_rows for batch in batches] == [7, 7, 3]
    assert batches[0].copies["offset"].to_pylist() == list(range(7))
    assert set(batches[0].copies["partition"].to_pylist()) == {0}
    assert set(batches[0].copies["received_at"].to_pylist()) == {RECEIVED}


def test_a_flow_that_is_started_again_reads_each_record_once(
    log: EmbeddedLog, recovery: Path
) -> None:
    seen: list[str] = []
    for life in range(4):
        append(log, named(life * 10, 10))
        seen += ids_of(run(EmbeddedLogSource(log, SETTINGS, threading.Event()), recovery))
    assert seen == named(0, 40)


def test_a_flow_that_is_told_to_stop_ends_after_its_batch_and_goes_on_there(
    log: EmbeddedLog, recovery: Path
) -> None:
    append(log, named(0, 50))
    stop = threading.Event()

    def stop_after_the_first(*_: object) -> None:
        stop.set()

    stopped = run(EmbeddedLogSource(log, SETTINGS, stop, on_read=stop_after_the_first), recovery)
    assert ids_of(stopped) == named(0, 7)
    rest = run(EmbeddedLogSource(log, SETTINGS, threading.Event()), recovery)
    assert ids_of(rest) == named(7, 43)


def test_the_watermark_is_resumed_with_the_position(log: EmbeddedLog) -> None:
    append(log, ["event-0"])
    watermark = int(RECEIVED.timestamp() * 1_000_000) + 3_600_000_000
    source = EmbeddedLogSource(log, SETTINGS, threading.Event())
    part = source.build_part("read", "0", LogPosition(0, watermark))
    batches = drained(part)
    part.close()
    assert [batch.copies["late"].to_pylist() for batch in batches] == [[True]]
    assert part.snapshot() == LogPosition(1, watermark)


def test_records_that_come_while_the_flow_runs_are_read(log: EmbeddedLog) -> None:
    stop = threading.Event()
    read: list[int] = []

    def append_more(records: int, _bytes: int, _lag: int, _seconds: float) -> None:
        read.append(records)
        if len(read) < 3:
            append(log, named(10 * len(read), 2))
        else:
            stop.set()

    append(log, named(0, 2))
    batches = run(EmbeddedLogSource(log, SETTINGS, stop, on_read=append_more))
    assert ids_of(batches) == [*named(0, 2), *named(10, 2), *named(20, 2)]


def test_a_record_without_an_id_gets_the_same_one_on_every_reading(log: EmbeddedLog) -> None:
    append(log, ["own", None])
    source = EmbeddedLogSource(log, SETTINGS, threading.Event())
    assert ids_of(run(source)) == ids_of(run(source)) == ["own", f"event_log_{1:020d}"]


def test_who_watches_hears_of_each_reading_and_that_the_flow_lives(log: EmbeddedLog) -> None:
    append(log, named(0, 10))
    told: list[tuple[int, int, int]] = []
    seconds: list[float] = []
    beats: list[None] = []

    def hear(records: int, size: int, lag: int, lag_seconds: float) -> None:
        told.append((records, size, lag))
        seconds.append(lag_seconds)

    source = EmbeddedLogSource(
        log, SETTINGS, threading.Event(), on_heartbeat=lambda: beats.append(None), on_read=hear
    )
    run(source)
    size = len(
        json.dumps({"event_name": "call", "external_customer_id": "acme", "event_id": "event-0"})
    )
    assert told == [(7, 7 * size, 3), (3, 3 * size, 0)]
    assert min(seconds) >= 0
    assert len(beats) >= 2


def test_what_was_set_aside_as_damaged_is_passed_over(log: EmbeddedLog) -> None:
    append(log, named(0, 3))
    append(log, named(3, 3))
    with log._lent() as connection:
        connection.execute("INSERT INTO damaged SELECT *, 6 FROM batches WHERE first_offset = 3")
        connection.execute("DELETE FROM batches WHERE first_offset = 3")
    source = EmbeddedLogSource(log, SETTINGS, threading.Event())
    assert ids_of(run(source)) == named(0, 3)
    append(log, named(6, 1))
    assert ids_of(run(source)) == [*named(0, 3), *named(6, 1)]


def test_a_position_that_the_log_does_not_reach_is_refused(log: EmbeddedLog) -> None:
    append(log, named(0, 5))
    append(log, named(5, 5))
    log.remove_before(5)
    source = EmbeddedLogSource(log, SETTINGS, threading.Event())
    with pytest.raises(
        StoreError, match=r"records 2 to 4 were removed .* before they were metered"
    ):
        source.build_part("read", "0", LogPosition(2))
    with pytest.raises(StoreError, match="ends at record 10, but metering had come to 11"):
        source.build_part("read", "0", LogPosition(11))
    source.build_part("read", "0", LogPosition(10)).close()
