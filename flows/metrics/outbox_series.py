"""What the outbox job tells, as series of one environment."""

from datetime import datetime

from billing.ports.outbox import Backlog
from flows.metrics.series import Series


class OutboxSeries:
    """Feeds the series of the outbox job of one environment."""

    def __init__(self, series: Series, environment: str):
        self._series = series
        self._environment = environment

    def attempted(self, result: str, seconds: float) -> None:
        """Count an attempt by what came of it."""
        labels = self._environment, result
        self._series.webhook_deliveries.labels(*labels).inc()
        self._series.webhook_delivery_seconds.labels(*labels).observe(seconds)

    def waiting(self, sink: str, backlog: Backlog, at: datetime) -> None:
        """Show what waits, and how long the oldest of it has."""
        labels = self._environment, sink
        waited = 0.0 if backlog.oldest_at is None else (at - backlog.oldest_at).total_seconds()
        self._series.outbox_pending.labels(*labels).set(backlog.pending)
        self._series.outbox_oldest_seconds.labels(*labels).set(max(waited, 0.0))

    def store_failed(self) -> None:
        """Count a failed call."""
        self._series.store_errors.labels("outbox").inc()
