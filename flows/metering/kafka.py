"""`tally run metering`: the dataflow on a topic of Kafka, until it is told to stop."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main

from flows.catalog import load_catalog
from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.kafka_source import KafkaSettings, KafkaSource
from flows.connectors.topics import Topics
from flows.connectors.usage_sink import UsageSink
from flows.metering.backfilling import build_missing
from flows.metering.cluster import run_processes
from flows.metering.flow import FLOW, Counts, MeteringSettings, metering_flow
from flows.metering.layout import prepare
from flows.metering.registry import registered
from flows.settings import Settings
from flows.stopping import stop_on_signals
from flows.stores.clickhouse import Store, open_store
from schemas.errors import ValidationFailed
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
    when nothing has come for `until_idle_seconds`. Raises ValidationFailed and StoreError.
    """
    if (processes > 1 or len(addresses) > 1) and not settings.clickhouse_url:
        raise ValidationFailed(
            "several processes need one ClickHouse server for all: set TALLY_CLICKHOUSE_URL, "
            "because the embedded engine holds its folder for one process"
        )
    meters: Sequence[Meter] = load_catalog(catalog).meters
    data = Path(settings.data)
    if processes > 1:
        prepare(data, settings.shards)
        with _store(settings) as store:
            _registered(store, settings, meters)
        run_processes(processes)
        return
    stop = stop_on_signals()
    state, recovery = prepare(data, settings.shards)
    counts = Counts()
    topics = Topics(
        settings.kafka_brokers,
        settings.topic_usage,
        settings.topic_dead_letters,
        settings.topic_events,
    )
    with _store(settings) as store:
        if process is None:
            meters = _registered(store, settings, meters)
        else:
            # Whoever started the processes has registered the meters, or one of them does it first.
            meters = registered(store, meters, flow=FLOW, shards=settings.shards)
        flow = metering_flow(
            KafkaSource(_kafka(settings, until_idle_seconds), stop),
            store,
            meters,
            MeteringSettings(
                state, settings.shards, timedelta(milliseconds=settings.flush_milliseconds)
            ),
            usage=UsageSink(store, {meter.id: meter for meter in meters}, topics.publish_usage),
            dead_letters=DeadLetterSink(store, "kafka", topics.publish_dead_letters),
            counts=counts,
        )
        cluster_main(
            flow,
            list(addresses),
            process or 0,
            epoch_interval=timedelta(milliseconds=settings.epoch_milliseconds),
            recovery_config=RecoveryConfig(recovery),
        )
    totals = " · ".join(f"{word} {count:,}" for word, count in sorted(counts.totals().items()))
    sys.stderr.write(f"metering stopped: {totals or 'nothing came'}\n")


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
    )
