"""`tally run metering`: the dataflow on a topic of Kafka, until it is told to stop."""

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main

from flows.catalog import load_catalog
from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.kafka_source import KafkaSettings, KafkaSource, partitions_of
from flows.connectors.topics import Topics
from flows.connectors.usage_sink import UsageSink
from flows.metering.backfilling import build_missing
from flows.metering.cluster import PEER_GONE, is_lost_peer, run_processes, watch_lifeline
from flows.metering.flow import FLOW, Counts, MeteringSettings, metering_flow
from flows.metering.layout import prepare
from flows.metering.registry import registered
from flows.metrics.heartbeat import Heartbeat
from flows.metrics.observer import SeriesObserver
from flows.metrics.series import series
from flows.metrics.server import MetricsServer, serve_metrics
from flows.serving.folder_lock import FolderLock
from flows.serving.supervision import checked
from flows.settings import Settings
from flows.stopping import stop_on_signals
from flows.stores.clickhouse import Store, open_store
from schemas.errors import StoreError, ValidationFailed
from schemas.health import Check
from schemas.meter import Meter


def run_metering(
    settings: Settings,
    *,
    catalog: str,
    until_idle_seconds: float | None = None,
    processes: int = 1,
    process: int | None = None,
    addresses: Sequence[str] = (),
) -> None:
    """Meter the topic of events into the store; goes on where an earlier run on the same data stopped.

    Ends on SIGTERM and SIGINT after the batch it is at, with everything published and a snapshot made, or
    when nothing has come for `until_idle_seconds`. With `processes` above 1 it starts so many and waits
    for them; with `process` it is one of those at `addresses`. Raises ValidationFailed, StoreError, and
    InvalidOperation if another one works on the same data.
    """
    if (processes > 1 or len(addresses) > 1) and not settings.clickhouse_url:
        raise ValidationFailed(
            "several processes need one ClickHouse server for all: set TALLY_CLICKHOUSE_URL, "
            "because the embedded engine holds its folder for one process"
        )
    meters: Sequence[Meter] = load_catalog(catalog).meters
    source = _kafka(settings, until_idle_seconds)
    if process is not None:
        _run(settings, source, meters, process, addresses)
        return
    with FolderLock(Path(settings.data)):
        if processes == 1:
            _run(settings, source, meters)
            return
        # What is wrong with the broker or the store is said once, before there are several.
        partitions_of(source)
        prepare(Path(settings.data), settings.shards)
        with _store(settings) as store:
            _registered(store, settings, meters)
        run_processes(processes)


def _run(
    settings: Settings,
    source: KafkaSettings,
    meters: Sequence[Meter],
    process: int = 0,
    addresses: Sequence[str] = (),
) -> None:
    """Meter in this process until it is told to stop."""
    stop = stop_on_signals()
    has_parent = watch_lifeline()
    counts = Counts()
    _, recovery = prepare(Path(settings.data), settings.shards)
    with _store(settings) as store:
        # No process begins before all are there: what the first one builds is complete by then.
        meters = (
            registered(store, meters, flow=FLOW, shards=settings.shards)
            if process
            else _registered(store, settings, meters)
        )
        observer = _observer(settings)
        heartbeat = Heartbeat()
        reader = KafkaSource(
            source,
            stop,
            on_heartbeat=heartbeat.touch,
            on_read=observer.read_of,
            on_bytes=observer.kafka_bytes,
        )
        flow = _flow(settings, reader, store, meters, counts=counts, observer=observer)
        shown = _metrics(settings, process, partial(_readiness, store, source, heartbeat))
        try:
            cluster_main(
                flow,
                list(addresses),
                process,
                epoch_interval=timedelta(milliseconds=settings.epoch_milliseconds),
                recovery_config=RecoveryConfig(recovery),
            )
        except BaseException as error:
            if not is_lost_peer(error):
                raise
            if has_parent:
                # Who started the processes says what became of them.
                sys.exit(PEER_GONE)
            raise StoreError("another process of the cluster has gone: start all again") from error
        finally:
            if shown is not None:
                shown.close()
    totals = " · ".join(f"{word} {count:,}" for word, count in sorted(counts.totals().items()))
    sys.stderr.write(f"metering stopped: {totals or 'nothing came'}\n")


def _flow(
    settings: Settings,
    source: KafkaSource,
    store: Store,
    meters: Sequence[Meter],
    *,
    counts: Counts,
    observer: SeriesObserver,
) -> Dataflow:
    """Return the flow of this process, with what it publishes to Kafka."""
    topics = Topics(
        settings.kafka_brokers,
        settings.topic_usage,
        settings.topic_dead_letters,
        settings.topic_events,
    )
    state, _ = prepare(Path(settings.data), settings.shards)
    flush_every = timedelta(milliseconds=settings.flush_milliseconds)
    return metering_flow(
        source,
        store,
        meters,
        MeteringSettings(state, settings.shards, flush_every),
        usage=UsageSink(
            store, {meter.id: meter for meter in meters}, topics.publish_usage, observer=observer
        ),
        dead_letters=DeadLetterSink(store, "kafka", topics.publish_dead_letters, observer=observer),
        counts=counts,
        observer=observer,
    )


def _observer(settings: Settings) -> SeriesObserver:
    """Return who shows what the flow of this process does."""
    known = [settings.environment]
    return SeriesObserver(series(), flow=FLOW, environments=known, environment=settings.environment)


def _metrics(
    settings: Settings, process: int, readiness: Callable[[], Sequence[Check]]
) -> MetricsServer | None:
    """Serve the metrics of this process on a port of its own, if a port is set."""
    if not settings.metrics_port:
        return None
    return serve_metrics(settings.metrics_port + process, readiness, host=settings.host)


def _readiness(store: Store, source: KafkaSettings, heartbeat: Heartbeat) -> Sequence[Check]:
    """Return how each thing is that a metering process needs."""
    looks: dict[str, Callable[[], object]] = {
        "log": lambda: partitions_of(source),
        "clickhouse": lambda: store.engine.command("SELECT 1"),
        "metering": heartbeat.check,
    }
    return [checked(name, look) for name, look in looks.items()]


def _store(settings: Settings) -> Store:
    """Open the store that the settings name."""
    location = settings.clickhouse_url or str(Path(settings.data) / "store")
    return open_store(location, settings.clickhouse_database)


def _registered(store: Store, settings: Settings, meters: Sequence[Meter]) -> Sequence[Meter]:
    """Register the meters of a run, and build the rows of those that are new."""
    mine = registered(store, meters, flow=FLOW, shards=settings.shards)
    build_missing(store, mine)
    return mine


def _kafka(settings: Settings, until_idle_seconds: float | None) -> KafkaSettings:
    """Return what the source needs of the settings."""
    return KafkaSettings(
        settings.kafka_brokers,
        settings.topic_events,
        settings.kafka_group,
        settings.tenant,
        settings.environment,
        settings.batch_events_max,
        settings.event_bytes_max,
        settings.lateness_seconds * 1_000_000,
        until_idle_seconds,
        settings.gather_milliseconds / 1000,
    )
