"""Files into an instance: nothing lost, nothing twice, and nothing taken that reading the file refuses."""

import asyncio
import gzip
import json
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sent_events import sent_events

from billing.api.app import build_app
from billing.api.services import Services
from flows.client.appending import LogTarget
from flows.client.deliveries import Target
from flows.client.ingesting import FileSummary, Work, ingest
from flows.client.instance import Instance
from flows.client.lines import file_batches
from flows.client.patience import Patience
from flows.client.sending import HttpTarget, cuts, sendable
from flows.connectors.event_door import LogDoor
from flows.connectors.file_source import FilePosition, FileSettings, FileSource
from flows.log.embedded import open_log
from flows.serving.folder_lock import FolderLock
from operators.exact import Event, decode_record
from schemas.access import Principal, Role
from schemas.errors import (
    InputUnreadable,
    InvalidOperation,
    ValidationFailed,
)
from schemas.event import REJECTED
from schemas.scope import Scope

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Scope("t", "v")
GOOD = b'{"event_name":"call","external_customer_id":"c","timestamp":"2026-03-01T12:00:00Z"}'


class Quiet:
    """A log of the server that says nothing."""

    def info(self, event: str, /, **fields: object) -> None: ...

    def error(self, event: str, /, **fields: object) -> None: ...


class Server(httpx.BaseTransport):
    """The real application over a log in memory, in place of a network."""

    def __init__(self) -> None:
        self.log: list[pa.Table] = []
        self.letters: list[pa.Table] = []
        self.app = build_app(
            Services(
                door=LogDoor(self, self.letters.append, clock=lambda: NOON),
                answers=None,  # type: ignore[arg-type]  # nobody asks here
                catalog=None,  # type: ignore[arg-type]  # nobody asks here
                authenticate=lambda key: (
                    Principal("k", HERE, (Role(key),)) if key in set(Role) else None
                ),
                clock=lambda: NOON,
                readiness=list,
                exposition=lambda: (b"", "text/plain"),
                on_request=lambda *_: None,
                log=Quiet(),
            )
        )

    def append(self, records: pa.Table) -> None:
        self.log.append(records)

    def check(self) -> None: ...

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._answered(request))

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        passed_on = httpx.Request(
            request.method, request.url, headers=request.headers, content=request.read()
        )
        answer = await httpx.ASGITransport(self.app).handle_async_request(passed_on)
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=await answer.aread()
        )

    def values(self) -> list[bytes]:
        return [value for table in self.log for value in table["value"].to_pylist()]

    def ids(self) -> list[str]:
        return [json.loads(value)["event_id"] for value in self.values()]

    def dead_letters(self) -> list[tuple[bytes, str]]:
        rows = [row for table in self.letters for row in table.to_pylist()]
        return [(row["value"], row["reason"]) for row in rows]


def target_to(server: Server, *, events_max: int = 2, in_flight: int = 1) -> HttpTarget:
    instance = Instance("http://tally.test", "event_ingestor", transport=server)
    return HttpTarget(
        instance, Patience(0), name="here", events_max=events_max, in_flight=in_flight
    )


def sent(
    path: Path, target: Target, state: Path | None = None, *, again: bool = False
) -> FileSummary:
    summary = FileSummary(str(path))
    work = Work(target, state or path.parent / "state", again=again, clock=lambda: 0.0)
    ingest(str(path), work, summary)
    return summary


