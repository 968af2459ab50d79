"""The series of platform.md 8 that somebody feeds; the values of every label are a closed set.

No customer, event name or id is ever a label: a day of traffic does not grow the number of series.
Series that nobody feeds yet (bills, wallets, alerts, jobs) come with what feeds them.
"""

import os
import platform
from functools import cache
from importlib.metadata import version

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from flows.metrics.weighted import WeightedHistogram
from flows.metrics.workers import FOLDER_VARIABLE

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FLUSH_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
DELIVERY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
BATCH_BUCKETS = (1, 10, 100, 1000, 5000, 10_000, 25_000, 50_000, 100_000)
VISIBLE_BUCKETS = (
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    1.5,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    7200.0,
)


class Series:
    """The metrics of a process, each with its name, labels and what it counts.

    Make it once a process, by `series()`; a registry of its own is for tests. In a folder that workers
    share (`flows.metrics.workers`) gauges are summed over the living.
    """

    def __init__(self, registry: CollectorRegistry):
        self.registry = registry
        self._build_info(registry)
        self._requests(registry)
        self._events(registry)
        self._flow(registry)
        self._state(registry)
        self._outbox(registry)

    def _build_info(self, registry: CollectorRegistry) -> None:
        """Say what runs."""
        build_info = Gauge(
            "tally_build_info",
            "Always 1; the labels say what runs.",
            ("version", "python", "bytewax"),
            registry=registry,
            multiprocess_mode="max",
        )
        build_info.labels(version("tallyflow"), platform.python_version(), version("bytewax")).set(
            1
        )

    def _requests(self, registry: CollectorRegistry) -> None:
        """Make what the API feeds."""
        labels = ("method", "route", "status")
        self.http_requests = Counter(
            "tally_http_requests_total",
            "Requests answered; route is the template, never the path.",
            labels,
            registry=registry,
        )
        self.http_request_seconds = Histogram(
            "tally_http_request_seconds",
            "How long requests took, from their headers to the last byte of the answer.",
            labels,
            registry=registry,
            buckets=REQUEST_BUCKETS,
        )

    def _events(self, registry: CollectorRegistry) -> None:
        """Make what doors and the flow feed about events."""
        self.events_ingested = Counter(
            "tally_events_ingested_total",
            "Copies of events by verdict; late and unmatched ones are accepted ones as well.",
            ("env", "verdict"),
            registry=registry,
        )
        self.events_rejected = Counter(
            "tally_events_rejected_total",
            "Malformed events by reason, at the door and in the log.",
            ("env", "reason"),
            registry=registry,
        )
        self.event_bytes = Counter(
            "tally_event_bytes_total",
            "Bytes that came: request bodies once unpacked, and values of Kafka records.",
            ("env", "source"),
            registry=registry,
        )
        self.event_to_usage_seconds = WeightedHistogram(
            "tally_event_to_usage_seconds",
            "From the receipt of an event until usage with it is stored; one for each event that"
            " counts for a meter. Receipt times are rounded down by at most 1 ms, or a 256th of the"
            " time that their batch spans.",
            "env",
            VISIBLE_BUCKETS,
            registry,
        )
        self.usage_rows_written = Counter(
            "tally_usage_rows_written_total",
            "Usage rows stored: first, which only ever grew, and correction, of windows that lost an"
            " event.",
            ("env", "kind"),
            registry=registry,
        )
        self.usage_rebuilds = Counter(
            "tally_usage_rebuilds_total",
            "Windows made anew from raw events, for late events or corrections.",
            ("env",),
            registry=registry,
        )

    def _flow(self, registry: CollectorRegistry) -> None:
        """Make what the flow feeds about its running."""
        self.source_lag_records = Gauge(
            "tally_source_lag_records",
            "Records that wait in the log behind those that were read.",
            ("flow", "partition"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.source_lag_seconds = Gauge(
            "tally_source_lag_seconds",
            "How long ago the last record was received when it was read.",
            ("flow", "partition"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.flow_batch_records = Histogram(
            "tally_flow_batch_records",
            "Rows of a batch: read from the log, identified by a shard, stored as usage.",
            ("flow", "step"),
            registry=registry,
            buckets=BATCH_BUCKETS,
        )
        self.flow_flush_seconds = Histogram(
            "tally_flow_flush_seconds",
            "How long a step took to make a batch durable in the store.",
            ("flow", "step"),
            registry=registry,
            buckets=FLUSH_BUCKETS,
        )
        self.alerts = Counter(
            "tally_alerts_total",
            "Alerts told, by what is watched and the level that was entered.",
            ("env", "alert_type", "status"),
            registry=registry,
        )
        self.store_errors = Counter(
            "tally_store_errors_total",
            "Calls of a store that failed.",
            ("store",),
            registry=registry,
        )

    def _state(self, registry: CollectorRegistry) -> None:
        """Make what the flow feeds about its state, at each snapshot."""
        self.dedup_ids = Gauge(
            "tally_dedup_ids",
            "Event ids that a shard knows for good.",
            ("shard",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.dedup_bytes = Gauge(
            "tally_dedup_bytes",
            "Memory of a shard's index of ids, without the pages of its files.",
            ("shard",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.dedup_lookups = Counter(
            "tally_dedup_lookups_total",
            "Ids looked up: new, or known from an earlier copy.",
            ("result",),
            registry=registry,
        )
        self.open_windows = Gauge(
            "tally_open_windows",
            "Windows of meters and customers in memory; counted every 10 seconds at most.",
            ("flow", "shard"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.state_bytes = Gauge(
            "tally_state_bytes",
            "Bytes on disk of a shard of windows.",
            ("flow", "shard"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.snapshot_age_seconds = Gauge(
            "tally_snapshot_age_seconds",
            "How long ago this process made its last snapshot.",
            ("flow",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.snapshot_bytes = Gauge(
            "tally_snapshot_bytes",
            "Bytes on disk of all that the last snapshots of this process name.",
            ("flow",),
            registry=registry,
            multiprocess_mode="livesum",
        )

    def _outbox(self, registry: CollectorRegistry) -> None:
        """Make what the outbox job feeds."""
        self.webhook_deliveries = Counter(
            "tally_webhook_deliveries_total",
            "Attempts to deliver a message: delivered, retry, exhausted.",
            ("env", "result"),
            registry=registry,
        )
        self.webhook_delivery_seconds = Histogram(
            "tally_webhook_delivery_seconds",
            "How long attempts took, from the look-up of the host to the beginning of the answer.",
            ("env", "result"),
            registry=registry,
            buckets=DELIVERY_BUCKETS,
        )
        self.outbox_pending = Gauge(
            "tally_outbox_pending",
            "What waits to leave: rows for topics, rows and deliveries for webhooks.",
            ("env", "sink"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.outbox_oldest_seconds = Gauge(
            "tally_outbox_oldest_seconds",
            "How long the oldest of it has waited, retries included.",
            ("env", "sink"),
            registry=registry,
            multiprocess_mode="livemax",
        )


@cache
def series() -> Series:
    """Return the metrics of this process."""
    # They would double the number of series, and say when a counter was made.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
    registry = CollectorRegistry()
    if FOLDER_VARIABLE not in os.environ:
        # Processor time, memory and open files of the process.
        ProcessCollector(registry=registry)
    return Series(registry)


def exposition() -> tuple[bytes, str]:
    """Return all metrics as Prometheus reads them, and their content type.

    Where several workers share a folder, whichever is asked answers for all of them.
    """
    own = series().registry
    if FOLDER_VARIABLE not in os.environ:
        return generate_latest(own), CONTENT_TYPE_LATEST
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # the library has no types here
    return generate_latest(shared), CONTENT_TYPE_LATEST
