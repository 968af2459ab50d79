"""The lock of a data folder: one process at a time works in it, and the next one is told in one line."""

import fcntl
import os
from pathlib import Path
from typing import Self

from flows.data_folder import LOCK_FILE
from schemas.errors import InvalidOperation, StoreError


class FolderLock:
    """Holds a folder for this process; the system lets go of it when the process ends, however it ends.

    Raises InvalidOperation (reason `in_use`) if another process holds it, StoreError if the folder
    cannot be written.
    """

    def __init__(self, data: Path):
        try:
            data.mkdir(parents=True, exist_ok=True)
            self._file = (data / LOCK_FILE).open("a+", encoding="utf-8")
        except OSError as cause:
            raise StoreError(f"the data folder {data} cannot be written: {cause}") from cause
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder()
            self._file.close()
            raise InvalidOperation(
                f"{data} is held by another tally{holder}: stop it, or talk to it with --url",
                reason="in_use",
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of the folder."""
        self._file.close()

    def _holder(self) -> str:
        """Return which process holds the folder, as far as it says so."""
        self._file.seek(0)
        number = self._file.read().strip()
        return f" (process {number})" if number.isdigit() else ""
