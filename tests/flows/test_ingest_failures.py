"""An instance that fails while files are sent: what is acknowledged stays so, and nothing gets lost."""

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.client.deliveries import Target
from flows.client.ingesting import FileSummary, Work, ingest
from flows.client.instance import Instance
from flows.client.lines import file_batches
from flows.client.patience import Patience, Stopped
from flows.client.sending import HttpTarget
from schemas.errors import (
    NotFound,
    PermissionDenied,
    StoreError,
    TallyError,
    Unauthorized,
    ValidationFailed,
)

GOOD = b'{"event_name":"call","external_customer_id":"c","timestamp":"2026-03-01T12:00:00Z"}'


class Server(httpx.BaseTransport):
    """Takes all lines that are JSON, in place of an instance and a network that fails as it is told.

    `plan` is asked before each request, by its number: a status to answer with, an exception to raise,
    or None to let it through.
    """

    def __init__(self, plan: Callable[[int], int | Exception | None] = lambda _: None) -> None:
        self.plan = plan
        self.requests = 0
        self.lock = threading.Lock()
        self.taken: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            number, self.requests = self.requests, self.requests + 1
        planned = self.plan(number)
        if isinstance(planned, Exception):
            raise planned
        if planned is not None:
            body = {"message": "later,\n or never"}
            return httpx.Response(planned, headers={"retry-after": "3"}, json=body)
        lines = request.read().splitlines()
        good = [line for line in lines if line != b"{bad"]
        with self.lock:
            self.taken += [json.loads(line)["event_id"] for line in good]
        bad = len(lines) - len(good)
        counts = {"x-tally-appended": str(len(good)), "x-tally-rejected": str(bad)}
        reasons = {str(number): "rejected:invalid_json" for number in range(bad)}
        return httpx.Response(202, headers=counts, json=reasons)


class Clock:
    """Seconds that pass only while somebody pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def target_to(
    server: httpx.BaseTransport,
    *,
    clock: Clock | None = None,
    seconds: float = 60,
    waiting: Callable[[str], None] = lambda _: None,
    in_flight: int = 1,
) -> HttpTarget:
    time = clock or Clock()
    patience = Patience(
        seconds, waiting=waiting, clock=lambda: time.now, pause=time.pause, chance=lambda: 1.0
    )
    instance = Instance("http://tally.test", "sk_key", transport=server)
    return HttpTarget(instance, patience, name="here", events_max=2, in_flight=in_flight)


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


def ids_of(path: Path) -> list[str]:
    """Return the ids of the events of a file, in its order."""
    return [
        str(each)
        for batch in file_batches(str(path))
        for each in batch.events["event_id"].to_pylist()
    ]


@pytest.mark.parametrize(
    "failure", [429, 500, 502, 503, 504, httpx.ConnectError("refused"), httpx.ReadTimeout("late")]
)
def test_an_instance_that_was_away_gets_everything_when_it_is_back(
    tmp_path: Path, failure: int | Exception
) -> None:
    clock, told = Clock(), list[str]()
    server = Server(lambda number: failure if number in {1, 2} else None)
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 6)
    sent(path, target_to(server, clock=clock, waiting=told.append))
    assert sorted(server.taken) == sorted(ids_of(path))
    assert clock.pauses == ([3.0, 3.0] if isinstance(failure, int) else [0.1, 0.2])
    assert len(told) == 1


def test_an_answer_that_got_lost_makes_no_second_event(tmp_path: Path) -> None:
    class Deaf(Server):
        """Takes the first request, and its answer does not arrive."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if self.requests == 1:
                raise httpx.RemoteProtocolError("the peer closed the connection")
            return answer

    server = Deaf()
    path = file_of(tmp_path / "events.ndjson", [b'{"event_name":"a","external_customer_id":"c"}'])
    sent(path, target_to(server))
    assert len(server.taken) == 2
    assert len(set(server.taken)) == 1


