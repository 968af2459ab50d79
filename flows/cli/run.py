"""`tally run`: the roles of production, each a dataflow that runs until it is stopped."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

import os
from typing import Annotated

import typer

from flows.cli import run_billing

EXAMPLE = "Example: tally run metering --catalog catalog.yaml --brokers localhost:9092"

app = typer.Typer(
    help="Run a role of production until it is stopped.",
    epilog=EXAMPLE,
    no_args_is_help=True,
    rich_markup_mode=None,
)


app.command("billing", epilog=run_billing.EXAMPLE)(run_billing.billing)


@app.callback()
def roles() -> None:
    """Run a role of production until it is stopped."""


@app.command("metering", epilog=EXAMPLE)
def metering(
    *,
    catalog: Annotated[str, typer.Option(metavar="FILE", help="Catalog file, YAML or JSON.")],
    brokers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT,...", help="Kafka brokers.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of recovery and embedded stores.")
    ] = None,
    until_idle: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.0, help="Stop when nothing came for so long."),
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
    """Meter the topic of events into the store until SIGTERM or SIGINT; resumes where it was."""
    if (process is None) != (addresses is None):
        raise typer.BadParameter("--process and --addresses go together")
    from flows.settings import read_settings_file, resolve

    resolved = resolve(
        flags={"kafka_brokers": brokers, "data": data, "metrics_port": metrics_port},
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    from flows.metering.kafka import run_metering

    run_metering(
        resolved,
        catalog=catalog,
        until_idle_seconds=until_idle,
        processes=processes or 1,
        process=process,
        addresses=tuple(addresses.split(",")) if addresses else (),
    )
