"""Commands that serve, and what has to be there before."""

from typing import Annotated, Literal

import typer

from app.cli.running import complete, say
from app.encoder.backend import DEFAULT_BACKEND

group = typer.Typer()

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, help="API processes behind the address; default: CITESTREAM_WORKERS, or 1."
    ),
]


ProfileOption = Annotated[
    str | None,
    typer.Option(
        help="Settings for a purpose: high-throughput, low-latency, memory-constrained, or a YAML "
        "file; default: CITESTREAM_PROFILE. The environment counts before it."
    ),
]


@group.command()
def run(workers: WorkersOption = None, profile: ProfileOption = None) -> None:
    """Start everything on this machine: Postgres, Valkey, the encoder, the API and the page.

    Needs no key and no server. PORT chooses the port (8000), CITESTREAM_DATA the folder that
    keeps the data (.citestream). Ctrl-C stops it all; data survive.
    """
    from app.commands.run import run_everything

    complete(run_everything(say, workers, profile))


@group.command()
def serve(workers: WorkersOption = None, profile: ProfileOption = None) -> None:
    """Start the API alone, on the servers that DATABASE_URL and REDIS_URL name.

    PORT and CITESTREAM_HOST choose where it listens. docs/serving.md has more.
    """
    from app.commands.run import serve_only

    complete(serve_only(say, workers, profile))


@group.command()
def worker() -> None:
    """Index what is uploaded, beside the API or in its place.

    DATABASE_URL and CITESTREAM_ENCODER__URL name the servers. Any number may run; the API leaves it
    to them with CITESTREAM_INGEST__HERE=false. Ctrl-C or SIGTERM ends it; what it has begun goes on
    elsewhere, or when it runs again.
    """
    from app.commands.indexing import index_uploads

    complete(index_uploads(say))


@group.command()
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
        int,
        typer.Option(
            min=0, help="CPU threads; 0: one a core with onnx, else what the backend chooses."
        ),
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
    batch_tokens: Annotated[
        int, typer.Option(min=0, help="Tokens encoded at a time; 0: what suits the device.")
    ] = 0,
) -> None:
    """Host the embedding model for every process, behind OpenAI's /v1/embeddings."""
    from app.encoder.server import run_encoder
    from app.telemetry import configure_logging

    configure_logging("warning")
    run_encoder(
        model,
        host,
        port,
        uds,
        device,
        threads,
        backend,
        cache,
        exit_with_parent,
        reranker,
        batch_tokens,
    )


@group.command()
def check() -> None:
    """Say what production would refuse to start with, and start nothing.

    Exit status 0 where nothing stands against it, 1 with a sentence for each thing to set; what
    CITESTREAM_ENVIRONMENT says is no matter. docs/security.md has more.
    """
    from app.commands.check import check_settings

    if not complete(check_settings(say)):
        raise typer.Exit(1)


@group.command()
def migrate(
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Change nothing: end when another `migrate` has done it."),
    ] = False,
) -> None:
    """Bring the database to this version: schema, encoder and, the first time, the defaults."""
    from app.bootstrap import Settings
    from app.bootstrap import migrate as migrate_database
    from app.bootstrap.schema import wait_until_migrated

    complete(wait_until_migrated(Settings(), say) if wait else migrate_database(Settings()))
    say("The database is up to date.")
