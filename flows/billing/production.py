"""`tally run billing`: running claims and the scheduler on Kafka, ClickHouse and SQL, until it is stopped.

Nothing of it is kept in a folder: usage is in ClickHouse, money in SQL, and what is published meanwhile
comes over the topic `usage`. So any number of processes can be started and ended.
"""

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main

from billing.stores.claims import SqlClaims
from billing.stores.turns import turn
from flows.billing.claiming import ClaimSettings, ClaimStores
from flows.billing.claims_flow import claims_flow
from flows.billing.generations import Generations
from flows.billing.live import FLUSH_EVERY, TICK, now
from flows.billing.metering_progress import MeteringProgress
from flows.billing.money import opened_money, put_into
from flows.billing.passing import JOB, Telling
from flows.billing.stored import StoredUsage
from flows.catalog import load_catalog
from flows.connectors.kafka_source import KafkaSettings, partitions_of
from flows.connectors.usage_source import UsageTopic, UsageTopicHooks, UsageTopicSource
from flows.metering.cluster import PEER_GONE, is_lost_peer, run_processes, watch_lifeline
from flows.metrics.heartbeat import Heartbeat
from flows.metrics.server import serve_metrics
from flows.outbox.telling import OutboxTelling
from flows.outbox.topics import KafkaPublisher
from flows.serving.supervision import checked
from flows.settings import Settings
from flows.stopping import stop_on_signals
from flows.stores.clickhouse import open_store
from schemas.errors import StoreError, ValidationFailed
from schemas.health import Check
from schemas.scope import Scope

STOP_SECONDS_MAX = 30.0


def run_billing(
    settings: Settings,
    *,
    catalog: str | None = None,
    processes: int = 1,
    process: int | None = None,
    addresses: Sequence[str] = (),
) -> None:
    """Bill until SIGTERM or SIGINT, or a failure. With `processes` above 1 it starts so many.

    With `process` it is one of those at `addresses`. A `catalog` is put into the money store first.
    Raises ValidationFailed and StoreError.
    """
    for name in ("clickhouse_url", "database_url"):
        if not getattr(settings, name):
            raise ValidationFailed(
                f"`tally run billing` needs TALLY_{name.upper()}: without it use `tally dev`, or "
                "`--once` on a folder that nobody holds",
                field=name,
            )
    partitions = partitions_of(_usage_topic(settings))
    if process is None:
        with ExitStack() as held:
            database, stores = opened_money(settings, held)
            if catalog:
                scope = Scope(settings.tenant, settings.environment)
                put_into(database, stores, scope, load_catalog(catalog))
        if processes > 1:
            run_processes(processes)
            return
    _run(settings, partitions, process or 0, addresses)


def _run(
    settings: Settings, partitions: Sequence[int], process: int, addresses: Sequence[str]
) -> None:
    """Bill in this process until it is told to stop."""
    stop = stop_on_signals()
    has_parent = watch_lifeline()
    scope = Scope(settings.tenant, settings.environment)
    heartbeat = Heartbeat()
    with ExitStack() as held:
        database, stores = opened_money(settings, held)
        claims = SqlClaims(database, scope)
        # One for the thread of the flow, one for that of the scheduler.
        reads, answers = (
            held.enter_context(open_store(settings.clickhouse_url, settings.clickhouse_database))
            for _ in range(2)
        )
        generations = Generations(reads, scope)
        progress = MeteringProgress(
            settings.kafka_brokers, settings.topic_events, settings.kafka_group, stop
        )
        progress.start()
        telling = Telling(scope.environment_id)
        scheduler = telling.scheduler(
            stores,
            answers,
            scope,
            usage_until=claims.usage_until,
            mine=partial(turn, database, scope, JOB),
        )
        names = {
            "invoice_lines": settings.topic_invoice_lines,
            "alerts": settings.topic_alerts,
        }
        publisher = KafkaPublisher(settings.kafka_brokers, scope, names=names)
        outbox = OutboxTelling(database, scope, publisher, now)
        outbox.start()
        jobs = threading.Thread(target=scheduler.run, args=(stop,), name="scheduler", daemon=True)
        jobs.start()
        source = UsageTopicSource(
            UsageTopic(settings.kafka_brokers, settings.topic_usage, scope),
            partitions,
            stop,
            UsageTopicHooks(generations.built, progress.published_until, heartbeat.touch),
        )
        flow = claims_flow(
            source,
            ClaimSettings(now, FLUSH_EVERY, TICK, settings.shards, len(partitions)),
            ClaimStores(stores, claims),
            StoredUsage(reads, scope, generations.current),
            telling.hooks(),
        )
        if settings.metrics_port:
            port = settings.metrics_port + process
            looks: dict[str, Callable[[], object]] = {
                "sql": database.revision,
                "log": lambda: partitions_of(_usage_topic(settings)),
                "clickhouse": lambda: answers.engine.command("SELECT 1"),
                "billing": heartbeat.check,
            }
            shown = serve_metrics(port, partial(_readiness, looks), host=settings.host)
            held.callback(shown.close)
        try:
            _work_together(flow, process, addresses, has_parent=has_parent)
        finally:
            stop.set()
            jobs.join(STOP_SECONDS_MAX)
            outbox.stop()
    sys.stderr.write("billing stopped\n")


def _work_together(
    flow: Dataflow, process: int, addresses: Sequence[str], *, has_parent: bool
) -> None:
    """Run the flow in this process of a cluster. Raises StoreError where another one has gone."""
    try:
        cluster_main(flow, list(addresses), process)
    except BaseException as error:
        if not is_lost_peer(error):
            raise
        if has_parent:
            # Who started the processes says what became of them.
            sys.exit(PEER_GONE)
        raise StoreError("another process of the cluster has gone: start all again") from error


def _readiness(looks: Mapping[str, Callable[[], object]]) -> Sequence[Check]:
    """Return how each thing is that a billing process needs."""
    return [checked(name, look) for name, look in looks.items()]


def _usage_topic(settings: Settings) -> KafkaSettings:
    """Return what names the topic `usage` to those who ask the broker."""
    return KafkaSettings(
        settings.kafka_brokers,
        settings.topic_usage,
        settings.kafka_group,
        settings.tenant,
        settings.environment,
        batch_records_max=settings.batch_events_max,
        event_bytes_max=settings.event_bytes_max,
        lateness_microseconds=0,
        idle_seconds=None,
    )
