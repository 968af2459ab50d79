"""Keeping so many worker processes on one socket: one that ends is replaced, all end with their parent."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from socket import socket
from typing import TypeAlias

import structlog

from flows.lifeline import when_gone
from flows.logs import configure_logs
from flows.metrics.workers import worker_ended
from flows.serving.http_server import GRACE_SECONDS
from flows.stopping import stop_on_signals
from schemas.errors import TallyError

# A worker that cannot start is tried again, but not in haste.
START_EVERY_SECONDS = 2.0
LOOK_EVERY_SECONDS = 0.1
# A little longer than a worker gives the requests that are under way.
ENDING_SECONDS_MAX = GRACE_SECONDS + 5.0

Serve: TypeAlias = Callable[[socket], None]


def keep_working(serve: Serve, bound: socket, count: int) -> None:
    """Run `serve` in so many processes until SIGTERM or SIGINT, which ends them in good order.

    A worker that ends before is replaced: requests go to the others meanwhile, because all accept from
    the same socket. `serve` must be a function that another process can import.
    """
    stop = stop_on_signals()
    workers = [_Worker(serve, bound) for _ in range(count)]
    while not stop.is_set():
        for each in workers:
            each.see_to_it()
        wait([sentinel for each in workers for sentinel in each.sentinels], LOOK_EVERY_SECONDS)
    for each in workers:
        each.ask_to_end()
    deadline = time.monotonic() + ENDING_SECONDS_MAX
    for each in workers:
        each.end(deadline - time.monotonic())


class _Worker:
    """The place of one worker: a process, and after it another."""

    def __init__(self, serve: Serve, bound: socket):
        self._serve = serve
        self._socket = bound
        self._process: SpawnProcess | None = None
        self._started_at = float("-inf")

    @property
    def sentinels(self) -> list[int]:
        """Return what tells of the process's end, if there is a process."""
        return [] if self._process is None else [self._process.sentinel]

    def see_to_it(self) -> None:
        """Start a process if there is none, and take leave of one that has ended."""
        if self._process is not None and self._process.exitcode is not None:
            log = structlog.get_logger("tally")
            log.error("worker ended", process=self._process.pid, exit_code=self._process.exitcode)
            self._bury(self._process)
        now = time.monotonic()
        if self._process is None and now - self._started_at >= START_EVERY_SECONDS:
            spawn = multiprocessing.get_context("spawn")
            self._started_at = now
            self._process = spawn.Process(target=_work, args=(self._serve, self._socket))
            self._process.start()

    def ask_to_end(self) -> None:
        """Let the process finish what is under way, and end."""
        if self._process is not None:
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """Wait for the end of the process; bring it about if it does not come in time."""
        if self._process is None:
            return
        self._process.join(max(0.0, seconds))
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._bury(self._process)

    def _bury(self, process: SpawnProcess) -> None:
        """Let go of what is left of a process that has ended."""
        assert process.pid is not None
        worker_ended(process.pid)
        process.close()
        self._process = None


def _work(serve: Serve, bound: socket) -> None:
    """Serve in a process of its own; one that cannot begin says so in its log."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    when_gone(parent.sentinel, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        serve(bound)
    except TallyError as error:
        configure_logs("error")
        structlog.get_logger("tally").error("worker cannot begin", reason=str(error))
        sys.exit(1)
