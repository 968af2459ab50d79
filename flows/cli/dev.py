"""`tally dev`: the whole product in one process, on one folder, with nothing beside it."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load the engine.

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import say

if TYPE_CHECKING:
    from flows.serving.embedded import EmbeddedInstance
    from flows.settings import Settings

EXAMPLE = "Example: tally dev --catalog catalog.yaml"

# One shard is the quickest for one process, and a flush every 200 ms is seen within the second.
DEFAULTS = {
    "shards": 1,
    "flush_milliseconds": 200,
    "gather_milliseconds": 20,
    "log_level": "warning",
}


def dev(
    *,
    catalog: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Catalog file; without it a sample of three meters."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of log and stores; ./.tally")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, help="Port of the API; 8080, 0 takes a free one.")
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML."),
    ] = None,
) -> None:
    """Serve the API, meter and bill in one process until Ctrl-C; goes on where it was.

    The key is TALLY_API_KEY, or one that is made and shown at the first start.
    """
    from flows.stopping import stop_on_signals

    stop = stop_on_signals()
    from flows.serving.defaults import catalog_of, dev_settings

    resolved = dev_settings(
        {"data": data, "host": host, "port": port, "catalog": catalog}, DEFAULTS, settings
    )
    from flows.logs import configure_logs

    configure_logs(resolved.log_level)
    loaded, described = catalog_of(resolved)
    from billing.api.app import build_app
    from flows.serving.embedded import EmbeddedInstance
    from flows.serving.folder_lock import FolderLock
    from flows.serving.http_server import HttpServer, listening, url_of

    lock = FolderLock(Path(resolved.data))
    bound = listening(resolved.host, resolved.port)
    instance = EmbeddedInstance(resolved, loaded, os.environ.get("TALLY_API_KEY"), lock)
    try:
        server = HttpServer(build_app(instance.services()), bound)
        instance.start()
        server.start()
        write_banner(instance, resolved, url_of(bound), described)
        stop.wait()
        say("stopping: finishing what was taken in")
        server.stop()
    finally:
        ended = instance.stop()
    if not ended:
        say("tally: the flows did not end in time; the next start goes on from the last snapshot")
        raise typer.Exit(1)


def write_banner(
    instance: "EmbeddedInstance", settings: "Settings", url: str, described: str
) -> None:
    """Say where the API is, what opens it, and one line to paste."""
    made, given = instance.made_key, os.environ.get("TALLY_API_KEY")
    shown = made or "$TALLY_API_KEY"
    if made:
        key = f"{made}   (made now and shown this once: keep it)"
    elif given:
        key = "the one in TALLY_API_KEY"
    else:
        key = "one made before (`tally keys create --role super_admin` makes another)"
    body = f'{{"event_name": "{sample_event(instance)}", "external_customer_id": "acme"}}'
    sys.stdout.write(
        f"tally dev  {url}\n"
        f"  key      {key}\n"
        f"  data     {settings.data}\n"
        f"  catalog  {described}\n"
        f"  try      curl -sS {url}/v1/events -H \"x-api-key: {shown}\" -d '{body}'\n"
        f"  see      TALLY_API_KEY={shown} tally usage --url {url} --watch\n"
    )
    sys.stdout.flush()


def sample_event(instance: "EmbeddedInstance") -> str:
    """Return the name of an event that moves a number: of a meter that reads no field if there is one."""
    names = sorted(
        (meter.aggregation.field is not None, bool(meter.filters), meter.event_name)
        for meter in instance.meters
    )
    return names[0][2] if names else "api.call"
