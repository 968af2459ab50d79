"""`tally apply`: what it prints, what it refuses in one line, and what a dry run leaves untouched."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows.cli import apply as apply_command
from flows.cli.main import Commands
from flows.serving.folder_lock import FolderLock

FILE = """
meters: [{name: calls, event_name: call, aggregation: {type: COUNT}}]
features: [{name: Calls, type: %s}]
plans:
  - name: Pro
    lookup_key: pro
    prices:
      - {lookup_key: fee, type: FIXED, billing_model: FLAT_FEE, amount: %s, currency: usd,
         billing_period: MONTHLY, invoice_cadence: ADVANCE}
"""
AT = ("--at", "2026-02-01T00:00:00Z")


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the settings that the machine's user may have made."""
    for name in ("TALLY_SETTINGS", "TALLY_DATABASE_URL", "TALLY_ENVIRONMENT", "TALLY_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLY_DATA", str(tmp_path / "data"))


class Program:
    """The command, and the file that it is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        app = typer.Typer(cls=Commands, rich_markup_mode=None)
        app.command("apply", epilog=apply_command.EXAMPLE)(apply_command.apply)
        app.callback()(lambda: None)
        self._app = app

    def run(
        self, *options: str, amount: str = "20", kind: str = "boolean", at: tuple[str, ...] = AT
    ) -> tuple[int, str, str]:
        path = self.folder / "catalog.yaml"
        path.write_text(FILE % (kind, amount))
        done = CliRunner().invoke(self._app, ["apply", str(path), *at, *options])
        return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def rows(text: str) -> list[tuple[str, str, str]]:
    return [(each["kind"], each["name"], each["action"]) for each in json.loads(text)]


NEW = [("meter", "calls"), ("feature", "calls"), ("plan", "pro"), ("price", "pro/fee")]


def test_a_dry_run_makes_no_store(program: Program) -> None:
    code, out, said = program.run("--dry-run", "--format", "json")
    assert (code, rows(out)) == (0, [(*each, "create") for each in NEW])
    assert said == "dry run, nothing was written: 4 create\n"
    assert not (program.folder / "data").exists()


def test_applying_again_changes_nothing(program: Program) -> None:
    assert program.run()[0] == 0
    code, out, said = program.run("--format", "json")
    assert (code, rows(out)) == (0, [(*each, "unchanged") for each in NEW])
    assert said == "applied: 4 unchanged\n"


def test_a_change_is_shown_with_what_it_was(program: Program) -> None:
    program.run()
    later = ("--at", "2026-03-01T00:00:00Z")
    for options, said in ((("--dry-run",), "dry run, nothing was written"), ((), "applied")):
        code, out, told = program.run(*options, "--format", "csv", amount="25", at=later)
        assert code == 0
        assert "price,pro/fee,new version,amount: 20 → 25; from 2026-03-01 00:00:00Z\n" in out
        assert told == f"{said}: 3 unchanged, 1 new version\n"
    assert "new version" not in program.run(amount="25", at=later)[1]
    [change] = [
        each
        for each in json.loads(program.run("--dry-run", "--format", "json", amount="30")[1])
        if each["fields"]
    ]
    assert change["fields"] == [{"field": "amount", "old": "25", "new": "30"}]


def test_people_see_a_table(program: Program) -> None:
    _, out, _ = program.run()
    assert "Changes" in out
    assert "pro/fee" in out


def test_what_cannot_be_is_shown_and_refused_in_one_line_each(program: Program) -> None:
    program.run()
    code, out, said = program.run("--format", "csv", kind="static")
    assert code == 1
    assert "feature,calls,refused," in out
    assert said == (
        "tally: feature calls: type of a feature cannot change:"
        " give the file another feature instead\n"
    )
    assert program.run("--format", "csv")[0] == 0


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["apply", "dry run"])
def test_a_folder_that_somebody_holds_is_left_to_them(
    program: Program, options: tuple[str, ...]
) -> None:
    program.run()
    with FolderLock(program.folder / "data"):
        code, out, said = program.run(*options)
    assert (code, out) == (1, "")
    assert said.startswith("tally: ")
    assert "is held by another tally" in said
    assert said.count("\n") == 1


def test_a_file_that_is_wrong_is_refused_before_the_store_is_opened(program: Program) -> None:
    code, out, said = program.run(amount="nothing")
    assert (code, out) == (1, "")
    assert "plans[0].prices[0].amount" in said
    assert not (program.folder / "data").exists()


def test_an_instant_that_is_none_is_wrong_usage(program: Program) -> None:
    assert program.run(at=("--at", "tomorrow"))[0] == 2
