"""Retention removes what is old or too much, and never what a restart of the flow would read."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.log.embedded import EmbeddedLog, open_log
from flows.log.event_log import APPENDED
from flows.log.retention import Removed, committed_position, retain
from flows.log.source import EmbeddedLogSource, LogSourceSettings
from flows.metering.batches import ReadBatch
from schemas.errors import StoreError

NOW = datetime(2026, 3, 8, tzinfo=UTC)
MUCH = 1_000_000
SETTINGS = LogSourceSettings("tenant", "environment", 3, 1_000_000, 0, 0.01, 0.1)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = open_log(tmp_path / "events.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    folder = tmp_path / "recovery"
    folder.mkdir()
    init_db_dir(folder, 3)
    return folder


def append(log: EmbeddedLog, count: int, *, hours_ago: float = 0, size: int = 10) -> None:
    """Append a batch; its last record has the given age, the others are older."""
    last = NOW - timedelta(hours=hours_ago)
    received = [last - timedelta(seconds=count - 1 - number) for number in range(count)]
    values = [random.Random(number).randbytes(size) for number in range(count)]  # noqa: S311 - bytes that no compression makes small
    log.append(pa.table([values, [b"key"] * count, received], schema=APPENDED))


@pytest.mark.parametrize(
    ("hours", "stored", "start"),
    [
        (48, 9, 0),
        (30, 9, 2),
        (30, 1, 0),
        (30, 2, 2),
        (5, 9, 5),
        (5, 4, 2),
        (1, 9, 9),
    ],
)
def test_what_is_too_old_goes_if_it_is_stored(
    log: EmbeddedLog, hours: int, stored: int, start: int
) -> None:
    append(log, 2, hours_ago=40)
    append(log, 3, hours_ago=20)
    append(log, 4, hours_ago=2)
    removed = retain(log, hours=hours, megabytes=MUCH, now=NOW, stored_offset=stored)
    assert removed.records == log.start_offset() == start
    assert log.end_offset() == 9
    if start < 9:
        read = log.read_from(start, 100)
        assert read is not None
        assert read["offset"].to_pylist() == list(range(start, 9))


def test_what_is_too_much_goes_from_the_oldest_on(log: EmbeddedLog) -> None:
    for _ in range(6):
        append(log, 1, size=400_000)
    removed = retain(log, hours=24, megabytes=1, now=NOW, stored_offset=6)
    assert (removed.records, log.start_offset()) == (4, 4)
    assert 2_000_000 > removed.bytes > 1_600_000
    assert log.byte_count() <= 1_000_000
    assert retain(log, hours=24, megabytes=1, now=NOW, stored_offset=6) == Removed(0, 0)


def test_an_empty_log_goes_on_counting(tmp_path: Path) -> None:
    log = open_log(tmp_path / "events.sqlite")
    append(log, 5, hours_ago=2)
    retain(log, hours=1, megabytes=MUCH, now=NOW, stored_offset=5)
    assert (log.byte_count(), log.read_from(5, 10)) == (0, None)
    log.close()
    log = open_log(tmp_path / "events.sqlite")
    assert (log.start_offset(), log.end_offset()) == (5, 5)
    append(log, 1)
    read = log.read_from(5, 10)
    assert read is not None
    assert read["offset"].to_pylist() == [5]
    with pytest.raises(StoreError, match=r"records 3 to 4 of the event log .* were removed"):
        log.read_from(3, 10)
    log.close()


def test_the_file_does_not_grow_when_what_comes_in_goes_out(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    sizes = []
    for _ in range(12):
        append(log, 1, size=1_500_000)
        retain(log, hours=24, megabytes=2, now=NOW, stored_offset=log.end_offset())
        sizes.append(sum(file.stat().st_size for file in tmp_path.glob("events.sqlite*")))
    assert log.end_offset() == 12
    assert max(sizes) < 14_000_000


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50)), max_size=8),
    st.integers(0, 50),
    st.integers(0, 30),
)
def test_nothing_beyond_the_stored_offset_is_ever_removed(
    batches: Sequence[tuple[int, int]], hours: int, stored: int
) -> None:
    with TemporaryDirectory() as folder:
        log = open_log(Path(folder) / "events.sqlite")
        for count, hours_ago in batches:
            append(log, count, hours_ago=hours_ago)
        end = log.end_offset()
        removed = retain(log, hours=hours, megabytes=0, now=NOW, stored_offset=stored)
        ends = [sum(count for count, _ in batches[:n]) for n in range(len(batches) + 1)]
        assert log.start_offset() == removed.records == max(n for n in ends if n <= stored)
        read = log.read_from(log.start_offset(), 1000)
        offsets = [] if read is None else read["offset"].to_pylist()
        assert offsets == list(range(log.start_offset(), end))
        log.close()


def read_flow(log: EmbeddedLog, stop: threading.Event, seen: list[ReadBatch]) -> Dataflow:
    flow = Dataflow("metering")
    source = EmbeddedLogSource(log, SETTINGS, stop)
    op.output("keep", op.input("read", flow, source), TestingSink(seen))
    return flow


def run(log: EmbeddedLog, recovery: Path) -> int:
    """Run a flow over what the log holds; return how many records it read."""
    seen: list[ReadBatch] = []
    run_main(
        read_flow(log, threading.Event(), seen),
        epoch_interval=timedelta(0),
        recovery_config=RecoveryConfig(recovery),
    )
    return sum(batch.copies.num_rows + batch.rejected.num_rows for batch in seen)


def test_the_committed_position_is_where_a_restart_resumes(
    log: EmbeddedLog, recovery: Path
) -> None:
    assert committed_position(recovery.parent / "nowhere") is None
    assert committed_position(recovery) is None
    for total in (4, 8, 15):
        append(log, total - log.end_offset())
        before = committed_position(recovery)
        assert run(log, recovery) == total - (0 if before is None else before.offset)
        after = committed_position(recovery)
        assert after is not None
        assert after.offset == total


def test_a_flow_that_runs_resumes_nowhere_before_the_position_that_is_told(
    log: EmbeddedLog, recovery: Path
) -> None:
    """The position is read beside a flow in this process; a restart from a copy must not need less."""
    stop = threading.Event()
    seen: list[ReadBatch] = []
    flow = read_flow(log, stop, seen)
    running = threading.Thread(
        target=run_main,
        args=(flow,),
        kwargs={"epoch_interval": timedelta(0), "recovery_config": RecoveryConfig(recovery)},
    )
    running.start()
    told: list[int] = []
    for _ in range(6):
        append(log, 3)
        position = committed_position(recovery)
        told.append(0 if position is None else position.offset)
    stop.set()
    running.join()
    assert told == sorted(told)
    final = committed_position(recovery)
    read = sum(batch.copies.num_rows + batch.rejected.num_rows for batch in seen)
    assert final is not None
    assert told[-1] <= final.offset == read


KILLED = """
import os, signal, sys, threading
from datetime import timedelta
from pathlib import Path
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, run_main
from flows.log.embedded import open_log
from flows.log.source import EmbeddedLogSource, LogSourceSettings

def killed_by_its_input(batch):
    if batch.rejected["offset"].to_pylist()[0] >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return batch

settings = LogSourceSettings("tenant", "environment", 3, 1_000_000, 0, 0.01, 5)
flow = Dataflow("metering")
source = EmbeddedLogSource(open_log(Path(sys.argv[1])), settings, threading.Event())
batches = op.map("die", op.input("read", flow, source), killed_by_its_input)
op.output("keep", batches, TestingSink([]))
run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(Path(sys.argv[2])))
"""


def test_the_position_is_found_after_a_kill_and_a_restart_agrees(
    log: EmbeddedLog, recovery: Path, tmp_path: Path
) -> None:
    append(log, 30)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "events.sqlite"), str(recovery), "15"],
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    position = committed_position(recovery)
    assert position is not None
    # The batch that killed it was not committed.
    assert 0 < position.offset <= 15
    assert run(log, recovery) == 30 - position.offset


def test_a_recovery_store_that_cannot_be_read_is_told(recovery: Path) -> None:
    part = next(recovery.glob("part-*"))
    part.write_bytes(b"no database" * 500)
    with pytest.raises(
        StoreError, match=r"recovery store .* cannot be read: file is not a database"
    ):
        committed_position(recovery)
