"""The pulse of a dataflow: touched by every poll of its source, asked by `/readyz`."""

import time
from collections.abc import Callable

# A flow whose source was not asked for a batch for so long is held to be stuck.
SILENT_SECONDS_MAX = 15.0


class Heartbeat:
    """When something was last alive; safe to touch and to ask from several threads.

    >>> now = 10.0
    >>> pulse = Heartbeat(lambda: now)
    >>> pulse.seconds_since() is None
    True
    >>> pulse.touch()
    >>> now = 12.5
    >>> pulse.seconds_since()
    2.5
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._at: float | None = None

    def touch(self) -> None:
        """Say that it lives."""
        self._at = self._clock()

    def seconds_since(self) -> float | None:
        """Return how long ago it was touched, None if it never was."""
        at = self._at
        return None if at is None else self._clock() - at

    def check(self) -> None:
        """Raise RuntimeError if there was no sign of life for a while."""
        silent = self.seconds_since()
        if silent is None or silent > SILENT_SECONDS_MAX:
            raise RuntimeError(f"no sign of life for {silent or 0:.0f} s")
