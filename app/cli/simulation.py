"""`citestream simulate`: what a load needs, from what was measured."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.running import with_files

group = typer.Typer()

MOST = 1_000_000.0


@group.command()
def simulate(
    questions_per_second: Annotated[
        float, typer.Option(min=0.01, max=MOST, help="The load that is asked about.")
    ] = 10.0,
    hit_rate: Annotated[
        float, typer.Option(min=0, max=1, help="The share that the cache answers.")
    ] = 0.5,
    replicas: Annotated[
        str,
        typer.Option(help="Of each tier, as api=4,postgres=8; others: as many as are needed."),
    ] = "",
    utilisation: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="How busy a tier may be, as a share.")
    ] = 0.7,
    answer_tokens: Annotated[int, typer.Option(min=1, max=100_000, help="Of a new answer.")] = 256,
    first_token_ms: Annotated[
        float, typer.Option(min=0, max=600_000, help="What a model takes to its first token.")
    ] = 300.0,
    tokens_per_second: Annotated[
        float,
        typer.Option(min=0, max=MOST, help="Of one answer; 0: as fast as they are taken."),
    ] = 40.0,
    model_streams: Annotated[
        int,
        typer.Option(min=1, max=1_000_000, help="Answers that one model's server writes at once."),
    ] = 64,
    costs: Annotated[
        Path | None,
        typer.Option(help="What `bench tiers concurrency memory encoder --output` wrote here."),
    ] = None,
    questions: Annotated[
        int,
        typer.Option(min=0, max=100_000, help="Simulated for each load; 0: only what is needed."),
    ] = 3000,
    seed: Annotated[int, typer.Option(help="Of chance: the same gives the same.")] = 0,
    plot: Annotated[Path | None, typer.Option(help="A folder for the plots, as SVG files.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Simulate the benches instead, beside their figures.")
    ] = False,
    cores: Annotated[
        int, typer.Option(min=1, max=1024, help="With --check: of the machine that was benched.")
    ] = 2,
) -> None:
    """Say what a load needs of each tier, which one saturates first, and how long answers take.

    Reckons and simulates with what `citestream bench` measured. A language model's speed is nothing
    that it measures: say yours. docs/scaling.md tells what is in the simulation and what is not.
    """
    from app.commands.simulate import Options, check_simulation, simulate_load
    from app.simulation.service import Model, Traffic

    if check:
        with_files(check_simulation, costs, cores, seed)
        return
    model = Model(model_streams, first_token_ms / 1000, tokens_per_second)
    traffic = Traffic(hit_rate, answer_tokens, model)
    asked = Options(
        questions_per_second, traffic, replicas, utilisation, questions, seed, costs, plot
    )
    with_files(simulate_load, asked)
