"""`tally keys` and `tally migrate`: what they print, what they keep, and what they never show."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from billing.access import Authenticator, digest_of
from billing.stores.keys import SqlKeys
from billing.stores.migrating import steps
from flows.access import BASE_62, KEY_DIGITS, base_62, first_key, new_key, random_key
from flows.cli import keys as keys_command
from flows.cli import migrate as migrate_command
from flows.cli.main import Commands
from flows.ids import CROCKFORD, EPOCH, new_id, ulid
from flows.settings import Settings
from flows.sql_store import open_sql
from schemas.access import Role
from schemas.errors import ValidationFailed
from schemas.scope import Scope

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
KEY = re.compile(rf"sk_[0-9A-Za-z]{{{KEY_DIGITS}}}")


@pytest.fixture(autouse=True)
def plain_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the settings that the machine's user may have made."""
    for name in (
        "TALLY_API_KEY",
        "TALLY_SETTINGS",
        "TALLY_DATABASE_URL",
        "TALLY_ENVIRONMENT",
        "TALLY_CLICKHOUSE_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TALLY_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    """Return the program with these two commands, and its way to fail."""
    app = typer.Typer(cls=Commands, rich_markup_mode=None)
    app.add_typer(keys_command.app, name="keys")
    app.command("migrate", epilog=migrate_command.EXAMPLE)(migrate_command.migrate)
    return app


class Program:
    """The program; each answer is code, stdout and stderr."""

    def __init__(self, app: typer.Typer) -> None:
        self.app = app

    def __call__(self, *words: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(self.app, list(words))
        return result.exit_code, result.stdout, result.stderr

    def listed(self, *words: str) -> list[Mapping[str, str | None]]:
        code, out, error = self("keys", "list", "--format", "json", *words)
        assert code == 0, error
        rows: list[Mapping[str, str | None]] = json.loads(out)
        return rows


@pytest.fixture
def tally(app: typer.Typer) -> Program:
    return Program(app)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlKeys]:
    """Give the keys as a running instance has them open."""
    database = open_sql(Settings(data=str(tmp_path / "data")), NOON)
    yield SqlKeys(database)
    database.close()


def test_a_new_key_is_alone_on_stdout_and_opens_what_it_was_made_for(
    tally: Program, store: SqlKeys
) -> None:
    code, out, error = tally("keys", "create", "--name", "ci", "--role", "event_ingestor")
    assert code == 0
    assert KEY.fullmatch(out.removesuffix("\n"))
    assert out.strip() not in error
    principal = Authenticator(store, lambda: datetime.now(UTC)).authenticate(out.strip())
    assert principal is not None
    assert (principal.scope, principal.roles) == (SCOPE, (Role.EVENT_INGESTOR,))


def test_a_key_is_shown_once_and_kept_nowhere(tally: Program, tmp_path: Path) -> None:
    code, out, _ = tally(
        "keys", "create", "--name", "ci", "--role", "all_reader", "--format", "json"
    )
    assert code == 0
    made = json.loads(out)
    key = made.pop("key")
    assert KEY.fullmatch(key)
    assert tally.listed() == [made]
    assert made["display_id"] == f"{key[:5]}***{key[-2:]}"
    for form in ("table", "json", "csv"):
        _, out, error = tally("keys", "list", "--format", form)
        assert key not in out + error
        assert digest_of(key) not in out + error
    for file in (tmp_path / "data").iterdir():
        assert key.encode() not in file.read_bytes()


def test_a_key_has_the_roles_and_the_end_that_it_was_given(tally: Program) -> None:
    words = ["--role", "event_reader", "--role", "event_ingestor", "--expires", "2099-01-01"]
    assert tally("keys", "create", "--name", "a b", *words)[0] == 0
    [row] = tally.listed()
    assert row["roles"] == "event_ingestor event_reader"
    assert row["expires_at"] == "2099-01-01T00:00:00Z"
    assert (row["name"], row["status"], row["created_by"]) == ("a b", "live", "tally keys")
    assert re.fullmatch(f"secret_[{CROCKFORD}]{{26}}", row["id"] or "")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "--name", "x"], 2, "role"),
        (["create", "--role", "all_reader"], 2, "name"),
        (["create", "--name", "x", "--role", "root"], 2, "root"),
        (["create", "--name", "x", "--role", "all_reader", "--expires", "soon"], 2, "soon"),
        (["create", "--name", "", "--role", "all_reader"], 1, "name"),
        (["create", "--name", "x", "--role", "all_reader", "--expires", "2020-01-01"], 1, "expire"),
        (["create", "--name", "x", "--role", "super_admin", "--role", "all_reader"], 1, "alone"),
        (["create", "--name", "x", "--role", "all_reader", "--environment", "env_x"], 1, "env_x"),
        (["list"], 1, "no store"),
        (["revoke", "secret_x"], 1, "no store"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tally: Program, words: list[str], code: int, said: str
) -> None:
    found, out, error = tally("keys", *words)
    assert (found, out) == (code, "")
    assert said in error
    if code == 1:
        assert error.count("\n") == 1
        assert error.startswith("tally: ")


def test_looking_makes_no_store(tally: Program, tmp_path: Path) -> None:
    assert tally("keys", "list")[0] == 1
    assert not (tmp_path / "data").exists()


def test_a_revoked_key_opens_nothing_in_a_running_instance(tally: Program, store: SqlKeys) -> None:
    at = [datetime.now(UTC)]
    running = Authenticator(store, lambda: at[0])
    key = tally("keys", "create", "--name", "ci", "--role", "all_reader")[1].strip()
    assert running.authenticate(key) is not None
    [row] = tally.listed()
    code, out, _ = tally("keys", "revoke", row["id"] or "", "--format", "json")
    assert code == 0
    assert [each["status"] for each in json.loads(out)] == ["revoked"]
    at[0] += timedelta(seconds=5)
    assert running.authenticate(key) is None
    again = json.loads(tally("keys", "revoke", row["id"] or "", "--format", "json")[1])
    assert again == json.loads(out)
    assert tally("keys", "revoke", "secret_none")[0] == 1


def test_the_key_of_the_configuration_is_listed_and_cannot_be_revoked(
    tally: Program, store: SqlKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_API_KEY", "a-key-that-somebody-wrote-down")
    [row] = tally.listed()
    assert (row["id"], row["roles"]) == ("secret_configured", "super_admin")
    code, out, error = tally("keys", "revoke", "secret_configured")
    assert (code, out) == (1, "")
    assert "TALLY_API_KEY" in error
    assert store.keys(SCOPE) == ()


def test_a_configured_environment_has_keys_of_its_own(
    tally: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tally("keys", "create", "--name", "one", "--role", "all_reader")[0] == 0
    monkeypatch.setenv("TALLY_ENVIRONMENT", "env_production")
    assert tally("keys", "create", "--name", "two", "--role", "all_reader")[0] == 0
    assert [row["name"] for row in tally.listed()] == ["two"]
    assert [row["name"] for row in tally.listed("--environment", "env_development")] == ["one"]


def test_another_process_writes_keys_beside_a_running_instance(
    store: SqlKeys, tmp_path: Path
) -> None:
    program = "from flows.cli.keys import app; app()"
    words = ["create", "--name", "x", "--role", "all_writer", "--data", str(tmp_path / "data")]
    running = [
        subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    made = {each.communicate(timeout=60)[0].strip() for each in running}
    assert [each.returncode for each in running] == [0, 0, 0]
    assert {digest_of(key) for key in made} == {key.digest for key in store.keys(SCOPE)}
    assert len(made) == 3


def test_migrating_says_what_it_applied_and_the_second_time_nothing(
    tally: Program, tmp_path: Path
) -> None:
    code, out, _ = tally("migrate", "--format", "json")
    assert (code, json.loads(out)) == (0, [{"store": "sql", "applied": step} for step in steps()])
    code, out, error = tally("migrate", "--format", "json")
    assert (code, out, error) == (0, "[]\n", "up to date\n")
    with sqlite3.connect(tmp_path / "data" / "tally.db") as connection:
        assert connection.execute("SELECT id FROM environments").fetchall() == [
            ("env_development",)
        ]
    connection.close()


@pytest.mark.requires("embedded")
def test_a_clickhouse_server_that_is_named_is_migrated_too(
    tally: Program, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = root / "tests" / "shims" / "clickhouse_http.py"
    with subprocess.Popen(
        [sys.executable, str(shim), str(tmp_path / "engine")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin
        assert server.stdout
        port = server.stdout.readline().strip()
        monkeypatch.setenv("TALLY_CLICKHOUSE_URL", f"http://127.0.0.1:{port}")
        first, again = (tally("migrate", "--format", "json") for _ in range(2))
        server.stdin.close()
    told = [{"store": "sql", "applied": step} for step in steps()]
    told.append({"store": "clickhouse", "applied": "0001"})
    assert json.loads(first[1])[: len(told)] == told
    assert again == (0, "[]\n", "up to date\n")


def test_migrating_a_store_that_is_away_fails_in_one_line(
    tally: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALLY_DATABASE_URL", "postgresql://tally:hidden@127.0.0.1:1/tally")
    code, out, error = tally("migrate")
    assert (code, out) == (1, "")
    assert error.startswith("tally: the SQL store failed")
    assert error.count("\n") == 1
    assert "hidden" not in error


def test_the_first_key_of_a_store_is_made_once(store: SqlKeys) -> None:
    key = first_key(store, SCOPE, NOON)
    assert key is not None
    assert first_key(store, SCOPE, NOON) is None
    [record] = store.keys(SCOPE)
    assert (record.digest, record.roles) == (digest_of(key), (Role.SUPER_ADMIN,))
    store.revoke_key(SCOPE, record.id, NOON)
    assert first_key(store, SCOPE, NOON) not in (None, key)


def test_keys_and_ids_are_never_the_same_twice() -> None:
    keys = {random_key() for _ in range(500)}
    assert len(keys) == 500
    assert all(map(KEY.fullmatch, keys))
    assert len({new_id("secret", NOON) for _ in range(500)}) == 500


@given(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1))
def test_thirty_two_bytes_have_one_key_of_one_width(one: int, other: int) -> None:
    texts = base_62(one, KEY_DIGITS), base_62(other, KEY_DIGITS)
    assert [len(text) for text in texts] == [KEY_DIGITS, KEY_DIGITS]
    assert (texts[0] == texts[1]) is (one == other)
    assert sum(BASE_62.index(each) * 62**place for place, each in enumerate(texts[0][::-1])) == one


@given(
    st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1),
    st.integers(0, 2**80 - 1), st.integers(0, 2**80 - 1),
)  # fmt: skip
def test_ids_sort_by_time(early: int, late: int, one: int, other: int) -> None:
    early, late = sorted((early % 2**45, late % 2**45))
    texts = [
        ulid(EPOCH + timedelta(milliseconds=milliseconds), chance)
        for milliseconds, chance in ((early, one), (late, other))
    ]
    assert all(len(text) == 26 and set(text) <= set(CROCKFORD) for text in texts)
    if early < late:
        assert texts[0] < texts[1]


@pytest.mark.parametrize("name", ["", "x" * 256, "two\nlines"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(ValidationFailed):
        new_key(name=name, roles=[Role.ALL_READER], scope=SCOPE, created_by="test", at=NOON)
