"""The `citestream` command: run, serve, encoder, migrate, ingest, ask, warm, eval, key."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from app.bench.registry import ALL, BENCHES, CHUNKS, chosen, listed
from app.commands.default_command import DefaultCommand
from app.encoder.backend import DEFAULT_BACKEND

# Heavy imports stand inside the commands: `--help` and the encoder start without the API's.

app = typer.Typer(
    name="citestream",
    help="A self-hosted chat service over your own documents: streamed, cited, cached.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

bench = typer.Typer(
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
app.add_typer(bench, name="bench", no_args_is_help=True)

evaluation = typer.Typer(
    cls=DefaultCommand,
    help="Measure how good results are on a data set: `eval DATASET` is `eval retrieval DATASET`.",
)
app.add_typer(evaluation, name="eval", no_args_is_help=True)

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, help="API processes behind the address; default: CITESTREAM_WORKERS, or 1."
    ),
]
AgentOption = Annotated[str, typer.Option(help="The agent that answers, by name.")]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language of the answer, e.g. en or es; default: as asked.")
]


@app.command()
def run(workers: WorkersOption = None) -> None:
    """Start everything on this machine: Postgres, Valkey, the encoder, the API and the page.

    Needs no key and no server. PORT chooses the port (8000), CITESTREAM_DATA the folder that
    keeps the data (.citestream). Ctrl-C stops it all; data survive.
    """
    from app.commands.run import run_everything

    _run(run_everything(_say, workers))


@app.command()
def serve(workers: WorkersOption = None) -> None:
    """Start the API alone, on the servers that DATABASE_URL and REDIS_URL name.

    PORT and CITESTREAM_HOST choose where it listens. docs/serving.md has more.
    """
    from app.commands.run import serve_only

    _run(serve_only(_say, workers))


@app.command()
def encoder(
    model: Annotated[
        str, typer.Option(help="A model's name or folder.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8765,
    uds: Annotated[str | None, typer.Option(help="Unix socket, instead of host and port.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="What the model runs on.")
    ] = "auto",
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads; 0 lets the backend choose.")
    ] = 0,
    backend: Annotated[
        Literal["auto", "torch", "onnx", "openvino"],
        typer.Option(help="What runs the model; auto: onnx, or torch where onnx cannot."),
    ] = DEFAULT_BACKEND,
    cache: Annotated[
        str, typer.Option(help="Folder that keeps what onnx and openvino export.")
    ] = "~/.cache/citestream",
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="End when standard input is closed.")
    ] = False,
    reranker: Annotated[
        str | None,
        typer.Option(help="A cross-encoder's name or folder, to rank texts at /rerank."),
    ] = None,
) -> None:
    """Host the embedding model for every process, behind OpenAI's /v1/embeddings."""
    from app.encoder.server import run_encoder

    run_encoder(model, host, port, uds, device, threads, backend, cache, exit_with_parent, reranker)


@app.command()
def migrate() -> None:
    """Bring the database to this version: schema, encoder and, the first time, the defaults."""
    from app.bootstrap import Settings
    from app.bootstrap import migrate as migrate_database

    _run(migrate_database(Settings()))
    _say("The database is up to date.")


@app.command()
def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Files and folders: Markdown, plain text, JSON.")
    ],
    portfolio: Annotated[
        str, typer.Option(help="The portfolio that takes them; made when new.")
    ] = "sample",
) -> None:
    """Add documents. Unchanged ones cost nothing, changed ones replace their former text."""
    from app.commands.ingest import ingest_paths

    failed = _run(ingest_paths(paths, portfolio))
    raise typer.Exit(1 if failed else 0)


