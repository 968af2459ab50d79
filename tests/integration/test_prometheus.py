"""Prometheus reads a running `tally dev`, and what it tells of it is exact."""

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from flows.metrics.billing_series import billing_series
from flows.metrics.series import exposition

pytestmark = pytest.mark.timeout(240)

KEY = "sk_prometheus00000000000000000000000000000000"
DEADLINE_SECONDS = 30
START_SECONDS_MAX = 60
# The alerts that wait for what later feeds them, by the series that they look at.
NOT_FED_YET = {
    "tally_reconcile_drift",
}


@pytest.fixture
def tally_url(tally: str, plain_environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """Start `tally dev` on a free port and give its URL."""
    process = subprocess.Popen(
        [tally, "dev", "--port", "0", "--data", str(tmp_path / "data")],
        env={**plain_environment, "TALLY_API_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        deadline = time.monotonic() + START_SECONDS_MAX
        while httpx.get(f"{url}/readyz").status_code != 200:
            assert time.monotonic() < deadline, httpx.get(f"{url}/readyz").text
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS_MAX)


def asked(prometheus_url: str, query: str) -> float | None:
    """Return the one number that a query gives, None if there is none yet."""
    answer = httpx.get(f"{prometheus_url}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None


def becomes(prometheus_url: str, expected: dict[str, float]) -> None:
    """Wait until Prometheus tells all these numbers, each by its query."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = {query: asked(prometheus_url, query) for query in expected}
        if found == expected:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.requires("embedded", "prometheus")
def test_prometheus_reads_what_became_of_every_event(
    tally_url: str, prometheus: Callable[..., str]
) -> None:
    server = prometheus(tally_url.removeprefix("http://"))
    event = {"event_name": "api.call", "external_customer_id": "acme"}
    with httpx.Client(base_url=tally_url, headers={"x-api-key": KEY}, timeout=30) as client:
        for number in range(7):
            sent = client.post("/v1/events", json={**event, "event_id": f"one_{number}"})
            assert sent.status_code == 202, sent.text
        many = [{**event, "event_id": f"many_{number}"} for number in range(100)]
        # A copy of an event, one that no meter wants, and one that is no event.
        copy, unwanted = {**event, "event_id": "one_0"}, {**event, "event_name": "unheard.of"}
        for events, status in (
            ([*many, copy, unwanted], 202),
            ([event, {"event_name": "api.call"}], 400),
        ):
            sent = client.post("/v1/events/bulk", json={"events": events})
            assert sent.status_code == status, sent.text
        assert client.get("/v1/no-such-route").status_code == 404
    becomes(
        server,
        {
            "up": 1,
            "count(tally_build_info)": 1,
            'sum(tally_events_ingested_total{verdict="accepted"})': 108,
            'sum(tally_events_ingested_total{verdict="duplicate"})': 1,
            'sum(tally_events_ingested_total{verdict="unmatched"})': 1,
            'sum(tally_events_ingested_total{verdict="rejected"})': 1,
            'sum(tally_events_rejected_total{reason="external_customer_id_required"})': 1,
            "sum(tally_event_to_usage_seconds_count)": 107,
            'tally_http_requests_total{route="/v1/events", method="POST", status="202"}': 7,
            'sum(tally_http_requests_total{route="/v1/events/bulk"})': 2,
            'tally_http_requests_total{route="/v1/events/bulk", status="400"}': 1,
            'tally_http_requests_total{route="unmatched", status="404"}': 1,
            "sum(tally_dedup_ids)": 108,
            "sum(tally_source_lag_records)": 0,
            'count(ALERTS{alertstate="firing"}) or vector(0)': 0,
        },
    )
    assert asked(server, "sum(tally_event_to_usage_seconds_bucket{le='5.0'})") == 107
    assert (asked(server, "max(tally_snapshot_age_seconds)") or 0) < 15


@pytest.mark.requires("prometheus")
def test_the_settings_and_the_alerts_are_what_prometheus_understands(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(root / "deploy" / "prometheus" / "prometheus"), "check"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 rules found" in done.stdout


@pytest.mark.parametrize("path", ["prometheus/alerts.yml", "grafana/tally.json"])
def test_alerts_and_dashboard_look_at_series_that_exist(root: Path, path: str) -> None:
    text = (root / "deploy" / path).read_text(encoding="utf-8")
    if path.endswith(".json"):
        panels = json.loads(text)["panels"]
        text = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    names = set(re.findall(r"\btally_[a-z_]+", text))
    # Made by the first flow that bills.
    billing_series()
    told = exposition()[0].decode()
    known = set(re.findall(r"^# TYPE (tally_[a-z_]+)", told, re.MULTILINE))
    unknown = {name for name in names if name.removesuffix("_bucket") not in known}
    assert names
    assert unknown <= (NOT_FED_YET if path.endswith(".yml") else set())


@pytest.mark.requires("prometheus")
def test_the_script_says_in_one_line_what_is_wrong(root: Path, tmp_path: Path) -> None:
    script = [sys.executable, str(root / "deploy" / "prometheus" / "prometheus")]
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        for arguments, complaint in [
            (["start"], "start needs at least one --target HOST:PORT"),
            (
                ["start", "--target", "127.0.0.1:1", "--port", str(port)],
                f"port {port} is taken: choose another with --port",
            ),
        ]:
            done = subprocess.run(
                [*script, *arguments, "--data", str(tmp_path)],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert (done.returncode, done.stderr) == (1, f"prometheus: {complaint}\n")
    assert not list(tmp_path.iterdir())
