"""What ingestion stores and reads, and the values it works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from app.chat.administration import Page
from app.chat.model import Scope, Vector


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A text on its way in. Its identity in a portfolio is its `uri`, or else its content:
    with a uri a changed text replaces the former one, without one it is a document of its own."""

    title: str
    text: str
    uri: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a NewDocument: `action` is created, replaced or unchanged.

    `upload_id` is None when unchanged: there is nothing left to do.
    """

    document_id: int
    action: str
    upload_id: int | None


@dataclass(frozen=True, slots=True)
class Upload:
    """A text waiting to be indexed. `attempts` counts this one."""

    id: int
    scope: Scope
    portfolio_id: int
    document_id: int
    title: str
    text: str
    uri: str | None
    metadata: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a text: characters `start:end` (code points), end excluded."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk ready to store; `text` is exactly the document's text at `span`."""

    span: Span
    text: str
    vector: Vector


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document as stored. `status` is pending, indexed or failed; `error` says why it failed.

    While a changed text waits to be indexed, `text` is still the former one and stays searchable.
    Lists leave `text` empty.
    """

    id: int
    portfolio_id: int
    title: str
    uri: str | None
    language: str
    status: str
    error: str | None
    text: str
    metadata: Mapping[str, Any]
    chunk_count: int
    created_at: datetime
    updated_at: datetime


class Documents(Protocol):
    """Documents and the queue of uploads, in Postgres."""

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        """Store the texts durably, all or none, in order. NotFound for the portfolio."""
        ...

    async def claim(self, limit: int, upload_ids: Sequence[int] | None = None) -> Sequence[Upload]:
        """Take waiting uploads of any tenant (or just these) for this process; an upload whose
        claimer died is offered again after five minutes. Two callers never get the same one."""
        ...

    async def index(
        self, upload: Upload, language: str, encoder: str, chunks: Sequence[IndexedChunk]
    ) -> None:
        """In one transaction: replace the document's text, chunks and vectors, raise the
        portfolio's version, remove the upload. Does nothing but remove the upload when the
        document is gone or a later upload of it was already indexed. A vector whose length is
        not the encoder's dimension is an error."""
        ...

    async def fail(self, upload: Upload, error: str, *, final: bool) -> None:
        """Mark the document failed with a sentence for its owner; `final` drops the upload,
        otherwise it is offered again."""
        ...

    async def list(
        self, scope: Scope, portfolio_id: int, limit: int, after: str | None
    ) -> Page[DocumentRecord]: ...

    async def get(self, scope: Scope, document_id: int) -> DocumentRecord: ...

    async def delete(self, scope: Scope, document_id: int) -> None:
        """Remove the document and raise its portfolio's version."""
        ...
