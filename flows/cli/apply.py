"""`tally apply`: brings an instance to what a catalog file says, and shows what that changes."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.meter import CatalogFile, instant
from flows.cli.output import Format, say, write_json, write_rows
from schemas.scope import Scope

if TYPE_CHECKING:
    from flows.applying import ApplyReport
    from flows.catalog import Catalog
    from flows.settings import Settings

EXAMPLE = "Example: tally apply catalog.yaml --dry-run"
COLUMNS = ("kind", "name", "action", "changes")


def apply(
    *,
    catalog: CatalogFile,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and write nothing.")
    ] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="T", help="What of the file has come by then; default: now."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Data folder; default: ./.tally.")
    ] = None,
    settings: Annotated[
        str | None,
        typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML."),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="How the changes are written.")
    ] = Format.TABLE,
) -> None:
    """Show what a catalog file changes in an instance, and change it; again changes nothing.

    Objects that the file does not have are left alone and told. If the file asks for anything that
    cannot be, nothing is changed.
    """
    chosen = instant(at, "--at") or datetime.now(UTC)
    from flows.catalog import load_catalog
    from flows.settings import read_settings_file, resolve

    loaded = load_catalog(catalog)
    resolved = resolve(
        flags={"data": data},
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    with held(resolved, dry_run=dry_run):
        report = compared(resolved, loaded, chosen, dry_run=dry_run)
        write_report(report, form)
        report.check()
        if not dry_run:
            report = applied(resolved, loaded, chosen, dry_run=False)
    say(f"{'dry run, nothing was written' if dry_run else 'applied'}: {summary(report)}")


def held(settings: "Settings", *, dry_run: bool) -> AbstractContextManager[object]:
    """Hold the data folder where the store lies in it; a server's store takes several writers.

    Raises InvalidOperation where another process holds it.
    """
    from flows.serving.folder_lock import FolderLock

    folder = Path(settings.data)
    if settings.database_url or (dry_run and not folder.exists()):
        return nullcontext()
    return FolderLock(folder)


def compared(
    settings: "Settings", catalog: "Catalog", at: datetime, *, dry_run: bool
) -> "ApplyReport":
    """Return what a catalog would change; a dry run makes no store, and brings none up to date.

    Raises InvalidOperation where that would be needed.
    """
    from flows.sql_store import sql_url, sqlite_path

    if not dry_run:
        return applied(settings, catalog, at, dry_run=True)
    if not settings.database_url and not sqlite_path(settings).exists():
        from billing.stores.memory import MemoryStore
        from billing.stores.memory_objects import MemoryObjects
        from flows.applying import apply_catalog

        return apply_catalog(MemoryStore(), MemoryObjects(), catalog, at, dry_run=True)
    from billing.stores.database import at_head, open_database
    from schemas.errors import InvalidOperation

    database = open_database(sql_url(settings))
    try:
        if not at_head(database):
            raise InvalidOperation("the SQL store is not up to date: run `tally migrate` first")
    finally:
        database.close()
    return applied(settings, catalog, at, dry_run=True)


def applied(
    settings: "Settings", catalog: "Catalog", at: datetime, *, dry_run: bool
) -> "ApplyReport":
    """Apply a catalog to the SQL store that the settings name; raises as `apply_catalog` does."""
    from billing.stores.money import SqlStores
    from billing.stores.objects import SqlObjects
    from billing.stores.settings import RememberedSettings, SqlSettings
    from flows.applying import apply_catalog
    from flows.sql_store import open_sql

    scope = Scope(settings.tenant, settings.environment)
    database = open_sql(settings, datetime.now(UTC))
    try:
        config = RememberedSettings(SqlSettings(database, scope)).config
        stores = SqlStores(database, scope, config)
        objects = SqlObjects(database, scope)
        return apply_catalog(stores, objects, catalog, at, scope=scope, dry_run=dry_run)
    finally:
        database.close()


def write_report(report: "ApplyReport", form: Format) -> None:
    """Write what changes to stdout in the asked form; JSON has the values as they are."""
    from flows.catalog_differences import as_plain

    if form is Format.JSON:
        write_json([as_plain(each) for each in report.differences])
        return
    rows: list[dict[str, Any]] = [
        {
            "kind": each.kind,
            "name": each.name,
            "action": str(each.action),
            "changes": each.sentence(),
        }
        for each in report.differences
    ]
    write_rows(COLUMNS, rows, form, title="Changes")


def summary(report: "ApplyReport") -> str:
    """Return how many things each action is for, in one line."""
    counted = Counter(str(each.action) for each in report.differences)
    return ", ".join(f"{number} {action}" for action, number in counted.items()) or "an empty file"
