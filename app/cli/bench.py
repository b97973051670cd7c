"""`citestream bench`: figures of this machine, beside what must be reached."""

from pathlib import Path
from typing import Annotated

import typer

from app.bench.registry import ALL, BENCHES, CHUNKS, SCALE_CHUNKS, chosen, listed
from app.cli.running import complete, say, with_files
from app.commands.default_command import DefaultCommand

group = typer.Typer(
    cls=DefaultCommand,
    help=f"""Measure on this machine, beside what must be reached: `bench NAME...` is `bench run
NAME...`, whose --help has its options.

\b
{listed()}

\b
citestream bench all --output results.json
citestream bench cache stream --rounds 3
citestream bench compare old.json results.json
""",
)


@group.command(
    "run",
    help=f"""Measure, and print each figure beside what it must reach.

Starts what it needs by itself and leaves nothing behind. Ends with 1 where a limit is missed or a
bench could not run. A bench warms up, and takes turns with what it is compared with.

\b
{listed()}
""",
)
def bench_run(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Which; `all` for every one.")],
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, help="How often everything is measured; default: as each bench has it."
        ),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option(
            min=300,
            help=f"`retrieval`: chunks in all ({CHUNKS:,}); `scale`: of the large portfolio "
            f"({SCALE_CHUNKS:,}). Fewer for a quick look.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A file for the figures, as JSON; a page with plots comes beside it."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Another file for the page.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A profile: the name of a shipped one, or a YAML file."),
    ] = None,
) -> None:
    from app.commands.bench import Options, run_benches

    try:
        benches = chosen(names)
    except KeyError as error:
        known = ", ".join([*BENCHES, ALL])
        raise typer.BadParameter(f"{error.args[0]!r} is no bench; there are {known}.") from None
    kept = complete(run_benches(benches, Options(rounds, chunks, output, html, config), say))
    raise typer.Exit(0 if kept else 1)


@group.command("compare")
def bench_compare(
    old: Annotated[Path, typer.Argument(help="What `--output` wrote then.")],
    new: Annotated[Path, typer.Argument(help="What it wrote now.")],
) -> None:
    """What changed between two files of results by more than the noise of their rounds.

    By the exact rank-sum test at 1 % and by at least 5 % of the median; with fewer than five
    rounds, where no round of one is among the other's and the medians are 25 % apart. Ends with 1
    where something is worse, with 2 where a file cannot be read.
    """
    from app.commands.bench_files import compare_files

    raise typer.Exit(0 if with_files(compare_files, old, new) else 1)


@group.command("report")
def bench_report(
    results: Annotated[Path, typer.Argument(help="What `--output` wrote.")],
    markdown: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to write; plots come beside it as SVG files."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="A page to write.")] = None,
) -> None:
    """A file of results once more: printed, as a page, or as docs/benchmarks.md."""
    from app.commands.bench_files import report

    with_files(report, results, markdown, html)
