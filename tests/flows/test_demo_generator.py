"""The generator of the demo: what it writes is what it says that it means."""

import json
from collections import Counter
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from flows.demo.generator import CUSTOMERS, END_AT, MALFORMED, NAMES, START_AT, Generated, generate

EVENTS, SEED = 6000, 11
VALUES = ("tokens", "seats", "gigabytes")


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(EVENTS, seed=SEED)


@pytest.fixture(scope="module")
def written(generated: Generated, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path = tmp_path_factory.mktemp("demo") / "events.ndjson"
    generated.write(path)
    return path.read_text().splitlines()


def test_the_same_seed_gives_the_same_log(generated: Generated) -> None:
    again = generate(EVENTS, seed=SEED)

    assert again.lines.equals(generated.lines)
    assert again.meant.equals(generated.meant)
    assert not generate(EVENTS, seed=SEED + 1).lines.equals(generated.lines)


def test_each_line_is_written_as_it_is(generated: Generated, written: list[str]) -> None:
    assert written == generated.lines.to_pylist()
    flawed = generated.duplicates + generated.conflicts + generated.malformed
    assert len(written) == EVENTS + flawed
    assert min(generated.duplicates, generated.conflicts, generated.unusable) > 0
    assert generated.malformed == len(MALFORMED)


def test_the_first_line_of_an_id_says_what_was_meant(
    generated: Generated, written: list[str]
) -> None:
    first: dict[str, dict[str, object]] = {}
    copies: Counter[str] = Counter()
    for line in written:
        if line in MALFORMED:
            continue
        event = json.loads(line, parse_float=str, parse_int=str)
        if event["event_id"] in first:
            same = first[event["event_id"]] == event
            copies["duplicate" if same else "conflict"] += 1
        first.setdefault(event["event_id"], event)
    meant = generated.meant.to_pylist()

    assert copies == {"duplicate": generated.duplicates, "conflict": generated.conflicts}
    assert list(first) == [row["event_id"] for row in meant]
    unusable = 0
    for row, event in zip(meant, first.values(), strict=True):
        properties = event["properties"]
        assert isinstance(properties, dict)
        assert event["event_name"] == row["event_name"]
        assert event["external_customer_id"] == row["external_customer_id"]
        written_at = datetime.fromisoformat(str(event["timestamp"]))
        assert written_at == row["timestamp"]
        values = [properties[name] for name in VALUES if name in properties]
        unusable += values == ["n/a"]
        usable = [Decimal(value) for value in values if value != "n/a"]
        assert row["value"] == (usable[0] if usable else None)
        for name in ("model", "workspace", "user"):
            assert properties.get(name) == row[name]
    assert unusable == generated.unusable


def test_the_log_has_what_a_demo_shows(generated: Generated) -> None:
    meant = generated.meant
    assert set(meant["external_customer_id"].to_pylist()) == set(CUSTOMERS)
    assert set(meant["event_name"].to_pylist()) == set(NAMES)
    times = [row["timestamp"] for row in meant.select(["timestamp"]).to_pylist()]
    assert all(START_AT <= at < END_AT for at in times)
    assert sum(early > late for early, late in pairwise(times)) > 10


def test_an_empty_log_is_no_trouble(tmp_path: Path) -> None:
    generated = generate(0, seed=1)
    generated.write(tmp_path / "events.ndjson")

    assert generated.meant.num_rows == 0
    written = (tmp_path / "events.ndjson").read_text().splitlines()
    assert sorted(written) == sorted(MALFORMED)
