"""The roles of production together: `tally serve` and `tally run metering`, each in several processes.

Events come by HTTP and by a producer at once, some by both ways. The figures come from SQL over the
generator's values. A worker and a process of the cluster are killed under load; the cluster stops, and
goes on in other numbers. Usage is equal to the last digit every time. TALLY_CLUSTER_EVENTS says how many
events come at first.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import generated_events
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import written_records
from confluent_kafka.admin import AdminClient, NewTopic
from expected_usage import Cell, Row, members, usage
from roles import WAIT_SECONDS_MAX, Deployment, Program, until

from flows.catalog import load_catalog

pytestmark = [pytest.mark.requires("kafka", "embedded"), pytest.mark.timeout(420)]

LOGGER = logging.getLogger(__name__)

COUNT = int(os.environ.get("TALLY_CLUSTER_EVENTS", "1000000"))
MORE = 50_000
SEED = 20261120
PARTITIONS = 4
HTTP_SHARE = 0.4
# Of the first events that the producer appends, so many come over HTTP as well.
BOTH_SHARE, FIRST_SHARE = 0.1, 0.1
# So many are spelled oddly; the others are what ordinary clients send.
ODD_SHARE = 0.05
SENDERS = 4
BULK = 1000
KEY = "sk_cluster00000000000000000000000000000000000"
TOPICS = {
    "TALLY_TOPIC_EVENTS": "cluster",
    "TALLY_TOPIC_USAGE": "cluster.usage",
    "TALLY_TOPIC_DEAD_LETTERS": "cluster.dlq",
}
# Beside the generator's meters: the greatest of what a filter lets through.
FILTERED = """
  - name: peak_eu
    event_name: job.run
    aggregation: {type: MAX, field: amount}
    filters: [{key: zone, values: [eu]}]
