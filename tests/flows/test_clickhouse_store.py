"""One suite of promises for the ClickHouse store, embedded and over HTTP.

Embedded mode is one engine a process, so each test opens the folder of this module with a database
of its own and closes it; the HTTP side is a stand-in over that engine in a process of its own.
"""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.stores.clickhouse import Store, open_store
from flows.stores.migrations import migrate
from flows.stores.tables import (
    CELLS,
    DEAD_LETTERS,
    GENERATIONS,
    STORED_EVENTS,
    STORED_MEMBERS,
    TABLES,
    VERDICTS,
    WITHDRAWN,
    Flush,
    FlushKind,
)
from schemas.errors import StoreError
from schemas.scope import Scope
from schemas.usage import USAGE

pytestmark = pytest.mark.requires("embedded")

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCOPE = Scope("t1", "prod")
# Texts that break a careless statement, parser or binding.
NASTY = [
    "it's",
    'say "x"',
    "back\\slash",
    "\\N",
    "tab\tand\nline",
    " spaces ",
    "{tenant:String}",
    "100%s %(x)s",
    "a,b;--",
    "é漢\U0001f600",
    "NULL",
    "",
]
DATABASES = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    shim = Path(__file__).resolve().parent.parent / "shims" / "clickhouse_http.py"
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [sys.executable, str(shim), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(params=["embedded", "http"])
def location(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue({"embedded": "folder", "http": "server"}[request.param])


@pytest.fixture
def store(location: str) -> Iterator[Store]:
    with open_store(location, f"tally_{next(DATABASES)}") as opened:
        yield opened


def event(position: int, **columns: Any) -> dict[str, Any]:
    """Return an event of the log position, plain where nothing is said."""
    return {
        "partition": 0,
        "offset": position,
        "tenant_id": "t1",
        "environment_id": "prod",
        "event_id": f"event_{position}",
        "event_name": "api.call",
        "external_customer_id": "acme",
        "customer_id": "",
        "source": "",
        "timestamp": NOON,
        "timestamp_given": True,
        "ingested_at": NOON,
        "properties": "{}",
        "event_digest": position.to_bytes(16, "big"),
        "received_at": NOON,
    } | columns


def usage(version: int, **columns: Any) -> dict[str, Any]:
    """Return a usage row of the version, which is also what it counts."""
    absent = dict.fromkeys(USAGE.names)
    return (
        absent
        | {
            "tenant_id": "t1",
            "environment_id": "prod",
            "generation": 1,
            "meter_id": "calls",
            "external_customer_id": "acme",
            "group": "",
            "window_start": NOON,
            "version": version,
            "counted": version,
        }
        | columns
    )


def put(store: Store, table: str, *rows: dict[str, Any]) -> None:
    """Insert rows of one of the tables."""
    store.insert(table, pa.Table.from_pylist(list(rows), TABLES[table]))


def offsets(events: pa.Table) -> list[int | None]:
    """Return the log offsets of events."""
    return events["offset"].to_pylist()


def test_an_event_comes_back_as_it_went_in(store: Store) -> None:
    rows = [event(number, event_name="n", properties=text) for number, text in enumerate(NASTY)]
    rows += [
        event(100, event_name="n", timestamp=datetime(1970, 1, 1, tzinfo=UTC), partition=32_767),
        event(101, event_name="n", timestamp=datetime(2199, 12, 31, 23, 59, 59, 999_999, UTC)),
        event(2**48 - 1, event_name="n", timestamp_given=False, event_digest=b"\xff\x00" * 8),
    ]

    put(store, "events", *rows)

    found = store.read_events(SCOPE, ["n"])
    assert found.schema == STORED_EVENTS
    assert sorted(found.to_pylist(), key=repr) == sorted(rows, key=repr)


def test_a_usage_row_keeps_all_digits_and_all_nulls(store: Store) -> None:
    sums = {"sum": Decimal("9" * 58 + "." + "9" * 18), "moment": Decimal("-" + "9" * 58)}
    values = {"maximum": Decimal("9" * 20 + "." + "9" * 18), "minimum": Decimal("-1E-18")}
    rows = [
        usage(1, meter_id="a"),
        usage(2**62, meter_id="b", **sums, **values),
        usage(
            3,
            meter_id="c",
            latest_at=NOON,
            latest_id="\\N",
            latest_value=Decimal("1E-18"),
            group="é",
        ),
    ]

    put(store, "usage", *rows)

    found = store.read_usage(SCOPE, ["a", "b", "c"])
    assert found.schema == USAGE
    assert found.to_pylist() == rows


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("events", event(1)),
        ("usage", usage(3, sum=Decimal(2))),
        ("usage_members", usage(1) | {"member": b"m" * 16}),
        (
            "verdicts",
            dict.fromkeys(VERDICTS.names) | event(1) | {"verdict": "conflict", "content": "{}"},
        ),
        ("skips", usage(1) | {"event_id": "e", "reason": "not_a_number"}),
        (
            "dead_letters",
            dict.fromkeys(DEAD_LETTERS.names)
            | {"door": "kafka", "partition": 1, "offset": 5, "reason": "invalid_json"}
            | {"value": b"\xff\x00{", "received_at": NOON},
        ),
        ("withdrawn", {"partition": 1, "offset": 5}),
        ("corrections", usage(1) | {"aggregation_type": "SUM", "correction": 2}),
    ],
)
def test_writing_again_changes_nothing(store: Store, table: str, row: dict[str, Any]) -> None:
    schema = TABLES[table]
    rows = pa.Table.from_pylist([{name: row[name] for name in schema.names}], schema)

    store.insert(table, rows)
    store.insert(table, pa.concat_tables([rows, rows]))

    assert store.read_table(table).to_pylist() == rows.to_pylist()


