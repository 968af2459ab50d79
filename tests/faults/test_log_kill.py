"""The log is killed at arbitrary moments (SIGKILL) while threads append to it: nothing acknowledged is lost.

G1 and metering.md 2.4. Every batch whose append had returned is read back whole, in one piece and once;
a batch under way may be there or not, but never in part.
"""

import random
import subprocess
import sys
from itertools import groupby
from pathlib import Path

from flows.log.embedded import open_log

PROGRAM = Path(__file__).with_name("log_writer.py")
LIVES = 8
THREADS = 4
ACKNOWLEDGED_MAX = 120


def killed_life(path: Path, life: int, acknowledged: int) -> list[str]:
    """Let a writer live until it has acknowledged so much, kill it, and return all it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), str(life), str(THREADS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    batches = [process.stdout.readline().strip() for _ in range(acknowledged)]
    process.kill()
    # What it had acknowledged before the kill reached it counts as well.
    with process:
        # Read on where the lines above ended: some may wait in this side's buffer.
        rest = process.stdout.read()
        assert process.stderr.read() == ""
    return [*batches, *rest.splitlines()]


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    chance = random.Random(11)  # noqa: S311 - the same lives on every run
    acknowledged: list[str] = []
    for life in range(LIVES):
        acknowledged += killed_life(path, life, chance.randrange(1, ACKNOWLEDGED_MAX))
    assert len(acknowledged) == len(set(acknowledged)) > LIVES

    log = open_log(path)
    assert log.damage == ()
    read = log.read_from(0, 10_000_000)
    assert read is not None
    assert read["offset"].to_pylist() == list(range(log.end_offset()))
    values = [value.decode().split("/") for value in read["value"].to_pylist()]
    log.close()

    found = [(batch, [place for _, place, _ in rows]) for batch, rows in grouped(values)]
    assert all(places == [str(n) for n in range(size(batch))] for batch, places in found)
    names = [batch for batch, _ in found]
    assert len(names) == len(set(names))
    assert set(acknowledged) <= set(names)
    # Each thread had at most one batch under way when it was killed.
    assert len(names) <= len(acknowledged) + LIVES * THREADS


def grouped(values: list[list[str]]) -> list[tuple[str, list[list[str]]]]:
    """Return runs of values of one batch."""
    return [(batch, list(rows)) for batch, rows in groupby(values, key=lambda value: value[0])]


def size(batch: str) -> int:
    """Return how many records a batch was made of."""
    return int(batch.rpartition("-")[2]) % 40 + 1
