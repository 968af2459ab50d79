"""Several processes of one command on this machine: Bytewax connects them, nothing else does."""

import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from schemas.errors import StoreError

PROCESSES = "--processes"


def run_processes(count: int) -> None:
    """Start this command so many times as one cluster, pass signals on, and wait for all to end.

    Raises StoreError if one of them failed; the others are ended then, because they would wait for it.
    """
    command = [sys.executable, "-m", "flows.cli.main", *without_processes(sys.argv[1:])]
    addresses = ",".join(f"127.0.0.1:{port}" for port in _free_ports(count))
    started = [
        subprocess.Popen([*command, "--process", str(number), "--addresses", addresses])  # noqa: S603 - our own command
        for number in range(count)
    ]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _frame: _pass_on(started, given))
    codes = []
    for each in started:
        codes.append(each.wait())
        if codes[-1]:
            _pass_on(started, signal.SIGTERM)
    if any(codes):
        raise StoreError(f"processes of the cluster ended with codes {codes}")


def _pass_on(started: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    """Send a signal to the processes that still run."""
    for each in started:
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
