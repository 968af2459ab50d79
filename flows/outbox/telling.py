"""The outbox job of a process, on a thread of its own from `start` to `stop`."""

import threading
from collections.abc import Callable
from datetime import datetime

from billing.stores.database import Database
from billing.stores.outbox import SqlOutbox
from billing.stores.settings import RememberedSettings, SqlSettings
from billing.stores.webhooks import SqlWebhooks
from flows.metrics.outbox_series import OutboxSeries
from flows.metrics.series import series
from flows.outbox.job import OutboxJob
from flows.outbox.sender import HttpSender
from flows.outbox.topics import Publisher
from schemas.errors import StoreError
from schemas.scope import Scope
from schemas.setting import SettingKey

STOP_SECONDS_MAX = 20.0


class OutboxTelling:
    """Tells what was committed in one scope: topics by a publisher, webhooks over HTTP."""

    def __init__(
        self,
        database: Database,
        scope: Scope,
        publisher: Publisher,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = RememberedSettings(SqlSettings(database, scope))
        self._private = False
        self._publisher = publisher
        self._sender = HttpSender(lambda: self._private)
        self._stop = threading.Event()
        self._clock = clock
        self.job = OutboxJob(
            SqlOutbox(database, scope),
            publisher,
            SqlWebhooks(database, scope),
            self._sender,
            self._now,
            scope=scope,
            observer=OutboxSeries(series(), scope.environment_id),
        )
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def stop(self) -> bool:
        """End; what was not told is told by the next process. Tell whether the thread has ended."""
        self._stop.set()
        self.job.wake()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS_MAX)
        self._sender.close()
        self._publisher.close()
        return not self._thread.is_alive()

    def _now(self) -> datetime:
        """Return the instant that it is; the settings are looked at on this thread, now and then."""
        try:
            found = self._settings.get(SettingKey.WEBHOOK)
            self._private = bool(found.value["allow_private_urls"])
        except StoreError:
            # The store is away: the last answer holds, and the job says that it failed.
            pass
        return self._clock()

    def _run(self) -> None:
        self.job.run_until(self._stop)
