"""The `citestream` command: run, serve, encoder, migrate, ingest, ask, key."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

# Heavy imports stand inside the commands: `--help` and the encoder start without the API's.

app = typer.Typer(
    name="citestream",
    help="A self-hosted chat service over your own documents: streamed, cited, cached.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AgentOption = Annotated[str, typer.Option(help="The agent that answers, by name.")]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language of the answer, e.g. en or es; default: as asked.")
]


@app.command()
def run() -> None:
    """Start everything on this machine: Postgres, Valkey, the encoder, the API and the page.

    Needs no key and no server. PORT chooses the port (8000), CITESTREAM_DATA the folder that
    keeps the data (.citestream). Ctrl-C stops it all; data survive.
    """
    from app.commands.run import run_everything

    _run(run_everything(_say))


@app.command()
def serve() -> None:
    """Start the API alone, on the servers that DATABASE_URL and REDIS_URL name."""
    from app.commands.run import serve_only

    _run(serve_only(_say))


@app.command()
def encoder(
    model: Annotated[
        str, typer.Option(help="A model's name or folder.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8765,
    uds: Annotated[str | None, typer.Option(help="Unix socket, instead of host and port.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 lets torch choose.")] = 0,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="End when standard input is closed.")
    ] = False,
) -> None:
    """Host the embedding model for every process, behind OpenAI's /v1/embeddings."""
    from app.encoder.server import run_encoder

    run_encoder(model, host, port, uds, device, threads, exit_with_parent)


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
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    agent: AgentOption = "default",
    language: LanguageOption = None,
) -> None:
    """Ask in the terminal: the answer as it is written, then its sources."""
    from app.commands.ask import ask_once

    _run(ask_once(question, agent, language))


@app.command()
def key(
    tenant: Annotated[str, typer.Option(help="The tenant; made when new.")] = "default",
    name: Annotated[str, typer.Option(help="What the key is for.")] = "cli",
) -> None:
    """Make an API key of a tenant and print it, this once."""
    from app.commands.key import make_key

    print(_run(make_key(tenant, name)))


def main() -> None:
    """Entry point of the `citestream` script."""
    app()


def _run(command: Coroutine[Any, Any, Any]) -> Any:
    """Run a command; expected failures become one sentence and exit code 1."""
    import uvloop

    from app.commands.failures import EXPECTED, sentence

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(command)
    except EXPECTED as error:
        print(f"citestream: {sentence(error)}", file=sys.stderr)
        raise typer.Exit(1) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
