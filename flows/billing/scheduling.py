"""The scheduler: what time brings, done a pass a second by one process at a time.

Periods that end, delays that are over, grants, expiries: `billing.use_cases.passes` does them for those
who are due. Two schedulers at once would do no harm, since whatever is decided is compared and set; that
only one works at a time saves the work (platform.md 9).
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from billing.ports import Stores, UsageReader
from billing.use_cases.passes import PassReport, run_pass
from schemas.errors import StoreError
from schemas.ids import CustomerId

EVERY_SECONDS = 1.0
# So many customers in one go, so that the end is never waited for long.
CUSTOMERS_MAX = 100
# A pass waits for usage that is on its way; if that is further behind, the delay before invoices are
# final has to do, and who watches the lag was told long ago.
USAGE_WAIT_MAX = timedelta(minutes=15)

# Opens a turn, or says that another process has it.
Turn = Callable[[], AbstractContextManager[bool]]


def _ignore(*_: object) -> None:
    """Do nothing with what is told."""


@dataclass(frozen=True, slots=True)
class PassHooks:
    """Whom the scheduler tells; a hook must not raise.

    `on_pass` gets each report and how many seconds it took, `on_failure` why a store kept it from one,
    `on_heartbeat` that it is alive.
    """

    on_pass: Callable[[PassReport, float], None] = _ignore
    on_failure: Callable[[StoreError, float], None] = _ignore
    on_heartbeat: Callable[[], None] = _ignore


@dataclass(slots=True)
class Scheduler:
    """Passes over customers who are due; one thread runs it.

    `usage_until` says up to when usage is in, None as long as nobody knows: then it waits. It `watches`
    ongoing balances only where no dataflow does.
    """

    stores: Stores
    usage_until: Callable[[], datetime | None]
    usage_of: Callable[[CustomerId], UsageReader]
    clock: Callable[[], datetime]
    turn: Turn
    hooks: PassHooks = field(default_factory=PassHooks)
    watches: bool = False
    _failures: dict[CustomerId, int] = field(default_factory=dict)

    def run(self, stop: threading.Event, *, every_seconds: float = EVERY_SECONDS) -> None:
        """Pass again and again until `stop` is set; what a store refuses is done with a later pass."""
        while not stop.is_set():
            self.hooks.on_heartbeat()
            more = self.run_once()
            if not more:
                stop.wait(every_seconds)

    def run_once(self) -> bool:
        """Pass over those who are due now, if it is this process's turn; tell whether more are."""
        begun = time.monotonic()
        try:
            with self.turn() as mine:
                if not mine:
                    return False
                at = self._instant()
                if at is None:
                    return False
                report = self.pass_at(at)
        except StoreError as error:
            self.hooks.on_failure(error, time.monotonic() - begun)
            return False
        self.hooks.on_pass(report, time.monotonic() - begun)
        return report.more and bool(report.passed)

    def pass_at(self, at: datetime) -> PassReport:
        """Pass over some of those who are due by an instant. Raises StoreError."""
        report = run_pass(
            self.stores,
            self.usage_of,
            at,
            limit=CUSTOMERS_MAX,
            failed_before=self._failures,
            watches=self.watches,
        )
        for passed in report.passed:
            self._failures.pop(passed.customer_id, None)
        for failure in report.failed:
            self._failures[failure.customer_id] = self._failures.get(failure.customer_id, 0) + 1
        return report

    def _instant(self) -> datetime | None:
        """Return the instant up to which a pass goes: as far as usage is in, within bounds."""
        now, until = self.clock(), self.usage_until()
        if until is None:
            return None
        return now if until > now or now - until > USAGE_WAIT_MAX else until
