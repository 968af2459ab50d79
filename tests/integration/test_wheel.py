"""The wheel that users install: built from the tree, installed elsewhere, run from elsewhere."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.requires("embedded", "pip"), pytest.mark.timeout(300)]

PACKAGES = ("schemas", "operators", "billing", "flows")


class Installed(NamedTuple):
    """A wheel and the environment that it was installed into."""

    wheel: Path
    bin: Path


@pytest.fixture(scope="module")
def installed(
    root: Path, plain_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    run = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done(run, root, plain_environment)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    done([sys.executable, "-m", "venv", "--without-pip", str(environment)], folder, {})
    # The libraries are those of this environment. Its own link to the tree is not followed: a line
    # of a .pth file adds a folder, and no .pth file that lies in it.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    python = str(environment / "bin" / "python")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--disable-pip-version-check",
    ]
    done([*pip, "--no-deps", "--no-index", str(wheel)], folder, plain_environment)
    return Installed(wheel, environment / "bin")


def done(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command to its end and return what it wrote; a failure is told in its own words."""
    told = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert told.returncode == 0, told.stderr + told.stdout
    return told.stdout


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(
    installed: Installed, root: Path
) -> None:
    held = {
        name for name in zipfile.ZipFile(installed.wheel).namelist() if ".dist-info/" not in name
    }
    needed = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == needed


def test_the_licence_travels_with_the_wheel(installed: Installed, root: Path) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
        assert archive.read(licence) == (root / "LICENSE").read_bytes()


def test_the_installed_program_is_not_the_tree(installed: Installed, tmp_path: Path) -> None:
    where = "import flows, pathlib; print(pathlib.Path(flows.__file__).resolve())"
    found = Path(done([str(installed.bin / "python"), "-c", where], tmp_path, {}).strip())
    assert found.is_relative_to(installed.bin.parent.resolve())


def test_it_tells_its_version(installed: Installed, tmp_path: Path) -> None:
    version = installed.wheel.name.split("-")[1]
    assert done([str(installed.bin / "tally"), "--version"], tmp_path, {}) == f"tally {version}\n"


def test_the_demo_runs_outside_the_clone_and_leaves_nothing(
    installed: Installed, plain_environment: dict[str, str], tmp_path: Path
) -> None:
    told = done([str(installed.bin / "tally"), "demo"], tmp_path, plain_environment)
    assert told
    assert list(tmp_path.iterdir()) == []
