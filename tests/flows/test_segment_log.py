"""Segments: whatever was sealed, published and replaced in between, a manifest gives back the state."""

import pickle
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.metering.open_cells import combined
from flows.metering.segment_log import RETIRED_MAX, SEGMENTS_MAX, SegmentLog
from flows.metering.segments import Segment, read_segment, write_segment
from operators.partials import Partials, ordered, start
from schemas.errors import StoreError
from schemas.usage import CELL, PAIRS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Parts = dict[str, Partials]


def part(number: int) -> Parts:
    """Return what the event of a number contributes to two meters."""
    row = {
        "external_customer_id": "acme",
        "group": "",
        "timestamp": NOON + timedelta(minutes=number % 3),
        "event_id": f"{number:04}",
        "value": Decimal(number),
        "member": bytes([number % 5]) * 16,
    }
    return {
        kind: start(kind, pa.Table.from_pylist([{**row, "meter_id": kind}], schema=PAIRS))
        for kind in ("SUM", "COUNT_UNIQUE")
    }


def rows(parts: Parts) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of parts that have any, in the order of their cells."""
    return {
        name: ordered(Partials(each.table, None)).table.to_pylist()
        for name, each in parts.items()
        if each.table.num_rows
    }


@given(st.lists(st.sampled_from(["take", "publish", "seal", "rewrite", "crash"]), max_size=30))
@settings(max_examples=40)
def test_a_manifest_gives_back_what_was_settled_and_what_was_not(steps: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        log = SegmentLog(Path(name))
        settled: list[int] = []
        pending: list[int] = []
        saved: tuple[bytes | None, list[int], list[int]] = (None, [], [])
        number = 0
        for step in [*steps, "seal", "crash"]:
            if step == "take":
                number += 1
                log.take(part(number))
                pending.append(number)
            if step == "publish":
                log.published()
                settled, pending = settled + pending, []
            if step == "rewrite":
                log.rewrite_next()
            if step == "seal":
                whole = combined(map(part, settled)), combined(map(part, pending))
                manifest = log.seal(lambda whole=whole: whole)  # type: ignore[misc]  # a default of a lambda has no type
                saved = pickle.dumps(manifest), list(settled), list(pending)
            if step == "crash":
                log = SegmentLog(Path(name))
                settled, pending = list(saved[1]), list(saved[2])
                if saved[0] is not None:
                    back = log.resume(pickle.loads(saved[0]))  # noqa: S301 - what this test has pickled itself
                    assert rows(back[0]) == rows(combined(map(part, settled)))
                    assert rows(back[1]) == rows(combined(map(part, pending)))


def test_members_that_wait_to_be_published_come_back(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.take(part(1))
    log.take(part(4))
    manifest = log.seal(lambda: ({}, {}))

    _, unpublished = SegmentLog(tmp_path).resume(manifest)

    members = unpublished["COUNT_UNIQUE"].members
    assert members is not None
    assert sorted(members["member"].to_pylist()) == [b"\x01" * 16, b"\x04" * 16]


def test_manifests_of_the_last_snapshots_can_all_be_resumed_from(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    manifests = []
    for number in range(4 * SEGMENTS_MAX):
        log.take(part(number))
        whole = combined(map(part, range(number + 1)))
        manifests.append(log.seal(lambda whole=whole: ({}, whole)))  # type: ignore[misc]  # a default of a lambda has no type

    for number in range(len(manifests) - 2 * SEGMENTS_MAX, len(manifests), 5):
        _, back = SegmentLog(tmp_path).resume(manifests[number])
        assert rows(back) == rows(combined(map(part, range(number + 1))))
    assert len(list(tmp_path.iterdir())) <= (RETIRED_MAX + 1) * SEGMENTS_MAX


def test_a_segment_is_there_before_anything_names_it_and_never_half(tmp_path: Path) -> None:
    segment = write_segment(tmp_path, "a", part(1))

    assert [path.name for path in tmp_path.iterdir()] == [segment.name]
    assert rows(read_segment(tmp_path, segment)) == rows(part(1))
    assert segment.row_count == 3


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_a_torn_segment_is_refused(tmp_path: Path, keep: int) -> None:
    segment = write_segment(tmp_path, "a", part(1))
    path = tmp_path / "a"
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(StoreError):
        read_segment(tmp_path, segment)


def test_a_segment_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        read_segment(tmp_path, Segment("gone", 0))


def test_rows_of_a_rewritten_segment_have_no_members_and_can_be_merged(tmp_path: Path) -> None:
    log = SegmentLog(tmp_path)
    log.take(part(1))
    log.published()
    log.rewrite_next()
    state = {name: Partials(each.table, each.members) for name, each in part(1).items()}
    unique = state["COUNT_UNIQUE"]
    assert unique.members is not None
    state["COUNT_UNIQUE"] = Partials(unique.table, unique.members.slice(0, 0))

    settled, unpublished = SegmentLog(tmp_path).resume(log.seal(lambda: (state, {})))

    assert rows(settled) == rows(part(1))
    assert unpublished == {}
    assert settled["SUM"].table.column_names[: len(CELL)] == list(CELL)