@app.command()
def reencode(
    portfolio: Annotated[
        str | None, typer.Option(help="Only portfolios of this name; default: all.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=1024, help="Chunks encoded and stored at a time.")
    ] = 64,
) -> None:
    """Bring portfolios to the next encoder (CITESTREAM_NEXT_ENCODER__URL, else the main one).

    Makes the new vectors while the old ones serve, then switches each portfolio at once and drops
    its old ones. Stopped or killed, it goes on where it was when it is run again; several
    processes may run it at the same time. docs/reencoding.md has the order of a change.
    """
    from app.commands.reencode import reencode_portfolios

    _run(reencode_portfolios(portfolio, batch, _say))


@app.command()
def index() -> None:
    """Make the vector indexes that grown portfolios need, and drop those not needed any more.

    `run`, and `serve` where DATABASE_OWNER_URL is set, do it by themselves in the background;
    until then the search is exact. Nobody is blocked meanwhile.
    """
    from app.commands.index import update_indexes

    _run(update_indexes(_say))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    agent: AgentOption = "default",
    language: LanguageOption = None,
) -> None:
    """Ask in the terminal: the answer as it is written, then its sources."""
    from app.commands.ask import ask_once

    _run(ask_once(question, agent, language))


@app.command()
def warm(
    agent: Annotated[
        str | None, typer.Option(help="Only this agent, by name or id; default: all.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, max=1000, help="How many questions of each agent.")
    ] = 50,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Asked in the last days.")] = 30,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Asked at a time.")] = 2,
) -> None:
    """Ask the most frequent questions in advance, so that their answers are cached.

    For after an invalidation or a change of documents. Only what is not cached costs anything;
    no conversation and no run is stored. Follow-ups are left out.
    """
    from app.commands.warm import warm_caches

    worked = _run(warm_caches(agent, top, days, concurrency, _say))
    raise typer.Exit(0 if worked else 1)


@app.command()
def key(
    tenant: Annotated[str, typer.Option(help="The tenant; made when new.")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "cli",
) -> None:
    """Make an API key of a tenant and print it, this once."""
    from app.commands.key import make_key

    print(_run(make_key(tenant, name)))


@evaluation.command("retrieval")
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

    cuts = [_whole_number(each) for each in _listed(k)]
    chosen = None if sources is None else _listed(sources)
    options = Options(dataset, cuts, chosen, limit, language, data, portfolio, output, html)
    _run(evaluate(options))


@evaluation.command("cache")
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

    _run(evaluate_cache(pairs, data, output, html))


@bench.command(
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
        int, typer.Option(min=300, help="`retrieval`: chunks in all; fewer for a quick look.")
    ] = CHUNKS,
    output: Annotated[
        Path | None,
        typer.Option(help="A file for the figures, as JSON; a page with plots comes beside it."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Another file for the page.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A profile as YAML: settings for what is measured, by section."),
    ] = None,
) -> None:
    from app.commands.bench import Options, run_benches

    try:
        benches = chosen(names)
    except KeyError as error:
        known = ", ".join([*BENCHES, ALL])
        raise typer.BadParameter(f"{error.args[0]!r} is no bench; there are {known}.") from None
    kept = _run(run_benches(benches, Options(rounds, chunks, output, html, config), _say))
    raise typer.Exit(0 if kept else 1)


@bench.command("compare")
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

    raise typer.Exit(0 if _with_files(compare_files, old, new) else 1)


@bench.command("report")
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

    _with_files(report, results, markdown, html)


def main() -> None:
    """Entry point of the `citestream` script."""
    app()


def _run(command: Coroutine[Any, Any, Any]) -> Any:
    """Run a command; expected failures become one sentence and exit code 1."""
    import uvloop

    from app.telemetry import configure_logging

    configure_logging("warning")  # `run` and `serve` set the level that is configured
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    except Exception as error:
        from app.commands.failures import sentence

        line = sentence(error)
        if line is None:
            raise
        print(f"citestream: {line}", file=sys.stderr)
        raise typer.Exit(1) from None


def _with_files(command: Callable[..., Any], *arguments: Any) -> Any:
    """Call a command that reads files; one that cannot be read is exit code 2."""
    from rich.console import Console

    from app.errors import InvalidInput

    try:
        return command(*arguments, Console())
    except InvalidInput as error:
        print(f"citestream: {error.message}", file=sys.stderr)
        raise typer.Exit(2) from None


def _listed(text: str) -> list[str]:
    """The parts between commas, each once."""
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise typer.BadParameter("An option that takes a list is empty.")
    return parts


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"--k takes whole numbers, not {text!r}.") from None


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
