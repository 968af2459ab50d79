"""Running the migrations by Alembic, whose import costs half a second: only where there are any."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from schemas.errors import StoreError

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> list[str]:
    """Apply the steps that are new here, in the transaction of a connection; return their names."""
    config = configuration()
    applied: list[str] = []
    config.attributes.update(connection=connection, applied=applied)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"the SQL store cannot be migrated: {error}") from error
    return applied


def heads() -> list[str]:
    """Return the newest steps that Alembic finds; more than one is a fork, and a bug."""
    return list(ScriptDirectory.from_config(configuration()).get_heads())


def steps() -> list[str]:
    """Return all steps, in the order in which they are applied."""
    found = ScriptDirectory.from_config(configuration()).walk_revisions()
    return [script.revision for script in found][::-1]


def configuration() -> Config:
    """Return what Alembic needs to know; there is no file of settings."""
    config = Config()
    # A percent sign in a path would be read as the start of a substitution.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
