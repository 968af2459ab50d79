"""What is shown to operators: counted once, exact, and never more series for more traffic."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from bytewax.inputs import FixedPartitionedSource
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.connectors.dead_letter_sink import DeadLetterSink
from flows.connectors.reading import ReadAheadPartition, Reading, read_batch
from flows.connectors.usage_sink import UsageSink
from flows.metering.batches import ReadBatch
from flows.metering.flow import Counts, MeteringSettings, metering_flow
from flows.metering.observing import (
    RECEIPT_STEPS,
    bytes_by_environment,
    receipts_by_shard,
)
from flows.metrics.observer import DoorObserver, SeriesObserver, observe_request
from flows.metrics.series import Series
from flows.stores.clickhouse import open_store
from operators.decoding import Door
from operators.lateness import BEGINNING
from operators.partials import Partials
from schemas.event import RECORDS
from schemas.meter import Aggregation, AggregationType, Meter
from schemas.scope import Scope

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DATABASES = count(1)
METERS = (
    Meter("m_calls", "t", "env_a", "Calls", "call", Aggregation(AggregationType.COUNT)),
    Meter("m_tokens", "t", "env_a", "Tokens", "llm", Aggregation(AggregationType.SUM, "tokens")),
    Meter("m_other", "t", "env_b", "Calls", "call", Aggregation(AggregationType.COUNT)),
)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Return the value of each series as Prometheus reads it."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: dict[str, float], name: str, **labels: str) -> float:
    return found.get(name + json.dumps(labels, sort_keys=True), 0.0)


@dataclass(frozen=True)
class Sent:
    """A record of the log: what is in it, and its key."""

    text: str
    key: bytes | None = b"t:env_a:acme"

    @staticmethod
    def event(
        name: str, event_id: str, *, key: bytes | None = b"t:env_a:acme", **more: Any
    ) -> "Sent":
        event = {"event_id": event_id, "event_name": name, "external_customer_id": "acme"} | more
        return Sent(json.dumps({"timestamp": "2026-03-01T12:00:00Z"} | event), key)


def records(sent: Sequence[Sent], first: int = 0) -> pa.Table:
    """Return records that came a millisecond after one another."""
    rows = [
        {
            "partition": 0,
            "offset": offset,
            "value": each.text.encode(),
            "key": each.key,
            "received_at": NOON + timedelta(milliseconds=offset),
        }
        for offset, each in enumerate(sent, first)
    ]
    return pa.Table.from_pylist(rows, schema=RECORDS)


def read(table: pa.Table) -> ReadBatch:
    door = Door("t", "env_a", lambda missing: pa.nulls(missing.num_rows, pa.string()))
    return read_batch(table, door, BEGINNING, 60_000_000)[0]


class ListSource:
    """Builds a source of given batches, as the sources of logs are: one partition that can resume."""

    @staticmethod
    def of(batches: Sequence[ReadBatch]) -> Any:
        def readings(start: int, _: threading.Event) -> Iterator[Reading[int]]:
            for number, batch in enumerate(batches[start:], start + 1):
                yield Reading(batch, number)

        class Source(FixedPartitionedSource[ReadBatch, int]):
            def list_parts(self) -> list[str]:
                return ["0"]

            def build_part(
                self, step_id: str, for_part: str, resume_state: int | None
            ) -> ReadAheadPartition[int]:
                return ReadAheadPartition("list", resume_state or 0, readings)

        return Source()


def observer_of(series: Series, **clocks: Any) -> SeriesObserver:
    return SeriesObserver(
        series,
        flow="metering",
        environments={"env_a", "env_b"},
        environment="env_a",
        **clocks,
    )


@pytest.fixture
def series() -> Series:
    return Series(CollectorRegistry())


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("store"))


def run(
    series: Series, folder: Path, store_folder: str, batches: Sequence[ReadBatch], shards: int = 2
) -> dict[str, int]:
    """Run the real flow over batches, one second after the first record was received."""
    seconds = (NOON + timedelta(seconds=1)).timestamp()
    observer = observer_of(series, clock=lambda: seconds)
    counts = Counts()
    with open_store(store_folder, f"metrics_{next(DATABASES)}") as store:
        flow = metering_flow(
            ListSource.of(batches),
            store,
            METERS,
            MeteringSettings(folder, shards, timedelta(milliseconds=1)),
            usage=UsageSink(store, {meter.id: meter for meter in METERS}, observer=observer),
            dead_letters=DeadLetterSink(store, "test", observer=observer),
            counts=counts,
            observer=observer,
        )
        run_main(flow)
    return counts.totals()


@pytest.mark.requires("embedded")
def test_the_flow_counts_every_record_once_by_what_became_of_it(
    series: Series, tmp_path: Path, store_folder: str
) -> None:
    sent = [
        Sent.event("call", "1"),
        Sent.event("call", "2"),
        Sent.event("call", "1"),  # a duplicate
        Sent.event("call", "2", source="elsewhere"),  # a conflict
        Sent.event("walk", "3"),  # no meter wants it
        Sent.event("llm", "4", properties={"tokens": 5}),
        Sent.event("llm", "5", properties={"tokens": "many"}),  # matched, but it does not count
        Sent.event("call", "1", key=b"t:env_b:acme"),
        Sent("{", b"t:env_b:acme"),
        Sent("{", None),
        Sent.event("call", "6", key=b"t:made_up:acme"),
    ]
    totals = run(series, tmp_path, store_folder, [read(records(sent))])
    found = samples(series.registry)
    verdicts = {
        (env, verdict): value(found, "tally_events_ingested_total", env=env, verdict=verdict)
        for env in ("env_a", "env_b", "other")
        for verdict in ("accepted", "duplicate", "conflict", "unmatched", "rejected", "late")
    }
    assert {place: number for place, number in verdicts.items() if number} == {
        ("env_a", "accepted"): 5,
        ("env_a", "duplicate"): 1,
        ("env_a", "conflict"): 1,
        ("env_a", "unmatched"): 1,
        ("env_a", "rejected"): 1,
        ("env_b", "accepted"): 1,
        ("env_b", "rejected"): 1,
        ("other", "accepted"): 1,
        ("other", "unmatched"): 1,
    }
    assert totals["accepted"] == 7
    assert value(found, "tally_events_rejected_total", env="env_b", reason="invalid_json") == 1
    # Events 1, 2 and 4 count in one environment and 1 in the other; 3, 5 and 6 count for nothing.
    assert value(found, "tally_event_to_usage_seconds_count", env="env_a") == 3
    assert value(found, "tally_event_to_usage_seconds_count", env="env_b") == 1
    waited = value(found, "tally_event_to_usage_seconds_sum", env="env_a")
    assert 3 * 0.989 < waited <= 3 * 1.001
    assert value(found, "tally_dedup_lookups_total", result="new") == 7
    assert value(found, "tally_dedup_lookups_total", result="known") == 2
    assert value(found, "tally_usage_rows_written_total", env="env_a", kind="first") == 2
    assert value(found, "tally_flow_batch_records_sum", flow="metering", step="read") == 11


@pytest.mark.requires("embedded")
def test_snapshots_show_how_large_the_state_is(
    series: Series, tmp_path: Path, store_folder: str
) -> None:
    batches = [read(records([Sent.event("call", str(n))], n)) for n in range(5)]
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    observer = observer_of(series)
    with open_store(store_folder, f"metrics_{next(DATABASES)}") as store:
        flow = metering_flow(
            ListSource.of(batches),
            store,
            METERS,
            MeteringSettings(tmp_path / "state", 1, timedelta(milliseconds=1)),
            usage=UsageSink(store, {meter.id: meter for meter in METERS}, observer=observer),
            dead_letters=DeadLetterSink(store, "test"),
            counts=Counts(),
            observer=observer,
        )
        run_main(flow, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(recovery))
    found = samples(series.registry)
    assert value(found, "tally_dedup_ids", shard="0") == 5
    assert value(found, "tally_dedup_bytes", shard="0") > 0
    assert value(found, "tally_state_bytes", flow="metering", shard="0") > 0
    state = value(found, "tally_state_bytes", flow="metering", shard="0")
    assert value(found, "tally_snapshot_bytes", flow="metering") == state + 5 * 32
    assert 'tally_open_windows{"flow": "metering", "shard": "0"}' in found
    assert 0 <= value(found, "tally_snapshot_age_seconds", flow="metering") < 60


@pytest.mark.requires("embedded")
def test_a_day_of_traffic_does_not_grow_the_number_of_series(
    series: Series, tmp_path: Path, store_folder: str
) -> None:
    def day(number: int, kinds: int) -> list[ReadBatch]:
        sent = [
            Sent.event(
                "call" if each % 3 else f"name_{number}_{each}",
                f"id_{number}_{each}",
                key=f"t:{('env_a', 'env_b', f'env_{number}_{each}')[each % 3]}:c{each}".encode(),
                external_customer_id=f"customer_{number}_{each}",
                properties={f"p_{number}_{each}": each},
            )
            for each in range(kinds)
        ]
        bad = [Sent("{", f"t:made_up_{number}_{each}:c".encode()) for each in range(kinds)]
        return [read(records([*sent, *sent[:3], *bad], 10_000 * number))]

    run(series, tmp_path / "1", store_folder, day(1, 6))
    before = set(samples(series.registry))
    run(series, tmp_path / "2", store_folder, day(2, 300))
    assert set(samples(series.registry)) == before


def test_the_door_and_the_api_feed_their_series(series: Series) -> None:
    door = DoorObserver(series)
    door(Scope("t", "env_a"), 2, 120, {})
    door(Scope("t", "env_a"), 0, 30, {"invalid_json": 1, "field_too_long": 2})
    observe_request(series, "POST", "/v1/events", 202, 0.004)
    observe_request(series, "POST", "/v1/events", 202, 0.006)
    found = samples(series.registry)
    assert value(found, "tally_event_bytes_total", env="env_a", source="http") == 150
    assert value(found, "tally_events_rejected_total", env="env_a", reason="field_too_long") == 2
    assert value(found, "tally_events_ingested_total", env="env_a", verdict="rejected") == 3
    labels = {"method": "POST", "route": "/v1/events", "status": "202"}
    assert value(found, "tally_http_requests_total", **labels) == 2
    assert value(found, "tally_http_request_seconds_bucket", **labels, le="0.005") == 1
    assert value(found, "tally_http_request_seconds_sum", **labels) == pytest.approx(0.01)


def test_a_source_says_how_far_it_is_behind(series: Series) -> None:
    observer = observer_of(series)
    observer.read_of(3)(1000, 90_000, 250, 1.5)
    observer.kafka_bytes({"env_a": 90_000, "unheard_of": 7})
    found = samples(series.registry)
    assert value(found, "tally_source_lag_records", flow="metering", partition="3") == 250
    assert value(found, "tally_source_lag_seconds", flow="metering", partition="3") == 1.5
    assert value(found, "tally_event_bytes_total", env="env_a", source="kafka") == 90_000
    assert value(found, "tally_event_bytes_total", env="other", source="kafka") == 7


def test_the_age_of_a_snapshot_grows_until_the_next(series: Series) -> None:
    times = iter([100.0, 107.0, 110.0, 111.0])
    observer = observer_of(series, elapsed=lambda: next(times))
    assert "tally_snapshot_age_seconds" not in "".join(samples(series.registry))
    observer.snapshot_made()
    assert value(samples(series.registry), "tally_snapshot_age_seconds", flow="metering") == 7
    observer.snapshot_made()
    assert value(samples(series.registry), "tally_snapshot_age_seconds", flow="metering") == 1


def test_store_failures_are_counted(series: Series) -> None:
    observer_of(series).store_failed()
    assert value(samples(series.registry), "tally_store_errors_total", store="clickhouse") == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 10**10), st.booleans())
    ),
    st.integers(1, 3),
)
def test_receipts_keep_each_event_and_its_time(
    events: list[tuple[str, int, int, bool]], shards: int
) -> None:
    customers = pa.array([str(event[1]) for event in events], pa.string())
    table = pa.table(
        {
            "environment_id": pa.array([event[0] for event in events], pa.string()),
            "external_customer_id": customers,
            "received_at": pa.array([event[2] for event in events], pa.timestamp("us", "UTC")),
        }
    )
    wanted = pa.array([event[3] for event in events], pa.bool_())
    parts = [
        {"COUNT": Partials(pa.table({"external_customer_id": names}), None)}
        for shard in range(shards)
        for names in [[str(c) for c in range(10) if c % shards == shard]]
    ]
    found = receipts_by_shard(table, wanted, parts)
    times = [event[2] for event in events]
    step = max(1000, (max(times, default=0) - min(times, default=0)) // RECEIPT_STEPS)
    for name in "ab":
        for shard in range(shards):
            mine = sorted(e[2] for e in events if e[3] and e[0] == name and e[1] % shards == shard)
            kept = [
                time
                for each in found[shard]
                if each.environment_id == name
                for time in np.repeat(each.received_us, each.events).tolist()
            ]
            assert len(kept) == len(mine)
            assert all(0 <= at - floor < step for at, floor in zip(mine, kept, strict=True))


def test_a_log_without_receipt_times_has_no_receipts() -> None:
    table = pa.table({"received_at": pa.nulls(2, pa.timestamp("us", "UTC"))})
    assert receipts_by_shard(table, pa.array([True, True]), [{}, {}]) == [(), ()]


@given(st.lists(st.sampled_from(["a", "b", "none", "bad"]), min_size=1, max_size=12))
def test_bytes_are_those_of_the_environment_that_sent_them(kinds: list[str]) -> None:
    sent = [
        Sent("{" * (number + 1), b"t:env_b:acme")
        if kind == "bad"
        else Sent.event(
            "call", "x" * number, key=None if kind == "none" else f"t:env_{kind}:acme".encode()
        )
        for number, kind in enumerate(kinds)
    ]
    table = records(sent, 100)
    expected: dict[str, int] = {}
    for kind, each in zip(kinds, sent, strict=True):
        name = {"a": "env_a", "b": "env_b"}.get(kind, "env_a")
        expected[name] = expected.get(name, 0) + len(each.text)
    assert bytes_by_environment(table, read(table), "env_a") == expected