@pytest.mark.parametrize("versions", [[1, 2, 3], [3, 2, 1], [2, 3, 1]])
def test_readers_see_the_highest_version_and_no_sum(store: Store, versions: list[int]) -> None:
    for version in versions:
        put(store, "usage", usage(version, sum=Decimal(10 * version)))

    assert store.read_usage(SCOPE, ["calls"]).to_pylist() == [usage(3, sum=Decimal(30))]


@pytest.mark.parametrize("order", [[(0, 7), (1, 9)], [(1, 9), (0, 7), (1, 9)]])
def test_a_withdrawn_copy_never_hides_the_one_that_took_its_place(
    store: Store, order: list[tuple[int, int]]
) -> None:
    for partition, offset in order:
        row = event(offset, partition=partition, event_digest=b"d" * 16)
        store.insert_events(pa.Table.from_pylist([row], STORED_EVENTS))

    store.withdraw_events(pa.Table.from_pylist([{"partition": 0, "offset": 7}], WITHDRAWN))

    assert offsets(store.read_events(SCOPE, ["api.call"])) == [9]


def test_usage_is_chosen_by_meter_period_customer_and_scope(store: Store) -> None:
    put(
        store,
        "usage",
        *(usage(1, window_start=NOON + minute * MINUTE) for minute in range(4)),
        usage(2, meter_id="seats"),
        usage(3, external_customer_id="o'hara"),
        usage(4, tenant_id="t2"),
        usage(5, environment_id="test"),
    )

    def counted(meters: list[str], **chosen: Any) -> list[int | None]:
        return store.read_usage(SCOPE, meters, **chosen)["counted"].to_pylist()

    assert counted(["calls"]) == [1, 1, 1, 1, 3]
    assert counted(["calls"], start=NOON + MINUTE, end=NOON + 3 * MINUTE) == [1, 1]
    assert counted(["calls"], end=NOON) == []
    assert counted(["calls"], start=NOON + timedelta(microseconds=1)) == [1, 1, 1]
    assert counted(["calls", "seats", "calls"], customers=["o'hara", "nobody"]) == [3]
    assert counted(["seats"]) == [2]
    assert counted(["calls"], customers=[]) == []
    assert counted([]) == []


