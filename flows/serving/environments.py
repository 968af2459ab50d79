"""What the API works with in each environment, opened when it is asked for the first time."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from threading import Lock

from billing.api.environment import Environment
from billing.ports import UsageAnswers
from billing.stores.claims import SqlClaims
from billing.stores.database import Database
from billing.stores.money import SqlStores
from billing.stores.money_reading import MoneyReader
from billing.stores.objects import SqlObjects
from billing.stores.settings import RememberedSettings, SqlSettings
from billing.stores.webhooks import SqlWebhooks
from flows.billing_usage import AnsweredUsage
from flows.ids import new_id
from flows.stores.clickhouse import Store
from flows.stores.receipts import earliest_received_since
from schemas.scope import Scope


class Environments:
    """The environments of one database and one store of usage; threads share it."""

    def __init__(
        self,
        database: Database,
        reads: Store,
        answers: UsageAnswers,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._reads = reads
        self._answers = answers
        self._clock = clock
        self._lock = Lock()
        self._opened: dict[Scope, Environment] = {}

    def __call__(self, scope: Scope) -> Environment:
        """Return what is kept of a scope."""
        found = self._opened.get(scope)
        if found is None:
            with self._lock:
                found = self._opened.setdefault(scope, self._open(scope))
        return found

    def _open(self, scope: Scope) -> Environment:
        """Open the stores of a scope; nothing is connected yet."""
        settings = RememberedSettings(SqlSettings(self._database, scope))
        return Environment(
            stores=SqlStores(self._database, scope, settings.config),
            reader=MoneyReader(self._database, scope),
            objects=SqlObjects(self._database, scope),
            settings=settings,
            claims=SqlClaims(self._database, scope),
            webhooks=SqlWebhooks(self._database, scope),
            usage=AnsweredUsage(
                self._answers, scope, partial(earliest_received_since, self._reads, scope)
            ),
            new_id=lambda prefix: new_id(prefix, self._clock()),
        )
