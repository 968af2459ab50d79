"""The metering dataflow of one process: from the embedded log into the embedded store."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from bytewax.recovery import RecoveryConfig
from bytewax.testing import run_main

from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.usage_sink import UsageSink
from flows.log.embedded import EmbeddedLog
from flows.log.retention import Removed, committed_position, retain
from flows.log.source import (
    PARTITION_NAME,
    EmbeddedLogSource,
    LogSourceSettings,
    expect_at_hand,
)
from flows.metering.backfilling import build_missing
from flows.metering.flow import Counts, MeteringSettings, metering_flow
from flows.metering.layout import prepare
from flows.metrics.observer import SeriesObserver
from flows.settings import Settings
from flows.stores.clickhouse import Store
from schemas.meter import Meter

# The door of records that the flow finds malformed in the log; those of HTTP are refused before it.
DOOR = "log"
RETENTION_EVERY_SECONDS = 60.0


def run_embedded_metering(
    settings: Settings,
    log: EmbeddedLog,
    store: Store,
    meters: Sequence[Meter],
    stop: threading.Event,
    *,
    beat: Callable[[], None],
    observer: SeriesObserver,
    publish: Callable[[pa.Table], None] | None = None,
) -> Counts:
    """Meter the log until `stop` is set; goes on where an earlier run on the same folder stopped.

    `meters` are registered; those that are new are built from raw events first. Raises what a step of
    the flow raised.
    """
    state, recovery = prepare(Path(settings.data), settings.shards)
    build_missing(store, meters, lambda _: beat())
    counts = Counts()
    flow = metering_flow(
        EmbeddedLogSource(
            log,
            source_settings(settings),
            stop,
            on_heartbeat=beat,
            on_read=observer.read_of(PARTITION_NAME),
        ),
        store,
        meters,
        MeteringSettings(
            state, settings.shards, timedelta(milliseconds=settings.flush_milliseconds)
        ),
        usage=UsageSink(store, {meter.id: meter for meter in meters}, publish, observer=observer),
        dead_letters=DeadLetterSink(store, DOOR, observer=observer),
        counts=counts,
        observer=observer,
    )
    run_main(
        flow,
        epoch_interval=timedelta(milliseconds=settings.epoch_milliseconds),
        recovery_config=RecoveryConfig(recovery),
    )
    return counts


def source_settings(settings: Settings) -> LogSourceSettings:
    """Return what the source of the embedded log needs of the settings."""
    return LogSourceSettings(
        settings.tenant,
        settings.environment,
        settings.batch_events_max,
        settings.event_bytes_max,
        settings.lateness_seconds * 1_000_000,
        settings.gather_milliseconds / 1000,
    )


def read_before(settings: Settings) -> int:
    """Return the offset in the log at which the flow goes on."""
    position = committed_position(Path(settings.data) / "metering" / "recovery")
    return 0 if position is None else position.offset


def expect_log_reaches_back(log: EmbeddedLog, settings: Settings) -> None:
    """Raise StoreError if the log lacks records that the flow has not metered yet."""
    expect_at_hand(log, read_before(settings))


def retain_log(settings: Settings, log: EmbeddedLog) -> Removed:
    """Remove what the log need not keep: too old or too much, and before where a restart resumes."""
    return retain(
        log,
        hours=settings.log_hours,
        megabytes=settings.log_megabytes,
        now=datetime.now(UTC),
        stored_offset=read_before(settings),
    )
