"""Starting the workers of `tally serve` under one supervisor, on one socket."""

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from uvicorn.supervisors import Multiprocess

from flows.catalog import load_catalog
from flows.logs import configure_logs
from flows.serving.http_server import GRACE_SECONDS, listening, url_of
from flows.settings import Settings
from flows.sql_store import open_sql
from flows.stopping import stop_on_signals
from flows.stores.clickhouse import open_store
from schemas.errors import ValidationFailed

# A worker imports the engine before it answers for the first time.
HEALTH_SECONDS_MAX = 60


def serve_api(settings: Settings, workers: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises ValidationFailed and StoreError before anything listens.

    The settings must be in the environment, where the workers read them.
    """
    if not settings.clickhouse_url:
        raise ValidationFailed(
            "`tally serve` needs a ClickHouse server: set TALLY_CLICKHOUSE_URL, or use `tally dev`"
        )
    configure_logs(settings.log_level)
    load_catalog(settings.catalog)
    _bring_stores_up(settings)
    bound = listening(settings.host, settings.port)
    sys.stderr.write(f"tally serve  {url_of(bound)}  workers {workers}\n")
    sys.stderr.flush()
    with tempfile.TemporaryDirectory(prefix="tally-metrics-") as folder:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(
            "flows.serving.worker:application",
            factory=True,
            workers=workers,
            log_config=None,
            access_log=False,
            loop="uvloop",
            http="httptools",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_worker_healthcheck=HEALTH_SECONDS_MAX,
            timeout_keep_alive=75,
            server_header=False,
        )
        if workers > 1:
            Multiprocess(config, sockets=[bound]).run()
            return
        # The server raises the signal that ended it once more: by then it has done its work.
        stop_on_signals()
        uvicorn.Server(config).run(sockets=[bound])


def _bring_stores_up(settings: Settings) -> None:
    """Bring tables up to date once, before several workers would."""
    Path(settings.data).mkdir(parents=True, exist_ok=True)
    open_sql(settings, datetime.now(UTC)).close()
    open_store(settings.clickhouse_url, settings.clickhouse_database).close()
