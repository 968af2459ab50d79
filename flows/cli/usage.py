"""`tally usage`: what the meters of an instance give now, as a table with a line of each."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.ingest import Key, Url, instance_of, key_of
from flows.cli.meter import instant, window_size
from flows.cli.output import Figure, Format, console, say, shown, write_json, write_rows
from flows.data_folder import STORE_FOLDER
from schemas.errors import NotFound, StoreError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from flows.cli.output import Row
    from flows.client.readings import Question, Reading, UsageSource
    from schemas.period import Interval

EXAMPLE = "Example: tally usage --meter Tokens --watch"
LINE = "usage"
COLUMNS = ("meter", "value", LINE, "last_window")
# What stands around the cells of a row.
BORDER_CHARACTERS = 3 * len(COLUMNS) + 1
LINE_CHARACTERS_MIN = 10
CSV_COLUMNS = ("meter", "value", "window", "last_window_start", "last_window")


Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Read a folder that no tally runs on, in place of a URL."),
]
CatalogFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="With --data: the catalog of its meters; a sample."),
]
Meters = Annotated[
    list[str] | None, typer.Option(metavar="M", help="Name or id of a meter; may come again.")
]
Customer = Annotated[
    str | None, typer.Option(metavar="C", help="External id of a customer; default: all.")
]
Window = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Window of the line, as HOUR; default: 20 to 60 of them."),
]


class UsageFormat(StrEnum):
    """How usage is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def usage(
    *,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    catalog: CatalogFile = None,
    meter: Meters = None,
    customer: Customer = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="T", help="Start, as 2026-01-01T00:00:00Z.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="T", help="End; not in the range itself.")
    ] = None,
    window: Window = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again and again until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How often --watch looks.")
    ] = 1.0,
    form: Annotated[
        UsageFormat, typer.Option("--format", help="How the answer is written.")
    ] = UsageFormat.TABLE,
) -> None:
    """Show what each meter gives for a range, and how it went, up to its last window.

    Without --from and --to these are the last 24 hours up to the end of this half hour, in windows of
    half an hour; with --from alone, up to now. All times are UTC.
    """
    given = instant(start, "--from"), instant(end, "--to")
    size = window_size(window)
    if watch and form is not UsageFormat.TABLE:
        raise typer.BadParameter("--watch shows tables: leave --format away")
    if watch and data is not None:
        raise typer.BadParameter(
            "--watch needs a URL: nothing moves in a folder that nobody runs on"
        )
    if catalog is not None and data is None:
        raise typer.BadParameter("--catalog goes with --data: an instance knows its own")
    from flows.client.readings import Question, fitting_size, named

    def question() -> "Question":
        period = period_of(*given, datetime.now(UTC))
        return Question(period, size or fitting_size(period), customer)

    def readings(source: "UsageSource", asked: "Question") -> "list[Reading]":
        return [source.read(each, asked) for each in named(source.meters(), meter or ())]

    with source_of(url, key, data, catalog) as source:
        if watch:
            show_again(lambda asked: readings(source, asked), question, every)
        else:
            asked = question()
            write_readings(readings(source, asked), asked, form)


def period_of(start: datetime | None, end: datetime | None, now: datetime) -> "Interval":
    """Return the range that is asked about: a day up to its end, or up to about now."""
    from flows.client.readings import DEFAULT_RANGE, latest_range
    from schemas.period import Interval

    if start is None and end is None:
        return latest_range(now)
    until = end or now
    since = until - DEFAULT_RANGE if start is None else start
    if until < since:
        raise typer.BadParameter("--to lies before --from")
    return Interval(since, until)


@contextmanager
def source_of(
    url: str | None, key: str | None, data: str | None, catalog: str | None
) -> "Iterator[UsageSource]":
    """Open what usage is read from: an instance over HTTP, or the store of a folder."""
    from flows.client.readings import HttpUsage

    if data is None:
        with instance_of(url, key_of(key)) as instance:
            yield HttpUsage(instance)
        return
    if url is not None:
        raise typer.BadParameter("--url and --data exclude each other")
    with stored_usage(data, catalog) as source:
        yield source


@contextmanager
def stored_usage(data: str, catalog: str | None) -> "Iterator[UsageSource]":
    """Open the store of a folder, which this process holds meanwhile. Raises NotFound, InvalidOperation."""
    from flows.serving.folder_lock import FolderLock
    from flows.settings import resolve

    settings = resolve(flags={"data": data, "catalog": catalog}, environment=os.environ)
    store_folder = Path(data) / STORE_FOLDER
    if not store_folder.is_dir():
        raise NotFound(f"there is no store in {data}: `tally dev --data {data}` makes one")
    with FolderLock(Path(data)):
        from flows.client.readings import StoredUsage
        from flows.connectors.usage_answers import StoredAnswers
        from flows.serving.defaults import catalog_of
        from flows.stores.clickhouse import open_store
        from schemas.scope import Scope

        loaded, described = catalog_of(settings)
        say(f"catalog: {described}")
        with open_store(str(store_folder), settings.clickhouse_database) as store:
            scope = Scope(settings.tenant, settings.environment)
            yield StoredUsage(StoredAnswers(store), loaded.meters, scope)