def test_any_text_can_be_asked_for(store: Store) -> None:
    texts = list(enumerate(NASTY))
    put(store, "usage", *(usage(n, meter_id=t, external_customer_id=t) for n, t in texts))
    put(store, "events", *(event(n, event_name=t, external_customer_id=t) for n, t in texts))

    for number, text in texts:
        named = {"event_name": text, "external_customer_id": text, "window_start": NOON}
        cells = pa.Table.from_pylist([event(number) | named], CELLS)
        found = store.read_usage(SCOPE, [text], customers=[text])
        assert found["counted"].to_pylist() == [number]
        assert offsets(store.read_events(SCOPE, [text], customers=[text])) == [number]
        assert offsets(store.read_events_of_cells(cells)) == [number]


def test_readers_see_the_live_generation_only(store: Store) -> None:
    put(store, "usage", usage(5), usage(9, generation=2), usage(1, meter_id="seats"))
    put(store, "usage_members", usage(1) | {"member": b"1" * 16})
    put(store, "usage_members", usage(1, generation=2) | {"member": b"2" * 16})
    assert store.read_usage(SCOPE, ["calls", "seats"])["counted"].to_pylist() == [5, 1]

    live = {"meter_id": "calls", "generation": 2, "state": "live", "revision": 2}
    store.set_generations(
        pa.Table.from_pylist(
            [usage(1) | live, usage(1) | live | {"generation": 1, "revision": 1}], GENERATIONS
        )
    )

    assert store.read_usage(SCOPE, ["calls", "seats"])["counted"].to_pylist() == [9, 1]
    assert store.read_members(SCOPE, ["calls"])["member"].to_pylist() == [b"2" * 16]


def test_members_of_a_cell_come_back_once_each(store: Store) -> None:
    members = [usage(1) | {"member": bytes([number % 3]) * 16} for number in range(9)]
    rows = pa.Table.from_pylist([usage(9)], USAGE)

    store.insert_usage(rows, pa.Table.from_pylist(members, STORED_MEMBERS))

    found = store.read_members(SCOPE, ["calls"], start=NOON, end=NOON + MINUTE)
    assert sorted(found["member"].to_pylist()) == [bytes([number]) * 16 for number in range(3)]
    assert store.read_members(SCOPE, ["calls"], end=NOON).num_rows == 0


def test_a_store_that_does_not_merge_reads_the_same(folder: str) -> None:
    with open_store(folder, f"tally_{next(DATABASES)}") as store:
        store.serve_one_run()
        for number in range(12):
            put(store, "events", event(number), event(0))

        assert offsets(store.read_events(SCOPE, ["api.call"])) == list(range(12))


def test_a_withdrawn_copy_is_no_event(store: Store) -> None:
    put(store, "events", event(1), event(2))

    store.withdraw_events(pa.Table.from_pylist([{"partition": 0, "offset": 2}], WITHDRAWN))

    cells = pa.Table.from_pylist([event(1) | {"window_start": NOON}], CELLS)
    assert offsets(store.read_events(SCOPE, ["api.call"])) == [1]
    assert offsets(store.read_events_of_cells(cells)) == [1]


@pytest.fixture(scope="module")
def spread() -> list[dict[str, Any]]:
    """Return events of few names and customers over a few minutes of now and of far dates."""
    starts = [NOON, datetime(1970, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 55, tzinfo=UTC)]
    return [
        event(
            number,
            event_name=f"name {number % 2}",
            external_customer_id=f"customer {number % 3}",
            timestamp=starts[number % 5 % 3] + timedelta(seconds=7 * number),
        )
        for number in range(40)
    ]


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=st.sets(st.integers(0, 39), max_size=8))
def test_events_of_cells_are_all_events_of_those_minutes(
    store: Store, spread: list[dict[str, Any]], chosen: set[int]
) -> None:
    put(store, "events", *spread)

    def cell(row: dict[str, Any]) -> dict[str, Any]:
        start = row["timestamp"].replace(second=0)
        return {name: row.get(name) for name in CELLS.names} | {"window_start": start}

    cells = [cell(spread[number]) for number in chosen]
    absent = cell(spread[0]) | {"external_customer_id": "nobody"}
    found = store.read_events_of_cells(pa.Table.from_pylist([*cells, *cells, absent], CELLS))

    assert found.to_pylist() == [row for row in spread if cell(row) in cells]


