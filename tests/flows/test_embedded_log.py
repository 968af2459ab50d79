"""The embedded log keeps what it acknowledged, in one order, and says so when it cannot."""

import random
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.log.embedded import EmbeddedLog, open_log
from flows.log.event_log import APPENDED, EventLog
from flows.log.payload import pack
from schemas.errors import StoreError
from schemas.event import RECORDS

START = datetime(2026, 3, 1, tzinfo=UTC)
THREADS = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[EmbeddedLog]:
    opened = open_log(path)
    yield opened
    opened.close()


def records(*values: bytes) -> pa.Table:
    """Return records whose keys and times tell them apart as well."""
    return pa.table(
        [
            list(values),
            [b"tenant:environment:" + value[:8] for value in values],
            [START + timedelta(seconds=number) for number in range(len(values))],
        ],
        schema=APPENDED,
    )


def everything(log: EmbeddedLog, *, records_max: int = 1000, start: int = 0) -> list[bytes]:
    """Read the log to its end in steps and return the values; offsets must have no gap."""
    values: list[bytes] = []
    offset = start
    while (read := log.read_from(offset, records_max)) is not None:
        assert read["offset"].to_pylist() == list(range(offset, offset + read.num_rows))
        assert 0 < read.num_rows <= records_max
        values += read["value"].to_pylist()
        offset += read.num_rows
    return values


def acknowledged(log: EmbeddedLog, table: pa.Table) -> bool:
    """Append, and tell whether that was confirmed."""
    try:
        log.append(table)
    except StoreError:
        return False
    return True


def spoil(path: Path, statement: str, *parameters: object) -> None:
    """Change the file behind the log's back."""
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(statement, parameters).rowcount == 1
    connection.close()


def test_it_is_an_event_log(log: EmbeddedLog) -> None:
    promised: EventLog = log
    promised.check()


def test_what_was_appended_is_read_with_its_positions(log: EmbeddedLog) -> None:
    log.append(records(b"a", b"b"))
    log.append(records(b"c"))
    read = log.read_from(0, 10)
    assert read is not None
    assert read.schema == RECORDS
    assert read.to_pydict() == {
        "partition": [0, 0, 0],
        "offset": [0, 1, 2],
        "value": [b"a", b"b", b"c"],
        "key": [b"tenant:environment:" + value for value in (b"a", b"b", b"c")],
        "received_at": [START, START + timedelta(seconds=1), START],
    }


def test_what_was_appended_is_there_after_it_was_opened_again(path: Path) -> None:
    log = open_log(path)
    log.append(records(b"a", b"b"))
    log.close()
    log = open_log(path)
    log.append(records(b"c"))
    assert everything(log) == [b"a", b"b", b"c"]
    assert log.damage == ()
    log.close()


def test_no_records_are_no_batch(log: EmbeddedLog) -> None:
    log.append(records())
    assert (log.start_offset(), log.end_offset(), log.commits) == (0, 0, 0)
    assert log.read_from(0, 10) is None


@pytest.mark.parametrize("size", [1, 100_000], ids=["as it is", "compressed"])
def test_a_batch_of_any_size_comes_back_byte_for_byte(log: EmbeddedLog, size: int) -> None:
    values = [bytes([number % 256]) * size for number in range(3)]
    log.append(records(*values))
    assert everything(log) == values


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.binary(max_size=20), max_size=6), max_size=8),
    st.integers(1, 7),
    st.integers(0, 10),
)
def test_any_split_into_appends_and_any_reads_give_the_same_records(
    batches: Sequence[Sequence[bytes]], records_max: int, start: int
) -> None:
    with TemporaryDirectory() as folder:
        log = open_log(Path(folder) / "events.sqlite")
        for batch in batches:
            log.append(records(*batch))
        whole = [value for batch in batches for value in batch]
        assert everything(log, records_max=records_max, start=start) == whole[start:]
        assert log.end_offset() == len(whole)
        log.close()