def write_readings(readings: "Sequence[Reading]", asked: "Question", form: UsageFormat) -> None:
    """Write readings to stdout in the asked form."""
    if form is UsageFormat.JSON:
        write_json([document_of(each, asked) for each in readings])
    elif form is UsageFormat.CSV:
        write_rows(CSV_COLUMNS, [row_of(each) for each in readings], Format.CSV, title="")
    else:
        console().print(table_of(readings, asked))


def row_of(reading: "Reading") -> "Row":
    """Return a reading as one row: total, line, and last window."""
    from flows.client.sparkline import sparkline

    last_start, last = reading.windows[-1] if reading.windows else (None, None)
    return {
        "meter": reading.meter.name,
        "value": figure(reading.value),
        "usage": sparkline([value for _, value in reading.windows]),
        "window": reading.window.value,
        "last_window_start": last_start,
        "last_window": figure(last),
    }


def figure(value: object) -> object:
    """Return a quantity as it is shown: all its digits, and nothing else."""
    return None if value is None else Figure(shown(value))


def document_of(reading: "Reading", asked: "Question") -> dict[str, object]:
    """Return a reading as machines read it; quantities are decimal texts."""
    return {
        "meter": reading.meter.name,
        "meter_id": reading.meter.id,
        "external_customer_id": asked.customer,
        "from": shown(asked.period.start),
        "to": shown(asked.period.end),
        "value": shown(reading.value),
        "window": reading.window.value,
        "windows": [
            {"window_start": shown(start), "value": shown(value)}
            for start, value in reading.windows
        ],
    }


def table_of(
    readings: "Sequence[Reading]", asked: "Question", *, note: str = "", width: int | None = None
) -> "Table":
    """Return readings as a table for people, as wide as the console is if that is not said.

    Where it is narrow, lines lose their oldest windows, and numbers no digit.
    """
    from rich.table import Table
    from rich.text import Text

    period = asked.period
    title = f"Usage from {shown(period.start)} to {shown(period.end)}"
    if asked.customer is not None:
        title += f" of {asked.customer}"
    table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        caption=Text(note) if note else None,
    )
    rows = [row_of(reading) for reading in readings]
    cells = [
        {name: "" if row[name] is None else str(row[name]) for name in COLUMNS} for row in rows
    ]
    heads = {name: name.replace("_", " ") for name in COLUMNS}
    widths = {
        name: max(len(heads[name]), *(len(row[name]) for row in cells), 0) for name in COLUMNS
    }
    taken = sum(widths.values()) - widths[LINE] + BORDER_CHARACTERS
    room = max((width or console().width) - taken, LINE_CHARACTERS_MIN)
    for name in COLUMNS:
        right = name in {"value", "last_window"}
        table.add_column(
            heads[name],
            justify="right" if right else "left",
            min_width=min(widths[name], room) if name == LINE else widths[name],
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(Text(row[name][-room:] if name == LINE else row[name]) for name in COLUMNS))
    return table


def show_again(
    read: "Callable[[Question], Sequence[Reading]]",
    question: "Callable[[], Question]",
    every: float,
) -> None:
    """Show tables until SIGINT or SIGTERM: one in place of the other, or below it where stdout is a file.

    An instance that is away for a while leaves the last table, and says so below it. Raises what the
    first reading raises, and later refusals.
    """
    from flows.stopping import stop_on_signals

    stop = stop_on_signals()
    asked = question()
    found = read(asked)
    with live(table_of(found, asked)) as show:
        watch_until(
            stop=stop,
            read=read,
            question=question,
            every=every,
            last=(found, asked),
            show=show,
        )


def watch_until(
    *,
    stop: "threading.Event",
    read: "Callable[[Question], Sequence[Reading]]",
    question: "Callable[[], Question]",
    every: float,
    last: "tuple[Sequence[Reading], Question]",
    show: "Callable[[Table], None]",
) -> None:
    """Read and show once in a while until `stop` is set, after what was shown last."""
    while not stop.wait(every):
        asked = question()
        try:
            last = read(asked), asked
        except StoreError as failure:
            show(table_of(*last, note=f"{failure}; trying again"))
        else:
            show(table_of(*last))


@contextmanager
def live(first: "Table") -> "Iterator[Callable[[Table], None]]":
    """Show a table, and let it be replaced; where stdout is no terminal each one is written."""
    out = console()
    if not sys.stdout.isatty():
        out.print(first)
        yield out.print
        return
    from rich.live import Live

    with Live(first, console=out, auto_refresh=False) as screen:
        yield lambda table: screen.update(table, refresh=True)
