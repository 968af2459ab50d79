"""`tally ingest`: files of events into an instance, durably, and from where an earlier run stopped."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import say, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress, TaskID

    from flows.client.deliveries import Target
    from flows.client.ingesting import FileSummary
    from flows.client.instance import Instance

EXAMPLE = "Example: tally ingest events.ndjson more.csv.gz --url http://127.0.0.1:8080"
STATE = "./.tally-ingest"

Url = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The instance; default: TALLY_URL, or http://127.0.0.1:8080."),
]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="Key of the API; default: TALLY_API_KEY.")
]


Files = Annotated[
    list[str], typer.Argument(metavar="FILES", help="NDJSON or CSV files; .gz is read, - is stdin.")
]
Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Append to the log of a folder that no tally runs on."),
]
State = Annotated[
    str, typer.Option(metavar="DIR", help="Where it is kept how far each file has come.")
]
Again = Annotated[bool, typer.Option("--again", help="Send files again that were sent whole.")]
Batch = Annotated[
    int, typer.Option(min=1, max=100_000, help="Events of a request; what the server takes.")
]
InFlight = Annotated[
    int, typer.Option(min=1, max=64, help="Requests at a time; 1 keeps the order of the file.")
]
PatienceSeconds = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.0, help="How long a silent instance is asked again."),
]


class SummaryFormat(StrEnum):
    """How the summary is written: as lines on stderr, or as JSON on stdout too."""

    TEXT = "text"
    JSON = "json"


Form = Annotated[SummaryFormat, typer.Option("--format", help="How the summary is written.")]


def ingest(
    *,
    files: Files,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    state: State = STATE,
    again: Again = False,
    batch: Batch = 1000,
    in_flight: InFlight = 4,
    patience: PatienceSeconds = 60.0,
    form: Form = SummaryFormat.TEXT,
) -> None:
    """Send files of events to an instance; the same command again goes on where it stopped.

    An event without an id gets one from the name of the file, its line and how many equal lines came
    before, so that a file that is sent twice counts once; standard input is the file `-`. Malformed
    lines become dead letters of the instance.
    """
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from flows.client.ingesting import FileSummary, Work
    from flows.client.ingesting import ingest as ingest_file
    from flows.client.lines import expect_readable, in_log_order

    expect_readable(files)
    total = Summary()
    with (
        Bar() as bar,
        target_of(
            url=url,
            key=key,
            data=data,
            batch=batch,
            in_flight=in_flight,
            patience=patience,
            bar=bar,
        ) as target,
    ):
        work = Work(target, Path(state), again, bar.advance, bar.tell)
        for path in in_log_order(files):
            summary = FileSummary(path)
            total.files.append(summary)
            bar.begin(path)
            try:
                ingest_file(path, work, summary)
            except KeyboardInterrupt:
                bar.end()
                total.say_counts()
                say(f"tally: {path}: stopped behind line {summary.lines}; the same command goes on")
                raise typer.Exit(1) from None
            except BaseException:
                bar.end()
                total.say_counts()
                raise
    total.say_counts()
    if data is not None:
        say(f"the log of {data} holds them: `tally dev --data {data}` meters them when it starts")
    if form is SummaryFormat.JSON:
        write_json(total.document())


@contextmanager
def target_of(
    *,
    url: str | None,
    key: str | None,
    data: str | None,
    batch: int,
    in_flight: int,
    patience: float,
    bar: "Bar",
) -> "Iterator[Target]":
    """Open what the files go to: an instance over HTTP, or the log of a folder."""
    if data is not None:
        if url is not None:
            raise typer.BadParameter("--url and --data exclude each other")
        from flows.client.appending import LogTarget
        from flows.settings import resolve
        from schemas.scope import Scope

        settings = resolve(flags={"data": data}, environment=os.environ)
        scope = Scope(settings.tenant, settings.environment)
        with LogTarget(
            Path(data), scope, settings.event_bytes_max, lambda: datetime.now(UTC)
        ) as log:
            yield log
        return
    from flows.client.journal import key_hint
    from flows.client.patience import Patience
    from flows.client.sending import HttpTarget

    given = key_of(key)
    with instance_of(url, given, in_flight) as instance:
        yield HttpTarget(
            instance,
            Patience(patience, waiting=bar.tell),
            name=f"{instance.url} {key_hint(given)}",
            events_max=batch,
            in_flight=in_flight,
        )


def key_of(key: str | None) -> str:
    """Return the key that opens the instance; none at all is wrong usage."""
    given = key or os.environ.get("TALLY_API_KEY")
    if not given:
        raise typer.BadParameter("a key is needed: --key KEY, or TALLY_API_KEY")
    return given


def instance_of(url: str | None, key: str, connections: int = 4) -> "Instance":
    """Return the instance that was named, here or by TALLY_URL."""
    from flows.client.instance import DEFAULT_URL, Instance

    return Instance(url or os.environ.get("TALLY_URL") or DEFAULT_URL, key, connections=connections)


@dataclass(slots=True)
class Summary:
    """What became of all files, and since when."""

    files: "list[FileSummary]" = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def say_counts(self) -> None:
        """Tell on stderr what became of the files."""
        for each in self.files:
            if each.was_done:
                say(f"{each.file}: was sent whole before, nothing to do (--again sends it again)")
            elif each.lines_before:
                say(f"{each.file}: went on behind line {each.lines_before}")
            place = "row" if ".csv" in Path(each.file).suffixes else "line"
            for problem in each.problems:
                say(f"{each.file}: {place} {problem.line + 1} is malformed: {problem.reason}")
        found = self.document()
        rejected, kept_back = added(self.files, "rejected"), added(self.files, "kept_back")
        counts = f"{found['sent']:,} sent, {found['appended']:,} appended"
        counts += f", {rejected.total():,} rejected{listed(rejected)}"
        if kept_back:
            counts += f", {kept_back.total():,} malformed and not sent{listed(kept_back)}"
        say(f"{counts}; {found['events_per_second']:,} events/s")

    def document(self) -> dict[str, object]:
        """Return the summary as machines read it."""
        seconds = time.monotonic() - self.began
        sent = sum(each.sent for each in self.files)
        return {
            "sent": sent,
            "appended": sum(each.appended for each in self.files),
            "rejected": dict(sorted(added(self.files, "rejected").items())),
            "kept_back": dict(sorted(added(self.files, "kept_back").items())),
            "seconds": round(seconds, 3),
            "events_per_second": round(sent / seconds) if seconds else 0,
            "files": [document_of(each) for each in self.files],
        }


def document_of(summary: "FileSummary") -> dict[str, object]:
    """Return what became of one file as machines read it."""
    return {
        "file": summary.file,
        "done": summary.done,
        "lines": summary.lines,
        "lines_before": summary.lines_before,
        "sent": summary.sent,
        "appended": summary.appended,
        "rejected": dict(sorted(summary.rejected.items())),
        "kept_back": dict(sorted(summary.kept_back.items())),
    }


def added(files: "Sequence[FileSummary]", name: str) -> Counter[str]:
    """Return a count of all files by reason."""
    total: Counter[str] = Counter()
    for each in files:
        total.update(getattr(each, name))
    return total


def listed(reasons: Counter[str]) -> str:
    """Return reasons with their counts.

    >>> listed(Counter({"too_deep": 1, "invalid_json": 2})), listed(Counter())
    (' (invalid_json 2, too_deep 1)', '')
    """
    parts = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
    return f" ({parts})" if parts else ""


class Bar:
    """A progress bar on stderr while that is a terminal: bytes where they are known, and events/s."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._records = 0
        self._began = time.monotonic()

    def __enter__(self) -> "Bar":
        if sys.stderr.isatty():
            self._progress = _progress()
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self, path: str) -> None:
        """Show the next file."""
        from flows.client.lines import known_bytes

        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(path, total=known_bytes(path), events="")

    def advance(self, records: int, byte_count: int) -> None:
        """Show that so much more was acknowledged."""
        self._records += records
        if self._progress is not None and self._task is not None:
            rate = self._records / max(time.monotonic() - self._began, 0.001)
            shown = f"{self._records:,} events, {rate:,.0f}/s"
            self._progress.update(self._task, advance=byte_count, events=shown)

    def tell(self, text: str) -> None:
        """Write a line above the bar."""
        if self._progress is None:
            say(text)
        else:
            self._progress.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _progress() -> "Progress":
    """Return the bar of the console; NO_COLOR is respected by the console itself."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[events]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
