"""The checks that a whole call of documents passes before any of it is stored."""

from collections.abc import Sequence

from app.errors import InvalidInput, TooLarge
from app.ingest.check import check_document
from app.ingest.errors import DuplicateDocument, EmptyDocument
from app.ingest.ports import NewDocument

SHOWN_TITLE_CHARS = 80


def check_call(documents: Sequence[NewDocument], max_bytes: int) -> None:
    """Raise for the first document that is not acceptable, naming its position and title, and
    for two with one uri: only one of them could be the document. The same content twice is one
    document, as it is over two calls."""
    if not documents:
        raise EmptyDocument("The call has no documents; send at least one.")
    positions: dict[str, int] = {}
    for position, document in enumerate(documents, start=1):
        try:
            check_document(document, max_bytes)
        except (InvalidInput, TooLarge) as error:
            raise type(error)(f"{naming(position, document)}: {error.message}") from error
        if document.uri is None:
            continue
        first = positions.setdefault(document.uri, position)
        if first != position:
            raise DuplicateDocument(
                f"{naming(position, document)} has the same uri as document {first}; "
                "send each document once."
            )


def naming(position: int, document: NewDocument) -> str:
    """How a message names a document; its title may be what is wrong with it."""
    title = document.title[:SHOWN_TITLE_CHARS].replace("\0", "")
    return f"Document {position} (“{title.encode(errors='replace').decode()}”)"