def file_of(path: Path, lines: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def ids_read_in_place(path: Path) -> list[str]:
    """Return the ids that `tally meter` gives the records of a file."""
    source = FileSource([str(path)], FileSettings("t", "v", 1000, 1_000_000, 0))
    readings = source._readings(FilePosition(), threading.Event())
    return [
        str(each)
        for reading in readings
        if reading.batch is not None
        for each in reading.batch.copies["event_id"].to_pylist()
    ]


def test_ids_are_those_of_the_same_file_read_in_place(tmp_path: Path) -> None:
    named = GOOD[:-1] + b',"event_id":"mine"}'
    path = file_of(tmp_path / "events.ndjson", [GOOD, named, b"{bad", GOOD, b" " + GOOD, GOOD])
    server = Server()
    assert sent(path, target_to(server)).appended == 5
    assert sorted(server.ids()) == sorted(ids_read_in_place(path))
    assert len(set(server.ids())) == 5


def test_the_same_file_again_holds_nothing_new(tmp_path: Path) -> None:
    timeless = b'{"event_name":"call","external_customer_id":"c"}'
    path = file_of(tmp_path / "events.ndjson", [timeless, GOOD, timeless])
    server = Server()
    sent(path, target_to(server))
    first = server.values()
    sent(path, target_to(server), again=True)
    # A filled-in timestamp would make a conflict of the copy: none is in the record.
    assert server.values() == first * 2
    assert sum(b"timestamp" in value for value in first) == 1


FORMS = [
    (GOOD, {"event_name": "call", "external_customer_id": "c"}),
    (
        (
            b'{"id":"i","tenant_id":"other","environment_id":"e","event_name":" call ",'
            b'"external_customer_id":"c","customer_id":"k","properties":{"n":1.5,"t":"a\\"b"}}'
        ),
        {"event_id": "i", "customer_id": "k", "properties": {"n": "1.5", "t": 'a"b'}},
    ),
    (
        (
            b'{"specversion":"1.0","type":"call","source":"/gw","id":"a/b","subject":"c",'
            b'"time":"2026-03-01T13:00:00.5+01:00","data":{"n":1}}'
        ),
        {"event_id": "/gw/a%2Fb", "source": "/gw", "timestamp": "2026-03-01T12:00:00.5Z"},
    ),
]


@pytest.mark.parametrize(("line", "members"), FORMS, ids=["body", "stored event", "CloudEvent"])
def test_every_form_becomes_an_event_of_the_key(
    tmp_path: Path, line: bytes, members: dict[str, object]
) -> None:
    server = Server()
    sent(file_of(tmp_path / "events.ndjson", [line]), target_to(server))
    (value,) = server.values()
    found = json.loads(value, parse_float=str)
    assert {name: found[name] for name in members} == members
    assert (found["tenant_id"], found["environment_id"]) == ("t", "v")


def test_packed_files_have_the_ids_of_unpacked_ones(tmp_path: Path) -> None:
    plain, packed = Server(), Server()
    path = file_of(tmp_path / "events.ndjson", [GOOD, GOOD])
    sent(path, target_to(plain))
    twin = tmp_path / "events.ndjson.gz"
    twin.write_bytes(gzip.compress(path.read_bytes()))
    sent(twin, target_to(packed))
    assert packed.values() == plain.values()


# The reader of CSV leaves its text layer to the collector, which says so.
def test_rows_of_csv_are_sent_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(
        "event_name,external_customer_id,properties\n"
        'call,acme,"{""n"":\n1.50}"\n'
        "call,,\n"
        "call,too,few,cells\n"
        '"call\nover\nlines",acme,"{",\n'
        "call,beta,\n"
    )
    server = Server()
    summary = sent(path, target_to(server, events_max=1000))
    assert [json.loads(value)["external_customer_id"] for value in server.values()] == [
        "acme",
        "beta",
    ]
    assert json.loads(server.values()[0])["properties"] == {"n": 1.5}
    assert server.dead_letters() == [
        (b'{"event_name":"call"}', "external_customer_id_required"),
        (b'"call","too","few","cells"', "invalid_json"),
    ]
    assert (summary.sent, summary.appended, summary.rejected.total()) == (4, 2, 2)
    assert summary.kept_back == {"invalid_json": 1}


def outcome_of(line: bytes) -> Event | str:
    found = decode_record(line, received_at=NOON)
    return found if isinstance(found, Event) else found.value


@settings(max_examples=40)
@given(st.lists(sent_events, min_size=1, max_size=12))
@example([b'{"specversion":"1.0","event_name":"call","external_customer_id":"c"}', GOOD])
@example(
    [b'{"id":5,"event_name":"call","external_customer_id":"c"}', GOOD, b"  ", b"\xef\xbb\xbf{}"]
)
@example([b'{"ingested_at":"noon","event_name":"call","external_customer_id":"c"}', b"\t{", b"1\r"])
def test_each_line_becomes_what_it_is_whatever_its_neighbours_are(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    expected = [outcome_of(line) for line in lines if line not in {b"", b"\r"}]
    server = Server()
    with tempfile.TemporaryDirectory() as folder:
        path = file_of(Path(folder) / "events.ndjson", lines)
        summary = sent(path, target_to(server, events_max=4))
    good = [each for each in expected if isinstance(each, Event)]
    taken = [decode_record(value, received_at=NOON) for value in server.values()]
    assert list(map(told, taken)) == list(map(told, good))
    assert [each.event_id for each in taken if isinstance(each, Event)] == [
        event.event_id or given for event, given in zip(good, server.ids(), strict=True)
    ]
    reasons = Counter(each for each in expected if isinstance(each, str))
    assert summary.rejected + summary.kept_back == reasons
    # Space around a line is none of its bytes; a dead letter otherwise is what stood there.
    refused = Counter(
        (line.strip(b" \t\r"), each)
        for line, each in zip(
            [line for line in lines if line not in {b"", b"\r"}], expected, strict=True
        )
        if isinstance(each, str)
    )
    letters = Counter((value.strip(b" \t\r"), reason) for value, reason in server.dead_letters())
    assert letters <= refused
    assert letters.total() == refused.total() - summary.kept_back.total()


def told(event: object) -> tuple[object, ...]:
    """Return what an event says beside its id and whose it is."""
    assert isinstance(event, Event)
    properties = json.loads(event.properties, parse_float=Decimal, parse_int=Decimal)
    return (
        event.event_name, event.external_customer_id, event.customer_id, event.source,
        event.timestamp, properties,
    )  # fmt: skip


def test_a_line_that_only_a_file_refuses_is_never_taken() -> None:
    lines = [
        (b'{"id":5,"event_name":"a","external_customer_id":"c"}', "field_wrong_type", None),
        (b'{"event_name":"a"}', "external_customer_id_required", "body"),
        (b'{"specversion":"2","event_name":"a"}', "cloudevent_invalid", "cloud_event"),
        (b"   ", "invalid_json", None),
        (b'"a\nb"', "invalid_json", None),
    ]
    rows = [
        {"partition": 0, "offset": line, "reason": reason, "value": value}
        for line, (value, reason, _) in enumerate(lines)
    ]
    forms, kept_back = sendable(pa.Table.from_pylist(rows, REJECTED))
    assert forms == [form for _, _, form in lines]
    assert [each.line for each in kept_back] == [0, 3, 4]


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 5), st.integers(1, 40))
def test_cuts_hold_every_row_once_within_both_bounds(
    sizes: list[int], count_max: int, bytes_max: int
) -> None:
    ends = [sum(sizes[:place]) for place in range(len(sizes) + 1)]
    offsets = pa.array(ends, pa.int64()).to_numpy()
    found = list(cuts(offsets, count_max, bytes_max))
    assert [row for start, end in found for row in range(start, end)] == list(range(len(sizes)))
    for start, end in found:
        assert end - start <= count_max
        assert sum(sizes[start:end]) <= bytes_max or end - start == 1


