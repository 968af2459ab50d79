"""`tally run billing`: claims, alerts and invoices, for as long as it runs or once as of an instant."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import Format, say, shown, write_json, write_table

if TYPE_CHECKING:
    from flows.billing.passing import OncePassed
    from flows.settings import Settings

EXAMPLE = "Example: tally run billing --once --at 2026-02-01T02:00:00Z --data ./.tally"
COLUMNS = ("customer", "did", "what", "period_start", "period_end", "amount", "currency")


def billing(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Do what is due by --at, once, and end.")
    ] = False,
    at: Annotated[
        str | None, typer.Option("--at", metavar="T", help="The instant of --once; now.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="How --once says what it did: table or json.")
    ] = Format.TABLE,
    catalog: Annotated[
        str | None, typer.Option(metavar="FILE", help="Catalog to put into the money store first.")
    ] = None,
    brokers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT,...", help="Kafka brokers.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of embedded stores, for --once.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that this command starts.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(min=0, help="Which of --addresses this process is, from 0.")
    ] = None,
    addresses: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT,...",
            help="All processes of the cluster; the connection is plain, so keep it private.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, help="Port of /metrics; process i takes port + i. Default: none."),
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML."),
    ] = None,
) -> None:
    """Keep balances and alerts, and close what is due, until SIGTERM or SIGINT; or once.

    Needs TALLY_DATABASE_URL, TALLY_CLICKHOUSE_URL and Kafka; --once works without, on a folder.
    """
    if (process is None) != (addresses is None):
        raise typer.BadParameter("--process and --addresses go together")
    from flows.settings import read_settings_file, resolve

    resolved = resolve(
        flags={"kafka_brokers": brokers, "data": data, "metrics_port": metrics_port},
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    if once:
        do_once(resolved, at, catalog, form)
        return
    if at is not None:
        raise typer.BadParameter("--at goes with --once")
    from flows.billing.production import run_billing

    run_billing(
        resolved,
        catalog=catalog,
        processes=processes or 1,
        process=process,
        addresses=tuple(addresses.split(",")) if addresses else (),
    )


def do_once(settings: "Settings", at: str | None, catalog: str | None, form: Format) -> None:
    """Do what is due by an instant, now if none is given, and say what that was."""
    if form not in (Format.TABLE, Format.JSON):
        raise typer.BadParameter("--format is table or json here")
    from flows.billing.live import now
    from flows.billing.passing import pass_once
    from flows.cli.meter import instant

    write_once(pass_once(settings, instant(at, "--at") or now(), catalog), form)


def write_once(done: "OncePassed", form: Format) -> None:
    """Write what a pass did to stdout; who could not be finished goes to stderr, and ends it with 1."""
    rows = rows_of(done)
    if form is Format.JSON:
        write_json([{name: shown(row[name]) for name in COLUMNS} for row in rows])
    else:
        write_table(COLUMNS, rows, title="Done")
    for failure in done.failed:
        say(f"{done.names[failure.customer_id]}: {failure.error}")
    if done.failed:
        sys.exit(1)


def rows_of(done: "OncePassed") -> list[dict[str, object]]:
    """Return a row for each thing that was done, customers in the order in which they waited."""
    rows: list[dict[str, object]] = []
    for each in done.passed:
        name = done.names[each.customer_id]
        rows += [_row(name, str(known.status), str(known.id)) for known in each.subscriptions]
        for grant in each.applications:
            row = _row(name, f"grant {str(grant.status).lower()}", str(grant.grant_id))
            rows.append(row | {"period_start": grant.period_start, "amount": grant.credits})
        for invoice in each.invoices:
            row = _row(name, f"invoice {str(invoice.status).lower()}", str(invoice.id))
            row |= {"period_start": invoice.period.start, "period_end": invoice.period.end}
            rows.append(row | {"amount": invoice.total, "currency": invoice.currency})
        if each.swept:
            rows.append(_row(name, "lots expired", str(each.swept)))
    return rows


def _row(customer: str, did: str, what: str) -> dict[str, object]:
    """Return a row of which only so much is known."""
    return {**dict.fromkeys(COLUMNS), "customer": customer, "did": did, "what": what}
