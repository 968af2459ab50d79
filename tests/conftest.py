"""What all tests share: the gate of components that a machine may lack, and the bounds of the laws.

A test that needs a component says so with `@pytest.mark.requires("kafka")`. Where that is missing,
the test is skipped and named at the end of the run; with TEST_REQUIRE_ALL=1 it fails.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# A shared machine may be slow at any moment: that is no failure of a law.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

LACKING = pytest.StashKey[dict[str, list[str]]]()


def _kafka() -> str | None:
    if shutil.which("java") is None:
        return "java (17 or newer) is not installed"
    if shutil.which("mvn") is None and not list((ROOT / ".cache" / "kafka").glob("jars-*")):
        return "mvn is not installed, and the server was never resolved"
    return None


def _embedded() -> str | None:
    return None if importlib.util.find_spec("chdb") else "chdb is not installed"


def _pip() -> str | None:
    return None if importlib.util.find_spec("pip") else "pip is not in this environment"


def _git() -> str | None:
    if shutil.which("git") is None:
        return "git is not installed"
    return None if (ROOT / ".git").exists() else "this is no clone"


def _postgres() -> str | None:
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return "postgresql is not installed"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "runuser, to start postgresql as another user, is not installed"
    return None


def _prometheus() -> str | None:
    if shutil.which("prometheus") or list((ROOT / ".cache" / "prometheus").glob("**/prometheus")):
        return None
    return None if shutil.which("apt-get") else "prometheus is not installed"


COMPONENTS: dict[str, Callable[[], str | None]] = {
    "kafka": _kafka,
    "embedded": _embedded,
    "git": _git,
    "pip": _pip,
    "postgres": _postgres,
    "prometheus": _prometheus,
}


@cache
def missing(component: str) -> str | None:
    """Return why a component cannot be used on this machine, or None if it can."""
    return COMPONENTS[component]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LACKING] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        for component in marker.args:
            reason = missing(component)
            if reason is None:
                continue
            item.config.stash[LACKING].setdefault(f"{component}: {reason}", []).append(item.nodeid)
            if os.environ.get("TEST_REQUIRE_ALL") == "1":
                pytest.fail(f"needs {component}, and TEST_REQUIRE_ALL=1: {reason}", pytrace=False)
            pytest.skip(f"needs {component}: {reason}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of several has not run."""
    for reason, tests in node.workeroutput.get("lacking", {}).items():
        node.config.stash[LACKING].setdefault(reason, []).extend(tests)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["lacking"] = session.config.stash[LACKING]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lacking = terminalreporter.config.stash[LACKING]
    if not lacking:
        return
    terminalreporter.section("components missing", yellow=True, bold=True)
    for reason, tests in sorted(lacking.items()):
        terminalreporter.line(f"{reason}; not run: {len(tests)}")
        for test in tests:
            terminalreporter.line(f"    {test}")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the folder of the project."""
    return ROOT
