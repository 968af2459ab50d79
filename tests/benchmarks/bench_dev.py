"""How long `tally dev` takes to serve, and an event from its 202 to usage; medians of one run.

python tests/benchmarks/bench_dev.py
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

KEY = "sk_benchmark00000000000000000000000000000000"
TALLY = str(Path(sys.executable).parent / "tally")
STARTS = 5
EVENTS = 25
REQUESTS = 60


def start(data: str) -> tuple[subprocess.Popen[str], str, float]:
    """Start `tally dev`; return it, its URL, and the seconds until it said so."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [TALLY, "dev", "--port", "0", "--data", data],
        env={**os.environ, "TALLY_API_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    return process, url, time.perf_counter() - begun


def stop(process: subprocess.Popen[str]) -> float:
    """Stop it; return the seconds that took."""
    begun = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    return time.perf_counter() - begun


def visible_after(client: httpx.Client, meter: str) -> float:
    """Send one event; return the seconds from its 202 until usage has it."""

    def value() -> int:
        return int(client.post("/v1/events/usage/meter", json={"meter_id": meter}).json()["value"])

    before = value()
    body = {"event_name": "api.call", "external_customer_id": "acme"}
    assert client.post("/v1/events", json=body).status_code == 202
    answered = time.perf_counter()
    while value() == before:
        time.sleep(0.005)
    return time.perf_counter() - answered


def bulk_seconds(client: httpx.Client, first: int) -> float:
    """Send 1000 events in one request; return the seconds it took."""
    events = [
        {
            "event_id": f"e{number}",
            "event_name": "llm.completion",
            "external_customer_id": f"c{number % 1000}",
            "timestamp": "2026-03-01T12:00:00Z",
            "properties": {"tokens": number, "model": "large", "region": "eu-1"},
        }
        for number in range(first, first + 1000)
    ]
    body = json.dumps({"events": events}).encode()
    begun = time.perf_counter()
    answer = client.post("/v1/events/bulk", content=body)
    assert answer.status_code == 202, answer.text
    return time.perf_counter() - begun


def quantiles(seconds: list[float]) -> str:
    """Return median and greatest of some times."""
    return f"median {statistics.median(seconds):.3f} s, greatest {max(seconds):.3f} s"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        process, url, first = start(f"{folder}/0")
        print(f"first start, empty folder          {first:.2f} s")
        stop(process)
        again, stops = [], []
        for _ in range(STARTS):
            process, url, seconds = start(f"{folder}/0")
            again.append(seconds)
            stops.append(stop(process))
        print(f"start on a folder                  {quantiles(again)}")
        print(f"stop                               {quantiles(stops)}")
        process, url, _ = start(f"{folder}/0")
        with httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=30) as client:
            items = client.get("/v1/meters").json()["items"]
            meter = next(item["id"] for item in items if item["name"] == "API calls")
            seen = [visible_after(client, meter) for _ in range(EVENTS)]
            print(f"from 202 to usage, one at a time   {quantiles(seen)}")
            begun = time.perf_counter()
            bulks = [bulk_seconds(client, 1000 * number) for number in range(REQUESTS)]
            rate = 1000 * REQUESTS / (time.perf_counter() - begun)
            print(f"bulk of 1000, one sender           {quantiles(bulks)}; {rate:,.0f} events/s")
            loaded = [visible_after(client, meter) for _ in range(EVENTS)]
            print(f"from 202 to usage, behind that     {quantiles(loaded)}")
        stop(process)


if __name__ == "__main__":
    main()
