"""Starting `tally serve`: stores brought up once, then one process that serves, or several on one socket."""

import os
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import uvicorn

from flows.billing.money import opened_money, put_into
from flows.catalog import Catalog, load_catalog
from flows.logs import configure_logs
from flows.metrics.workers import share_metrics
from flows.serving.http_server import GRACE_SECONDS, listening, url_of
from flows.serving.workers import keep_working
from flows.settings import Settings, resolve
from flows.stopping import stop_on_signals
from flows.stores.clickhouse import open_store
from schemas.errors import ValidationFailed
from schemas.scope import Scope


def serve_api(settings: Settings, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises ValidationFailed and StoreError before anything listens.

    The settings must be in the environment, where the workers read them. The log need not be there:
    until it is, intake answers 503 and `/readyz` says why.
    """
    if not settings.clickhouse_url:
        raise ValidationFailed(
            "`tally serve` needs a ClickHouse server: set TALLY_CLICKHOUSE_URL, or use `tally dev`"
        )
    configure_logs(settings.log_level)
    catalog = load_catalog(settings.catalog) if settings.catalog else None
    _bring_stores_up(settings, catalog)
    bound = listening(settings.host, settings.port)
    sys.stderr.write(f"tally serve  {url_of(bound)}  workers {workers}\n")
    sys.stderr.flush()
    if workers == 1:
        serve_in_this_process(bound)
        return
    with tempfile.TemporaryDirectory(prefix="tally-metrics-") as folder:
        share_metrics(Path(folder))
        keep_working(serve_in_this_process, bound, workers)


def serve_in_this_process(bound: socket) -> None:
    """Serve on a socket until SIGTERM or SIGINT, by the settings of the environment.

    Raises ValidationFailed and StoreError if it cannot begin.
    """
    stop = stop_on_signals()
    # Whoever only looks after workers needs nothing of what an application is made of.
    from flows.serving.worker import Worker  # noqa: PLC0415 - see above.

    config = uvicorn.Config(
        Worker(resolve(flags={}, environment=os.environ)),
        log_config=None,
        access_log=False,
        loop="uvloop",
        http="httptools",
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,
        server_header=False,
    )
    server = uvicorn.Server(config)
    # The server takes signals while it runs, and raises the one that ended it once more when it has done
    # its work. One that comes before it runs must not be lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.should_exit = stop.is_set()
    server.run(sockets=[bound])


def _bring_stores_up(settings: Settings, catalog: Catalog | None) -> None:
    """Bring tables up to date, and what is sold to a catalog, once, before several workers would."""
    Path(settings.data).mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        database, stores = opened_money(settings, held)
        if catalog is not None:
            scope = Scope(settings.tenant, settings.environment)
            put_into(database, stores, scope, catalog)
    open_store(settings.clickhouse_url, settings.clickhouse_database).close()
