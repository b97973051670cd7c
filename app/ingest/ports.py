"""What ingestion stores and reads, and the values it works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from app.chat.administration import Page
from app.chat.model import Claim, Scope, Vector


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
    """A chunk to store; `text` is exactly the document's text at `span`, and `tail` what stands
    between it and the next chunk: white space, or nothing. `entities` are the names in it, and
    `question` is what it answers, in a list of questions with answers."""

    span: Span
    text: str
    tail: str = ""
    entities: Sequence[str] = ()
    question: str | None = None


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


@dataclass(frozen=True, slots=True)
class Backlog:
    """Uploads of all tenants that are not yet indexed, and how long the oldest has waited."""

    waiting: int
    oldest_seconds: float


class Documents(Protocol):
    """Documents and the queue of uploads, in Postgres."""

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        """Store the texts durably, all or none, in order. NotFound for the portfolio."""
        ...

    async def count_waiting(self, scope: Scope) -> int:
        """Uploads of the tenant that are not yet indexed, those being worked on included."""
        ...

    async def backlog(self) -> Backlog:
        """The same of all tenants."""
        ...

    async def claim(self, limit: int, upload_ids: Sequence[int] | None = None) -> Sequence[Upload]:
        """Take waiting uploads of any tenant (or just these) for this process; one whose claim was
        not renewed for 30 s is offered again. Two callers never get the same one."""
        ...

    async def keep(self, uploads: Sequence[Upload]) -> None:
        """Renew their claims, but of those that another has claimed since."""
        ...

    async def encoders(self, upload: Upload) -> Sequence[str]:
        """The encoders whose vectors the portfolio's chunks need: the one that serves it, and
        while it is being changed the next one. Empty where the portfolio is gone."""
        ...

    async def index(
        self,
        upload: Upload,
        language: str,
        chunks: Sequence[IndexedChunk],
        vectors: Mapping[str, Sequence[Vector]],
    ) -> None:
        """In one transaction: replace the document's text, chunks and vectors, raise the
        portfolio's version, remove the upload. Does nothing but remove the upload when the
        document is gone or a later upload of it was already indexed.

        `vectors` has for each encoder one vector a chunk. EncodersChanged where one of those is
        not there that the portfolio needs by now; those that it does not need are left out. A
        vector whose length is not the encoder's dimension is an error."""
        ...

    async def fail(self, upload: Upload, error: str, *, final: bool) -> None:
        """Mark the document failed with a sentence for its owner; `final` drops the upload,
        otherwise it is offered again. Does nothing where another has claimed it since."""
        ...

    async def give_back(self, upload: Upload, error: str, *, later: bool) -> None:
        """As `fail`, where this was no attempt: it is offered again at once, or `later`, in half a
        minute, behind those that wait."""
        ...

    async def leave(self, upload: Upload, error: str) -> None:
        """Say on the document what its upload waits for. It is offered again in five minutes, to
        a process that may have what this one has not; this was no attempt."""
        ...

    async def list(
        self, caller: Scope | Claim, portfolio_id: int, limit: int, after: str | None
    ) -> Page[DocumentRecord]: ...

    async def get(self, caller: Scope | Claim, document_id: int) -> DocumentRecord: ...

    async def delete(self, scope: Scope, document_id: int) -> None:
        """Remove the document and raise its portfolio's version."""
        ...


class Vectors(Protocol):
    """Vectors that were made before, by the SHA-256 of exactly the text that was encoded.

    Never shared by two tenants, nor by two encoders.
    """

    async def find(
        self, scope: Scope, encoder: str, hashes: Sequence[bytes]
    ) -> Mapping[bytes, Vector]:
        """Those that are there."""
        ...

    async def store(self, scope: Scope, encoder: str, vectors: Mapping[bytes, Vector]) -> None:
        """Keep vectors; one that is there already stays. A vector whose length is not the
        encoder's dimension is an error."""
        ...

    async def prune(self, limit: int) -> int:
        """Remove up to `limit` vectors, of any tenant, that nobody has used for thirty days;
        how many there were."""
        ...


@dataclass(frozen=True, slots=True)
class PortfolioEncoders:
    """A portfolio with the encoder that serves it, and the one whose vectors it is given."""

    scope: Scope
    id: int
    name: str
    encoder: str
    next_encoder: str | None
    chunk_count: int


@dataclass(frozen=True, slots=True)
class MissingVectors:
    """Chunks of one document that have no vector of an encoder, in the order of the text."""

    title: str
    text: str
    chunk_ids: Sequence[int]
    spans: Sequence[Span]


class Reader(Protocol):
    """Where bytes of strangers are read: at a cost to nobody else that has a bound. Raises
    DocumentTooComplex beyond it, and ReaderUnavailable."""

    async def parse(
        self, name: str, data: bytes, content_type: str | None, max_documents: int
    ) -> Sequence[NewDocument]:
        """`app.ingest.parse.parse_file`, with the documents' metadata checked, too."""
        ...

    async def look_through(self, body: bytes) -> None:
        """Raise what `app.ingest.json_values.bounded_json` does; afterwards the body can be
        parsed at a cost that has a bound."""
        ...


class Reencoding(Protocol):
    """The steps of a portfolio's way to another encoder. Each is done wholly or not at all, and
    can be done again."""

    async def portfolios(self, scope: Scope) -> Sequence[PortfolioEncoders]:
        """Every portfolio of the tenant."""
        ...

    async def mark(self, portfolio: PortfolioEncoders, encoder: str) -> None:
        """Have every document that is indexed from now on get this encoder's vectors, too."""
        ...

    async def count_missing(self, portfolio: PortfolioEncoders, encoder: str) -> int:
        """How many chunks have no vector of the encoder."""
        ...

    async def missing(
        self, portfolio: PortfolioEncoders, encoder: str, after: int, limit: int
    ) -> Sequence[MissingVectors]:
        """The first `limit` of them, by id from beyond `after`."""
        ...

    async def add(
        self,
        portfolio: PortfolioEncoders,
        encoder: str,
        chunk_ids: Sequence[int],
        vectors: Sequence[Vector],
    ) -> int:
        """Store vectors of chunks that are still there; how many were new. Nothing where the
        portfolio is not marked for this encoder any more."""
        ...

    async def switch(self, portfolio: PortfolioEncoders, encoder: str) -> bool:
        """Have the encoder serve the portfolio and raise its version, at once; False where a
        chunk lacks its vector, or the portfolio is gone or marked for another encoder."""
        ...

    async def drop_old(
        self, portfolio: PortfolioEncoders, after: int, limit: int
    ) -> tuple[int, int | None]:
        """Remove up to `limit` vectors that are neither the serving encoder's nor the next
        one's, by chunk from `after` on; how many, and where to go on, None at the end."""
        ...
