"""Metering files in place: the real dataflow on a temporary embedded store, for one command."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from flows.catalog import Catalog
from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.file_source import FileSettings, FileSource, total_bytes
from flows.connectors.usage_sink import UsageSink
from flows.metering.flow import Counts, MeteringSettings, metering_flow
from flows.metering.readback import cut_pairs, stored_usage
from flows.stores.clickhouse import Store
from flows.stores.dead_letters import read_dead_letters
from flows.stores.spool import open_spooled_store
from operators.partials import Partials
from schemas.errors import ValidationFailed
from schemas.meter import Meter
from schemas.period import Interval
from schemas.scope import Scope

BATCH_RECORDS = 100_000
EVENT_BYTES_MAX = 1_000_000
LATENESS_MICROSECONDS = 60_000_000
EPOCH = timedelta(seconds=2)
TENANT, ENVIRONMENT = "tenant_default", "env_development"


@dataclass(frozen=True, slots=True)
class MeterProgress:
    """How far a run is: bytes read of all bytes (None if unknown), and seconds since it began."""

    bytes_read: int
    bytes_total: int | None
    seconds: float

    def __str__(self) -> str:
        """Say it for a progress line."""
        megabytes = f"{self.bytes_read / 1e6:,.0f}"
        if self.bytes_total:
            share = min(100 * self.bytes_read // self.bytes_total, 100)
            megabytes += f" of {self.bytes_total / 1e6:,.0f}"
            return f"metering: {share} % · {megabytes} MB · {self.seconds:.0f} s"
        return f"metering: {megabytes} MB · {self.seconds:.0f} s"


class MeteredFiles:
    """What a run over files came to; reads the store as long as the run's folder is there."""

    def __init__(self, store: Store, counts: Counts, seconds: float):
        self._store = store
        self._counts = counts
        self._scope = Scope(TENANT, ENVIRONMENT)
        self.seconds = seconds

    @property
    def counts(self) -> dict[str, int]:
        """Return what became of events and pairs, by word: see `flows.metering.flow.Counts`."""
        return self._counts.totals()

    @property
    def events_per_second(self) -> float:
        """Return how many records the dataflow took a second, from its start to stored usage."""
        counts = self.counts
        records = sum(
            counts.get(word, 0) for word in ("accepted", "duplicate", "conflict", "rejected")
        )
        return records / self.seconds if self.seconds else 0.0

    @property
    def first_event_at(self) -> datetime | None:
        """Return the earliest timestamp of an accepted event."""
        return self._counts.first_event_at

    @property
    def last_event_at(self) -> datetime | None:
        """Return the latest timestamp of an accepted event."""
        return self._counts.last_event_at

    def usage(self, meter: Meter) -> Partials:
        """Return all stored rows of a meter, and its members if it counts them."""
        return stored_usage(self._store, self._scope, meter)

    def edges(self, meter: Meter, interval: Interval) -> pa.Table:
        """Return the counted pairs of the base windows that an interval cuts (PAIRS)."""
        return cut_pairs(self._store, self._scope, meter, interval)

    def dead_letters(self) -> pa.Table:
        """Return the malformed records in the order of the log (DEAD_LETTERS)."""
        return read_dead_letters(self._store)


@contextmanager
def meter_files(
    catalog: Catalog,
    paths: Sequence[str],
    *,
    processes: int = 1,
    progress: Callable[[MeterProgress], None] | None = None,
) -> Iterator[MeteredFiles]:
    """Meter NDJSON and CSV files, plain or gzip, and give what came of it; `-` is standard input.

    Recovery is on, in a folder that goes away with the context. Raises InputUnreadable if a file cannot be
    read to its end, and ValidationFailed for more than one process.
    """
    if processes != 1:
        raise ValidationFailed(
            "metering files with several processes is not built yet: leave --processes out",
            field="processes",
        )
    begun = time.monotonic()
    total = total_bytes(paths)
    read = 0

    def on_bytes(count: int) -> None:
        nonlocal read
        read += count
        if progress is not None:
            progress(MeterProgress(read, total, time.monotonic() - begun))

    with tempfile.TemporaryDirectory(prefix="tally-") as name:
        folder = Path(name)
        counts = Counts()
        with open_spooled_store(folder) as store:
            source = FileSource(
                paths,
                FileSettings(
                    TENANT, ENVIRONMENT, BATCH_RECORDS, EVENT_BYTES_MAX, LATENESS_MICROSECONDS
                ),
                on_bytes,
            )
            flow = metering_flow(
                source,
                store,
                catalog.meters,
                MeteringSettings(folder / "state", shards=1, flush_every=None),
                usage=UsageSink(store, {meter.id: meter for meter in catalog.meters}),
                dead_letters=DeadLetterSink(store, "file"),
                counts=counts,
            )
            started = time.monotonic()
            (folder / "recovery").mkdir()
            init_db_dir(folder / "recovery", 1)
            run_main(
                flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(folder / "recovery")
            )
            if source.failure is not None:
                raise source.failure
            yield MeteredFiles(store, counts, time.monotonic() - started)