def test_too_many_events_a_request_is_told_with_what_the_server_takes(tmp_path: Path) -> None:
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 1001)
    with pytest.raises(ValidationFailed, match="at most 1000 events"):
        sent(path, target_to(Server(), events_max=5000))


@pytest.mark.parametrize(
    ("url", "key"), [("ftp://x", "k"), ("nonsense", "k"), ("http://", "k"), ("http://x", "k\n")]
)
def test_what_cannot_be_reached_is_refused_before_anything(url: str, key: str) -> None:
    with pytest.raises(ValidationFailed):
        Instance(url, key)


def test_a_file_that_breaks_off_sends_what_was_read_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson.gz"
    line = GOOD[:-1] + b',"event_id":"%d","unknown":"' + b"x" * 2000 + b'"}\n'
    packed = gzip.compress(b"".join(line % number for number in range(12_000)), compresslevel=1)
    path.write_bytes(packed[: len(packed) - 1000])
    server = Server()
    with pytest.raises(InputUnreadable, match="cut off"):
        sent(path, target_to(server, events_max=1000, in_flight=2))
    assert len(server.values()) > 0


def test_another_tenant_in_a_file_is_told_once(tmp_path: Path) -> None:
    stored = b'{"id":"i%d","tenant_id":"other","event_name":"call","external_customer_id":"c"}'
    path = file_of(tmp_path / "events.ndjson", [stored % number for number in range(5)])
    told: list[str] = []
    work = Work(target_to(Server()), tmp_path / "state", tell=told.append)
    ingest(str(path), work, FileSummary(str(path)))
    assert len(told) == 1
    assert "other" in told[0]


def test_blank_lines_are_counted_as_lines_and_are_no_records(tmp_path: Path) -> None:
    path = file_of(tmp_path / "events.ndjson", [b"", GOOD, b"\r", b""])
    (batch,) = file_batches(str(path))
    assert (batch.end_line, batch.events.num_rows, batch.rejected.num_rows) == (4, 1, 0)
    assert batch.bytes_between(0, 4) == path.stat().st_size
    server = Server()
    assert sent(path, target_to(server)).lines == 4


def test_a_folder_takes_the_same_records_into_its_log(tmp_path: Path) -> None:
    lines = [GOOD, b"{bad", GOOD, b'{"id":5,"event_name":"a","external_customer_id":"c"}']
    stored = b'{"id":"i","tenant_id":"other","event_name":"call","external_customer_id":"c"}'
    path, data = file_of(tmp_path / "events.ndjson", [*lines, stored]), tmp_path / "data"
    server = Server()
    sent(path, target_to(server), tmp_path / "first")
    with LogTarget(data, HERE, 1_000_000, lambda: NOON) as target:
        summary = sent(path, target, tmp_path / "second")
        with pytest.raises(InvalidOperation, match="held by another tally"):
            FolderLock(data)
    assert (summary.appended, summary.rejected) == (3, {"invalid_json": 1, "field_wrong_type": 1})
    log = open_log(data / "events.log")
    records = log.read_from(0, 100)
    log.close()
    assert records is not None
    values = records["value"].to_pylist()
    assert [value for value in values if value not in lines] == server.values()
    assert [value for value in values if value in lines] == [lines[1], lines[3]]
    assert set(records["key"].to_pylist()) == {b"t:v:c", b"t:v:"}
    assert set(records["received_at"].to_pylist()) == {NOON}
