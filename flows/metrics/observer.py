"""What flow, door and API tell, as series; each call is for a batch, a flush or a request."""

import threading
import time
from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.metering.batches import IdentifiedBatch, ReadBatch
from flows.metering.observing import CellSize, IdentitySize, Looked, OnRead, Receipts
from flows.metering.usage_rows import CORRECTION_BITS
from flows.metrics.series import Series
from schemas.scope import Scope
from schemas.verdict import Verdict

# Records may name any environment that a producer thinks of: those that we do not know are one.
OTHER = "other"
UNMATCHED = "unmatched"


class SeriesObserver:
    """Feeds the series of one dataflow; a `FlowObserver` for the threads of all its workers.

    `environments` are those that have series of their own. `environment` is whose records are that
    name none. `clock` gives the time of receipt times, in seconds since 1970; `elapsed` measures ages.
    """

    def __init__(
        self,
        series: Series,
        *,
        flow: str,
        environments: Collection[str],
        environment: str,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ):
        self._series = series
        self._flow = flow
        self._environments = environments
        self._environment = environment
        self._clock = clock
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._disk_bytes: dict[tuple[str, int], int] = {}
        self._snapshot_at: float | None = None

    def read_of(self, partition: int | str) -> OnRead:
        """Return whom the source tells of reads of a partition."""
        labels = self._flow, str(partition)
        lag_records = self._series.source_lag_records.labels(*labels)
        lag_seconds = self._series.source_lag_seconds.labels(*labels)

        def on_read(_records: int, _bytes: int, waiting: int, seconds: float) -> None:
            lag_records.set(waiting)
            lag_seconds.set(seconds)

        return on_read

    def kafka_bytes(self, sizes: Mapping[str, int]) -> None:
        """Take note of bytes of Kafka records by environment."""
        for environment, size in sizes.items():
            self._series.event_bytes.labels(self._known(environment), "kafka").inc(size)

    def batch_read(self, batch: ReadBatch) -> None:
        """Count the rows of a batch, and its malformed records by environment and reason."""
        self._batch("read", batch.copies.num_rows + batch.rejected.num_rows)
        if not batch.rejected.num_rows:
            return
        environments = _environments(batch.rejected["key"], self._environment)
        reasons = pa.table([environments, batch.rejected["reason"]], ["environment", "reason"])
        found = reasons.group_by(["environment", "reason"]).aggregate([([], "count_all")])
        for row in found.to_pylist():
            environment, count = self._known(row["environment"]), row["count_all"]
            self._series.events_rejected.labels(environment, row["reason"]).inc(count)
            self._verdict(environment, Verdict.REJECTED, count)

    def identified(self, looked: Looked) -> None:
        """Count ids looked up, and how long that and storing the first copies took."""
        self._series.dedup_lookups.labels("new").inc(looked.new)
        self._series.dedup_lookups.labels("known").inc(looked.known)
        self._batch("identify", looked.new + looked.known)
        self._flushed("identify", looked.seconds)

    def judged(self, batch: IdentifiedBatch, unmatched: pa.Array) -> None:
        """Count verdicts; a copy that took another's place counts as accepted in its stead."""
        accepted = _counted(batch.accepted["environment_id"])
        # The copies that lost their places come first, and were counted as accepted before.
        for name, count in _counted(batch.displaced["environment_id"][: batch.taken_over]).items():
            accepted[name] = accepted.get(name, 0) - count
        for name, count in accepted.items():
            self._verdict(self._known(name), Verdict.ACCEPTED, max(0, count))
        if pc.any(unmatched).as_py():
            for name, count in _counted(batch.accepted["environment_id"].filter(unmatched)).items():
                self._verdict(self._known(name), UNMATCHED, count)
        if batch.verdicts.num_rows:
            names = ["environment_id", "verdict"]
            found = batch.verdicts.group_by(names).aggregate([([], "count_all")])
            for row in found.to_pylist():
                environment = self._known(row["environment_id"])
                self._verdict(environment, row["verdict"], row["count_all"])

    def rebuilt(self, windows: Mapping[str, int]) -> None:
        """Count windows made anew."""
        for environment, count in windows.items():
            self._series.usage_rebuilds.labels(self._known(environment)).inc(count)

    def usage_stored(self, rows: pa.Table, receipts: tuple[Receipts, ...], seconds: float) -> None:
        """Count rows, and how long ago the events were received that are visible in them now."""
        now = self._clock()
        self._batch("store_usage", rows.num_rows)
        self._flushed("store_usage", seconds)
        corrected = pc.greater_equal(rows["version"], 1 << CORRECTION_BITS)
        for kind, mine in (("first", pc.invert(corrected)), ("correction", corrected)):
            for name, count in _counted(rows["environment_id"].filter(mine)).items():
                self._series.usage_rows_written.labels(self._known(name), kind).inc(count)
        for each in receipts:
            waited = np.maximum(now - each.received_us / 1e6, 0.0)
            environment = self._known(each.environment_id)
            self._series.event_to_usage_seconds.observe(environment, waited, each.events)

    def dead_letters_stored(self, records: int, seconds: float) -> None:
        """Count malformed records that were stored."""
        self._batch("store_dead_letters", records)
        self._flushed("store_dead_letters", seconds)

    def identities_sealed(self, size: IdentitySize) -> None:
        """Show how large a shard of identities is."""
        self._series.dedup_ids.labels(str(size.shard)).set(size.ids)
        self._series.dedup_bytes.labels(str(size.shard)).set(size.memory_bytes)
        self._on_disk("identities", size.shard, size.disk_bytes)

    def cells_sealed(self, size: CellSize) -> None:
        """Show how large a shard of cells is."""
        labels = self._flow, str(size.shard)
        if size.windows is not None:
            self._series.open_windows.labels(*labels).set(size.windows)
        self._series.state_bytes.labels(*labels).set(size.disk_bytes)
        self._on_disk("cells", size.shard, size.disk_bytes)

    def snapshot_made(self) -> None:
        """Show the age of the last snapshot from now on."""
        with self._lock:
            first, self._snapshot_at = self._snapshot_at is None, self._elapsed()
        if first:
            age = self._series.snapshot_age_seconds.labels(self._flow)
            age.set_function(lambda: self._elapsed() - (self._snapshot_at or 0.0))

    def store_failed(self) -> None:
        """Count a call of ClickHouse that failed."""
        self._series.store_errors.labels("clickhouse").inc()

    def _known(self, environment: str) -> str:
        """Return the label of an environment."""
        return environment if environment in self._environments else OTHER

    def _verdict(self, environment: str, verdict: str, count: int) -> None:
        self._series.events_ingested.labels(environment, str(verdict)).inc(count)

    def _batch(self, step: str, rows: int) -> None:
        self._series.flow_batch_records.labels(self._flow, step).observe(rows)

    def _flushed(self, step: str, seconds: float) -> None:
        self._series.flow_flush_seconds.labels(self._flow, step).observe(seconds)

    def _on_disk(self, what: str, shard: int, size: int) -> None:
        """Show the bytes of all snapshots together."""
        with self._lock:
            self._disk_bytes[what, shard] = size
            total = sum(self._disk_bytes.values())
        self._series.snapshot_bytes.labels(self._flow).set(total)


