"""The identity index: known answers, then laws that hold for any stream, split, seal and replay."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.identity.index import (
    SEALS_KEPT,
    TIER_SEGMENTS,
    FirstCopies,
    IdentityIndex,
    Manifest,
    halves,
    packed_positions,
    unpacked_positions,
)
from schemas.errors import StoreError

# An id is a pair of words; these share halves, so that no half alone can pass for the id.
IDS = [(high, low) for high in (0, 1, 2**64 - 1) for low in (0, 1, 2**63, 2**64 - 1)]
Copy = tuple[int, int]

# A stream: which id each row of the log carries, the log position being its rank.
streams = st.lists(st.sampled_from(range(len(IDS))), max_size=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ids"


def ask(index: IdentityIndex, copies: Sequence[Copy]) -> FirstCopies:
    """Ask about copies given as (number of the id, position); the line digest is ten times that."""
    ids = np.array([IDS[number] for number, _ in copies], np.uint64).reshape(-1, 2)
    positions = np.array([position for _, position in copies], np.int64)
    return index.first_copies(ids[:, 0], ids[:, 1], positions, positions.astype(np.uint64) * 10)


def firsts(index: IdentityIndex, copies: Sequence[Copy]) -> list[int]:
    """Return the first position of each copy, after checking that its line digest came with it."""
    answer = ask(index, copies)
    assert answer.line_digests.tolist() == [position * 10 for position in answer.positions.tolist()]
    return answer.positions.tolist()


def expected(stream: Sequence[int]) -> list[int]:
    """Return the first position of the id of each row, by the plainest rule there is."""
    return [stream.index(number) for number in stream]


def cut(rows: Sequence[Copy], cuts: Sequence[int]) -> Iterator[Sequence[Copy]]:
    """Yield a stream in batches that end at the given places."""
    edges = [0, *sorted(place % (len(rows) + 1) for place in cuts), len(rows)]
    for start, end in pairwise(edges):
        yield rows[start:end]


@pytest.mark.parametrize(
    ("batches", "answers"),
    [
        ([[(0, 5)]], [[5]]),
        ([[(0, 5), (0, 6), (1, 7), (0, 8)]], [[5, 5, 7, 5]]),  # Copies inside one batch.
        ([[(0, 5)], [(0, 9)]], [[5], [5]]),  # A later copy is a duplicate,
        ([[(0, 5)], [(0, 5)]], [[5], [5]]),  # and a re-read of the same position is itself.
        ([[(0, 8), (1, 3), (0, 2)]], [[2, 3, 2]]),  # Batches need not be in the order of the log.
        ([[]], [[]]),
    ],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_the_lowest_position_of_an_id_is_its_first(
    folder: Path, batches: list[list[Copy]], answers: list[list[int]], sealed: bool
) -> None:
    index = IdentityIndex.open(folder)

    found = []
    for batch in batches:
        found.append(firsts(index, batch))
        if sealed:
            index.seal()

    assert found == answers
    index.close()


@pytest.mark.parametrize("sealed", [False, True])
def test_a_lower_position_that_comes_later_displaces_the_first(folder: Path, sealed: bool) -> None:
    index = IdentityIndex.open(folder)
    firsts(index, [(0, 50), (1, 51)])
    if sealed:
        index.seal()

    answer = ask(index, [(0, 20), (0, 30), (1, 60), (2, 70)])

    assert answer.positions.tolist() == [20, 20, 51, 70]
    assert answer.displaced.tolist() == [True, False, False, False]
    assert answer.former_positions.tolist()[0] == 50
    reopened = IdentityIndex.open(folder, index.seal())
    assert firsts(reopened, [(0, 50), (1, 90)]) == [20, 51]
    index.close()
    reopened.close()


@settings(max_examples=60, deadline=None)
@given(streams, st.lists(st.integers(0, 60), max_size=6), st.sets(st.integers(0, 6)), st.booleans())
def test_batches_seals_and_reopening_change_nothing(
    stream: list[int], cuts: list[int], seals: set[int], reopen: bool
) -> None:
    rows = list(zip(stream, range(len(stream)), strict=True))
    with tempfile.TemporaryDirectory() as name:
        index, found = IdentityIndex.open(Path(name), memtable_ids_max=16), []
        for number, batch in enumerate(cut(rows, cuts)):
            found += firsts(index, batch)
            if number in seals:
                manifest = index.seal()
                if reopen:
                    index.close()
                    index = IdentityIndex.open(Path(name), manifest, memtable_ids_max=16)
        index.close()

    assert found == expected(stream)


@settings(max_examples=60, deadline=None)
@given(streams, st.integers(0, 60), st.integers(0, 60), st.booleans())
def test_a_replay_from_an_earlier_point_finds_the_same_firsts(
    stream: list[int], sealed_at: int, reached: int, seal_again: bool
) -> None:
    rows = list(zip(stream, range(len(stream)), strict=True))
    sealed_at = min(sealed_at, len(rows))
    with tempfile.TemporaryDirectory() as name:
        index = IdentityIndex.open(Path(name))
        firsts(index, rows[:sealed_at])
        manifest = index.seal()
        # What was read after the seal is forgotten by the crash, sealed itself or not.
        firsts(index, rows[sealed_at : sealed_at + reached])
        if seal_again:
            index.seal()
        index.close()
        index = IdentityIndex.open(Path(name), manifest)
        again = min(sealed_at, reached)
        found = firsts(index, rows[again:])
        index.close()

    assert found == expected(stream)[again:]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(range(4)), st.integers(0, 40)),
        max_size=40,
        unique_by=lambda c: c[1],
    ),
    st.lists(st.integers(0, 40), max_size=4),
)
def test_any_order_ends_at_the_lowest_position(copies: list[Copy], cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        index = IdentityIndex.open(Path(name))
        known: dict[int, int] = {}
        for batch in cut(copies, cuts):
            answer = ask(index, batch)
            lowest = dict(known)
            for number, position in batch:
                lowest[number] = min(position, lowest.get(number, position))
            displaced = {n for n, position in known.items() if lowest[n] < position}
            assert answer.positions.tolist() == [lowest[number] for number, _ in batch]
            assert {batch[row][0] for row in np.flatnonzero(answer.displaced)} == displaced
            assert np.count_nonzero(answer.displaced) == len(displaced)
            for row in np.flatnonzero(answer.displaced):
                assert answer.former_positions[row] == known[batch[row][0]]
            known = lowest
            index.seal()
        index.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(range(4)), st.integers(0, 40)),
        max_size=40,
        unique_by=lambda copy: copy[1],
    ),
    st.lists(st.integers(0, 40), max_size=4),
    st.booleans(),
)
def test_by_arrival_the_copy_that_came_first_stays_the_first(
    copies: list[Copy], cuts: list[int], sealed: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        index, known = IdentityIndex.open(Path(name)), dict[int, int]()
        for batch in cut(copies, cuts):
            ids = np.array([IDS[number] for number, _ in batch], np.uint64).reshape(-1, 2)
            positions = np.array([position for _, position in batch], np.int64)
            answer = index.first_seen(ids[:, 0], ids[:, 1], positions, positions.astype(np.uint64))
            for number, position in batch:
                known.setdefault(number, position)
            assert answer.positions.tolist() == [known[number] for number, _ in batch]
            assert answer.line_digests.tolist() == answer.positions.tolist()
            assert not answer.displaced.any()
            if sealed:
                index.seal()
        index.close()


def test_many_ids_survive_growth_spills_and_compaction(folder: Path) -> None:
    source = np.random.default_rng(7)
    words = source.integers(0, 2**64, (2, 200_000), np.uint64)
    # Ids that share their first half lie side by side in a file.
    words[0, ::50] = 42
    positions = np.arange(200_000)
    index = IdentityIndex.open(folder, memtable_ids_max=15_000)

    for start in range(0, 200_000, 4_000):
        rows = slice(start, start + 4_000)
        found = index.first_copies(words[0, rows], words[1, rows], positions[rows], words[1, rows])
        assert np.array_equal(found.positions, positions[rows])
        if start % 20_000 == 0:
            index.settle()
            index.seal()
    index.settle()
    reopened = IdentityIndex.open(folder, index.seal())
    again = reopened.first_copies(words[0], words[1], positions + 10**6, words[0])

    assert np.array_equal(again.positions, positions)
    assert np.array_equal(again.line_digests, words[1])
    assert index.resident_bytes < 15_000 * 128 + 200_000 * 2
    index.close()
    reopened.close()


def test_a_manifest_can_be_opened_until_two_later_seals(folder: Path) -> None:
    index = IdentityIndex.open(folder)
    manifests = []
    for number in range(TIER_SEGMENTS + SEALS_KEPT + 2):
        firsts(index, [(number, number)])
        manifests.append(index.seal())
        index.settle()
        for manifest in manifests[-SEALS_KEPT:]:
            IdentityIndex.open(folder, manifest).close()

    # Files were merged, and in the end the folder holds none that nobody needs.
    assert len(manifests[-1].segments) < len(manifests)
    for _ in range(SEALS_KEPT + 1):
        index.settle()
        manifest = index.seal()
    assert {path.name for path in folder.iterdir()} == {name for name, _ in manifest.segments}
    index.close()


def test_files_that_no_manifest_names_are_ignored_and_later_removed(folder: Path) -> None:
    index = IdentityIndex.open(folder)
    firsts(index, [(0, 1)])
    manifest = index.seal()
    firsts(index, [(1, 2)])
    index.seal()
    index.close()
    (folder / "0000000099.part").write_bytes(b"cut short")

    index = IdentityIndex.open(folder, manifest)

    assert firsts(index, [(0, 8), (1, 9)]) == [1, 9]
    for _ in range(SEALS_KEPT):
        manifest = index.seal()
    assert {path.name for path in folder.iterdir()} == {name for name, _ in manifest.segments}
    index.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:40]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
        lambda path: path.write_bytes(flipped(path.read_bytes(), 9)),
        lambda path: path.write_bytes(flipped(path.read_bytes(), 70)),
        lambda path: path.write_bytes(flipped(path.read_bytes(), -1)),
    ],
    ids=["missing", "torn", "torn header", "empty", "magic", "header", "first id", "last digest"],
)
def test_a_damaged_file_is_reported(folder: Path, damage: Callable[[Path], object]) -> None:
    index = IdentityIndex.open(folder)
    firsts(index, [(0, 1), (1, 2)])
    manifest = index.seal()
    index.close()

    damage(folder / manifest.segments[0][0])

    with pytest.raises(StoreError):
        IdentityIndex.open(folder, manifest)


def flipped(data: bytes, place: int) -> bytes:
    """Return bytes of which one has one bit changed."""
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def test_a_folder_that_cannot_be_written_is_a_store_error(folder: Path) -> None:
    index = IdentityIndex.open(folder)
    firsts(index, [(0, 1)])
    shutil.rmtree(folder)

    with pytest.raises(StoreError):
        index.seal()
    index.close()


def test_an_unwritten_manifest_is_an_empty_index(folder: Path) -> None:
    index = IdentityIndex.open(folder)
    assert index.seal() == Manifest(())
    index.close()


def test_positions_and_digests_keep_all_their_bits() -> None:
    partitions, offsets = [0, 3, 32_767], [0, 2**48 - 1, 5]
    digest = bytes(range(16))
    sliced = pa.array([b"x" * 16, digest], pa.binary(16)).slice(1)

    back = unpacked_positions(packed_positions(partitions, offsets))

    assert [back[0].tolist(), back[1].tolist()] == [partitions, offsets]
    assert b"".join(half.tobytes() for half in halves(sliced)) == digest
