"""`citestream tune`: what suits this machine."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.running import complete, say

group = typer.Typer()


@group.command()
def tune(
    output: Annotated[
        Path, typer.Option(help="The file to write, as YAML; one that is there is replaced.")
    ] = Path("profile.yaml"),
    minutes: Annotated[
        float, typer.Option(min=1, max=60, help="How long to measure, at most.")
    ] = 3.0,
) -> None:
    """Measure this machine and write what suits it as a profile, for `run` and `serve --profile`.

    Tries threads and batches of the encoder, the breadth of the vector search, workers and their
    connections, on servers of its own that it starts and removes; your data are not touched. Each
    value in the profile stands below what was measured for it. docs/tuning.md has more.
    """
    from app.commands.tune import tune as tune_machine

    complete(tune_machine(output, minutes, say))