class DoorObserver:
    """Feeds the series of the door for events over HTTP: call it with what a request came to."""

    def __init__(self, series: Series):
        self._series = series

    def __call__(
        self, scope: Scope, _appended: int, size: int, rejections: Mapping[str, int]
    ) -> None:
        """Count bytes and rejections; what was appended gets its verdicts in the flow."""
        environment = scope.environment_id
        self._series.event_bytes.labels(environment, "http").inc(size)
        for reason, count in rejections.items():
            self._series.events_rejected.labels(environment, reason).inc(count)
        refused = sum(rejections.values())
        if refused:
            self._series.events_ingested.labels(environment, Verdict.REJECTED.value).inc(refused)


def observe_request(series: Series, method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; `method` and `route` are of closed sets, as the API gives them."""
    labels = method, route, str(status)
    series.http_requests.labels(*labels).inc()
    series.http_request_seconds.labels(*labels).observe(seconds)


def _counted(names: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value is there."""
    found = pc.value_counts(names)
    return dict(zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True))


def _environments(keys: pa.ChunkedArray, environment: str) -> pa.Array:
    """Return the environments that record keys `tenant:environment:customer` name, or the given one."""
    encoded = pc.dictionary_encode(keys).combine_chunks()
    named = pa.array(
        [_environment_of(key, environment) for key in encoded.dictionary.to_pylist()], pa.string()
    )
    return pc.fill_null(named.take(encoded.indices), environment)


def _environment_of(key: bytes, environment: str) -> str:
    """Return the environment that a key names."""
    parts = key.decode(errors="replace").split(":", 2)
    return parts[1] if len(parts) == 3 and parts[0] and parts[1] else environment
