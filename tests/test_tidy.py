"""The rules of the house, checked on every file of the project."""

import ast
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "operators", "billing", "flows")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 450

# Who may import whom: the drawing of ARCHITECTURE.md.
INWARD = {
    "schemas": set(),
    "operators": {"schemas"},
    "billing": {"schemas"},
    "flows": {"schemas", "operators", "billing"},
}

# Each of these has one place where it may be touched.
ONLY_IN = {
    "fastapi": "billing/api",
    "starlette": "billing/api",
    "sqlalchemy": "billing/stores",
    "alembic": "billing/stores",
    "bytewax": "flows",
    "chdb": "flows",
    "clickhouse_connect": "flows",
    "confluent_kafka": "flows",
    "prometheus_client": "flows",
    "rich": "flows",
    "typer": "flows",
    "uvicorn": "flows",
}

# The pure packages reach no clock, disk, network, process or chance.
PURE = ("schemas", "operators", "billing")
EDGES = ("billing/api", "billing/stores")
IMPURE_MODULES = {
    "asyncio", "http", "os", "random", "secrets", "shutil", "socket", "sqlite3", "subprocess",
    "tempfile", "threading", "time", "urllib",
}  # fmt: skip
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input"}

NAMES_REFUSED = {
    "base",
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "util",
    "utils",
}

# Written in two halves, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b")
MACHINE_PATH = re.compile(r"/(wo" + r"rk/(main|shared)|ro" + r"ot/|ho" + r"me/[a-z])")
REGISTRY_HOST = re.compile(
    r"py" + r"pi\.org|python" + r"hosted\.org|npm" + r"js\.org|maven\.(apache\.org/maven2|org)"
    r"|crates" + r"\.io|proxy\.golang" + r"\.org|deb\.debian" + r"\.org",
)
SUPPRESSION = re.compile(
    r"#\s*(noqa|type:\s*ignore)(?P<codes>[\w\s:,\[\]-]*?)(?P<reason>#.*| - .*)?$"
)


def project_files() -> list[Path]:
    """Return the files that are, or are about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file()]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each module imported anywhere in a file, with its line; relative ones with dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno


def is_edge(path: Path) -> bool:
    return named(path).startswith(EDGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_inward(package: str) -> None:
    outward = [
        f"{named(path)}:{line} imports {module}"
        for path in python_files(package)
        for module, line in imports(path)
        if module.startswith(".")
        or (
            (top := module.partition(".")[0]) in (*PACKAGES, "tests")
            and top != package
            and top not in INWARD[package]
        )
    ]
    assert outward == []


def test_each_outside_library_is_touched_in_its_one_place() -> None:
    strayed = [
        f"{named(path)}:{line} imports {module}"
        for path in python_files(*PACKAGES)
        for module, line in imports(path)
        if (place := ONLY_IN.get(module.partition(".")[0]))
        and not named(path).startswith(place + "/")
    ]
    assert strayed == []


def test_the_pure_packages_reach_nothing_outside() -> None:
    reached = []
    for path in python_files(*PURE):
        if is_edge(path):
            continue
        reached += [
            f"{named(path)}:{line} imports {module}"
            for module, line in imports(path)
            if module.partition(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in IMPURE_CALLS:
                reached.append(f"{named(path)}:{node.lineno} calls {name}()")
    assert reached == []


def test_a_function_fits_on_a_screen() -> None:
    long = []
    for path in python_files(*PACKAGES, "tests"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= FUNCTION_LINES_MAX:
                    long.append(f"{named(path)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


def test_a_file_has_one_idea() -> None:
    long = [
        f"{named(path)} has {lines} lines"
        for path in python_files(*PACKAGES, "tests")
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    ]
    assert long == []


def test_every_module_says_what_it_is() -> None:
    silent = [
        named(path)
        for path in python_files(*PACKAGES)
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_a_package_is_introduced_by_its_docstring_and_little_else() -> None:
    heavy = [
        f"{named(path)}:{node.lineno}"
        for path in python_files(*PACKAGES)
        if path.name == "__init__.py"
        for node in ast.parse(path.read_text()).body
        if not isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign)
    ]
    assert heavy == []


def test_modules_are_named_for_what_they_hold() -> None:
    refused = [
        named(path)
        for path in python_files(*PACKAGES)
        if path.stem in NAMES_REFUSED or path.parent.name in NAMES_REFUSED
    ]
    assert refused == []


def test_the_tests_are_no_package_and_no_two_files_share_a_name() -> None:
    files = [path for path in python_files("tests") if path.name != "conftest.py"]
    assert [named(path) for path in files if path.name == "__init__.py"] == []
    names = [path.name for path in files]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_every_suppression_has_its_reason() -> None:
    bare = []
    for path in python_files(*PACKAGES, "tests"):
        with path.open("rb") as source:
            comments = [
                token
                for token in tokenize.tokenize(source.readline)
                if token.type == tokenize.COMMENT
            ]
        for comment in comments:
            found = SUPPRESSION.match(comment.string)
            if found and not (found["reason"] or "").strip(" -#"):
                bare.append(f"{named(path)}:{comment.start[0]} {comment.string}")
    assert bare == []


def test_every_ruff_rule_that_is_off_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [
        *lint["ignore"],
        *(code for codes in lint["per-file-ignores"].values() for code in codes),
    ]
    reasons = re.findall(r'^    "([A-Z]+\d*)", # \S+.*$', text, re.MULTILINE)
    assert sorted(off) == sorted(reasons)


@pytest.mark.requires("git")
@pytest.mark.parametrize(
    "refused",
    [UNFINISHED, MACHINE_PATH, REGISTRY_HOST],
    ids=["unfinished work", "path of a machine", "host of a package registry"],
)
def test_no_file_holds(refused: re.Pattern[str]) -> None:
    found = []
    for path in project_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            # Not text: nothing to read in it.
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if match := refused.search(line):
                found.append(f"{named(path)}:{number} {match[0]}")
    assert found == []


@pytest.mark.requires("git")
def test_no_file_is_large() -> None:
    large = [f"{named(path)} {path.stat().st_size}" for path in project_files()]
    assert [entry for entry in large if int(entry.rpartition(" ")[2]) > 1_000_000] == []


def test_the_copied_vectors_are_the_given_ones() -> None:
    given = ROOT.parent / "shared" / "vectors"
    if not given.is_dir():
        pytest.skip("the given vectors are not beside this project")
    copied = ROOT / "tests" / "conformance" / "vectors"
    different = [
        path.name
        for path in sorted(given.glob("*.json"))
        if not (copied / path.name).is_file()
        or (copied / path.name).read_bytes() != path.read_bytes()
    ]
    assert different == []
