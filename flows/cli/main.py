"""The program `tally`: its commands, its version, and how it fails.

Exit codes: 0 done, 1 refused or failed (each problem one line on stderr), 2 wrong usage. Commands
import what they need when they run: `tally --help` must not load the engine.
"""

# ruff: noqa: PLC0415 - what is heavy is imported where it is needed: --help must not load it.

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli import (
    apply,
    bill,
    demo,
    dev,
    explain,
    ingest,
    keys,
    meter,
    migrate,
    run,
    serve,
    usage,
)
from flows.cli.output import say
from schemas.errors import TallyError


class Commands(TyperGroup):
    """A group of commands that ends with code 1 and no traceback where a TallyError is raised."""

    # Typer names the type of its context privately.
    def invoke(self, ctx: Any) -> Any:
        """Run the command; a refusal or failure that was foreseen is said in its own words."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            foreseen = cause_of(error)
            if foreseen is None:
                raise
            for line in str(foreseen).splitlines():
                say(f"tally: {line}")
            raise typer.Exit(1) from None


def cause_of(error: BaseException | None) -> TallyError | None:
    """Return the TallyError that an error is or came from; the dataflow wraps what its steps raise.

    >>> cause_of(ValueError("a bug")) is None
    True
    """
    while error is not None and not isinstance(error, TallyError):
        error = error.__cause__
    return error


app = typer.Typer(
    cls=Commands,
    name="tally",
    help="Meters usage and turns it into money, exactly.",
    epilog="Example: tally demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("dev", epilog=dev.EXAMPLE)(dev.dev)
app.command("ingest", epilog=ingest.EXAMPLE)(ingest.ingest)
app.command("usage", epilog=usage.EXAMPLE)(usage.usage)
app.command("explain", epilog=explain.EXAMPLE)(explain.explain)
app.command("meter", epilog=meter.EXAMPLE)(meter.meter)
app.command("bill", epilog=bill.EXAMPLE)(bill.bill)
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("migrate", epilog=migrate.EXAMPLE)(migrate.migrate)
app.command("apply", epilog=apply.EXAMPLE)(apply.apply)
app.add_typer(keys.app, name="keys")
app.add_typer(run.app, name="run")


def show_version(asked: bool) -> None:  # noqa: FBT001 - an option's callback is called so.
    """Print the version and stop, if it was asked for."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"tally {version('tallyflow')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=show_version, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Meter usage and turn it into money, exactly."""
    # The version has been shown by its callback, before any command is looked for.
    del version


if __name__ == "__main__":
    app()
