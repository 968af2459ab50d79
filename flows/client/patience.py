"""Trying again, with a bound: what several threads send to an instance that may be away for a while."""

import random
import threading
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from flows.client.instance import Away
from schemas.errors import StoreError, TallyError

Value = TypeVar("Value")

FIRST_PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0


class Stopped(TallyError):
    """The work was told to stop before this part of it was done."""


class Patience:
    """How long an instance that fails is asked again, counted from its first failure in a row.

    All threads that share it hope and give up together: one success of any of them starts the count
    again. `waiting` is told once of each time that the instance is away.
    """

    def __init__(
        self,
        seconds: float,
        *,
        waiting: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
        # How much of a pause is waited at least a half of, so that the threads do not all come at once.
        chance: Callable[[], float] = random.random,
    ):
        self._seconds = seconds
        self._waiting = waiting
        self._clock = clock
        self.stopping = threading.Event()
        self._pause = pause or self.stopping.wait
        self._chance = chance
        self._lock = threading.Lock()
        self._failing_since: float | None = None

    def stop(self) -> None:
        """Give all up: what is being tried may end, and nothing is tried again."""
        self.stopping.set()

    def insist(self, attempt: Callable[[], Value]) -> Value:
        """Return what an attempt gives, made again after each Away.

        Raises StoreError when the patience is over, Stopped when it was told to stop, and whatever
        else the attempt raises.
        """
        for tries in count():
            if self.stopping.is_set():
                raise Stopped("stopped before all was sent")
            try:
                found = attempt()
            except Away as failure:
                self._pause(self._pause_seconds(failure, tries))
            else:
                with self._lock:
                    self._failing_since = None
                return found
        raise AssertionError("counting does not end")

    def _pause_seconds(self, failure: Away, tries: int) -> float:
        """Return how long to wait after a failure. Raises StoreError if that would be too long."""
        now = self._clock()
        with self._lock:
            first = self._failing_since is None
            since = self._failing_since = (
                now if self._failing_since is None else self._failing_since
            )
        left = since + self._seconds - now
        if left <= 0:
            raise StoreError(
                f"{failure} (for {self._seconds:g} seconds; what was acknowledged is remembered)"
            ) from failure
        if first:
            self._waiting(f"{failure}; trying again for {self._seconds:g} seconds")
        asked = failure.retry_after_seconds
        if asked is None:
            longest = min(FIRST_PAUSE_SECONDS * 2 ** min(tries, 10), PAUSE_SECONDS_MAX)
            asked = longest * (0.5 + self._chance() / 2)
        return min(asked, left)