def test_patience_ends_with_one_clear_line_and_the_journal_kept(tmp_path: Path) -> None:
    clock = Clock()
    server = Server(lambda number: 503 if number >= 2 else None)
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 10)
    summary = FileSummary(str(path))
    work = Work(target_to(server, clock=clock), tmp_path / "state", clock=lambda: 0.0)
    with pytest.raises(StoreError, match=r"answers 503: later, or never \(for 60 seconds"):
        ingest(str(path), work, summary)
    assert clock.now == 60
    assert (summary.lines, summary.appended) == (4, 4)

    back = Server()
    again = sent(path, target_to(back), tmp_path / "state")
    assert (again.lines_before, again.sent) == (4, 6)
    assert server.taken + back.taken == ids_of(path)


@given(st.integers(0, 12), st.sampled_from([1, 4]))
@settings(max_examples=15)
def test_wherever_it_is_stopped_going_on_loses_nothing(place: int, in_flight: int) -> None:
    lines = [GOOD, GOOD, b"{bad", GOOD[:-1] + b',"event_id":"mine"}', GOOD] * 5
    with tempfile.TemporaryDirectory() as folder:
        path, state = file_of(Path(folder) / "events.ndjson", lines), Path(folder) / "state"
        server = Server(lambda number: 400 if number >= place else None)
        with pytest.raises(TallyError):
            sent(path, target_to(server, in_flight=in_flight), state)
        acknowledged = len(server.taken)
        server.plan = lambda _: None
        summary = sent(path, target_to(server, in_flight=in_flight), state)
        expected = ids_of(path)
    assert set(server.taken) == set(expected)
    if in_flight == 1:
        # What was acknowledged is not sent again.
        assert Counter(server.taken) == Counter(expected)
        assert acknowledged + summary.appended == len(expected)


def test_an_interrupt_leaves_what_was_acknowledged_remembered(tmp_path: Path) -> None:
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 10)
    server = Server()
    seen: list[int] = []

    def interrupt(records: int, _: int) -> None:
        seen.append(records)
        if len(seen) == 2:
            raise KeyboardInterrupt

    work = Work(target_to(server), tmp_path / "state", on_acknowledged=interrupt)
    with pytest.raises(KeyboardInterrupt):
        ingest(str(path), work, FileSummary(str(path)))
    assert sent(path, target_to(server), tmp_path / "state").lines_before >= 4
    assert set(server.taken) == set(ids_of(path))


def test_a_file_that_was_sent_whole_is_not_sent_again_until_it_changes(tmp_path: Path) -> None:
    path = file_of(tmp_path / "events.ndjson", [GOOD])
    server = Server()
    sent(path, target_to(server))
    assert (sent(path, target_to(server)).was_done, server.requests) == (True, 1)
    elsewhere = target_to(server)
    elsewhere.name = "there"
    sent(path, elsewhere)
    file_of(path, [GOOD, GOOD])
    sent(path, target_to(server))
    assert server.requests == 3


def test_a_damaged_journal_only_costs_the_way(tmp_path: Path) -> None:
    path, state = file_of(tmp_path / "events.ndjson", [GOOD]), tmp_path / "state"
    server = Server()
    sent(path, target_to(server), state)
    (journal,) = state.iterdir()
    journal.write_text("{")
    assert sent(path, target_to(server), state).sent == 1


REFUSALS = [
    (401, Unauthorized, "does not know the key: later, or never"),
    (403, PermissionDenied, "refuses: later, or never"),
    (404, NotFound, "answers 404"),
    (400, ValidationFailed, "answers 400: later, or never"),
    (501, ValidationFailed, "answers 501"),
    (204, StoreError, "does not answer as a tally does"),
]


@pytest.mark.parametrize(("status", "kind", "words"), REFUSALS)
def test_a_refusal_is_told_at_once_in_one_line(
    tmp_path: Path, status: int, kind: type[TallyError], words: str
) -> None:
    server = Server(lambda _: status)
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 9)
    with pytest.raises(kind, match=words) as caught:
        sent(path, target_to(server))
    assert "\n" not in str(caught.value)
    assert server.requests == 1


def test_of_several_under_way_the_failure_and_not_the_stop_is_told(tmp_path: Path) -> None:
    server = Server(lambda number: 400 if number == 3 else None)
    path = file_of(tmp_path / "events.ndjson", [GOOD] * 40)
    with pytest.raises(TallyError) as caught:
        sent(path, target_to(server, in_flight=4))
    assert not isinstance(caught.value, Stopped)
