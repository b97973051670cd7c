"""The sample portfolio of a new installation."""

from collections.abc import Callable
from pathlib import Path

from app.api.services import Services
from app.chat.model import Scope
from app.ingest.parse import parse_file

SAMPLES = Path(__file__).resolve().parents[2] / "examples" / "portfolio"


async def seed_sample(services: Services, on_progress: Callable[[str], None]) -> None:
    """Index the sample documents, once: never again after somebody changed the portfolio."""
    files = sorted(SAMPLES.glob("*.md"))
    scope = await services.credentials.default_scope()
    sample = await _untouched_sample(services, scope)
    if not files or sample is None:
        return
    documents = [
        document for file in files for document in parse_file(file.name, file.read_bytes())
    ]
    on_progress(f"Indexing the sample portfolio of {len(documents)} documents …")
    accepted = await services.ingestor.accept(scope, sample, documents)
    await services.ingestor.index([each.upload_id for each in accepted if each.upload_id])


async def _untouched_sample(services: Services, scope: Scope) -> int | None:
    """The sample portfolio's id while nobody has changed it."""
    first = await services.portfolios.list(scope, 1, None)
    return next((p.id for p in first.items if (p.name, p.version) == ("sample", 1)), None)
