"""Files into a running `tally dev` and into its folder, and what `tally usage` says of them, exactly."""

import gzip
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import generated_events
import pytest
import written_records
from expected_answers import answers

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(300)]

KEY = "sk_integration0000000000000000000000000000000"
COUNT, SEED = 20_000, 11
DEADLINE_SECONDS = 90
MARK = '{{"event_name":"api.call","external_customer_id":"mark-{0}","event_id":"mark-{0}"}}\n'


@dataclass
class Folder:
    """A folder of data, the instance that may run on it, and the program beside it."""

    tally: str
    environment: dict[str, str]
    place: Path
    catalog: str
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    url: str = ""

    def start(self) -> None:
        process = subprocess.Popen(
            [self.tally, "dev", "--port", "0", "--data", "data", "--catalog", self.catalog],
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.running.append(process)
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("tally dev "), first
        self.url = first.split()[-1]

    def stop(self) -> None:
        process = self.running.pop()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.tally, *arguments],
            cwd=self.place,
            env={**self.environment, "TALLY_URL": self.url, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def answered(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.run(*arguments, "--format", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return found if isinstance(found, list) else [found]

    def mark(self, name: str, *target: str) -> None:
        """Send one more event, behind all that was sent before."""
        path = self.place / f"mark-{name}.ndjson"
        path.write_text(MARK.format(name))
        (summary,) = self.answered("ingest", path.name, *target)
        assert summary["appended"] == 1

    def wait_for(self, name: str) -> None:
        """Wait until the event that was sent last is in usage, and so is all before it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        asked = ("usage", "--meter", "calls", "--customer", f"mark-{name}")
        while self.answered(*asked)[0]["value"] != "1":
            assert time.monotonic() < deadline, "the mark never came into usage"
            time.sleep(0.2)


@pytest.fixture
def folder(
    tally: str, plain_environment: dict[str, str], root: Path, tmp_path: Path
) -> Iterator[Folder]:
    """Return a new folder; what still runs on it at the end is killed."""
    catalog = str(root / "tests" / "generator" / "catalog.yaml")
    made = Folder(tally, {**plain_environment, "TALLY_API_KEY": KEY}, tmp_path, catalog)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


def lines_of(kinds: set[str]) -> bytes:
    drawn = generated_events.values(COUNT, SEED, door="file")
    records = written_records.records(drawn, SEED, door="file")
    pairs = zip(records["value"].to_pylist(), records["kind"].to_pylist(), strict=True)
    return b"".join(value + b"\n" for value, kind in pairs if kind in kinds)


def told(folder: Folder, customers: Sequence[str], *source: str) -> dict[tuple[str, str], str]:
    """Return what `tally usage` says of each meter and customer."""
    _, start, end = answers(generated_events.values(COUNT, SEED, door="file"))
    found: dict[tuple[str, str], str] = {}
    for customer in customers:
        for row in folder.answered(
            "usage", "--customer", customer, "--from", start, "--to", end, *source
        ):
            found[str(row["meter"]), customer] = str(row["value"])
    return found


def test_usage_of_ingested_files_is_exact_and_stays_so(folder: Folder) -> None:
    expected, _, _ = answers(generated_events.values(COUNT, SEED, door="file"))
    by_customer = {key[1] for key in expected}
    customers = sorted(by_customer)[:2]
    wanted = {
        key[:2]: value
        for key, (value, _) in expected.items()
        if key[1] in customers and key[0] != "peak_by_zone"
    }
    packed = folder.place / "events.ndjson.gz"
    packed.write_bytes(gzip.compress(lines_of({"event", "copy", "malformed"})))
    folder.start()

    (first,) = folder.answered("ingest", packed.name)
    assert first["appended"] > COUNT
    assert first["rejected"]
    folder.mark("one")
    folder.wait_for("one")
    once = told(folder, customers)
    assert {key: once[key] for key in wanted} == wanted

    again = folder.answered("ingest", packed.name)[0]
    assert (again["sent"], again["appended"]) == (0, 0)
    assert folder.answered("ingest", packed.name, "--again")[0]["appended"] == first["appended"]
    # With the conflicts among them, which come behind what they contradict.
    everything = folder.place / "everything.ndjson"
    everything.write_bytes(lines_of(set(written_records.KINDS)))
    folder.answered("ingest", everything.name)
    folder.mark("two")
    folder.wait_for("two")
    assert told(folder, customers) == once

    for command in (["ingest", packed.name, "--again"], ["usage"]):
        held = folder.run(*command, "--data", "data")
        assert (held.returncode, held.stdout) == (1, "")
        assert [line for line in held.stderr.splitlines() if "held by another tally" in line]

    folder.stop()
    assert told(folder, customers, "--data", "data", "--catalog", folder.catalog) == once

    folder.mark("three", "--data", "data")
    folder.start()
    folder.wait_for("three")
    assert told(folder, customers) == once


def test_a_killed_ingest_goes_on_and_counts_each_line_once(folder: Folder) -> None:
    path = folder.place / "calls.ndjson"
    line = '{"event_name":"api.call","external_customer_id":"killed"}\n'
    path.write_text(line * 30_000)
    folder.start()
    arguments = [folder.tally, "ingest", path.name, "--url", folder.url, "--batch", "100"]
    with subprocess.Popen(arguments, cwd=folder.place, env=folder.environment) as process:
        journals = folder.place / ".tally-ingest"
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (journals.is_dir() and any(journals.glob("*.json"))) and process.poll() is None:
            assert time.monotonic() < deadline, "no journal was written"
            time.sleep(0.02)
        process.kill()
    (summary,) = folder.answered("ingest", path.name)
    assert summary["files"][0]["done"]
    folder.mark("end")
    folder.wait_for("end")
    (row,) = folder.answered("usage", "--meter", "calls", "--customer", "killed")
    assert row["value"] == "30000"


def test_an_interrupted_ingest_says_where_it_stopped(folder: Folder) -> None:
    path = folder.place / "calls.ndjson"
    path.write_text('{"event_name":"api.call","external_customer_id":"c"}\n' * 200_000)
    folder.start()
    with subprocess.Popen(
        [folder.tally, "ingest", path.name, "--url", folder.url, "--batch", "50"],
        cwd=folder.place,
        env=folder.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not list((folder.place / ".tally-ingest").glob("*.json")):
            assert time.monotonic() < deadline, "no journal was written"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 1
    assert [line for line in said.splitlines() if "the same command goes on" in line]
    assert "Traceback" not in said
