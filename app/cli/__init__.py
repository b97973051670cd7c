"""The `citestream` command: what there is to call, by groups; the work is in `app.commands`.

Heavy imports stand inside the commands: `--help` and the encoder start without the API's.
"""

from typing import Annotated

import typer

from app import __version__
from app.cli import (
    bench,
    documents,
    evaluation,
    identity,
    key,
    keys,
    questions,
    serving,
    simulation,
    tuning,
)
from app.commands.cycles import put_off

app = typer.Typer(
    name="citestream",
    help="A self-hosted chat service over your own documents: streamed, cited, cached.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (serving, documents, questions, identity, tuning, simulation):
    app.add_typer(part.group)
app.add_typer(identity.users, name="user", no_args_is_help=True)
app.add_typer(key.group, name="key")
app.add_typer(keys.group, name="keys", no_args_is_help=True)
app.add_typer(bench.group, name="bench", no_args_is_help=True)
app.add_typer(evaluation.group, name="eval", no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"citestream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version."),
    ] = False,
) -> None:
    """What stands before a command's name."""


def main() -> None:
    """Entry point of the `citestream` script."""
    put_off()  # while the command is imported; it looks again before it works
    app()
