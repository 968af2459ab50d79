"""`tally meter` as a user runs it: its answers are those of SQL over the generator's values."""

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import generated_events
import numpy as np
import pytest
import written_records
from expected_answers import answers

pytestmark = [pytest.mark.requires("embedded"), pytest.mark.timeout(300)]

COUNT, SEED = 60_000, 5

Meter = Callable[..., bytes]


@pytest.fixture(scope="module")
def meter(tally: str, plain_environment: dict[str, str], root: Path) -> Meter:
    catalog = str(root / "tests" / "generator" / "catalog.yaml")

    def run(*arguments: str) -> bytes:
        done = subprocess.run(
            [tally, "meter", catalog, *arguments, "--format", "json"],
            env=plain_environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def lines_of(kinds: set[str]) -> list[bytes]:
    drawn = generated_events.values(COUNT, SEED, door="file")
    records = written_records.records(drawn, SEED, door="file")
    return [
        value
        for value, kind in zip(
            records["value"].to_pylist(), records["kind"].to_pylist(), strict=True
        )
        if kind in kinds
    ]


def file_of(path: Path, lines: list[bytes]) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def test_every_answer_is_what_sql_over_the_values_gives(meter: Meter, tmp_path: Path) -> None:
    events = file_of(tmp_path / "events.ndjson", lines_of(set(written_records.KINDS)))
    rows = json.loads(meter(events))
    expected, start, end = answers(generated_events.values(COUNT, SEED, door="file"))
    found = {
        (row["meter"], row["external_customer_id"], row["group"]): (
            row["value"],
            row["event_count"],
        )
        for row in rows
    }
    assert {(row["window_start"], row["window_end"]) for row in rows} == {(start, end)}
    different = [
        f"{key}: {expected.get(key)} expected, {found.get(key)} found"
        for key in sorted(expected.keys() | found.keys(), key=str)
        if expected.get(key) != found.get(key)
    ]
    assert different[:10] == []
    assert len(rows) == len(expected)


def test_order_pieces_and_repetition_change_no_byte(meter: Meter, tmp_path: Path) -> None:
    lines = lines_of({"event", "copy", "malformed"})
    once = meter(file_of(tmp_path / "events.ndjson", lines))
    assert json.loads(once)

    order = np.random.default_rng(SEED).permutation(len(lines))
    shuffled = [lines[place] for place in order]
    assert meter(file_of(tmp_path / "shuffled.ndjson", shuffled)) == once

    third = len(lines) // 3
    pieces = [lines[:third], lines[third : 2 * third], lines[2 * third :]]
    names = [file_of(tmp_path / f"{n}.ndjson", piece) for n, piece in enumerate(pieces)]
    zipped = tmp_path / "2.ndjson.gz"
    zipped.write_bytes(gzip.compress(Path(names.pop()).read_bytes()))
    assert meter(*names, str(zipped)) == once

    again = file_of(tmp_path / "again.ndjson", lines)
    assert meter(str(tmp_path / "events.ndjson"), again) == once
