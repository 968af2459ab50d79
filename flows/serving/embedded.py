"""The embedded instance: everything in one process, on one folder (`tally dev`).

Intake appends to the embedded log; the metering dataflow reads it on one thread, the billing dataflow
follows on another, and requests are answered from the same store.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from billing.access import Authenticator
from billing.api.services import Services
from billing.stores.catalog import SqlCatalog
from billing.stores.database import Database, at_head
from billing.stores.keys import SqlKeys
from flows.access import configured_keys, first_key
from flows.billing.live import now
from flows.billing.money import put_into
from flows.catalog import Catalog
from flows.connectors.event_door import LogDoor
from flows.connectors.usage_answers import StoredAnswers
from flows.data_folder import LOG_FILE, STORE_FOLDER
from flows.log.embedded import EmbeddedLog, open_log
from flows.metering.flow import FLOW
from flows.metering.registry import registered, with_generations
from flows.metrics.observer import DoorObserver, observe_request
from flows.metrics.series import exposition, series
from flows.outbox.telling import OutboxTelling
from flows.outbox.topics import LocalPublisher
from flows.serving.embedded_billing import EmbeddedBilling, FollowedMetering
from flows.serving.embedded_metering import (
    RETENTION_EVERY_SECONDS,
    expect_log_reaches_back,
    read_before,
    retain_log,
    run_embedded_metering,
)
from flows.serving.environments import Environments
from flows.serving.folder_lock import FolderLock
from flows.serving.supervision import Supervised, checked
from flows.settings import Settings
from flows.sql_store import open_sql
from flows.stores.clickhouse import Store, open_store
from flows.stores.dead_letters import insert_rejected
from schemas.errors import StoreError, TallyError
from schemas.health import Check
from schemas.scope import Scope

STOP_SECONDS_MAX = 60.0


@dataclass(slots=True)
class Opened:
    """What an instance holds open; closed in the opposite order."""

    log: EmbeddedLog
    store: Store
    reads: Store
    billing_reads: Store
    database: Database

    def close(self) -> None:
        """Let go of everything."""
        for each in (self.database, self.billing_reads, self.reads, self.store, self.log):
            each.close()


class EmbeddedInstance:
    """An instance on a folder, from `start` to `stop`.

    `configured` is the key of TALLY_API_KEY; without one, and in a store that has no key yet, one is
    made and is `made_key` then. Whoever makes the instance holds the folder's lock, which it lets go
    of at the end. Raises StoreError.
    """

    def __init__(
        self, settings: Settings, catalog: Catalog, configured: str | None, lock: FolderLock
    ):
        self.settings = settings
        self.made_key: str | None = None
        self._log = structlog.get_logger("tally")
        self._scope = Scope(settings.tenant, settings.environment)
        self._catalog = catalog
        self._lock = lock
        self._opened = self._open()
        for damage in self._opened.log.damage:
            self._log.error("log damaged", damage=damage)
        self._configured = configured_keys(configured, self._scope, now())
        if not self._configured:
            self.made_key = first_key(SqlKeys(self._opened.database), self._scope, now())
        expect_log_reaches_back(self._opened.log, settings)
        self.meters = registered(
            self._opened.store, catalog.meters, flow=FLOW, shards=settings.shards
        )
        # What no request waits for: when a key was used last.
        self._errands = ThreadPoolExecutor(1, "errands")
        self._metering = Supervised("metering", self._meter, self._failed)
        opened = self._opened
        self._followed = FollowedMetering(opened.log.end_offset, read_before(settings), settings)
        self.billing = EmbeddedBilling(
            settings,
            opened.database,
            reads=opened.billing_reads,
            answers=opened.reads,
            metering=self._followed,
            on_failure=self._failed,
        )
        put_into(opened.database, self.billing.stores, self._scope, catalog)
        self._outbox = OutboxTelling(opened.database, self._scope, LocalPublisher(), now)
        self._retention = threading.Thread(target=self._retain, name="retention", daemon=True)

    def start(self) -> None:
        """Begin to meter and to bill."""
        self._metering.start()
        self.billing.start(self.meters)
        self._outbox.start()
        self._retention.start()

    def stop(self) -> bool:
        """End in good order: what was taken in is metered and a snapshot made. Tell whether it was.

        The server must have ended before.
        """
        self._errands.shutdown()
        self._metering.ask_to_stop()
        ended = self._metering.join(STOP_SECONDS_MAX)
        ended = self.billing.join(STOP_SECONDS_MAX) and ended
        ended = self._outbox.stop() and ended
        if ended:
            if self._retention.ident is not None:
                self._retention.join(STOP_SECONDS_MAX)
            self._opened.close()
        self._lock.release()
        return ended

    def services(self) -> Services:
        """Return what the HTTP application works with."""
        opened, settings = self._opened, self.settings
        door = LogDoor(
            opened.log,
            partial(insert_rejected, opened.store, "http"),
            clock=now,
            events_max=settings.intake_events_max,
            event_bytes_max=settings.event_bytes_max,
            observe=DoorObserver(series()),
        )
        authenticator = Authenticator(
            SqlKeys(opened.database), now, self._configured, background=self._errands.submit
        )
        answers = StoredAnswers(opened.reads)
        return Services(
            door=door,
            answers=answers,
            catalog=SqlCatalog(opened.database, partial(with_generations, opened.reads)),
            authenticate=authenticator.authenticate,
            remembered=authenticator.remembered,
            environment=Environments(opened.database, opened.reads, answers, now),
            clock=now,
            readiness=self.readiness,
            exposition=exposition,
            on_request=partial(observe_request, series()),
            log=self._log,
            intake_partial=settings.intake_partial,
        )

    def readiness(self) -> Sequence[Check]:
        """Return how each thing is that the instance needs."""
        opened = self._opened
        looks: dict[str, Callable[[], object]] = {
            "sql": lambda: expect_at_head(opened.database),
            "log": opened.log.check,
            "clickhouse": lambda: opened.reads.engine.command("SELECT 1"),
            "metering": self._metering.check,
            "billing": self.billing.check,
        }
        return [checked(name, look) for name, look in looks.items()]

    def _open(self) -> Opened:
        """Open log and stores, all tables up to date."""
        data = Path(self.settings.data)
        location = str(data / STORE_FOLDER)
        with ExitStack() as until_all_is_open:
            log = open_log(data / LOG_FILE)
            until_all_is_open.callback(log.close)
            # One connection for each thread that writes or reads all the time.
            store, reads, billing_reads = (
                until_all_is_open.enter_context(
                    open_store(location, self.settings.clickhouse_database)
                )
                for _ in range(3)
            )
            opened = Opened(log, store, reads, billing_reads, open_sql(self.settings, now()))
            until_all_is_open.pop_all()
            return opened

    def _meter(self, flow: Supervised) -> None:
        """Run the metering dataflow until it is told to stop."""
        run_embedded_metering(
            self.settings,
            self._opened.log,
            self._opened.store,
            self.meters,
            flow.stopping,
            beat=flow.beat,
            observer=self._followed,
            publish=self.billing.publish,
        )

    def _retain(self) -> None:
        """Keep the log within its bounds, as long as the instance lives."""
        while not self._metering.stopping.wait(RETENTION_EVERY_SECONDS):
            try:
                removed = retain_log(self.settings, self._opened.log)
            except TallyError as problem:
                self._log.error("log not cut", problem=str(problem))
                continue
            if removed.records:
                self._log.info("log cut", records=removed.records, bytes=removed.bytes)

    def _failed(self, name: str, failure: BaseException, seconds: float) -> None:
        """Tell that a flow failed and when it goes on."""
        cause = failure
        while cause.__cause__ is not None:
            cause = cause.__cause__
        self._log.error("flow failed", flow=name, problem=str(cause), again_in_seconds=seconds)


def expect_at_head(database: Database) -> None:
    """Raise StoreError if the tables of the SQL store are not those of this program."""
    if not at_head(database):
        raise StoreError("the SQL store is not at the newest step: run `tally migrate`")
