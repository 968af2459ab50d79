"""`tally usage` and `tally ingest` as commands: what they ask, what they show, and how they refuse."""

import io
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from billing.api.app import build_app
from billing.api.services import Services
from billing.stores.memory_objects import MemoryObjects
from flows.cli import ingest as ingest_command
from flows.cli import usage as usage_command
from flows.cli.main import Commands
from flows.cli.usage import table_of, watch_until
from flows.client.instance import Away
from flows.client.readings import (
    Question,
    Reading,
    StoredUsage,
    WatchedMeter,
    reading,
)
from flows.serving.http_server import HttpServer, listening, url_of
from schemas.access import Principal, Role
from schemas.answer import Answer, Point
from schemas.errors import StoreError, Unauthorized
from schemas.event_query import EventPage, EventQuery, UsageQuery
from schemas.intake import IntakeReceipt, IntakeRequest
from schemas.meter import Aggregation, AggregationType, Meter, ResetUsage, WindowSize
from schemas.period import Interval
from schemas.scope import Scope
from schemas.stored import made
from schemas.subscription import Feature, Subscription

NOON = datetime(2026, 1, 8, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HERE = Scope("t", "v")
DIGITS = "12345678901234567890.123456789012345678"
TOKENS = WatchedMeter("meter_1", "Tokens", None, is_running=False)
METERS = [
    Meter("meter_1", "t", "v", "Tokens", "llm", Aggregation(AggregationType.SUM, "tokens")),
    Meter(
        "meter_2",
        "t",
        "v",
        "Peak",
        "load",
        Aggregation(AggregationType.MAX, "load", bucket_size=WindowSize.DAY),
    ),
]


@dataclass
class Instance:
    """Takes events and answers usage as it is told, and remembers what it was asked."""

    asked: list[UsageQuery] = field(default_factory=list)
    taken: list[IntakeRequest] = field(default_factory=list)

    def take(self, request: IntakeRequest) -> IntakeReceipt:
        self.taken.append(request)
        return IntakeReceipt(2, 1, {"message": "", "0": "accepted:e", "2": "rejected:too_deep"})

    def answer(self, query: UsageQuery) -> Answer:
        self.asked.append(query)
        assert query.window is not None
        start = query.period.end - HOUR / 2
        if query.window is WindowSize.DAY:
            start = query.period.end.replace(hour=0, minute=0)
        point = Point(start, query.period.end, Decimal(DIGITS), Decimal(0), 1)
        return Answer(Decimal(DIGITS), Decimal(0), 1, query.window, (point,), (), ())

    def events(self, query: EventQuery) -> EventPage:
        raise AssertionError(query)

    def meters(self, scope: Scope) -> Sequence[Meter]:
        assert scope == HERE
        return METERS

    def features(self, scope: Scope) -> Sequence[Feature]:
        raise AssertionError(scope)

    def subscriptions_of(self, scope: Scope, external_customer_id: str) -> Sequence[Subscription]:
        raise AssertionError(external_customer_id)

    def has_customer(self, scope: Scope, external_customer_id: str) -> bool:
        raise AssertionError(external_customer_id)

    def info(self, event: str, /, **fields: object) -> None: ...

    def error(self, event: str, /, **fields: object) -> None: ...


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Take away the settings that the machine's user may have made, and what a command leaves behind."""
    for name in ("TALLY_API_KEY", "TALLY_URL", "TALLY_DATA", "TALLY_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Serve an instance on a socket, and point the commands to it."""
    told = Instance()
    objects = MemoryObjects()
    for meter in METERS:
        objects.meters.add(made(meter, NOON))
    kept: Any = SimpleNamespace(objects=objects)
    services = Services(
        door=told,
        answers=told,
        catalog=told,
        authenticate=lambda key: (
            Principal("k", HERE, (Role.SUPER_ADMIN,)) if key == "sk_good" else None
        ),
        clock=lambda: NOON,
        readiness=list,
        exposition=lambda: (b"", "text/plain"),
        on_request=lambda *_: None,
        log=told,
        environment=lambda scope: {HERE: kept}[scope],
    )
    bound = listening("127.0.0.1", 0)
    server = HttpServer(build_app(services), bound)
    server.start()
    monkeypatch.setenv("TALLY_URL", url_of(bound))
    monkeypatch.setenv("TALLY_API_KEY", "sk_good")
    yield told
    server.stop()
    bound.close()


@dataclass
class Ran:
    """What a run of the program came to."""

    code: int
    out: str
    err: str


def run(*arguments: str) -> Ran:
    app = typer.Typer(cls=Commands, rich_markup_mode=None)
    app.command("ingest", epilog=ingest_command.EXAMPLE)(ingest_command.ingest)
    app.command("usage", epilog=usage_command.EXAMPLE)(usage_command.usage)
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


def test_the_table_shows_every_digit_and_a_line(instance: Instance) -> None:
    ran = run("usage")
    assert ran.code == 0
    rows = [line for line in ran.out.splitlines() if "Tokens" in line or "Peak" in line]
    assert [row.split("│")[1].strip() for row in rows] == ["Peak", "Tokens"]
    assert [cell.strip() for cell in rows[1].split("│")[2:5]] == [DIGITS, "▁" * 47 + "█", DIGITS]
    # A meter with buckets of a day has no smaller windows.
    assert [query.window for query in instance.asked] == ["DAY", "30MIN"]


def test_json_and_csv_have_the_numbers_as_they_are(instance: Instance) -> None:
    ran = run(
        "usage", "--format", "json", "--meter", "Tokens", "--customer", "acme",
        "--from", "2026-01-01", "--to", "2026-01-01T02:00:00Z", "--window", "30MIN",
    )  # fmt: skip
    (found,) = json.loads(ran.out)
    assert (found["meter"], found["value"], found["window"]) == ("Tokens", DIGITS, "30MIN")
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z")
    assert [each["value"] for each in found["windows"]] == ["0", "0", "0", DIGITS]
    (query,) = instance.asked
    assert query.external_customer_ids == ("acme",)
    table = run("usage", "--format", "csv", "--meter", "meter_1").out.splitlines()
    assert table[0] == "meter,value,window,last_window_start,last_window"
    assert table[1].startswith(f"Tokens,{DIGITS},30MIN,")
    assert table[1].endswith(f",{DIGITS}")


WRONG_USAGE = [
    (["usage", "--watch", "--format", "json"], "leave --format away"),
    (["usage", "--watch", "--data", "d"], "--watch needs a URL"),
    (["usage", "--url", "http://x", "--data", "d"], "exclude each other"),
    (["usage", "--catalog", "c.yaml"], "--catalog goes with --data"),
    (["usage", "--from", "2026-01-02", "--to", "2026-01-01"], "--to lies before --from"),
    (["usage", "--window", "minute"], "--window"),
    (["usage", "--from", "noon"], "--from"),
    (["usage", "--every", "0"], "--every"),
    (["ingest"], "FILES"),
    (["ingest", "f", "--url", "http://x", "--data", "d"], "exclude each other"),
    (["ingest", "f", "--in-flight", "0"], "--in-flight"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_USAGE)
def test_wrong_usage_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setenv("TALLY_API_KEY", "sk_good")
    Path("f").touch()
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


@pytest.mark.parametrize("command", [["usage"], ["ingest", "f"]])
def test_without_a_key_it_says_where_one_goes(command: list[str]) -> None:
    Path("f").touch()
    ran = run(*command)
    assert ran.code == 2
    assert "TALLY_API_KEY" in ran.err


REFUSED = [
    (["usage", "--key", "sk_bad"], "does not know the key"),
    (["usage", "--url", "http://127.0.0.1:1"], "http://127.0.0.1:1 does not answer"),
    (["usage", "--meter", "Nothing"], "there is no meter 'Nothing'"),
    (["usage", "--data", "nowhere"], "there is no store in nowhere"),
    (["ingest", "missing.ndjson"], "missing.ndjson: no such file"),
    (["ingest", "."], "is a folder"),
    (["ingest", "f", "--key", "sk_bad"], "does not know the key"),
    (["ingest", "f", "--url", "http://127.0.0.1:1", "--patience", "0"], "does not answer"),
]


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_a_refusal_ends_with_1_and_one_clear_line(arguments: list[str], words: str) -> None:
    Path("f").write_text('{"event_name":"a","external_customer_id":"c"}\n')
    ran = run(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert [line for line in ran.err.splitlines() if line.startswith("tally: ") and words in line]


def test_help_has_an_example() -> None:
    for command in ("usage", "ingest"):
        ran = run(command, "--help")
        assert ran.code == 0
        assert f"Example: tally {command}" in ran.out


def test_ingest_tells_what_became_of_the_events(instance: Instance) -> None:
    path = Path("f.ndjson")
    path.write_text('{"event_name":"a","external_customer_id":"c"}\n' * 2 + '{"event_name":"a"}\n')
    ran = run("ingest", str(path), "--format", "json")
    found = json.loads(ran.out)
    assert (found["sent"], found["appended"]) == (3, 2)
    assert (found["rejected"], found["kept_back"]) == ({"too_deep": 1}, {})
    assert found["files"][0] == {
        "file": "f.ndjson", "done": True, "lines": 3, "lines_before": 0, "sent": 3, "appended": 2,
        "rejected": {"too_deep": 1}, "kept_back": {},
    }  # fmt: skip
    assert "3 sent, 2 appended, 1 rejected (too_deep 1)" in ran.err
    assert "line 3 is malformed: external_customer_id_required" in ran.err
    (request,) = instance.taken
    assert request.partial
    again = run("ingest", str(path))
    assert "was sent whole before" in again.err
    assert run("ingest", str(path), "--again").code == 0
    assert len(instance.taken) == 2


def test_neither_the_key_nor_a_trace_of_it_is_written_down(instance: Instance) -> None:
    Path("f.ndjson").write_text('{"event_name":"a","external_customer_id":"c"}\n')
    run("ingest", "f.ndjson")
    assert instance.taken
    (journal,) = Path(".tally-ingest").iterdir()
    assert "sk_good" not in journal.read_text() + journal.name


def test_a_folder_answers_as_an_instance_does() -> None:
    told = Instance()
    running = replace(METERS[0], id="meter_3", name="Disk", reset_usage=ResetUsage.NEVER)
    source = StoredUsage(told, [*METERS, running], HERE)
    asked = Question(Interval(NOON - HOUR, NOON), WindowSize.HALF_HOUR, "acme")
    disk, _, tokens = (source.read(each, asked) for each in source.meters())
    assert [value for _, value in tokens.windows] == [0, Decimal(DIGITS)]
    assert [value for _, value in disk.windows] == [None, Decimal(DIGITS)]
    assert {query.external_customer_ids for query in told.asked} == {("acme",)}
    assert {query.scope for query in told.asked} == {HERE}


class Countdown(threading.Event):
    """A stop that is set after so many waits, none of which takes any time."""

    def __init__(self, waits: int):
        super().__init__()
        self.left = waits

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout == 1.0
        self.left -= 1
        return self.left < 0


def text_of(table: Table, width: int = 200) -> str:
    out = io.StringIO()
    Console(width=width, file=out).print(table)
    return out.getvalue()


def test_watching_outlives_an_instance_that_is_away_for_a_while() -> None:
    period = Interval(NOON - HOUR, NOON)
    asked = Question(period, WindowSize.HALF_HOUR)

    def found(value: int) -> list[Reading]:
        return [reading(TOKENS, Decimal(value), WindowSize.HALF_HOUR, {}, period)]

    results: list[list[Reading] | StoreError] = [
        found(2),
        Away("http://x does not answer"),
        found(3),
    ]
    shown: list[str] = []

    def read(_: Question) -> Sequence[Reading]:
        result = results.pop(0)
        if isinstance(result, StoreError):
            raise result
        return result

    watch_until(
        stop=Countdown(3),
        read=read,
        question=lambda: asked,
        every=1.0,
        last=(found(1), asked),
        show=lambda table: shown.append(text_of(table)),
    )
    assert ["│     2 │" in text for text in shown] == [True, True, False]
    assert ["trying again" in text for text in shown] == [False, True, False]
    assert "│     3 │" in shown[2]


def test_watching_ends_when_the_key_is_taken_away() -> None:
    asked = Question(Interval(NOON - HOUR, NOON), WindowSize.HALF_HOUR)

    def read(_: Question) -> Sequence[Reading]:
        raise Unauthorized("no more")

    with pytest.raises(Unauthorized):
        watch_until(
            stop=Countdown(1),
            read=read,
            question=lambda: asked,
            every=1.0,
            last=([], asked),
            show=lambda _: None,
        )


def test_brackets_in_names_are_no_markup() -> None:
    asked = Question(Interval(NOON - HOUR, NOON), WindowSize.HALF_HOUR, "[red]acme[/red]")
    one = Reading(replace(TOKENS, name="[b]x"), Decimal(1), WindowSize.HALF_HOUR, ())
    text = text_of(table_of([one], asked))
    assert "[b]x" in text
    assert "[red]acme[/red]" in text


def test_a_narrow_terminal_costs_old_windows_and_no_digit() -> None:
    period = Interval(NOON - 24 * HOUR, NOON)
    asked = Question(period, WindowSize.HALF_HOUR)
    points = {NOON - HOUR / 2: Decimal(DIGITS)}
    one = reading(TOKENS, Decimal(DIGITS), WindowSize.HALF_HOUR, points, period)
    for width, blocks in [(240, 48), (140, 43), (110, 13), (40, 10)]:
        text = text_of(table_of([one], asked, width=width), width=max(width, 110))
        assert text.count("▁") + text.count("█") == blocks
        assert "█" in text
        assert text.count(DIGITS) == 2
