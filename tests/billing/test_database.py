"""What SQL promises below every store: the same on SQLite and on PostgreSQL."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from billing.access import digest_of
from billing.stores import database as database_module
from billing.stores.database import HEAD, Database, at_head, migrate, open_database
from billing.stores.keys import SqlKeys
from billing.stores.migrating import heads, steps
from billing.stores.models import ApiKeyRow, EnvironmentRow, Model, TenantRow
from billing.stores.scopes import ensure_scope
from schemas.access import ApiKey, Role
from schemas.errors import AlreadyExists, InvalidOperation, StoreError, ValidationFailed
from schemas.scope import Scope

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
SCOPE = Scope("tenant_default", "env_development")
POSTGRES = pytest.param("postgres", marks=pytest.mark.requires("postgres"))


@pytest.fixture(params=["sqlite", POSTGRES])
def url(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
    return empty_database(request.param)


@pytest.fixture
def opened(url: str, open_at: Callable[[str], Database]) -> Callable[[], Database]:
    return lambda: open_at(url)


@pytest.fixture
def database(opened: Callable[[], Database]) -> Database:
    database = opened()
    migrate(database)
    return database


def new(name: str, *, at: datetime = NOON, scope: Scope = SCOPE) -> ApiKey:
    return ApiKey(
        f"secret_{name}",
        digest_of(name),
        "sk_01***ef",
        name,
        scope,
        (Role.ALL_READER, Role.EVENT_INGESTOR),
        "test",
        at,
    )


def test_migrating_again_changes_nothing(opened: Callable[[], Database]) -> None:
    database = opened()
    assert not at_head(database)
    assert migrate(database) == steps()
    assert at_head(database)
    SqlKeys(database).add_key(new("a"))
    assert migrate(database) == []
    assert migrate(opened()) == []
    assert SqlKeys(opened()).key_of(digest_of("a")) == new("a")


def test_processes_that_migrate_at_once_do_it_once(opened: Callable[[], Database]) -> None:
    databases = [opened() for _ in range(4)]
    together = Barrier(4)

    def bring_up(database: Database) -> list[str]:
        together.wait(30)
        return migrate(database)

    with ThreadPoolExecutor(4) as threads:
        applied = sorted(threads.map(bring_up, databases))
    assert applied == [[], [], [], steps()]
    assert all(map(at_head, databases))


def test_the_migrations_make_the_tables_of_the_models(database: Database) -> None:
    # PostgreSQL describes its columns in JSON, which our engine hands through as text.
    engine = create_engine(database.engine.url)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Model.metadata) == []
    engine.dispose()


def test_the_head_that_is_written_down_is_the_one_of_the_migrations() -> None:
    assert heads() == [HEAD]


def test_a_fresh_store_has_one_tenant_with_one_environment(database: Database) -> None:
    with database.reading() as session:
        assert [tenant.id for tenant in session.query(TenantRow)] == ["tenant_default"]
        [environment] = session.query(EnvironmentRow)
    assert (environment.tenant_id, environment.id) == ("tenant_default", "env_development")
    assert environment.type == "development"
    assert environment.created_at.utcoffset() == timedelta(0)


def test_a_scope_that_is_configured_is_made_once(database: Database) -> None:
    scope = Scope("tenant_new", "env_development")
    assert ensure_scope(database, scope, NOON)
    assert not ensure_scope(database, scope, NOON)
    assert ensure_scope(database, Scope("tenant_new", "env_production"), NOON)
    SqlKeys(database).add_key(new("a", scope=scope))
    assert SqlKeys(database).keys(scope) == (new("a", scope=scope),)


def test_a_key_of_no_environment_is_refused(database: Database) -> None:
    keys = SqlKeys(database)
    for scope in (Scope("tenant_default", "env_none"), Scope("tenant_none", "env_development")):
        with pytest.raises(ValidationFailed, match="there is no environment"):
            keys.add_key(new("a", scope=scope))
        assert keys.keys(scope) == ()


def test_instants_come_out_aware_and_in_utc(database: Database) -> None:
    keys = SqlKeys(database)
    keys.add_key(new("a", at=NOON.astimezone(timezone(timedelta(hours=-8)))))
    found = keys.key_of(digest_of("a"))
    assert found is not None
    assert found.created_at.tzinfo is UTC
    assert found.created_at == NOON
    with pytest.raises(Exception, match="an instant needs a zone"):
        keys.add_key(new("b", at=NOON.replace(tzinfo=None)))
    assert keys.keys(SCOPE) == (new("a"),)


def test_constraints_come_out_as_codes_and_quote_no_row(database: Database) -> None:
    SqlKeys(database).add_key(new("a"))
    environment = EnvironmentRow(
        tenant_id="tenant_default", id="env_x", name="x", type="test", created_at=NOON
    )
    with pytest.raises(ValidationFailed), database.writing() as session:
        session.add(environment)
    with pytest.raises(InvalidOperation) as refused, database.writing() as session:
        session.execute(text("DELETE FROM environments"))
    assert refused.value.reason == "in_use"
    with pytest.raises(AlreadyExists) as taken, database.writing() as session:
        session.execute(text("INSERT INTO api_keys SELECT * FROM api_keys"))
    assert digest_of("a") not in f"{taken.value}{taken.value.details}"
    with pytest.raises(ValidationFailed), database.writing() as session:
        session.execute(text("UPDATE api_keys SET name = NULL"))
    assert SqlKeys(database).keys(SCOPE) == (new("a"),)


def test_a_write_that_fails_half_way_changes_nothing(database: Database) -> None:
    def fail_half_way() -> None:
        with database.writing() as session:
            session.add(TenantRow(id="tenant_half", name="half", created_at=NOON))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.reading() as session:
        assert session.get(TenantRow, "tenant_half") is None


def test_a_read_sees_one_state_whatever_is_written_meanwhile(
    database: Database, opened: Callable[[], Database]
) -> None:
    SqlKeys(database).add_key(new("a"))
    with database.reading() as session:
        before = session.query(ApiKeyRow).count()
        SqlKeys(opened()).add_key(new("b"))
        assert session.query(ApiKeyRow).count() == before == 1
    assert len(SqlKeys(database).keys(SCOPE)) == 2


def test_who_waits_too_long_for_a_connection_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 0.05)
    monkeypatch.setattr(database_module, "CONNECTIONS_MAX", 1)
    if url.startswith("postgresql"):
        # The driver takes whole seconds only.
        monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 1)
    database = open_database(url)
    with database.engine.connect(), pytest.raises(StoreError, match="no free connection"):
        at_head(database)
    assert not at_head(database)
    database.close()


def test_sqlite_is_durable_and_checks_what_refers(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/tally.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 2000}
    with database.engine.connect() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    database.close()
    assert found == wanted


def test_a_writer_of_sqlite_that_waits_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS_MAX", 0.05)
    monkeypatch.setattr(database_module, "SQLITE_PRAGMAS", ("PRAGMA busy_timeout = 50",))
    url = f"sqlite:///{tmp_path}/tally.db"
    one, other = open_database(url), open_database(url)
    migrate(one)
    with one.writing():
        # Another thread of this process, and another process.
        for database, words in ((one, "other writers"), (other, "locked")):
            with pytest.raises(StoreError, match=words):
                SqlKeys(database).add_key(new("a"))
    SqlKeys(other).add_key(new("a"))
    one.close()
    other.close()


def test_a_store_that_is_away_or_broken_is_a_store_error(tmp_path: Path) -> None:
    garbage = tmp_path / "tally.db"
    garbage.write_bytes(b"this is no database, whatever its name says " * 100)
    for url in (f"sqlite:///{garbage}", "postgresql://tally:hidden@127.0.0.1:1/tally"):
        database = open_database(url)
        with pytest.raises(StoreError) as failed:
            SqlKeys(database).key_of("d")
        assert "hidden" not in str(failed.value)
        with pytest.raises(StoreError):
            migrate(database)
        database.close()


def test_a_store_of_a_newer_program_is_left_alone(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="9999"):
        migrate(database)
    assert database.revision() == "9999"


@pytest.mark.parametrize(
    "url",
    ["", "tally.db", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "http://x", "sqlite:x"],
)
def test_a_url_of_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValidationFailed):
        open_database(url)


def test_the_short_name_of_postgresql_serves() -> None:
    database = open_database("postgres://tally@localhost/tally")
    assert database.engine.url.drivername == "postgresql+psycopg"
    database.close()


def test_a_store_that_is_up_to_date_starts_without_alembic(database: Database, url: str) -> None:
    program = (
        "import sys; from billing.stores.database import migrate, open_database;"
        f"assert migrate(open_database({url!r})) == []; print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
