"""A data set's documents into a portfolio: once, however often it is measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.api.services import Services
from app.chat.model import Scope
from app.errors import AppError
from app.evaluation.dataset import Dataset, Document
from app.ingest.check import MAX_TITLE_CHARS
from app.ingest.ports import Accepted, NewDocument

# Documents indexed together: enough to fill the encoder's batches, few enough that the bar moves.
BATCH = 32


class NotIndexed(AppError):
    """Some documents of the data set could not be indexed; run it again."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where the documents are: the data set's ids by the store's, and how many were not there
    before."""

    portfolio_id: int
    ids: Mapping[int, str]
    indexed: int


async def load(
    services: Services,
    scope: Scope,
    portfolio_id: int,
    dataset: Dataset,
    on_progress: Callable[[int], None],
) -> Loaded:
    """Index what is new or changed; `on_progress` is told how many documents came with each step.

    Raises NotIndexed, since figures over a part of the documents would be none of this data set.
    """
    ids: dict[int, str] = {}
    indexed = 0
    for at in range(0, len(dataset.documents), BATCH):
        batch = dataset.documents[at : at + BATCH]
        accepted = await services.ingestor.accept(
            scope, portfolio_id, [as_new(dataset.name, each) for each in batch]
        )
        await services.ingestor.index([each.upload_id for each in accepted if each.upload_id])
        await _check(services, scope, accepted)
        ids |= {each.document_id: own.id for each, own in zip(accepted, batch, strict=True)}
        indexed += sum(each.upload_id is not None for each in accepted)
        on_progress(len(batch))
    return Loaded(portfolio_id, ids, indexed)


def as_new(dataset: str, document: Document) -> NewDocument:
    """The document as it is handed in. Its uri has the data set's name: in a portfolio with other
    documents it must not replace one of those."""
    title = (document.title or document.id)[:MAX_TITLE_CHARS]
    return NewDocument(title, document.text, uri=f"{dataset}:{document.id}")


async def _check(services: Services, scope: Scope, accepted: Sequence[Accepted]) -> None:
    for each in accepted:
        if each.upload_id is None:
            continue
        record = await services.documents.get(scope, each.document_id)
        if record.status != "indexed":
            reason = record.error or "it still waits."
            raise NotIndexed(f"The document {record.uri!r} was not indexed: {reason}")
