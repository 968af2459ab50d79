"""`tally dev` as its user meets it: one command, a key, a curl; killed, stopped and started again."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(240)]

KEY = "sk_integration0000000000000000000000000000000"
DAY = {"start_time": "2026-03-01T00:00:00Z", "end_time": "2026-03-02T00:00:00Z"}
DEADLINE_SECONDS = 60


@dataclass
class Running:
    """A `tally dev` that has said where it is."""

    process: subprocess.Popen[str]
    url: str
    banner: list[str]

    def client(self, key: str = KEY) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"x-api-key": key}, timeout=30)

    def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=DEADLINE_SECONDS)


Start = Callable[..., Running]


@pytest.fixture
def start(tally: str, plain_environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts `tally dev`; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: str, key: str | None = KEY, data: Path | None = None, **environment: str
    ) -> Running:
        settings = {**plain_environment, **environment}
        if key is not None:
            settings["TALLY_API_KEY"] = key
        folder = str(data or tmp_path / "data")
        process = subprocess.Popen(
            [tally, "dev", "--port", "0", "--data", folder, *arguments],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        banner = [process.stdout.readline().rstrip("\n") for _ in range(6)]
        if not banner[0]:
            _, complaint = process.communicate(timeout=DEADLINE_SECONDS)
            pytest.fail(f"tally dev did not start: {complaint}")
        return Running(process, banner[0].split()[-1], banner)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fails after a generous while."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.05)


def meters(client: httpx.Client) -> dict[str, str]:
    """Return the ids of all meters by their names."""
    return {item["name"]: item["id"] for item in client.get("/v1/meters").json()["items"]}


def usage(client: httpx.Client, meter_id: str, **more: object) -> dict[str, object]:
    """Return what the API says of a meter on the day of the tests; numbers keep their digits."""
    answer = client.post("/v1/events/usage/meter", json={"meter_id": meter_id, **DAY, **more})
    assert answer.status_code == 200, answer.text
    return dict(json.loads(answer.text, parse_float=str, parse_int=str))


def event(number: int, **properties: object) -> dict[str, object]:
    return {
        "event_id": f"e{number}",
        "event_name": "llm.completion",
        "external_customer_id": f"c{number % 3}",
        "timestamp": f"2026-03-01T{number % 24:02}:{number % 60:02}:{number % 59:02}.5Z",
        "properties": {"tokens": f"{number}.000000000000000001", **properties},
    }


def total(numbers: range) -> str:
    """Return the exact sum of the tokens of some events."""
    return f"{sum(numbers)}.{len(numbers):018}".rstrip("0").rstrip(".")


def test_the_first_minute_one_command_one_curl_one_number(start: Start) -> None:
    running = start(key=None)
    key = running.banner[1].split()[1]
    assert key.startswith("sk_")
    assert "three meters" in running.banner[3]
    command = running.banner[4].split(maxsplit=1)[1]
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True
    )
    answer = json.loads(done.stdout)
    assert set(answer) == {"message", "event_id"}
    with running.client(key) as client:
        calls = meters(client)["API calls"]
        read = {"meter_id": calls}
        until(lambda: client.post("/v1/events/usage/meter", json=read).json()["value"] == 1)
        page = client.post("/v1/events/query", json={"event_id": answer["event_id"]}).json()
        assert page["total_count"] == 1
        assert client.get("/readyz").status_code == 200
    assert running.end(signal.SIGINT) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_second_start_goes_on_where_the_first_one_was(start: Start, number: int) -> None:
    first = start()
    with first.client() as client:
        for low in range(0, 300, 100):
            body = {"events": [event(each) for each in range(low, low + 100)]}
            assert client.post("/v1/events/bulk", json=body).status_code == 202
    assert first.end(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    second = start()
    with second.client() as client:
        body = {"events": [event(each) for each in range(250, 400)]}
        assert client.post("/v1/events/bulk", json=body).status_code == 202
        tokens = meters(client)["Tokens"]
        until(lambda: usage(client, tokens)["value"] == total(range(400)))
        for customer in range(3):
            numbers = range(customer, 400, 3)
            mine = usage(client, tokens, external_customer_id=f"c{customer}")
            assert mine["value"] == total(numbers)
    assert second.end(signal.SIGTERM) == 0


def test_many_senders_at_once_lose_nothing_and_count_nothing_twice(start: Start) -> None:
    running = start()

    def send(sender: int) -> None:
        with running.client() as client:
            for low in range(0, 500, 50):
                # Every batch is sent by two of the senders.
                numbers = range(500 * (sender // 2) + low, 500 * (sender // 2) + low + 50)
                body = {"events": [event(each) for each in numbers]}
                assert client.post("/v1/events/bulk", json=body).status_code == 202

    with ThreadPoolExecutor(8) as senders:
        list(senders.map(send, range(8)))
    with running.client() as client:
        tokens = meters(client)["Tokens"]
        until(lambda: usage(client, tokens)["value"] == total(range(2000)))
        windows = usage(client, tokens, window_size="HOUR")["results"]
        assert isinstance(windows, list)
        assert len(windows) == 24
        ragged = usage(
            client,
            tokens,
            start_time="2026-03-01T05:05:05.5Z",
            end_time="2026-03-01T05:05:05.500001Z",
        )
        at_that_instant = [n for n in range(2000) if (n % 24, n % 60, n % 59) == (5, 5, 5)]
        assert ragged["value"] == f"{sum(at_that_instant)}.{len(at_that_instant):018}"


def test_two_at_once_on_one_folder_get_one_clear_line(
    start: Start, tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> None:
    running = start()
    done = subprocess.run(
        [tally, "dev", "--port", "0", "--data", str(tmp_path / "data")],
        env=plain_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert f"process {running.process.pid}" in lines[0]


def test_a_port_in_use_is_told_in_one_line(
    start: Start, tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> None:
    port = start().url.rpartition(":")[2]
    done = subprocess.run(
        [tally, "dev", "--port", port, "--data", str(tmp_path / "other")],
        env=plain_environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if port in line]
    assert "Traceback" not in done.stderr


def test_a_catalog_that_grew_counts_the_events_from_before_it(start: Start, tmp_path: Path) -> None:
    small = {"name": "small", "event_name": "llm.completion", "aggregation": {"type": "COUNT"}}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(json.dumps({"meters": [small]}))
    first = start("--catalog", str(catalog))
    with first.client() as client:
        body = {"events": [event(each, model="a" if each % 4 else "b") for each in range(200)]}
        assert client.post("/v1/events/bulk", json=body).status_code == 202
        until(lambda: usage(client, meters(client)["small"])["value"] == "200")
    assert first.end(signal.SIGTERM) == 0
    added = {
        "name": "tokens of b",
        "event_name": "llm.completion",
        "aggregation": {"type": "SUM", "field": "tokens"},
        "filters": [{"key": "model", "values": ["b"]}],
    }
    catalog.write_text(json.dumps({"meters": [small, added]}))
    second = start("--catalog", str(catalog))
    with second.client() as client:
        body = {"events": [event(each, model="b") for each in range(200, 210)]}
        assert client.post("/v1/events/bulk", json=body).status_code == 202
        expected = sum(range(0, 200, 4)) + sum(range(200, 210))
        until(
            lambda: (
                usage(client, meters(client)["tokens of b"])["value"]
                == f"{expected}.{60:018}".rstrip("0")
            )
        )
        # What is read from raw events while its rows are built may be ahead of rows.
        until(lambda: usage(client, meters(client)["small"])["value"] == "210")


def test_nobody_without_a_key_is_let_in(start: Start) -> None:
    running = start()
    for headers in ({}, {"x-api-key": "sk_wrong"}, {"authorization": "Bearer sk_wrong"}):
        for method, path in (
            ("POST", "/v1/events"),
            ("GET", "/v1/meters"),
        ):
            answer = httpx.request(method, running.url + path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.json()["code"] == "unauthorized"
    assert httpx.get(f"{running.url}/health").json() == {"status": "ok"}
