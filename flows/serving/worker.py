"""One worker of `tally serve`: the API on Kafka, ClickHouse and SQL, with no state of its own.

Each process makes its own (`flows.serving.production`).
"""

import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

import structlog

from billing.access import Authenticator
from billing.api.app import build_app
from billing.api.services import Services
from billing.stores.catalog import SqlCatalog
from billing.stores.keys import SqlKeys
from flows.access import configured_keys
from flows.billing.live import now
from flows.connectors.event_door import LogDoor
from flows.connectors.usage_answers import StoredAnswers
from flows.log.kafka import KafkaLog
from flows.logs import configure_logs
from flows.metering.registry import with_generations
from flows.metrics.observer import DoorObserver, observe_request
from flows.metrics.series import exposition, series
from flows.serving.embedded import expect_at_head
from flows.serving.environments import Environments
from flows.serving.supervision import checked
from flows.settings import Settings
from flows.sql_store import open_sql
from flows.stores.clickhouse import open_store
from flows.stores.dead_letters import insert_rejected
from schemas.health import Check
from schemas.scope import Scope

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class Worker:
    """The application with what it holds open, which is closed when the server says that it ends."""

    def __init__(self, settings: Settings):
        configure_logs(settings.log_level)
        self._held = ExitStack()
        self._app = build_app(self._services(settings))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the server itself."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._held.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _services(self, settings: Settings) -> Services:
        """Open the log and the stores, and return what the application works with."""
        held = self._held
        log = KafkaLog(settings.kafka_brokers, settings.topic_events)
        held.callback(log.close)
        store = held.enter_context(
            open_store(settings.clickhouse_url, settings.clickhouse_database)
        )
        database = open_sql(settings, now())
        held.callback(database.close)
        errands = ThreadPoolExecutor(1, "errands")
        held.callback(errands.shutdown)
        scope = Scope(settings.tenant, settings.environment)
        configured = configured_keys(os.environ.get("TALLY_API_KEY"), scope, now())

        authenticator = Authenticator(SqlKeys(database), now, configured, background=errands.submit)

        def readiness() -> Sequence[Check]:
            looks: dict[str, Callable[[], object]] = {
                "sql": lambda: expect_at_head(database),
                "log": log.check,
                "clickhouse": lambda: store.engine.command("SELECT 1"),
            }
            return [checked(name, look) for name, look in looks.items()]

        answers = StoredAnswers(store)
        return Services(
            door=LogDoor(
                log,
                partial(insert_rejected, store, "http"),
                clock=now,
                events_max=settings.intake_events_max,
                event_bytes_max=settings.event_bytes_max,
                observe=DoorObserver(series()),
            ),
            answers=answers,
            catalog=SqlCatalog(database, partial(with_generations, store)),
            authenticate=authenticator.authenticate,
            remembered=authenticator.remembered,
            environment=Environments(database, store, answers, now),
            clock=now,
            readiness=readiness,
            exposition=exposition,
            on_request=partial(observe_request, series()),
            log=structlog.get_logger("tally"),
            intake_partial=settings.intake_partial,
        )
