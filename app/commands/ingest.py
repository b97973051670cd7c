"""`citestream ingest`: files into a portfolio, with a progress bar."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from app.api.services import Services
from app.chat.model import Scope
from app.commands.installation import settings_here
from app.commands.portfolios import portfolio_named
from app.commands.progress import progress
from app.commands.tenants import open_tenant
from app.errors import AppError, InvalidInput
from app.ingest.check import check_document
from app.ingest.files import CONVERT, find_files, left_out
from app.ingest.parse import SUPPORTED, parse_file
from app.ingest.ports import NewDocument

# Documents indexed together: large enough to fill the encoder's batches, small enough that the
# bar moves.
BATCH = 8
# Of what is left out so many are named.
NAMED = 10


async def ingest_paths(paths: Sequence[Path], portfolio: str, tenant: str) -> int:
    """Index every supported file below the paths; returns how many documents failed.

    The portfolio and its tenant are made when they are new. What is left out is said. Raises
    InvalidInput where there is nothing to read at all.
    """
    console = Console()
    files, others = find_files(paths), left_out(paths)
    if not files:
        raise InvalidInput(f"There is nothing to read. {said_of(others)}".strip())
    settings = settings_here()
    outcome: Counter[str] = Counter()
    with progress(console) as bar:
        task = bar.add_task("Starting", total=len(files))
        async with open_tenant(
            tenant,
            create=True,
            settings=settings,
            on_progress=lambda line: bar.update(task, description=line),
        ) as (services, scope):
            portfolio_id = await portfolio_named(services, scope, portfolio)
            bar.update(task, description="Indexing")
            for at in range(0, len(files), BATCH):
                batch = files[at : at + BATCH]
                documents = _parse(batch, settings.ingest.max_document_bytes, console, outcome)
                if documents:
                    await _index(services, scope, portfolio_id, documents, console, outcome)
                bar.advance(task, len(batch))
            bar.update(task, description="Done")
    console.print(
        f"{outcome['created']} new, {outcome['replaced']} changed, "
        f"{outcome['unchanged']} unchanged, {outcome['failed']} failed "
        f"in portfolio “{portfolio}” (id {portfolio_id}).",
        markup=False,
    )
    if others:
        console.print(said_of(others), markup=False, highlight=False, soft_wrap=True)
    return outcome["failed"]


def said_of(others: Sequence[tuple[str, str]]) -> str:
    """What is left out and why, some of it by name; nothing where there is none."""
    if not others:
        return ""
    named = ", ".join(f"{name} ({why})" for name, why in others[:NAMED])
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"Left out: {named}{more}. {SUPPORTED} {CONVERT}"


def _parse(
    files: Sequence[tuple[Path, str]], max_bytes: int, console: Console, outcome: Counter[str]
) -> list[NewDocument]:
    """The documents of some files; a file that cannot be taken is reported and passed over."""
    documents: list[NewDocument] = []
    for path, uri in files:
        try:
            parsed = parse_file(uri, path.read_bytes())
            for document in parsed:
                check_document(document, max_bytes)
        except (AppError, OSError) as error:
            outcome["failed"] += 1
            complain(console, path, getattr(error, "message", error))
        else:
            documents += parsed
    return documents


async def _index(
    services: Services,
    scope: Scope,
    portfolio_id: int,
    documents: Sequence[NewDocument],
    console: Console,
    outcome: Counter[str],
) -> None:
    accepted = await services.ingestor.accept(scope, portfolio_id, documents)
    await services.ingestor.index([each.upload_id for each in accepted if each.upload_id])
    for each, document in zip(accepted, documents, strict=True):
        if each.upload_id is None:
            outcome[each.action] += 1
            continue
        record = await services.documents.get(scope, each.document_id)
        outcome["failed" if record.status == "failed" else each.action] += 1
        if record.error:
            complain(console, document.uri, record.error)


def complain(console: Console, what: object, why: object) -> None:
    """One line; brackets in names are text, not markup."""
    console.print(f"[red]{escape(str(what))}[/red]: {escape(str(why))}")
