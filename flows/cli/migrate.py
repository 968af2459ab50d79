"""`tally migrate`: brings the stores of an instance to the tables of this program."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.output import Format, say, write_rows

if TYPE_CHECKING:
    from flows.settings import Settings

EXAMPLE = "Example: TALLY_DATABASE_URL=postgresql://tally@localhost/tally tally migrate"
COLUMNS = ("store", "applied")


def migrate(
    *,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Data folder; default: ./.tally.")
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How the answer is written.")] = (
        Format.TABLE
    ),
) -> None:
    """Bring the SQL store, and ClickHouse where one is named, up to date; again changes nothing.

    The embedded engine is not touched: the process that holds its folder brings it up to date.
    """
    from flows.settings import read_settings_file, resolve

    resolved = resolve(
        flags={"data": data},
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    rows = [{"store": "sql", "applied": step} for step in migrate_sql(resolved)]
    rows += [{"store": "clickhouse", "applied": step} for step in migrate_clickhouse(resolved)]
    write_rows(COLUMNS, rows, form, title="Applied")
    say("up to date" if not rows else f"applied: {len(rows)}")


def migrate_sql(settings: "Settings") -> list[str]:
    """Bring the SQL store up to date, and return the steps that were applied."""
    from flows.sql_store import brought_up

    database, applied = brought_up(settings, datetime.now(UTC))
    database.close()
    return applied


def migrate_clickhouse(settings: "Settings") -> list[str]:
    """Bring a ClickHouse server up to date, and return the numbers of the files applied."""
    if not settings.clickhouse_url:
        return []
    from flows.stores.engine import connect
    from flows.stores.migrations import migrate as migrate_engine

    engine = connect(settings.clickhouse_url)
    try:
        engine.use(settings.clickhouse_database)
        return [f"{number:04d}" for number in migrate_engine(engine)]
    finally:
        engine.close()
