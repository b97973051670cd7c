"""`citestream eval`: how good results are on a data set."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.running import complete, listed, whole_number
from app.commands.default_command import DefaultCommand

group = typer.Typer(
    cls=DefaultCommand,
    help="Measure how good results are on a data set: `eval DATASET` is `eval retrieval DATASET`.",
)


@group.command("retrieval")
def eval_retrieval(
    dataset: Annotated[
        Path,
        typer.Argument(help="A JSON file as SQuAD's, or a folder as BEIR's with its qrels."),
    ],
    k: Annotated[str, typer.Option(help="Recall at these numbers of documents.")] = "1,5,10",
    sources: Annotated[
        str | None, typer.Option(help="Only these, e.g. vector,keyword; default: all that are on.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first questions; every document counts.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the questions; default: recognised in each.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for the servers' data; default: ~/.cache/citestream/eval."),
    ] = None,
    portfolio: Annotated[
        str | None,
        typer.Option(help="A portfolio of this name, on the configured servers without --data."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for the figures, as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="A file for a page with plots.")] = None,
) -> None:
    """What retrieval finds of a data set: each source alone and all of them fused.

    Prints recall@k, nDCG@10 and MRR@10, and how long each stage took. The documents are indexed
    once: a second run on the same data only asks.
    """
    from app.commands.evaluate import Options, evaluate

    cuts = [whole_number(each) for each in listed(k)]
    chosen = None if sources is None else listed(sources)
    options = Options(dataset, cuts, chosen, limit, language, data, portfolio, output, html)
    complete(evaluate(options))


@group.command("cache")
def eval_cache(
    pairs: Annotated[
        Path,
        typer.Argument(help="JSON Lines: left, right, same and, if known, language."),
    ],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for the servers' data; default: ~/.cache/citestream/eval."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for the figures, as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="A file for a page with the plot.")] = None,
) -> None:
    """Whether questions in other words find a cached answer, and questions that are others do not.

    Prints the hit rate, the false-hit rate with its 95 % interval, and both at every threshold,
    by the configured encoder, with the guards and without.
    """
    from app.commands.evaluate_cache import evaluate_cache

    complete(evaluate_cache(pairs, data, output, html))
