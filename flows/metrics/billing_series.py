"""The series that billing feeds (platform.md 8), and what feeds them: once a flush or a pass.

No customer is ever a label.
"""

import time
from collections.abc import Iterable
from functools import cache

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from flows.billing.batches import KeptClaims
from flows.metrics.series import VISIBLE_BUCKETS, series
from flows.metrics.weighted import WeightedHistogram
from schemas.invoice import Invoice, InvoiceStatus

JOB_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0)
# What a word of the state machine is called where invoices are counted.
COUNTED_AS = {
    InvoiceStatus.DRAFT: "drafted",
    InvoiceStatus.FINALIZED: "finalized",
    InvoiceStatus.VOIDED: "voided",
    InvoiceStatus.SKIPPED: "skipped",
}


class BillingSeries:
    """The metrics of billing in one process; make it once, by `billing_series()`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.event_to_balance_seconds = WeightedHistogram(
            "tally_event_to_balance_seconds",
            "From the receipt of an event until the ongoing balance shows it; one for each event that"
            " counts for a meter.",
            "env",
            VISIBLE_BUCKETS,
            registry,
        )
        self.invoices = Counter(
            "tally_invoices_total",
            "Invoices by what became of them.",
            ("env", "status"),
            registry=registry,
        )
        self.job_runs = Counter(
            "tally_job_runs_total",
            "Runs of a job, by whether all of it could be done.",
            ("job", "result"),
            registry=registry,
        )
        self.job_seconds = Histogram(
            "tally_job_seconds",
            "How long runs of a job took.",
            ("job", "result"),
            registry=registry,
            buckets=JOB_BUCKETS,
        )
        self.job_success = Gauge(
            "tally_job_last_success_timestamp_seconds",
            "When a job last did all that it had to do.",
            ("job",),
            registry=registry,
            multiprocess_mode="max",
        )

    def kept(self, environment: str, flushed: KeptClaims) -> None:
        """Count how long ago the events were received that balances show now."""
        now = flushed.at.timestamp()
        for each in flushed.receipts:
            waited = np.maximum(now - each.received_us / 1e6, 0.0)
            self.event_to_balance_seconds.observe(environment, waited, each.events)

    def billed(self, environment: str, invoices: Iterable[Invoice]) -> None:
        """Count invoices that were drafted, or that became final; a draft made anew is no other one."""
        for invoice in invoices:
            if invoice.status is not InvoiceStatus.DRAFT or invoice.version == 1:
                self.invoices.labels(environment, COUNTED_AS[invoice.status]).inc()

    def ran(self, job: str, seconds: float, *, failed: bool) -> None:
        """Count a run of a job."""
        result = "failed" if failed else "done"
        self.job_runs.labels(job, result).inc()
        self.job_seconds.labels(job, result).observe(seconds)
        if not failed:
            self.job_success.labels(job).set(time.time())


@cache
def billing_series() -> BillingSeries:
    """Return the metrics of billing of this process."""
    return BillingSeries(series().registry)
