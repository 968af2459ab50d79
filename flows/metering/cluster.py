"""Several processes of one command on this machine: Bytewax connects them, nothing else does.

They live and die together. A cluster that lost a process cannot go on, so the others are ended; a process
whose parent has gone ends at once, as the parent did. Either way the next start goes on exactly.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from flows.lifeline import when_gone
from schemas.errors import StoreError

PROCESSES = "--processes"
# Names the file descriptor of the pipe that says whether the parent still lives.
LIFELINE = "METERING_LIFELINE"
# The exit code of a process that ends because another one has gone.
PEER_GONE = 3
# How processes end that were told to: in good order, before they listened, or because they were stuck.
AS_ASKED = {0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL}
# What still runs so long after the first one has ended waits for something that does not come.
ENDING_SECONDS_MAX = 15.0
LOOK_EVERY_SECONDS = 0.05

Started = Sequence[subprocess.Popen[bytes]]


def run_processes(count: int) -> None:
    """Start this command so many times as one cluster, pass signals on, and wait for all to end.

    Raises StoreError if one of them failed; the others are ended then, because they would wait for it.
    """
    command = [sys.executable, "-m", "flows.cli.main", *without_processes(sys.argv[1:])]
    addresses = ",".join(f"127.0.0.1:{port}" for port in _free_ports(count))
    asked: list[int] = []
    started: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        _send(started, number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, pass_on)
    # The writing end is closed by the system when this process ends, however it ends.
    lifeline, _held = os.pipe()
    environment = {**os.environ, LIFELINE: str(lifeline)}
    for number in range(count):
        one = [*command, "--process", str(number), "--addresses", addresses]
        started.append(subprocess.Popen(one, env=environment, pass_fds=[lifeline]))  # noqa: S603 - our own command
    if asked:
        # It came while they were being started.
        _send(started, asked[0])
    ended = _wait_for_all(started)
    fine = AS_ASKED if asked else {0}
    # Who only lost the others is not to blame, though it may have been noticed first.
    failed = [number for number in ended if started[number].returncode not in fine]
    failed.sort(key=lambda number: started[number].returncode == PEER_GONE)
    if failed:
        raise StoreError(
            f"process {failed[0]} of the cluster {_end_of(started[failed[0]])}, so all {count} were "
            "ended: the next start goes on where the last snapshot was"
        )


def watch_lifeline() -> bool:
    """End this process as soon as the one that started it has gone; tell whether there is such a one."""
    lifeline = os.environ.get(LIFELINE)
    if lifeline is not None:
        when_gone(int(lifeline), lambda: os._exit(1))
    return lifeline is not None


def is_lost_peer(error: BaseException) -> bool:
    """Tell whether an error says that the connection to another process of the cluster broke.

    Bytewax has no word of its own for it: a thread of its network panics.

    >>> is_lost_peer(RuntimeError("Send thread panic: Any { .. }"))
    False
    """
    return type(error).__name__ == "PanicException" and " thread panic" in str(error)


def _wait_for_all(started: Started) -> list[int]:
    """Wait until all have ended, see to it that they do, and return their numbers in that order."""
    ended: list[int] = []
    ended_at = 0.0
    while len(ended) < len(started):
        time.sleep(LOOK_EVERY_SECONDS)
        gone = [n for n, each in enumerate(started) if n not in ended and each.poll() is not None]
        if gone and not ended:
            ended_at = time.monotonic()
        ended += gone
        if any(started[number].returncode for number in gone):
            _send(started, signal.SIGTERM)
        if ended and time.monotonic() - ended_at > ENDING_SECONDS_MAX:
            _send(started, signal.SIGKILL)
    return ended


def _end_of(process: subprocess.Popen[bytes]) -> str:
    """Return how a process ended, in words."""
    code = process.returncode
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal.Signals(-code).name}"


def _send(processes: Started, number: int) -> None:
    """Send a signal to the processes that still run."""
    for each in processes:
        if each.poll() is None:
            each.send_signal(number)


def without_processes(arguments: Sequence[str]) -> list[str]:
    """Return a command line without the option that made it several.

    >>> without_processes(["run", "metering", "--processes", "2", "--data", "d"])
    ['run', 'metering', '--data', 'd']
    """
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == PROCESSES:
            next(rest, None)
        elif not argument.startswith(f"{PROCESSES}="):
            kept.append(argument)
    return kept


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on now, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
