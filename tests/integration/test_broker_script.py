"""The script that starts and stops the broker of the tests."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]


def test_without_java_it_says_so_in_one_line(broker_script: Script, tmp_path: Path) -> None:
    told = broker_script("start", "--data", str(tmp_path), environment={"PATH": str(tmp_path)})
    assert told.returncode == 1
    assert told.stderr.splitlines() == [
        "broker: java is missing: install a JDK or JRE of version 17 or newer"
    ]


def test_what_does_not_run_is_not_stopped(broker_script: Script, tmp_path: Path) -> None:
    told = broker_script("stop", "--data", str(tmp_path))
    assert (told.returncode, told.stdout) == (0, "not running\n")
    assert broker_script("status", "--data", str(tmp_path)).returncode == 1


def test_a_process_that_it_did_not_start_is_left_alone(
    broker_script: Script, tmp_path: Path
) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        note = f'{{"pid": {other.pid}, "born": "of another start", "port": 1}}'
        (tmp_path / "broker.json").write_text(note)
        told = broker_script("stop", "--data", str(tmp_path))
        assert told.stdout == "not running\n"
        assert other.poll() is None
        other.communicate()


@pytest.mark.requires("kafka")
@pytest.mark.timeout(700)
def test_a_running_broker_answers_and_its_port_is_taken(
    broker: str, broker_script: Script, tmp_path: Path
) -> None:
    port = broker.partition(":")[2]
    told = broker_script("start", "--port", port, "--data", str(tmp_path))
    assert told.returncode == 1
    assert told.stderr == f"broker: port {port} is taken: choose another with --port\n"
