"""Retention of the embedded log: by age and by size, and never what a restart would read again.

Where a restart resumes is known to the recovery store of Bytewax alone. Everything before that position
has passed every step of the flow, its sinks included, and is in their snapshots.
"""

import base64
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

from flows.log.embedded import EmbeddedLog, Held
from flows.log.source import PARTITION_NAME, LogPosition
from schemas.errors import StoreError

# The id of the source's step in flows/metering/flow.py.
STEP = "metering.read"
BYTES_A_MEGABYTE = 1_000_000
# Appends wait while batches are removed, so no more of them, and no more bytes, go at a time.
BATCHES_AT_ONCE = 500
BYTES_AT_ONCE = 16_000_000
READ_SECONDS = 30
_PROGRAM = Path(__file__).with_name("recovery_rows.py")
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Removed:
    """What retention has removed."""

    records: int
    bytes: int


def retain(
    log: EmbeddedLog, *, hours: int, megabytes: int, now: datetime, stored_offset: int
) -> Removed:
    """Remove the oldest batches that are older than `hours`, or too many for `megabytes`.

    A batch goes as a whole, and only if all of it lies before `stored_offset`. Age counts from the last
    receipt time of a batch; a younger batch keeps all behind it from going by age. Raises StoreError.
    """
    oldest_us = (now - timedelta(hours=hours) - _EPOCH) // timedelta(microseconds=1)
    removed = Removed(0, 0)
    while True:
        surplus = log.byte_count() - megabytes * BYTES_A_MEGABYTE
        going = goes(log.oldest(BATCHES_AT_ONCE), oldest_us, surplus, stored_offset)
        if not going:
            return removed
        log.remove_before(going[-1].end_offset)
        removed = Removed(
            removed.records + sum(held.end_offset - held.first_offset for held in going),
            removed.bytes + sum(held.byte_count for held in going),
        )


def goes(
    oldest: Sequence[Held], oldest_us: int, surplus_bytes: int, stored_offset: int
) -> list[Held]:
    """Return which of the oldest batches go at once, in their order.

    >>> held = [Held(0, 2, 100, 10), Held(2, 5, 200, 10), Held(5, 6, 300, 10)]
    >>> [batch.first_offset for batch in goes(held, 250, 0, 6)]  # two are too old
    [0, 2]
    >>> [batch.first_offset for batch in goes(held, 0, 1, 6)]  # one byte too many
    [0]
    >>> goes(held, 1000, 1000, 1)  # nothing is stored as a whole
    []
    """
    going: list[Held] = []
    total = 0
    for held in oldest:
        wanted = held.appended_at_us < oldest_us or total < surplus_bytes
        if not wanted or held.end_offset > stored_offset or total >= BYTES_AT_ONCE:
            break
        going.append(held)
        total += held.byte_count
    return going


def committed_position(recovery_folder: Path) -> LogPosition | None:
    """Return where a restart of the flow would resume the log, and None if it would read all of it.

    The rule is that of Bytewax: of the last execution the least epoch that a worker has reached, and the
    last snapshot before it. May be called while the flow runs; the answer is then never ahead of the
    truth. Takes some tens of milliseconds for a process of its own. Raises StoreError.
    """
    if not recovery_folder.is_dir():
        return None
    command = [sys.executable, "-I", "-S", str(_PROGRAM), str(recovery_folder), STEP]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, capture_output=True, text=True, timeout=READ_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise StoreError(f"the recovery store {recovery_folder} was not read: {cause}") from cause
    if done.returncode:
        raise StoreError(
            f"the recovery store {recovery_folder} cannot be read: {done.stderr.strip()}"
        )
    state = resumed_state(json.loads(done.stdout))
    if state is None:
        return None
    position = pickle.loads(base64.b64decode(state))  # noqa: S301 - our own file, which the flow unpickles as well
    if not isinstance(position, LogPosition):
        raise StoreError(f"the recovery store {recovery_folder} holds no position of the event log")
    return position


def resumed_state(rows: Mapping[str, Sequence[Sequence[Any]]]) -> str | None:
    """Return the snapshot that a restart would resume from, or None if there is none.

    A worker that has reported no frontier stands where its execution began.

    >>> rows = {
    ...     "executions": [[0, 1, 1], [1, 2, 5]],
    ...     "frontiers": [[0, 0, 5], [1, 0, 9], [1, 1, 8]],
    ...     "snapshots": [["0", 7, "at 7"], ["0", 8, "at 8"]],
    ... }
    >>> resumed_state(rows)
    'at 7'
    """
    if not rows["executions"]:
        return None
    last, workers, resumed = max(rows["executions"], key=itemgetter(0))
    reached = dict.fromkeys(range(workers), resumed)
    for execution, worker, frontier in rows["frontiers"]:
        if execution == last:
            reached[worker] = max(reached.get(worker, resumed), frontier)
    epoch = min(reached.values())
    before = [
        (snapshot_epoch, state)
        for key, snapshot_epoch, state in rows["snapshots"]
        if key == PARTITION_NAME and snapshot_epoch < epoch
    ]
    return max(before, key=itemgetter(0))[1] if before else None
