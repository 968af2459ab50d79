"""The billing of one process: running claims and the scheduler, on the stores of its folder."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pyarrow as pa

from billing.stores.claims import SqlClaims
from billing.stores.database import Database
from billing.stores.turns import turn
from flows.billing.claiming import ClaimStores
from flows.billing.feed import UsageFeed
from flows.billing.live import meters_built, now, run_billing_live
from flows.billing.money import money_in
from flows.billing.passing import JOB, Telling
from flows.billing.stored import StoredUsage
from flows.metering.flow import FLOW as METERING
from flows.metering.observing import OnRead, Receipts
from flows.metrics.observer import SeriesObserver
from flows.metrics.series import series
from flows.serving.supervision import Supervised
from flows.settings import Settings
from flows.stores.clickhouse import Store
from schemas.meter import Meter
from schemas.scope import Scope

SWITCH_SECONDS = 0.0005
# What was read is published at the latest so long after the flush that it waits for.
PUBLISHING = timedelta(milliseconds=300)


class FollowedMetering(SeriesObserver):
    """Observes the metering flow of this process, and remembers what billing needs of it.

    `end` tells where the log ends, `begin` where the flow begins to read it.
    """

    def __init__(self, end: Callable[[], int], begin: int, settings: Settings) -> None:
        name = settings.environment
        super().__init__(series(), flow=METERING, environments=[name], environment=name)
        self._end = end
        self._settling = PUBLISHING + timedelta(
            milliseconds=settings.flush_milliseconds + settings.gather_milliseconds
        )
        self._read_to = begin
        self._received_until = now()
        self._read_at = time.monotonic()
        self._receipts: tuple[Receipts, ...] = ()

    def read_of(self, partition: int | str) -> OnRead:
        """Return whom the source tells of reads of a partition."""
        told = super().read_of(partition)

        def on_read(records: int, size: int, waiting: int, seconds: float) -> None:
            self._received_until = now() - timedelta(seconds=seconds)
            self._read_to = self._end() - waiting
            self._read_at = time.monotonic()
            told(records, size, waiting, seconds)

        return on_read

    def usage_stored(self, rows: pa.Table, receipts: tuple[Receipts, ...], seconds: float) -> None:
        """Take note of a flush, which is published next."""
        super().usage_stored(rows, receipts, seconds)
        self._receipts = receipts

    def receipts(self) -> tuple[Receipts, ...]:
        """Return when the events of the flush were received that is published now."""
        return self._receipts

    def published_until(self) -> datetime:
        """Return the instant before which all that was accepted is published, as far as is known.

        It rests on the flow keeping the interval of its flushes: what it has just read is published
        that much later.
        """
        unread = self._end() > self._read_to
        just_read = time.monotonic() - self._read_at < self._settling.total_seconds()
        until = self._received_until if unread or just_read else now()
        return until - self._settling


class EmbeddedBilling:
    """Keeps claims and does what time brings, each on a thread of its own, from `start` to `join`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        reads: Store,
        answers: Store,
        metering: FollowedMetering,
        on_failure: Callable[[str, BaseException, float], None],
    ) -> None:
        self.scope = Scope(settings.tenant, settings.environment)
        self.stores = money_in(database, self.scope)
        self.claims = SqlClaims(database, self.scope)
        self._reads = reads
        self._metering = metering
        self._feed = UsageFeed(self.scope)
        self._meters: dict[str, Meter] = {}
        self._telling = Telling(self.scope.environment_id)
        self._flow = Supervised("billing", self._keep_claims, on_failure)
        self._jobs = Supervised("scheduler", self._do_what_is_due, on_failure)
        self.scheduler = self._telling.scheduler(
            self.stores,
            answers,
            self.scope,
            # Until this process knows that usage is in, nothing is closed.
            usage_until=lambda: self._telling.until,
            mine=partial(turn, database, self.scope, JOB),
            on_heartbeat=self._jobs.beat,
        )

    def start(self, meters: Sequence[Meter]) -> None:
        """Begin to work; `meters` are registered, with the generations that are metered."""
        self._meters = {meter.id: meter for meter in meters}
        # Claims are made by many short calls into Arrow, each of which lets another thread go on and
        # then waits for it: by default for 5 ms. That would make an event seconds late.
        sys.setswitchinterval(SWITCH_SECONDS)
        self._flow.start()
        self._jobs.start()

    def publish(self, rows: pa.Table) -> None:
        """Take in rows (USAGE) that the metering flow has stored."""
        self._feed.publish(rows, self._metering.receipts())

    def join(self, seconds: float) -> bool:
        """End, and wait for it; tell whether it came."""
        self._jobs.ask_to_stop()
        self._flow.ask_to_stop()
        ended = self._jobs.join(seconds)
        return self._flow.join(seconds) and ended

    def check(self) -> None:
        """Raise RuntimeError with what is wrong if claims are not kept or nothing is closed."""
        self._flow.check()
        self._jobs.check()

    def current(self, meter: Meter) -> Meter:
        """Return a meter with the generation that is metered now."""
        known = self._meters.get(meter.id)
        return meter if known is None else replace(meter, generation=known.generation)

    def _keep_claims(self, flow: Supervised) -> None:
        """Run the flow until it is told to stop."""
        run_billing_live(
            StoredUsage(self._reads, self.scope, self.current),
            ClaimStores(self.stores, self.claims),
            self._feed,
            flow.stopping,
            hooks=self._telling.hooks(flow.beat),
            built=lambda: meters_built(self._reads, self.scope, self._meters.values()),
            until=self._metering.published_until,
        )

    def _do_what_is_due(self, jobs: Supervised) -> None:
        """Run the scheduler until it is told to stop."""
        self.scheduler.run(jobs.stopping)