def test_the_last_flush_of_a_shard_and_kind_is_remembered(store: Store) -> None:
    intent = Flush("metering", 1, FlushKind.INTENT, 8, {(0, 0): 70, (1, 3): 2**47})
    done = Flush("metering", 1, FlushKind.DONE, 7, {(0, 0): 60})
    assert store.last_flush("metering", 1) is None

    store.record_flush(intent, done, Flush("metering", 2, FlushKind.DONE, 9, {}))
    store.record_flush(Flush("metering", 1, FlushKind.DONE, 6, {(0, 0): 50}))

    assert store.last_flush("metering", 1) == done
    assert store.last_flush("metering", 1, FlushKind.INTENT) == intent
    assert store.last_flush("metering", 2) == Flush("metering", 2, FlushKind.DONE, 9, {})
    assert store.last_flush("rating", 1) is None


def test_nothing_is_an_answer_with_columns(store: Store) -> None:
    for table, schema in TABLES.items():
        store.insert(table, schema.empty_table())

        assert store.read_table(table) == schema.empty_table()


def test_a_database_is_brought_up_to_date_once(location: str) -> None:
    database = f"tally_{next(DATABASES)}"
    with open_store(location, database) as store:
        put(store, "usage", usage(1))
    with open_store(location, database) as store:
        assert migrate(store.engine) == []
        assert store.read_usage(SCOPE, ["calls"]).num_rows == 1


def test_a_statement_that_fails_is_a_store_error_with_its_cause(store: Store) -> None:
    wrong = [
        lambda: store.engine.command("CREATE NONSENSE"),
        lambda: store.engine.read("SELECT missing", USAGE),
        lambda: store.engine.insert("missing", pa.table({"a": [1]})),
        lambda: store.engine.insert("skips", pa.table({"missing": [1]})),
        lambda: store.engine.read("SELECT 'text'", pa.schema([("number", pa.int64())])),
    ]

    for doing in wrong:
        with pytest.raises(StoreError) as caught:
            doing()
        assert caught.value.__cause__ is not None
    # The connection is as good as before.
    assert store.read_usage(SCOPE, ["calls"]).num_rows == 0


def test_a_second_folder_in_one_process_is_refused(folder: str, tmp_path: Path) -> None:
    with open_store(folder), pytest.raises(StoreError):
        open_store(str(tmp_path / "other"))


def test_a_server_that_is_not_there_is_a_store_error() -> None:
    with pytest.raises(StoreError, match=r"127\.0\.0\.1"):
        open_store("http://127.0.0.1:9")


WRITES_AND_DIES = """
import os, signal, sys
import pyarrow as pa
from flows.stores.clickhouse import open_store
store = open_store(sys.argv[1])
for offset in range(5):
    rows = pa.table({"partition": pa.array([1], pa.int32()), "offset": [offset]})
    store.withdraw_events(rows)
    print(offset, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_that_were_acknowledged_survive_a_kill(tmp_path: Path) -> None:
    place = str(tmp_path / "killed")

    killed = subprocess.run(
        [sys.executable, "-c", WRITES_AND_DIES, place], capture_output=True, text=True, check=False
    )

    assert killed.returncode < 0
    with open_store(place) as store:
        found = store.read_table("withdrawn")["offset"].to_pylist()
    assert sorted(found) == [int(line) for line in killed.stdout.split()] == list(range(5))
