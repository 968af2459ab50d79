"""Run as a program: prints, as JSON, what a recovery folder of Bytewax knows of one step's positions.

Bytewax brings its own copy of SQLite, and two copies in one process do not see each other's locks: a file
that the flow writes must be read by another process. So this file is run by itself and imports nothing
but the standard library.
"""

import base64
import json
import sqlite3
import sys
from pathlib import Path


def rows_of(folder: Path, step: str) -> dict[str, list[list[object]]]:
    """Return executions, frontiers and snapshots of a step from all files of a recovery folder.

    Snapshots are read first: a frontier that is read later may only be further on, so that what is found
    is never ahead of where a restart would resume.
    """
    found: dict[str, list[list[object]]] = {"snapshots": [], "frontiers": [], "executions": []}
    queries = {
        "snapshots": "SELECT state_key, snap_epoch, ser_change FROM snaps WHERE step_id = ?1",
        "frontiers": "SELECT ex_num, worker_index, worker_frontier FROM fronts WHERE ?1 <> ''",
        "executions": "SELECT ex_num, worker_count, resume_epoch FROM exs WHERE ?1 <> ''",
    }
    for name, query in queries.items():
        for path in sorted(folder.glob("part-*.sqlite3")):
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)
            try:
                for row in connection.execute(query, (step,)):
                    found[name].append([_printable(value) for value in row])
            finally:
                connection.close()
    return found


def _printable(value: object) -> object:
    """Return a value as JSON can hold it."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    try:
        json.dump(rows_of(Path(sys.argv[1]), sys.argv[2]), sys.stdout)
    except sqlite3.Error as error:
        sys.exit(str(error))
