"""Progress of long work on stderr: one line that is written over, and only for people."""

import sys
from types import TracebackType
from typing import Self


class Progress:
    """A line on stderr while stderr is a terminal; nothing where it is a file or a pipe."""

    def __init__(self) -> None:
        self.shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def show(self, state: object) -> None:
        """Show a state in place of the one before; its own text says how far the work is."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{state}")
            sys.stderr.flush()
            self.shown = True

    def end(self) -> None:
        """Wipe the line, so that what comes next starts on a clean one."""
        if self.shown:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self.shown = False
