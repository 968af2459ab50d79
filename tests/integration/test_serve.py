"""`tally serve` and a cluster of metering say what is missing, and leave nobody behind."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from roles import END_SECONDS_MAX, Deployment, clickhouse_server, until

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(240)]

KEY = "sk_serve0000000000000000000000000000000000000"
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def catalog(root: Path) -> Path:
    return root / "tests" / "generator" / "catalog.yaml"


@pytest.fixture
def deployment(
    root: Path, tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> Iterator[Deployment]:
    """Give everything but a broker."""
    with clickhouse_server(root, tmp_path / "server") as url:
        settings = {
            "TALLY_KAFKA_BROKERS": NOWHERE,
            "TALLY_CLICKHOUSE_URL": url,
            "TALLY_DATA": str(tmp_path / "data"),
            "TALLY_API_KEY": KEY,
        }
        yield Deployment(tally, plain_environment | settings, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["serve"], {}, "`tally serve` needs a ClickHouse server: set TALLY_CLICKHOUSE_URL"),
        (["serve"], {"TALLY_CLICKHOUSE_URL": f"http://{NOWHERE}"}, "the store refused 'connect"),
        (
            ["serve"],
            {"TALLY_KAFKA_BROKER": "a:1"},
            "unknown setting TALLY_KAFKA_BROKER in the envi",
        ),
        (
            ["run", "metering", "--processes", "2"],
            {},
            "several processes need one ClickHouse server for all",
        ),
        (
            ["run", "metering", "--processes", "2"],
            {"TALLY_CLICKHOUSE_URL": f"http://{NOWHERE}", "TALLY_KAFKA_BROKERS": NOWHERE},
            f"Kafka at {NOWHERE} does not answer",
        ),
    ],
    ids=["no server", "server away", "misspelt", "embedded", "broker away"],
)
def test_what_cannot_begin_says_why_in_one_line(
    tally: str,
    plain_environment: dict[str, str],
    catalog: Path,
    tmp_path: Path,
    arguments: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    data = {"TALLY_DATA": str(tmp_path / "data")}
    done = subprocess.run(
        [tally, *arguments, "--catalog", str(catalog)],
        env={**plain_environment, **data, **environment},
        capture_output=True,
        text=True,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("tally")]
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"tally: {said}")


def test_without_the_log_intake_answers_503_and_nobody_outlives_the_supervisor(
    deployment: Deployment, catalog: Path
) -> None:
    event = {
        "event_name": "api.call",
        "external_customer_id": "acme",
        "timestamp": "2026-03-01T00:00:00Z",
        "properties": {},
    }
    with (
        deployment.serving(catalog, 2) as (serving, url),
        httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=60) as client,
    ):
        until(lambda: answers(client), serving.said, serving)
        ready = client.get("/readyz")
        assert ready.status_code == 503
        checks = {check["name"]: check for check in ready.json()["checks"]}
        assert [name for name, check in checks.items() if not check["ok"]] == ["log"]
        assert NOWHERE in checks["log"]["message"]
        assert client.post("/v1/events", json=event).status_code == 503
        assert client.get("/v1/meters").status_code == 200
        assert serving.ended(signal.SIGKILL) == -signal.SIGKILL


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
