"""What the integration tests share: the program as a user starts it, and a real broker."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BROKER_SECONDS_MAX = 700


@pytest.fixture(scope="session")
def tally() -> str:
    """Return the path of the installed program."""
    return str(Path(sys.executable).parent / "tally")


@pytest.fixture(scope="session")
def plain_environment() -> dict[str, str]:
    """Return the environment without settings that the machine's user may have made."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}


@pytest.fixture(scope="session")
def broker(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the real broker on a free port, give its address, and stop it at the end."""
    folder = tmp_path_factory.mktemp("kafka")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_broker(root, "start", "--port", str(port), "--data", str(folder))
    try:
        yield f"127.0.0.1:{port}"
    finally:
        run_broker(root, "stop", "--data", str(folder))


def run_broker(root: Path, *arguments: str) -> None:
    """Run the script; what it says about a failure is the failure."""
    done = subprocess.run(
        [str(root / "deploy" / "kafka" / "broker"), *arguments],
        capture_output=True,
        text=True,
        timeout=BROKER_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def broker_script(root: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the broker's script in a given environment."""

    def run(
        *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(root / "deploy" / "kafka" / "broker"), *arguments],
            capture_output=True,
            text=True,
            timeout=BROKER_SECONDS_MAX,
            check=False,
            env=environment,
        )

    return run


@pytest.fixture
def prometheus(root: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that starts Prometheus on some targets and gives its URL; it ends with the test."""
    folder = tmp_path / "prometheus"

    def start(*targets: str) -> str:
        given = [argument for target in targets for argument in ("--target", target)]
        said = run_prometheus(root, "start", "--port", "0", "--data", str(folder), *given)
        return f"http://{said.split()[0]}"

    yield start
    run_prometheus(root, "stop", "--data", str(folder))


def run_prometheus(root: Path, *arguments: str) -> str:
    """Run the script and return what it says; what it says about a failure is the failure."""
    done = subprocess.run(
        [sys.executable, str(root / "deploy" / "prometheus" / "prometheus"), *arguments],
        capture_output=True,
        text=True,
        timeout=BROKER_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout
