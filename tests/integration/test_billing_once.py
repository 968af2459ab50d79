"""`tally run billing --once`: what is due by an instant is done once, on a folder that nobody holds."""

import json
import subprocess
from pathlib import Path

import pytest
from claim_world import CATALOG

pytestmark = pytest.mark.requires("embedded")


def once(tally: str, environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [tally, "run", "billing", "--once", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_is_due_is_done_once_and_by_the_given_instant(
    tally: str, plain_environment: dict[str, str], tmp_path: Path
) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(CATALOG)
    folder = ["--data", str(tmp_path / "data"), "--format", "json"]
    at = ["--at", "2026-02-01T03:00:00Z"]
    code, out, err = once(tally, plain_environment, *at, *folder, "--catalog", str(catalog))
    assert (code, err) == (0, "")
    assert sorted((row["customer"], row["did"]) for row in json.loads(out)) == [
        ("acme", "invoice skipped"),
        ("lapse", "lots expired"),
    ]
    assert once(tally, plain_environment, *at, *folder) == (0, "[]\n", "")


REFUSED = [
    (["--at", "2026-02-01T03:00:00Z"], 2, "--at goes with --once"),
    ([], 1, "needs TALLY_CLICKHOUSE_URL"),
    (["--once", "--format", "csv"], 2, "table or json"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED, ids=["at", "urls", "format"])
def test_what_cannot_be_is_refused_in_one_line(
    tally: str, plain_environment: dict[str, str], arguments: list[str], code: int, words: str
) -> None:
    done = subprocess.run(
        [tally, "run", "billing", *arguments],
        env=plain_environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
