"""The flow is killed between every two durable writes, and comes to the same figures all the same.

A plan kills one or two lives of the flow (SIGKILL) right before a chosen insert, statement, rename, removal
of a file or snapshot, and then lets it live to the end of the log. No life reads the partitions in step like
another; some publish after every batch, some when the log ends; an epoch is one batch, some, or a whole
life. After that usage, members, accepted events, refusals and dead letters are what an independent
reckoning makes of the log (reckoning.py). Of all rows that any life has published those of equal version
are equal, and the versions of a cell never fall.

By default every sixth write is tried, from a fixed one on; TALLY_FAULTS=all tries every write, which takes
some four minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.requires("embedded"),
    pytest.mark.timeout(3600 if os.environ.get("TALLY_FAULTS") == "all" else 400),
]

PROGRAM = Path(__file__).parent / "lives.py"
FIRST = 3
STEP = 1 if os.environ.get("TALLY_FAULTS") == "all" else 6
PROCESSES = 2
# A killed process loses nothing that it has written, so that no disk needs to be waited for.
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only where the system has it


@pytest.fixture
def folder() -> Iterator[Path]:
    place = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="tally-faults-", dir=place) as name:
        yield Path(name)


def carry_out(folder: Path, plans: Sequence[list[int]]) -> list[dict[str, Any]]:
    """Carry out plans, half of them in each of two processes; return what came of each."""
    started = []
    for number in range(PROCESSES):
        own = folder / f"process-{number}"
        own.mkdir()
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(own)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.writelines(f"{json.dumps(plan)}\n" for plan in plans[number::PROCESSES])
        process.stdin.close()
        started.append(process)
    answers = []
    for number, process in enumerate(started):
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        process.stdout.close()
        assert process.wait() == 0
        mine = plans[number::PROCESSES]
        answers += [{"plan": p, **json.loads(li)} for p, li in zip(mine, lines, strict=True)]
    return answers


def test_a_life_without_a_kill_comes_to_the_reckoning(folder: Path) -> None:
    assert [answer["wrong"] for answer in carry_out(folder, [[]])] == [[]]


def test_a_kill_between_any_two_writes_changes_nothing(folder: Path) -> None:
    (whole,) = carry_out(folder, [[]])
    points = range(min(FIRST, STEP), whole["writes"] + 1, STEP)
    # Every third plan kills the next life as well, soon after it began or in the middle.
    plans = [
        [point] if number % 3 else [point, 1 + (37 * point) % (whole["writes"] // 2)]
        for number, point in enumerate(points)
    ]
    second = folder / "second"
    second.mkdir()

    answers = carry_out(second, plans)

    assert len(answers) == len(plans) > 10
    assert [answer for answer in answers if answer["wrong"]] == []
