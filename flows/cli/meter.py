"""`tally meter`: what the meters of a catalog make of files of events."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import Format, say, write_rows
from schemas.errors import InputUnreadable, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.catalog import Catalog
    from flows.metering.files import MeteredFiles
    from schemas.meter import WindowSize
    from schemas.period import Interval

EXAMPLE = "Example: tally meter catalog.yaml events.ndjson --window DAY --format json"

STDIN = "-"
OTHER_VERDICTS = ("duplicate", "conflict", "rejected")

CatalogFile = Annotated[str, typer.Argument(metavar="CATALOG", help="Catalog file, YAML or JSON.")]
EventFiles = Annotated[
    list[str],
    typer.Argument(metavar="EVENTS", help="NDJSON or CSV files; .gz is read, - is stdin."),
]
Processes = Annotated[int, typer.Option(min=1, help="Processes that meter side by side.")]
OutputFormat = Annotated[Format, typer.Option("--format", help="How the answer is written.")]


def meter(
    *,
    catalog: CatalogFile,
    events: EventFiles,
    start: Annotated[
        str | None, typer.Option("--from", metavar="T", help="Start, as 2026-01-01T00:00:00Z.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="T", help="End; not in the period itself.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Window, as HOUR or DAY; default: none.")
    ] = None,
    form: OutputFormat = Format.TABLE,
    processes: Processes = 1,
) -> None:
    """Meter files of events: usage for each meter, customer and group, and window if asked for.

    Without --from and --to the period is the whole UTC days of the events. Counts of verdicts go to
    stderr.
    """
    given = instant(start, "--from"), instant(end, "--to")
    size = window_size(window)
    from flows.answering import COLUMNS, usage_rows
    from flows.catalog import load_catalog

    loaded = load_catalog(catalog)
    with metered_files(loaded, events, processes) as metered:
        period = period_of(metered, *given)
        rows = (
            []
            if period is None
            else usage_rows(metered, loaded.meters, loaded.names, period, window=size)
        )
        write_rows(COLUMNS, rows, form, title="Usage")
        say_counts(metered)


@contextmanager
def metered_files(
    catalog: "Catalog", events: list[str], processes: int
) -> "Iterator[MeteredFiles]":
    """Meter files through the real dataflow, telling how far it is."""
    for path in events:
        if path != STDIN and not Path(path).exists():
            raise InputUnreadable(f"{path}: no such file")
    from flows.cli.progress import Progress
    from flows.metering.files import meter_files

    with (
        Progress() as progress,
        meter_files(catalog, events, processes=processes, progress=progress.show) as metered,
    ):
        progress.end()
        yield metered


def instant(text: str | None, option: str) -> datetime | None:
    """Return the instant of an option, with all its microseconds; a date alone is its 00:00 UTC.

    >>> instant("2026-01-01", "--from")
    datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and len(text) == len("2026-01-01"):
        at = at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is no time with a zone, as 2026-01-01T00:00:00Z", param_hint=option
        )
    return at.astimezone(UTC)


def window_size(text: str | None) -> "WindowSize | None":
    """Return a window size; anything else is wrong usage."""
    if text is None:
        return None
    from schemas.meter import WindowSize

    try:
        return WindowSize(text)
    except ValueError:
        sizes = ", ".join(WindowSize)
        raise typer.BadParameter(f"{text!r} is none of {sizes}", param_hint="--window") from None


def period_of(
    metered: "MeteredFiles", start: datetime | None, end: datetime | None
) -> "Interval | None":
    """Return the period asked for, its open ends filled in from the events; None without events."""
    from flows.answering import whole_days
    from schemas.period import Interval

    days = whole_days(metered.first_event_at, metered.last_event_at)
    if days is None:
        return None
    start, end = start or days.start, end or days.end
    if end < start:
        raise ValidationFailed(f"the period ends at {end} before it starts at {start}")
    return Interval(start, end)


def say_counts(metered: "MeteredFiles") -> None:
    """Say on stderr what became of the events; late and unmatched ones are accepted ones."""
    counts = metered.counts
    others = " · ".join(f"{name} {counts.get(name, 0):,}" for name in OTHER_VERDICTS)
    marks = f"late {counts.get('late', 0):,}, unmatched {counts.get('unmatched', 0):,}"
    say(f"events: accepted {counts.get('accepted', 0):,} ({marks}) · {others}")
    skipped = sorted(name for name in counts if name.startswith("skipped:") and counts[name])
    reasons = ", ".join(f"{name.partition(':')[2]} {counts[name]:,}" for name in skipped)
    pairs = f"counted {counts.get('counted', 0):,} · skipped {counts.get('skipped', 0):,}"
    say(f"for meters: {pairs}" + (f" ({reasons})" if reasons else ""))
    say(f"{metered.events_per_second:,.0f} events/s")