def test_appends_of_many_threads_neither_overlap_nor_leave_gaps(log: EmbeddedLog) -> None:
    def append(thread: int) -> None:
        for number in range(12):
            log.append(records(*(b"%d %d %d" % (thread, number, place) for place in range(3))))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = everything(log)
    triples = [values[first : first + 3] for first in range(0, len(values), 3)]
    assert len(values) == len(set(values)) == THREADS * 12 * 3
    # Each append lies together and in its order, those of one thread in theirs.
    for triple in triples:
        assert [value.rpartition(b" ")[2] for value in triple] == [b"0", b"1", b"2"]
        assert len({value.rpartition(b" ")[0] for value in triple}) == 1
    for number in range(THREADS):
        own = [
            int(triple[0].split()[1]) for triple in triples if int(triple[0].split()[0]) == number
        ]
        assert own == list(range(12))


def test_appends_that_wait_together_share_one_commit(log: EmbeddedLog) -> None:
    with log._writer.writing:
        waiting = [log._writer.put(pack(records(b"a"))) for _ in range(THREADS)]
    for done in waiting:
        done.result()
    assert log.end_offset() == THREADS
    # What the writer had taken when its turn had not come yet, and all the others.
    assert log.commits in {1, 2}


def test_two_logs_on_one_file_append_without_overlap(path: Path) -> None:
    one, other = open_log(path), open_log(path)
    for number in range(5):
        one.append(records(b"one %d" % number))
        other.append(records(b"other %d" % number, b"and more"))
    assert len(everything(one)) == len(everything(other)) == 15
    assert other.wait_beyond(14, 0)
    one.close()
    other.close()


def test_a_file_that_is_held_fails_those_who_wait_and_nobody_after(path: Path) -> None:
    log = EmbeddedLog(path, lock_seconds=0.05)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"events\.sqlite cannot be used: database is locked"):
        log.append(records(b"lost"))
    with pytest.raises(StoreError, match="locked"):
        log.check()
    holder.execute("ROLLBACK")
    holder.close()
    log.append(records(b"kept"))
    log.check()
    assert everything(log) == [b"kept"]
    log.close()


def test_a_full_disk_is_told_and_what_was_there_stays(path: Path) -> None:
    log = open_log(path)
    log.append(records(b"before"))
    assert log._writer._connection is not None
    log._writer._connection.execute("PRAGMA max_page_count = 8")
    with pytest.raises(StoreError, match="full"):
        log.append(records(random.Random(1).randbytes(200_000)))  # noqa: S311 - bytes that no compression makes small
    log.append(records(b"after"))
    assert everything(log) == [b"before", b"after"]
    log.close()


def test_a_batch_that_sqlite_refuses_fails_its_own_caller_alone(path: Path) -> None:
    log = open_log(path)
    log.append(records(b"before"))
    assert log._writer._connection is not None
    log._writer._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    calls = {"small": records(b"s"), "large": records(b"l" * 12_000), "tiny": records(b"t")}
    with ThreadPoolExecutor(3) as pool, log._writer.writing:
        outcomes = {name: pool.submit(acknowledged, log, call) for name, call in calls.items()}
    assert {name: done.result() for name, done in outcomes.items()} == {
        "small": True,
        "large": False,
        "tiny": True,
    }
    assert sorted(everything(log)) == [b"before", b"s", b"t"]
    log.close()


def test_a_log_that_is_closed_says_so(path: Path) -> None:
    log = open_log(path)
    log.append(records(b"a"))
    log.close()
    for use in (lambda: log.append(records(b"b")), log.check, log.end_offset):
        with pytest.raises(StoreError, match="is closed"):
            use()


def test_closing_waits_for_what_is_under_way(path: Path) -> None:
    log = open_log(path)
    with ThreadPoolExecutor(1) as pool:
        with log._writer.writing:
            waiting = [log._writer.put(pack(records(b"a"))) for _ in range(4)]
            closing = pool.submit(log.close)
        closing.result()
    assert all(done.done() and done.exception() is None for done in waiting)
    log = open_log(path)
    assert log.end_offset() == 4
    log.close()


def test_a_reader_wakes_when_another_thread_has_appended(log: EmbeddedLog) -> None:
    woken: list[bool] = []
    waiting = threading.Thread(target=lambda: woken.append(log.wait_beyond(1, 60)))
    waiting.start()
    log.append(records(b"a"))
    log.append(records(b"b"))
    waiting.join(timeout=30)
    assert woken == [True]
    assert log.wait_beyond(1, 0)
    assert not log.wait_beyond(2, 0)