"""
PERIOD = {"start_time": "2026-02-20T00:00:00Z", "end_time": "2026-03-03T00:00:00Z"}
DIGITS = Context(prec=100)


class Stage(NamedTuple):
    """Events that come at once: their values, request bodies of HTTP, and a file for the producer."""

    drawn: pa.Table
    bodies: list[bytes]
    records: Path
    appended: int


class Sent(NamedTuple):
    """How long each way took, in seconds, and how many requests were sent again."""

    http: float
    producer: float
    again: int


@pytest.fixture(scope="module")
def server(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the stand-in for a ClickHouse server, and give its URL."""
    process = subprocess.Popen(
        [
            sys.executable,
            os.environ.get("SHIM") or str(root / "tests" / "shims" / "clickhouse_http.py"),
            str(tmp_path_factory.mktemp("server")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


@pytest.fixture
def deployment(
    broker: str, server: str, tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> Deployment:
    settings = {
        "TALLY_KAFKA_BROKERS": broker,
        "TALLY_CLICKHOUSE_URL": server,
        "TALLY_DATA": str(tmp_path / "data"),
        "TALLY_API_KEY": KEY,
        "TALLY_LOG_LEVEL": "warning",
        # One way is ahead of the other by much: what it brings is not to be called late for that.
        "TALLY_LATENESS_SECONDS": "8640000",
        **TOPICS,
    }
    return Deployment(tally, plain_environment | settings, tmp_path)


@pytest.fixture
def catalog(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text((root / "tests" / "generator" / "catalog.yaml").read_text() + FILTERED)
    return path


def stage(folder: Path, first: int, count: int) -> Stage:
    """Draw events and write them down for both ways."""
    chance = np.random.default_rng([SEED, first, 1])
    by_http = chance.random(count) < HTTP_SHARE
    by_both = ~by_http & (chance.random(count) < BOTH_SHARE)
    by_both[int(count * FIRST_SHARE) :] = False
    rich, plain = (
        generated_events.values(
            count, SEED, door="file", plain=plain, first=first, total=COUNT + 2 * MORE
        )
        for plain in (False, True)
    )
    odd = pa.array(chance.random(count) < ODD_SHARE)
    columns = {name: pc.if_else(odd, rich[name], plain[name]) for name in rich.column_names}
    # So few customers that their minutes are shared, and of the forms the one that is a request body's.
    columns["customer"] = rich["customer"]
    one_form = pa.array(by_http | by_both)
    columns["form"] = pc.if_else(one_form, generated_events.API, rich["form"]).cast(pa.int8())
    drawn = pa.table(columns)
    written = written_records._written(drawn)
    values = written["value"].filter(one_form).cast(pa.binary()).to_pylist()
    parts = (values[start : start + BULK] for start in range(0, len(values), BULK))
    bodies = [b'{"events":[' + b",".join(part) + b"]}" for part in parts]
    appended = written.select(["key", "value"]).filter(pa.array(~by_http))
    path = folder / f"records-{first}.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, appended.schema) as writer:
        writer.write_table(appended)
    return Stage(drawn, bodies, path, appended.num_rows)


def send(root: Path, broker: str, url: str, each: Stage) -> Sent:
    """Send a stage by both ways at once, and wait until all of it is acknowledged."""
    script = str(root / "tests" / "generator" / "send_records.py")
    producer = subprocess.Popen(
        [sys.executable, script, broker, TOPICS["TALLY_TOPIC_EVENTS"], str(each.records)],
        stdout=subprocess.PIPE,
        text=True,
    )
    begun = time.monotonic()
    with producer, ThreadPoolExecutor(SENDERS) as senders:
        shares = [each.bodies[number::SENDERS] for number in range(SENDERS)]
        again = sum(senders.map(lambda share: post(url, share), shares))
        http = time.monotonic() - begun
        said, _ = producer.communicate(timeout=WAIT_SECONDS_MAX)
    assert producer.returncode == 0
    sent = Sent(http, float(said), again)
    LOGGER.info(
        "HTTP %.0f events/s, producer %.0f events/s, %d requests again",
        BULK * len(each.bodies) / sent.http,
        each.appended / sent.producer,
        again,
    )
    return sent


def post(url: str, bodies: list[bytes]) -> int:
    """Send requests over one connection; return how many had to be sent again."""
    again = 0
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        for body in bodies:
            for _ in range(10):
                try:
                    answer = client.post("/v1/events/bulk", content=body)
                except httpx.TransportError:
                    # The worker of this connection was killed: whether it had the events, nobody knows.
                    again += 1
                    continue
                assert answer.status_code == 202, answer.text
                break
            else:
                pytest.fail("no worker took the request")
    return again


def expected_rows(drawn: pa.Table) -> dict[Cell, Row]:
    """Return all rows of usage; those of the filtered meter are one group of the grouped one."""
    rows = usage(drawn)
    filtered = {
        Cell("peak_eu", cell.customer, "", cell.window_start): row
        for cell, row in rows.items()
        if cell.meter == "peak_by_zone" and cell.group == "eu"
    }
    return rows | filtered


def expected_totals(drawn: pa.Table) -> dict[str, Decimal]:
    """Return what some meters give over all customers, exactly."""
    rows = expected_rows(drawn)
    of = {
        name: [row for cell, row in rows.items() if cell.meter == name]
        for name in ("calls", "tokens", "spend", "peak_eu")
    }
    users = drawn.filter(pc.equal(drawn["event_name"], "llm.completion"))["user"].drop_null()
    return {
        "calls": Decimal(sum(row.counted for row in of["calls"])),
        "tokens": decimal(sum(row.sum or 0 for row in of["tokens"])),
        "spend": decimal(sum(row.sum or 0 for row in of["spend"])),
        "users": Decimal(len(users.unique())),
        "peak_eu": decimal(max(row.maximum or 0 for row in of["peak_eu"])),
    }


def decimal(units: int) -> Decimal:
    return DIGITS.scaleb(Decimal(units), -18)


def wait_until_exact(url: str, expected: dict[str, Decimal], program: Program) -> None:
    """Read usage until it is what it must be; the first meter tells when that can be."""
    found: dict[str, Decimal] = {}
    with httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=60) as client:
        ids = {item["name"]: item["id"] for item in client.get("/v1/meters").json()["items"]}

        def all_equal() -> bool:
            for name, wanted in expected.items():
                answer = client.post(
                    "/v1/events/usage/meter", json={"meter_id": ids[name], **PERIOD}
                )
                assert answer.status_code == 200, answer.text
                numbers = json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)
                found[name] = numbers["quantity_signed"]
                if found[name] != wanted:
                    return False
            return True

        until(
            all_equal, lambda: f"{expected} expected, {found} found: {program.said()}", program, 1
        )


def stored(server: str, names: dict[str, str]) -> tuple[dict[Cell, Row], set[tuple[Cell, bytes]]]:
    """Read usage and members from the store, by plain SQL."""
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=int(server.rpartition(":")[2]), compress=False, database="tally"
    )
    cell = "meter_id, external_customer_id, `group`, toUnixTimestamp64Micro(window_start)"
    figures = ", ".join(f"toString({name})" for name in ("sum", "moment", "maximum", "minimum"))
    query = (
        f"SELECT {cell}, counted, {figures}, toUnixTimestamp64Micro(latest_at), latest_id, "
        "toString(latest_value) FROM usage FINAL"
    )
    member = f"SELECT {cell}, hex(member) FROM usage_members FINAL"
    settings = {"output_format_arrow_string_as_string": 1}
    rows = [
        pa.ipc.open_file(client.raw_query(each, fmt="Arrow", settings=settings)).read_all()
        for each in (query, member)
    ]
    client.close()
    usage_rows = {
        Cell(names[meter], customer, group, start): Row(
            counted, *map(units, sums), at, latest, units(value)
        )
        for meter, customer, group, start, counted, *sums, at, latest, value in tuples(rows[0])
    }
    assert len(usage_rows) == rows[0].num_rows
    digests = {
        (Cell(names[meter], customer, group, start), bytes.fromhex(digest))
        for meter, customer, group, start, digest in tuples(rows[1])
    }
    return usage_rows, digests


def tuples(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def units(text: str | None) -> int | None:
    """Return a decimal in units of 10^-18, exactly."""
    if text is None:
        return None
    scaled = Decimal(text).scaleb(18, DIGITS)
    assert scaled == scaled.to_integral_value(context=DIGITS)
    return int(scaled)


def test_usage_is_exact_in_any_number_of_processes_and_whoever_dies(
    deployment: Deployment, catalog: Path, broker: str, server: str, root: Path
) -> None:
    make_topics(broker)
    first, second, third = (
        stage(deployment.folder, *part)
        for part in ((0, COUNT), (COUNT, MORE), (COUNT + MORE, MORE))
    )
    drawn = [
        first.drawn,
        pa.concat_tables([first.drawn, second.drawn]),
        pa.concat_tables([first.drawn, second.drawn, third.drawn]),
    ]
    totals = [expected_totals(each) for each in drawn]
    names = {meter.id: meter.name for meter in load_catalog(str(catalog)).meters}
    with deployment.serving(catalog, 2) as (serving, url), ThreadPoolExecutor(1) as aside:
        begun = time.monotonic()
        with deployment.metering(catalog, 2) as cluster:
            sending = aside.submit(send, root, broker, url, first)
            until(lambda: counted(url) > 0, cluster.said, cluster, 0.5)
            os.kill(serving.part("spawn_main"), signal.SIGKILL)
            os.kill(cluster.part("--process 1"), signal.SIGKILL)
            assert cluster.ended() == 1
            complaint = cluster.said().splitlines()[-1]
            assert complaint.startswith("tally: process 1 of the cluster was ended by SIGKILL")
        with deployment.metering(catalog, 2) as cluster:
            sending.result()
            wait_until_exact(url, totals[0], cluster)
            took(f"{COUNT} events", begun, COUNT)
            assert cluster.ended(signal.SIGTERM) == 0, cluster.said()
        for processes, more, total, end in (
            (4, second, totals[1], signal.SIGKILL),
            (1, third, totals[2], signal.SIGTERM),
        ):
            begun = time.monotonic()
            with deployment.metering(catalog, processes) as cluster:
                send(root, broker, url, more)
                wait_until_exact(url, total, cluster)
                took(f"{processes} processes", begun, MORE)
                # Nobody is left behind, also where nobody could be told.
                assert cluster.ended(end) == (0 if end == signal.SIGTERM else -end), cluster.said()
        usage_rows, digests = stored(server, names)
        assert serving.ended(signal.SIGTERM) == 0, serving.said()
    assert differences(expected_rows(drawn[2]), usage_rows) == []
    assert digests == members(drawn[2])


def make_topics(broker: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker})
    topics = [NewTopic(name, PARTITIONS, 1) for name in TOPICS.values()]
    for made in admin.create_topics(topics).values():
        made.result(timeout=30)


def counted(url: str) -> Decimal:
    """Return how many calls are in usage; none while nobody serves yet."""
    headers = {"x-api-key": KEY}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            items = client.get("/v1/meters").json()["items"]
            (meter,) = (item["id"] for item in items if item["name"] == "calls")
            answer = client.post("/v1/events/usage/meter", json={"meter_id": meter, **PERIOD})
            return Decimal(answer.json()["value"])
    except httpx.TransportError:
        return Decimal(0)


def took(what: str, begun: float, events: int) -> None:
    seconds = time.monotonic() - begun
    LOGGER.info("%s exact after %.1f s, %.0f events/s", what, seconds, events / seconds)


def differences(expected: dict[Cell, Row], found: dict[Cell, Row]) -> list[str]:
    """Return the first rows that are not the same; a bare comparison would print all of them."""
    if expected == found:
        return []
    different = (
        f"{cell}: {expected.get(cell)} expected, {found.get(cell)} found"
        for cell in sorted(expected.keys() | found.keys())
        if expected.get(cell) != found.get(cell)
    )
    return [line for line, _ in zip(different, range(10), strict=False)]
