"""A dataflow on a thread of its own: started, watched by its heartbeat, begun again when it fails."""

import threading
import time
from collections.abc import Callable

from flows.metrics.heartbeat import SILENT_SECONDS_MAX
from schemas.health import Check

BACKOFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)

# (name of the flow, what went wrong, seconds until it is begun again)
OnFailure = Callable[[str, BaseException, float], None]


class Supervised:
    """Runs a flow until it is stopped. `run` returns when `stopping` is set, or raises when it fails.

    A failed flow resumes from its last snapshot after a wait, which grows while it goes on failing.
    """

    def __init__(self, name: str, run: Callable[["Supervised"], None], on_failure: OnFailure):
        self.name = name
        self.stopping = threading.Event()
        self._run = run
        self._on_failure = on_failure
        self._failure: BaseException | None = None
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the flow end after the batch that it is at."""
        self.stopping.set()

    def join(self, seconds: float) -> bool:
        """Wait for the end; tell whether it came, as it did for a flow that was never started."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def beat(self) -> None:
        """Take note that the flow is alive; its source calls it."""
        self._beat = time.monotonic()
        self._failure = None

    def check(self) -> None:
        """Raise RuntimeError with what is wrong if the flow does not run."""
        if self._failure is not None:
            raise RuntimeError(f"it failed and is begun again: {self._failure}")
        silent = time.monotonic() - self._beat
        if silent > SILENT_SECONDS_MAX or not self._thread.is_alive():
            raise RuntimeError(f"no sign of life for {silent:.0f} s")

    def _work(self) -> None:
        """Run, again and again if need be."""
        failures = 0
        while not self.stopping.is_set():
            begun = time.monotonic()
            try:
                self._run(self)
            except BaseException as failure:  # noqa: BLE001 - whatever it is, the flow goes on after it
                if time.monotonic() - begun > max(BACKOFF_SECONDS):
                    failures = 0
                seconds = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                self._failure = failure
                self._on_failure(self.name, failure, seconds)
                self.stopping.wait(seconds)


def checked(name: str, look: Callable[[], object]) -> Check:
    """Return what a look at one thing came to, with how long it took; anything it raises is the message.

    >>> checked("log", lambda: None).ok
    True
    """
    begun = time.monotonic()
    try:
        look()
    except Exception as problem:  # noqa: BLE001 - a check tells what is wrong and never fails itself
        return Check(name, ok=False, latency_ms=_since(begun), message=str(problem)[:300])
    return Check(name, ok=True, latency_ms=_since(begun))


def _since(begun: float) -> int:
    """Return the milliseconds since then."""
    return round((time.monotonic() - begun) * 1000)
