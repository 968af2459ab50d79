"""The roles of production as their user starts them, for tests: started, listened to, ended, looked after."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_SECONDS_MAX = 240
END_SECONDS_MAX = 60


class Program:
    """A role as a user starts it, in a process group of its own that tells whether anybody is left."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path):
        self.process, self.output = process, output

    def said(self) -> str:
        return self.output.read_text(errors="replace")[-20_000:]

    def part(self, words: str) -> int:
        """Return the id of the newest process of the group whose command line has these words."""
        found = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if self._is_mine(folder) and words in command_line(folder)
        ]
        assert found, self.said()
        return max(found)

    def ended(self, number: int | None = None) -> int:
        """Send a signal if one is given, wait until nobody of the group is left, return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=END_SECONDS_MAX)
        until(lambda: not self.is_left(), self.said)
        return code

    def is_left(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _is_mine(self, folder: Path) -> bool:
        try:
            return os.getpgid(int(folder.name)) == self.process.pid
        except ProcessLookupError:
            return False


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


class Deployment:
    """The settings that all roles share, and a folder for what they say."""

    def __init__(self, tally: str, environment: dict[str, str], folder: Path):
        self.tally, self.environment, self.folder = tally, environment, folder

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Program]:
        output = self.folder / f"output-{arguments[0]}-{time.monotonic_ns()}.txt"
        with output.open("wb") as written:
            process = subprocess.Popen(
                [self.tally, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        program = Program(process, output)
        try:
            yield program
        finally:
            if program.is_left():
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextmanager
    def serving(self, catalog: Path, workers: int) -> Iterator[tuple[Program, str]]:
        """Start `tally serve` on a free port, and give its URL."""
        given = ["--catalog", str(catalog), "--workers", str(workers), "--port", "0"]
        with self.started("serve", *given) as program:
            until(lambda: "workers" in program.said(), program.said, program)
            (url,) = re.findall(r"^tally serve  (\S+)  workers", program.said(), re.MULTILINE)
            yield program, url

    @contextmanager
    def metering(self, catalog: Path, processes: int) -> Iterator[Program]:
        """Start `tally run metering` in so many processes."""
        given = ["--catalog", str(catalog), "--processes", str(processes)]
        with self.started("run", "metering", *given) as program:
            yield program


@contextmanager
def clickhouse_server(root: Path, folder: Path) -> Iterator[str]:
    """Start the stand-in for a ClickHouse server, and give its URL."""
    process = subprocess.Popen(
        [sys.executable, str(root / "tests" / "shims" / "clickhouse_http.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def until(
    holds: Callable[[], bool],
    said: Callable[[], str],
    program: Program | None = None,
    pause: float = 0.1,
) -> None:
    """Wait until something holds, as long as the program runs, if one is given."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not holds():
        assert program is None or program.process.poll() is None, said()
        assert time.monotonic() < deadline, f"it never came to be: {said()}"
        time.sleep(pause)
