"""How metrics are shown: by the small server, over all workers, and with the library's own arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.metrics.heartbeat import Heartbeat
from flows.metrics.series import VISIBLE_BUCKETS, exposition
from flows.metrics.server import serve_metrics
from flows.metrics.weighted import WeightedHistogram
from schemas.health import Check


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Return the value of each series as Prometheus reads it."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in families
        for sample in family.samples
    }


AMOUNTS = st.lists(
    st.tuples(st.floats(0, 10_000), st.integers(1, 50))
    | st.tuples(st.sampled_from(VISIBLE_BUCKETS), st.just(1)),
    min_size=1,
    max_size=20,
)


@given(AMOUNTS, st.integers(0, 20))
def test_many_observations_at_once_are_each_of_them_alone(
    amounts: list[tuple[float, int]], cut: int
) -> None:
    registry = CollectorRegistry()
    plain = Histogram("plain", "", ("env",), registry=registry, buckets=VISIBLE_BUCKETS)
    weighted = WeightedHistogram("weighted", "", "env", VISIBLE_BUCKETS, registry)
    for amount, times in amounts:
        for _ in range(times):
            plain.labels("a").observe(amount)
    for part in (amounts[:cut], amounts[cut:]):
        values = np.array([amount for amount, _ in part], np.float64)
        weighted.observe("a", values, np.array([times for _, times in part], np.int64))
    found = samples(registry)
    of_plain = {
        n.removeprefix("plain"): v
        for n, v in found.items()
        if n.startswith("plain") and "_created" not in n
    }
    of_weighted = {
        n.removeprefix("weighted"): v for n, v in found.items() if n.startswith("weighted")
    }
    assert of_weighted == pytest.approx(of_plain)


def test_a_heart_that_never_beat_has_no_age() -> None:
    times = iter([5.0, 9.0])
    pulse = Heartbeat(lambda: next(times))
    assert pulse.seconds_since() is None
    pulse.touch()
    assert pulse.seconds_since() == 4.0


def get(port: int, path: str) -> tuple[int, str, bytes]:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=10)
    return answer.status_code, answer.headers["content-type"], answer.content


def test_the_small_server_answers_what_operators_ask() -> None:
    checks = [Check("clickhouse", ok=True, latency_ms=3)]
    with serve_metrics(0, lambda: checks) as server:
        status, content_type, body = get(server.port, "/metrics")
        assert (status, content_type.split(";")[0]) == (200, "text/plain")
        assert b"tally_build_info{" in body
        assert get(server.port, "/healthz")[::2] == (200, b'{"status": "ok"}')
        assert get(server.port, "/readyz")[0] == 200
        checks.append(Check("metering", ok=False, latency_ms=0, message="has not begun"))
        status, _, body = get(server.port, "/readyz")
        assert status == 503
        assert json.loads(body) == {
            "status": "unavailable",
            "checks": [
                {"name": "clickhouse", "ok": True, "latency_ms": 3, "message": ""},
                {"name": "metering", "ok": False, "latency_ms": 0, "message": "has not begun"},
            ],
        }
        assert get(server.port, "/elsewhere")[0] == 404


def test_nothing_is_shown_that_nobody_feeds_and_no_time_of_creation() -> None:
    body, _ = exposition()
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert not [name for name in names if name.endswith("_created")]
    assert not [name for name in names if "invoice" in name or "wallet" in name or "job" in name]


WORKER = """
import sys
from flows.metrics.observer import observe_request
from flows.metrics.series import exposition, series
observe_request(series(), "GET", "/healthz", 200, 0.001)
series().source_lag_records.labels("metering", "0").set(int(sys.argv[1]))
if sys.argv[2] == "ask":
    sys.stdout.write(exposition()[0].decode())
"""
PARENT = """
import subprocess, sys
from pathlib import Path
from flows.metrics.workers import share_metrics, worker_ended
share_metrics(Path(sys.argv[1]))
first = subprocess.Popen([sys.executable, "-c", sys.argv[2], "5", "quiet"])
first.wait()
if sys.argv[3] == "mark":
    worker_ended(first.pid)
subprocess.run([sys.executable, "-c", sys.argv[2], "7", "ask"], check=True)
"""


@pytest.mark.parametrize(("marked", "waiting"), [("", 12), ("mark", 7)])
def test_whichever_worker_is_asked_answers_for_all(
    tmp_path: Path, marked: str, waiting: float
) -> None:
    (tmp_path / "counter_1.db").write_bytes(b"what an earlier run left")
    arguments = [sys.executable, "-c", PARENT, str(tmp_path), WORKER, marked]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    found = {
        sample.name: sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert found["tally_http_requests_total"] == 2
    assert found["tally_http_request_seconds_count"] == 2
    assert found["tally_build_info"] == 1
    # A gauge is what the living say.
    assert found["tally_source_lag_records"] == waiting
