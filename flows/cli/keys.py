"""`tally keys`: making, listing and revoking the keys of the API, beside a running instance too."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: --help must not load it.

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.meter import instant
from flows.cli.output import Format, say, shown, write_json, write_rows
from schemas.access import ApiKey, Role
from schemas.errors import NotFound
from schemas.scope import Scope

if TYPE_CHECKING:
    from billing.ports import KeyStore

EXAMPLE = "Example: tally keys create --name collector --role event_ingestor"
LIST_EXAMPLE = "Example: tally keys list --format json"
REVOKE_EXAMPLE = "Example: tally keys revoke secret_01KDVDNA00ZXC2J9M5T8Q7W3RA"

COLUMNS = (
    "id", "display_id", "name", "roles", "tenant_id", "environment_id", "status", "created_by",
    "created_at", "expires_at", "revoked_at", "last_used_at",
)  # fmt: skip

app = typer.Typer(
    help="Create, list and revoke the keys of the API.",
    epilog=EXAMPLE,
    no_args_is_help=True,
    rich_markup_mode=None,
)


class KeyFormat(StrEnum):
    """How a new key is written: alone on its line, or as JSON with its record."""

    TEXT = "text"
    JSON = "json"


Data = Annotated[str | None, typer.Option(metavar="DIR", help="Data folder; default: ./.tally.")]
Environment = Annotated[
    str | None, typer.Option(metavar="ID", help="Environment; default: that of the settings.")
]
SettingsFile = Annotated[
    str | None, typer.Option(metavar="FILE", envvar="TALLY_SETTINGS", help="Settings file, YAML.")
]
ListFormat = Annotated[Format, typer.Option("--format", help="How the answer is written.")]


@dataclass(frozen=True, slots=True)
class Opened:
    """The keys of the store, the scope that was asked for, and the instant of the command."""

    keys: "KeyStore"
    scope: Scope
    at: datetime


@app.command("create", epilog=EXAMPLE)
def create(
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the key is for.")],
    role: Annotated[list[Role], typer.Option(help="What it may do; may be given again.")],
    expires: Annotated[
        str | None, typer.Option(metavar="T", help="When it ends, as 2027-01-01T00:00:00Z.")
    ] = None,
    environment: Environment = None,
    data: Data = None,
    settings: SettingsFile = None,
    form: Annotated[
        KeyFormat, typer.Option("--format", help="How the key is written.")
    ] = KeyFormat.TEXT,
) -> None:
    """Make a key and print it, this once: only its digest is kept."""
    expires_at = instant(expires, "--expires")
    from flows.access import new_key

    with opened(data, settings, environment, creates=True) as store:
        key, record = new_key(
            name=name,
            roles=role,
            scope=store.scope,
            created_by="tally keys",
            at=store.at,
            expires_at=expires_at,
        )
        store.keys.add_key(record)
    if form is KeyFormat.JSON:
        row = row_of(record, store.at)
        write_json({"key": key, **{column: shown(row[column]) for column in COLUMNS}})
    else:
        typer.echo(key)
    say(f"{record.id} {record.name}: {', '.join(record.roles)}; it is not shown again")


@app.command("list", epilog=LIST_EXAMPLE)
def list_keys(
    *,
    environment: Environment = None,
    data: Data = None,
    settings: SettingsFile = None,
    form: ListFormat = Format.TABLE,
) -> None:
    """List the keys of an environment, also those that open nothing any more."""
    with opened(data, settings, environment) as store:
        rows = [row_of(key, store.at) for key in store.keys.keys(store.scope)]
    write_rows(COLUMNS, rows, form, title="Keys")


@app.command("revoke", epilog=REVOKE_EXAMPLE)
def revoke(
    *,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as listed.")],
    environment: Environment = None,
    data: Data = None,
    settings: SettingsFile = None,
    form: ListFormat = Format.TABLE,
) -> None:
    """Revoke a key for ever; running instances stop taking it within 5 s."""
    with opened(data, settings, environment) as store:
        revoked = store.keys.revoke_key(store.scope, key_id, store.at)
    write_rows(COLUMNS, [row_of(revoked, store.at)], form, title="Revoked")


@contextmanager
def opened(
    data: str | None, settings: str | None, environment: str | None, *, creates: bool = False
) -> Iterator[Opened]:
    """Open the keys of an instance, which may be running; only `creates` makes a store."""
    from billing.access import WithConfigured
    from flows.access import configured_keys
    from flows.settings import read_settings_file, resolve
    from flows.sql_store import open_sql, sqlite_path

    resolved = resolve(
        flags={"data": data},
        environment=os.environ,
        file=read_settings_file(settings) if settings else None,
    )
    if not (creates or resolved.database_url or sqlite_path(resolved).exists()):
        raise NotFound(f"there is no store in {resolved.data}: `tally keys create` makes one")
    from billing.stores.keys import SqlKeys

    at = datetime.now(UTC)
    configured = configured_keys(
        os.environ.get("TALLY_API_KEY"), Scope(resolved.tenant, resolved.environment), at
    )
    database = open_sql(resolved, at)
    try:
        keys = WithConfigured(SqlKeys(database), configured)
        yield Opened(keys, Scope(resolved.tenant, environment or resolved.environment), at)
    finally:
        database.close()


def row_of(key: ApiKey, at: datetime) -> Mapping[str, object]:
    """Return what is shown of a key: nothing that opens anything."""
    return {
        "id": key.id,
        "display_id": key.display_id,
        "name": key.name,
        "roles": " ".join(key.roles),
        "tenant_id": key.scope.tenant_id,
        "environment_id": key.scope.environment_id,
        "status": status_of(key, at),
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def status_of(key: ApiKey, at: datetime) -> str:
    """Return whether a key opens something, in one word.

    >>> from dataclasses import replace
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> key = ApiKey("i", "d", "sk_01***ef", "n", Scope("t", "e"), (), "c", at)
    >>> status_of(key, at), status_of(replace(key, expires_at=at), at)
    ('live', 'expired')
    """
    from billing.access import is_live

    if is_live(key, at):
        return "live"
    return "expired" if key.revoked_at is None else "revoked"