def test_a_damaged_last_batch_is_set_aside_and_its_offsets_stay_used(path: Path) -> None:
    log = open_log(path)
    log.append(records(b"a", b"b"))
    log.append(records(b"c", b"d", b"e"))
    log.close()
    spoil(
        path, "UPDATE batches SET payload = zeroblob(40), record_count = 9 WHERE first_offset = 2"
    )
    log = open_log(path)
    (told,) = log.damage
    assert "events.sqlite ends in a damaged batch, records 2 to 4" in told
    assert log.read_from(2, 10) is None
    log.append(records(b"f"))
    read = log.read_from(0, 10)
    assert read is not None
    assert read["value"].to_pylist() == [b"a", b"b", b"f"]
    assert read["offset"].to_pylist() == [0, 1, 5]
    log.close()
    log = open_log(path)
    assert log.damage == ()
    log.close()
    kept = sqlite3.connect(path).execute("SELECT first_offset, end_offset, payload FROM damaged")
    assert kept.fetchall() == [(2, 5, bytes(40))]
    kept.connection.close()


DAMAGES = {
    "bytes changed": "UPDATE batches SET payload = zeroblob(400) WHERE first_offset = 2",
    "bytes cut": "UPDATE batches SET payload = substr(payload, 1, 99) WHERE first_offset = 2",
    "count changed": "UPDATE batches SET record_count = 2 WHERE first_offset = 2",
    "count changed to less than nothing": "UPDATE batches SET record_count = -2 WHERE first_offset = 2",
    "time changed": "UPDATE batches SET appended_at_us = 7 WHERE first_offset = 2",
    "checksum changed": "UPDATE batches SET checksum = 7 WHERE first_offset = 2",
    "place changed": "UPDATE batches SET first_offset = 9 WHERE first_offset = 2",
    "removed": "DELETE FROM batches WHERE first_offset = 2",
}


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_in_the_middle_is_told_when_reading_comes_there(path: Path, statement: str) -> None:
    log = open_log(path)
    for batch in (records(b"a", b"b"), records(b"c"), records(b"d")):
        log.append(batch)
    spoil(path, statement)
    assert log.damage == ()
    with pytest.raises(
        StoreError,
        match=r"events\.sqlite is damaged at record 2|records 2 to 2 .*events\.sqlite are missing",
    ):
        log.read_from(1, 10)
    read = log.read_from(0, 2)
    assert read is not None
    assert read["value"].to_pylist() == [b"a", b"b"]
    log.close()


def test_damage_at_the_end_of_an_open_log_is_told_as_well(log: EmbeddedLog, path: Path) -> None:
    log.append(records(b"a"))
    log.append(records(b"b"))
    spoil(path, "DELETE FROM batches WHERE first_offset = 1")
    with pytest.raises(StoreError, match=r"records 1 to 1 of the event log .* are missing"):
        log.read_from(1, 10)


def test_a_write_ahead_log_that_was_cut_loses_nothing_before_its_last_batch(
    path: Path, tmp_path: Path
) -> None:
    log = open_log(path)
    batches = [[b"%d %d" % (number, place) * 50 for place in range(20)] for number in range(6)]
    for batch in batches:
        log.append(records(*batch))
    whole = [value for batch in batches for value in batch]
    ahead = Path(f"{path}-wal")
    size = ahead.stat().st_size
    cuts = [1, 24, 1000, 4096, 5000]
    for cut in cuts:
        copy = tmp_path / f"cut by {cut}" / path.name
        copy.parent.mkdir()
        shutil.copy(path, copy)
        torn = Path(f"{copy}-wal")
        torn.write_bytes(ahead.read_bytes()[: size - cut])
        reopened = open_log(copy)
        found = everything(reopened)
        assert found == whole[: len(found)]
        assert len(found) >= len(whole) - 40
        assert len(found) < len(whole)
        reopened.append(records(b"goes on"))
        assert everything(reopened) == [*found, b"goes on"]
        reopened.close()
    log.close()


def test_a_file_that_is_no_log_is_refused_in_one_line(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not a database at all" * 100)
    other = tmp_path / "other"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE things (name)")
    connection.close()
    newer = tmp_path / "newer"
    open_log(newer).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    folder = tmp_path / "folder"
    folder.mkdir()
    expected = {
        garbage: "file is not a database",
        other: "is a database, but no event log",
        newer: "has format 9; this program knows 1",
        folder: "unable to open database file",
    }
    for path, message in expected.items():
        with pytest.raises(StoreError, match=message) as refused:
            open_log(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
