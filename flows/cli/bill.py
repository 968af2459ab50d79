"""`tally bill`: what files of events come to in money, under a catalog."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.meter import (
    CatalogFile,
    EventFiles,
    OutputFormat,
    Processes,
    instant,
    metered_files,
    say_counts,
)
from flows.cli.output import Format, write_json, write_rows, write_table

if TYPE_CHECKING:
    from billing.running import BillingRun

EXAMPLE = "Example: tally bill catalog.yaml events.ndjson --as-of 2026-02-10T00:00:00Z"


def bill(
    *,
    catalog: CatalogFile,
    events: EventFiles,
    as_of: Annotated[str, typer.Option("--as-of", metavar="T", help="Bill what is due by then.")],
    form: OutputFormat = Format.TABLE,
    processes: Processes = 1,
) -> None:
    """Meter files of events and draft every invoice that is due, with wallets and alerts.

    Each line comes with its arithmetic; as JSON with its explanation. csv and parquet hold the
    lines alone. Counts of verdicts go to stderr.
    """
    at = instant(as_of, "--as-of")
    assert at is not None, "the option is required"
    from flows.billing.metered import bill_metered
    from flows.catalog import load_catalog

    loaded = load_catalog(catalog)
    with metered_files(loaded, events, processes) as metered:
        write_run(bill_metered(loaded, metered, at), form)
        say_counts(metered)


def write_run(run: "BillingRun", form: Format) -> None:
    """Write what was billed to stdout in the asked form."""
    from flows.bill_report import LINE_COLUMNS, line_rows, report_of, tables

    if form is Format.JSON:
        write_json(report_of(run))
    elif form is Format.TABLE:
        for title, columns, rows in tables(run):
            write_table(columns, rows, title=title)
    else:
        write_rows(LINE_COLUMNS, line_rows(report_of(run)), form, title="Invoice lines")
