"""Commands for documents and their vectors."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.running import complete, say

group = typer.Typer()


@group.command()
def ingest(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files and folders: Markdown, plain text, HTML, JSON, JSON Lines."),
    ],
    portfolio: Annotated[
        str, typer.Option(help="The portfolio that takes them; made when new.")
    ] = "sample",
    tenant: Annotated[str, typer.Option(help="The tenant; made when new.")] = "default",
) -> None:
    """Add documents. Unchanged ones cost nothing, changed ones replace their former text.

    PDF and .docx are not read: `pdftotext report.pdf` makes report.txt of the one, and `pandoc
    letter.docx -t gfm -o letter.md` Markdown of the other. What is left out of a folder is named.
    """
    from app.commands.ingest import ingest_paths

    failed = complete(ingest_paths(paths, portfolio, tenant))
    raise typer.Exit(1 if failed else 0)


@group.command()
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

    complete(reencode_portfolios(portfolio, batch, say))


@group.command()
def index() -> None:
    """Make the vector indexes that grown portfolios need, and drop those not needed any more.

    `run`, and `serve` where DATABASE_OWNER_URL is set, do it by themselves in the background;
    until then the search is exact. Nobody is blocked meanwhile.
    """
    from app.commands.index import update_indexes

    complete(update_indexes(say))
