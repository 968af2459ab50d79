"""Metrics of several workers as one: each writes files into a folder, whoever is asked adds them up.

The client library decides when it is imported whether it writes files, so `share_metrics` comes before
anything that imports it: this module does so only where it must.
"""

import os
import shutil
from pathlib import Path

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics(folder: Path) -> None:
    """Let this process and those that it starts share their metrics in a folder, emptied first.

    Call it in the parent, before prometheus_client is imported and before any worker starts.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[FOLDER_VARIABLE] = str(folder)


def worker_ended(process_id: int) -> None:
    """Let the gauges of a worker go that has ended; what it counted stays counted."""
    from prometheus_client.multiprocess import (  # noqa: PLC0415 - see the module.
        mark_process_dead,
    )

    mark_process_dead(process_id)  # type: ignore[no-untyped-call]  # the library has no types here
