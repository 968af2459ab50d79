"""What Alembic runs around the steps: they happen in the transaction that it was handed."""

from importlib import import_module
from pkgutil import iter_modules

from alembic import context

from billing import stores
from billing.stores.models import Model

# A table is known once the file that describes it was imported.
for module in iter_modules(stores.__path__):
    if module.name.endswith("_models"):
        import_module(f"{stores.__name__}.{module.name}")


def run() -> None:
    """Run the steps on the connection in the configuration, and note which were applied."""
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=Model.metadata,
        on_version_apply=lambda *, step, **_: attributes["applied"].append(step.up_revision_id),
    )
    with context.begin_transaction():
        context.run_migrations()


# The name that Alembic gives this file when it runs it: to import it otherwise does nothing.
if __name__ == "env_py":
    run()
