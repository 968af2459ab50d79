"""`tally explain`: why an invoice line has its amount, down to events, and whether it is right."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.ingest import Key, Url, instance_of, key_of
from flows.cli.output import console, write_json
from flows.data_folder import STORE_FOLDER
from schemas.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.tree import Tree

    from billing.explaining import Sentence
    from flows.explaining import ExplainedLine, LineSource

EXAMPLE = "Example: tally explain inv_line_01KDVDNA00ZXC2J9M5T8Q7W3RA --events 20"
EVENTS_SHOWN = 10

Line = Annotated[str, typer.Argument(metavar="LINE", help="Id of the line, or INVOICE/LINE.")]
Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Read a folder that no tally runs on, in place of a URL."),
]
Events = Annotated[
    int, typer.Option(metavar="N", min=0, help="How many of the events behind it are shown.")
]


class ExplainFormat(StrEnum):
    """How an explanation is written."""

    TEXT = "text"
    JSON = "json"


def explain(
    *,
    line: Line,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    events: Events = EVENTS_SHOWN,
    form: Annotated[
        ExplainFormat, typer.Option("--format", help="How the answer is written.")
    ] = ExplainFormat.TEXT,
) -> None:
    """Show how the amount of an invoice line came about, price it again, and show its events.

    The line is priced again by a pricer of its own, from nothing but its stored explanation; where
    the two disagree the command ends with 1. Usage is shown as the events give it now.
    """
    from flows.explaining import document_of, explain_line

    with source_of(url, key, data) as source:
        explained = explain_line(source, line, events_max=events)
    if form is ExplainFormat.JSON:
        write_json(document_of(explained))
    else:
        write_text(explained)
    if not explained.agrees:
        raise typer.Exit(1)


@contextmanager
def source_of(url: str | None, key: str | None, data: str | None) -> "Iterator[LineSource]":
    """Open what lines are read from: an instance over HTTP, or the stores of a folder."""
    from flows.client.invoice_lines import HttpLines

    if data is None:
        with instance_of(url, key_of(key)) as instance:
            yield HttpLines(instance)
        return
    if url is not None:
        raise typer.BadParameter("--url and --data exclude each other")
    with stored_lines(data) as source:
        yield source


@contextmanager
def stored_lines(data: str) -> "Iterator[LineSource]":
    """Open the stores of a folder, which this process holds meanwhile.

    Raises NotFound, InvalidOperation.
    """
    from flows.serving.folder_lock import FolderLock
    from flows.settings import resolve
    from flows.sql_store import open_sql, sqlite_path
    from schemas.scope import Scope

    settings = resolve(flags={"data": data}, environment=os.environ)
    folder = Path(data) / STORE_FOLDER
    if not folder.is_dir() or not (settings.database_url or sqlite_path(settings).exists()):
        raise NotFound(f"there is no store in {data}: `tally dev --data {data}` makes one")
    with FolderLock(Path(data)):
        from billing.stores.line_reading import SqlLines
        from billing.stores.money import SqlStores
        from flows.client.invoice_lines import StoredLines
        from flows.connectors.usage_answers import StoredAnswers
        from flows.stores.clickhouse import open_store

        scope = Scope(settings.tenant, settings.environment)
        database = open_sql(settings, datetime.now(UTC))
        try:
            stores, lines = SqlStores(database, scope), SqlLines(database, scope)
            with open_store(str(folder), settings.clickhouse_database) as store:
                answers = StoredAnswers(store)
                yield StoredLines(stores, stores, lines.invoice_of, answers, scope)
        finally:
            database.close()


def write_text(explained: "ExplainedLine") -> None:
    """Write a line for people: its arithmetic, the verdict on it, and its events, as trees."""
    from flows.explaining import usage_sentence, verdict

    out = console()
    parts = [explained.arithmetic, verdict(explained)]
    if explained.usage:
        parts.append(usage_sentence(explained))
    for each in parts:
        out.print(tree_of(each), soft_wrap=True)


def tree_of(sentence: "Sentence") -> "Tree":
    """Return sentences as a tree of the console; Text keeps brackets of data from being markup."""
    from rich.text import Text
    from rich.tree import Tree

    made = Tree(Text(sentence.text))
    for each in sentence.below:
        made.children.append(tree_of(each))
    return made
