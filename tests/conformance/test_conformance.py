"""The test vectors, run through the real functions by the adapters in ops_*.py.

An adapter module has FILES, the vector files it knows, and OPS, a function from `input` to the
members of `expected` for each op. The folder of the vectors is TEST_VECTORS, else the copy beside
this file.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
VECTORS = Path(os.environ.get("TEST_VECTORS") or HERE / "vectors")

# Members that are text and nothing else: "1.10" and "1.1" are two of them.
TEXTS = {"text", "group", "reason", "event_id", "window", "error"}
# Members whose lists are in any order.
UNORDERED = {"skipped", "groups"}

Adapter = Callable[[dict[str, Any]], dict[str, Any]]


def whole(text: str) -> int | Decimal:
    """Read a JSON number without fraction; an int has no minus zero."""
    return Decimal(text) if text == "-0" else int(text)


def vectors() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each vector with the name of its file."""
    for path in sorted(VECTORS.glob("*.json")):
        for vector in json.loads(path.read_text(), parse_float=Decimal, parse_int=whole):
            yield path.name, vector


def loaded(path: Path) -> ModuleType:
    """Import an adapter module, which is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def registry() -> dict[tuple[str, str], Adapter]:
    """Return the adapter of each (file, op)."""
    found: dict[tuple[str, str], Adapter] = {}
    for path in sorted(HERE.glob("ops_*.py")):
        module = loaded(path)
        for file in module.FILES:
            found |= {(file, op): adapter for op, adapter in module.OPS.items()}
    return found


REGISTRY = registry()


ALL = list(vectors())
DUE = [(file, vector) for file, vector in ALL if vector.get("milestone") != 2]
LATER: dict[str, list[str]] = {}
for _file, _vector in ALL:
    if _vector.get("milestone") == 2:
        LATER.setdefault(f"{_file} {_vector['op']}, milestone 2", []).append(_vector["id"])


@pytest.mark.parametrize(
    ("file", "vector"),
    [pytest.param(*each, id=f"{each[0]}-{each[1]['op']}-{each[1]['id']}") for each in DUE],
)
def test_a_vector_gives_what_it_expects(
    file: str, vector: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    record_property("op", f"{file} {vector['op']}")
    adapter = REGISTRY.get((file, vector["op"]))
    assert adapter is not None, f"no adapter knows the op {vector['op']} of {file}"
    expected = dict(vector["expected"])
    if vector["op"] == "aggregate":
        # Two members of this op are left out where nothing was skipped and all was accepted.
        expected.setdefault("skipped", [])
        expected.setdefault("verdicts", ["accepted"] * len(vector["input"]["events"]))
    got = adapter(vector["input"])
    assert differences(expected, got) == [], f"{vector['note']} got {got}"


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_vector_of_a_part_not_built_is_listed(
    name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("later", name)
    record_property("ids", LATER[name])
    pytest.skip(f"{len(LATER[name])} vectors of {name}")


def differences(expected: Any, got: Any, name: str = "", *, exact: bool = False) -> list[str]:
    """Return where an answer is not what was expected, one line a place.

    Texts that are decimals compare by value and times as instants; every member that is expected
    must be there. With `exact`, inside an event, a text is a text and a number is a number.
    """
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return [f"{name}: {got!r} is no object"]
        lines = [f"{name}: unexpected {key}" for key in got if exact and key not in expected]
        for key, value in expected.items():
            inner = exact or key in {"event", "properties"}
            place = f"{name}.{key}" if name else key
            lines += (
                differences(value, got[key], place, exact=inner)
                if key in got
                else [f"{place}: missing"]
            )
        return lines
    if isinstance(expected, list):
        return _list_differences(expected, got, name, exact=exact)
    return [] if same(expected, got, name, exact=exact) else [f"{name}: {got!r}, not {expected!r}"]


def _list_differences(expected: list[Any], got: Any, name: str, *, exact: bool) -> list[str]:
    if not isinstance(got, list | tuple) or len(got) != len(expected):
        return [f"{name}: {got!r}, not {expected!r}"]
    if name.rpartition(".")[2] not in UNORDERED:
        return [
            line
            for index, (one, other) in enumerate(zip(expected, got, strict=True))
            for line in differences(one, other, f"{name}.{index}", exact=exact)
        ]
    rest, missing = list(got), []
    for one in expected:
        match = next((each for each in rest if not differences(one, each, name)), None)
        if match is None:
            missing.append(f"{name}: {one!r} is not among {got!r}")
        else:
            rest.remove(match)
    return missing


def same(expected: Any, got: Any, name: str, *, exact: bool) -> bool:
    """Say whether two values that are no containers are equal as their place asks."""
    if isinstance(expected, bool) or isinstance(got, bool) or expected is None or got is None:
        return expected is got
    number = isinstance(expected, int | Decimal)
    if number != isinstance(got, int | Decimal) and (number or exact):
        return False
    if number or expected == got:
        return bool(expected == got)
    parts = [part for part in name.split(".") if not part.isdigit()]
    last = parts[-1] if parts else ""
    if (exact and last != "timestamp") or last in TEXTS:
        return False
    return _equal_as(decimal_of, expected, got) or _equal_as(instant_of, expected, got)


def _equal_as(read: Callable[[Any], Any], expected: Any, got: Any) -> bool:
    one, other = read(expected), read(got)
    return one is not None and one == other


def decimal_of(value: Any) -> Decimal | None:
    if isinstance(value, int | Decimal):
        return Decimal(value)
    try:
        return Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        return None


def instant_of(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else None


@pytest.mark.parametrize(
    ("expected", "got", "agree"),
    [
        ({"value": "5"}, {"value": "5.0"}, True),
        ({"value": "5"}, {"value": Decimal("5.00")}, True),
        ({"value": "5"}, {"value": "5.01"}, False),
        ({"value": "5"}, {}, False),
        ({"text": "1.10"}, {"text": "1.1"}, False),
        ({"start": "2024-01-01T00:00:00Z"}, {"start": "2024-01-01T01:00:00+01:00"}, True),
        ({"counted": 1}, {"counted": True}, False),
        ({"counted": 1}, {"counted": "1"}, False),
        ({"event": {"properties": {"v": "1"}}}, {"event": {"properties": {"v": 1}}}, False),
        ({"event": {"properties": {"v": "1"}}}, {"event": {"properties": {"v": "1.0"}}}, False),
        ({"skipped": [{"a": 1}, {"a": 2}]}, {"skipped": [{"a": 2}, {"a": 1}]}, True),
        ({"skipped": [{"a": 1}, {"a": 1}]}, {"skipped": [{"a": 2}, {"a": 1}]}, False),
        ({"verdicts": ["a", "b"]}, {"verdicts": ["b", "a"]}, False),
        ({"field": None}, {"field": ""}, False),
    ],
)
def test_an_answer_is_compared_as_the_vectors_ask(expected: Any, got: Any, agree: bool) -> None:
    assert (differences(expected, got) == []) is agree


def test_the_copy_of_the_vectors_is_the_given_one(root: Path) -> None:
    given = root.parent / "shared" / "vectors"
    if not given.is_dir():
        pytest.skip("the given vectors are not beside this project")
    for path in sorted(given.glob("*.json")):
        assert (HERE / "vectors" / path.name).read_bytes() == path.read_bytes(), path.name
