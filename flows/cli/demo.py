"""`tally demo`: the whole product on made-up usage, in one process that ends by itself."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

from typing import Annotated

import typer

from flows.cli.output import Format, say, shown, write_json, write_table

EXAMPLE = "Example: tally demo --events 50000"


def demo(
    *,
    events: Annotated[int, typer.Option(min=1000, help="How many events to make.")] = 120_000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same demo.")] = 7,
    form: Annotated[
        Format, typer.Option("--format", help="table or json; csv and parquet are for bill.")
    ] = Format.TABLE,
) -> None:
    """Make usage of several customers, meter it, bill it, and show what came of it.

    LLM tokens, API requests, seats and storage of forty days, with duplicates, late events and
    malformed lines among them, through the metering and the billing dataflow on embedded stores.
    Everything is temporary.
    """
    if form not in (Format.TABLE, Format.JSON):
        raise typer.BadParameter("the demo is shown as table or json", param_hint="--format")
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from flows.bill_report import report_of, tables
    from flows.cli.meter import metered_files, say_counts
    from flows.demo.generator import generate
    from flows.demo.report import USAGE_COLUMNS, demo_catalog, demo_report

    with TemporaryDirectory(prefix="tally-demo-") as folder:
        say(f"1/3 making {events:,} events of six customers, with copies and flaws")
        log = Path(folder) / "events.ndjson"
        generate(events, seed=seed).write(log)
        say(f"2/3 metering {log.stat().st_size / 1e6:,.0f} MB")
        catalog = demo_catalog()
        with metered_files(catalog, [str(log)], processes=1) as metered:
            say_counts(metered)
            say("3/3 billing")
            report = demo_report(catalog, metered)
    if form is Format.JSON:
        usage = [{name: shown(value) for name, value in row.items()} for row in report.usage]
        write_json({"usage": usage, **report_of(report.run)})
        return
    write_table(USAGE_COLUMNS, report.usage, title="Usage")
    for title, columns, rows in tables(report.run):
        write_table(columns, rows, title=title)
