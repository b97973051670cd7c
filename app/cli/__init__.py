"""The `citestream` command: what there is to call, by groups; the work is in `app.commands`.

Heavy imports stand inside the commands: `--help` and the encoder start without the API's.
"""

import typer

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


def main() -> None:
    """Entry point of the `citestream` script."""
    put_off()  # while the command is imported; it looks again before it works
    app()
