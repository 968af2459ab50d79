"""How far a file has come: a small file beside the work, so that a stopped ingest goes on where it was.

Losing a journal does no harm: records have ids of their own or derived ones, so that what is sent twice
counts once. It only saves the way.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.errors import StoreError

WRITE_EVERY_SECONDS = 1.0


class Journal:
    """The number of lines of one file that one target acknowledged, all those before them included.

    A file that was changed since, which its size or its time of change shows, starts anew. Raises
    StoreError if the folder cannot be written.
    """

    def __init__(
        self,
        state: Path,
        file: Path,
        target: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        found = file.stat()
        self._facts = {
            "file": str(file.resolve()),
            "bytes": found.st_size,
            "changed_at_ns": found.st_mtime_ns,
            "target": target,
        }
        facts = f"{file.resolve()}\x1f{found.st_size}\x1f{target}".encode()
        self._path = state / f"{hashlib.blake2b(facts, digest_size=16).hexdigest()}.json"
        self._clock = clock
        self.lines = 0
        self.done = False
        self._written_at = clock()
        try:
            state.mkdir(parents=True, exist_ok=True)
            self._read()
        except OSError as cause:
            raise self._unusable(cause) from cause

    def forget(self) -> None:
        """Start anew, whatever was acknowledged before."""
        self.lines, self.done = 0, False

    def note(self, lines: int) -> None:
        """Remember that the first so many lines are acknowledged; written down every second."""
        self.lines = lines
        if self._clock() - self._written_at >= WRITE_EVERY_SECONDS:
            self.write()

    def write(self) -> None:
        """Write down what is known, whole or not at all, and for good. Raises StoreError."""
        self._written_at = self._clock()
        text = json.dumps({**self._facts, "lines": self.lines, "done": self.done})
        beside = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as cause:
            raise self._unusable(cause) from cause

    def _read(self) -> None:
        """Take up what was written about the same file; anything else is as good as nothing."""
        try:
            said: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        if not isinstance(said, dict) or any(
            said.get(name) != self._facts[name] for name in self._facts
        ):
            return
        lines = said.get("lines")
        if isinstance(lines, int) and lines >= 0:
            self.lines, self.done = lines, said.get("done") is True

    def _unusable(self, cause: OSError) -> StoreError:
        return StoreError(
            f"{self._path.parent} cannot hold how far the files have come: {cause.strerror}"
            " (--state DIR names another folder)"
        )


def key_hint(key: str) -> str:
    """Return a word by which keys can be told apart, and none can be found out.

    >>> key_hint("sk_one") == key_hint("sk_two")
    False
    """
    return hashlib.blake2b(key.encode(), digest_size=4, person=b"tally journal").hexdigest()
