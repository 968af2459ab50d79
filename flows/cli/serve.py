"""`tally serve`: the API as a role of production, in any number of workers."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

import os
from typing import Annotated

import typer

EXAMPLE = "Example: TALLY_CLICKHOUSE_URL=http://localhost:8123 tally serve --catalog catalog.yaml --workers 2"


def serve(
    *,
    catalog: Annotated[str, typer.Option(metavar="FILE", help="Catalog file, YAML or JSON.")],
    brokers: Annotated[
        str | None, typer.Option(metavar="HOST:PORT,...", help="Kafka brokers.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of SQLite, where no database is set.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, help="Port of the API; 8080")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that serve.")] = 1,
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML."),
    ] = None,
) -> None:
    """Serve the API on Kafka, ClickHouse and SQL until SIGTERM or Ctrl-C; stateless, any number."""
    from flows.settings import environment_of, read_settings_file, resolve

    resolved = resolve(
        flags={
            "catalog": catalog,
            "kafka_brokers": brokers,
            "data": data,
            "host": host,
            "port": port,
        },
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    os.environ.update(environment_of(resolved))
    from flows.serving.production import serve_api

    serve_api(resolved, workers)
