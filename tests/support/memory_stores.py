"""Fakes of what retrieval and ingestion store and ask, in memory, with switches for faults."""

import asyncio
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from app.chat.administration import Page
from app.chat.model import Scope, Vector
from app.errors import NotFound
from app.ingest.errors import EncodersChanged
from app.ingest.ports import Accepted, DocumentRecord, IndexedChunk, NewDocument, Upload
from app.retrieval.ports import EncoderChanged, Hit

NOW = datetime(2025, 1, 1, tzinfo=UTC)
DIMENSION = 8


def hit(chunk_id: int, text: str | None = None, score: float = 0.5, language: str = "en") -> Hit:
    text = text if text is not None else f"text {chunk_id}"
    title = f"Title {chunk_id}"
    return Hit(chunk_id, chunk_id, title, None, text, 0, len(text), language, 0, "", score)


@dataclass
class MemoryEncoder:
    """Vectors from a hash of the text. `faults` are raised first, one a call; `calls` counts."""

    name: str = "memory@1"
    dimension: int = DIMENSION
    faults: list[Exception] = field(default_factory=list)
    calls: list[Sequence[str]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    languages: Sequence[str] = ("*",)

    async def embed_query(self, text: str) -> Vector:
        return (await self.embed_documents([text]))[0]

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.calls.append(list(texts))
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        return [hashed(text) for text in texts]


def hashed(text: str) -> list[float]:
    """A vector of length 1 that equal texts share."""
    digest = hashlib.sha256(text.encode()).digest()[:DIMENSION]
    values = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


@dataclass
class MemoryPassages:
    """A PassageStore and KeywordStore that gives fixed lists and remembers what it was asked.
    `encoder` serves."""

    vector: Sequence[Hit] = ()
    keyword: Sequence[Hit] = ()
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    encoder: str = "memory@1"

    async def encoder_of(self, scope: Scope, portfolio_id: int) -> str:
        return self.encoder

    async def vector_search(
        self,
        scope: Scope,
        portfolio_id: int,
        encoder: str,
        vector: Vector,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        if encoder != self.encoder:
            raise EncoderChanged
        self.asked.append(("vector", scope, portfolio_id, encoder, list(vector), limit, filters))
        return self.vector[:limit]

    async def keyword_search(
        self,
        scope: Scope,
        portfolio_id: int,
        query: str,
        language: str,
        limit: int,
        filters: Mapping[str, Any],
    ) -> Sequence[Hit]:
        self.asked.append(("keyword", scope, portfolio_id, query, language, limit, filters))
        return self.keyword[:limit]


@dataclass
class MemoryVectors:
    """The Vectors port in memory; `expired` is what `prune` may remove."""

    kept: dict[tuple[int, str, bytes], Vector] = field(default_factory=dict)
    expired: int = 0
    prunings: int = 0

    async def find(
        self, scope: Scope, encoder: str, hashes: Sequence[bytes]
    ) -> Mapping[bytes, Vector]:
        own = {each: self.kept.get((scope.tenant_id, encoder, each)) for each in hashes}
        return {each: vector for each, vector in own.items() if vector is not None}

    async def store(self, scope: Scope, encoder: str, vectors: Mapping[bytes, Vector]) -> None:
        for each, vector in vectors.items():
            self.kept.setdefault((scope.tenant_id, encoder, each), vector)

    async def prune(self, limit: int) -> int:
        self.prunings += 1
        pruned = min(limit, self.expired)
        self.expired -= pruned
        return pruned


class MemoryDocuments:
    """The Documents port in memory. `faults` maps a method to errors raised first, one a call.

    `needed` are every portfolio's encoders, `elsewhere` uploads that another process holds;
    `changed` gets each new state of a document, so that tests can wait for one.
    """

    def __init__(self) -> None:
        self.records: dict[int, DocumentRecord] = {}
        self.chunks: dict[int, Sequence[IndexedChunk]] = {}
        self.vectors: dict[int, Mapping[str, Sequence[Vector]]] = {}
        self.needed: Sequence[str] = ("memory@1",)
        self.waiting: dict[int, Upload] = {}
        self.claimed: set[int] = set()
        self.kept: asyncio.Queue[set[int]] = asyncio.Queue()
        self.elsewhere: set[int] = set()
        self.failures: list[tuple[int, str, bool]] = []
        self.faults: dict[str, list[Exception]] = {}
        self.changed: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self.looks = 0
        self._owners: dict[int, int] = {}
        self._identities: dict[tuple[int, str | None, str], int] = {}
        self._ids = count(1)

    def _fault(self, method: str) -> None:
        if self.faults.get(method):
            raise self.faults[method].pop(0)

    async def accept(
        self, scope: Scope, portfolio_id: int, documents: Sequence[NewDocument]
    ) -> Sequence[Accepted]:
        self._fault("accept")
        return [self._accept(scope, portfolio_id, document) for document in documents]

    def _accept(self, scope: Scope, portfolio_id: int, new: NewDocument) -> Accepted:
        identity = (portfolio_id, new.uri, "" if new.uri else new.text)
        known = self._identities.get(identity)
        if known is not None and self.records[known].text == new.text:
            return Accepted(known, "unchanged", None)
        document_id = known or next(self._ids)
        upload_id = next(self._ids)
        self._identities[identity] = document_id
        self._owners[document_id] = scope.tenant_id
        former = self.records.get(document_id)
        self.records[document_id] = (
            replace(former, status="pending")
            if former
            else DocumentRecord(
                document_id, portfolio_id, new.title, new.uri, "en", "pending", None, "",
                new.metadata, 0, NOW, NOW,
            )
        )  # fmt: skip
        self.waiting[upload_id] = Upload(
            upload_id, scope, portfolio_id, document_id, new.title, new.text, new.uri,
            new.metadata, 0,
        )  # fmt: skip
        return Accepted(document_id, "replaced" if known else "created", upload_id)

    async def claim(self, limit: int, upload_ids: Sequence[int] | None = None) -> Sequence[Upload]:
        self._fault("claim")
        free = [
            upload
            for upload in self.waiting.values()
            if upload.id not in self.claimed | self.elsewhere
            and (upload_ids is None or upload.id in upload_ids)
        ][:limit]
        self.claimed |= {upload.id for upload in free}
        for upload in free:
            self.waiting[upload.id] = replace(upload, attempts=upload.attempts + 1)
        return [self.waiting[upload.id] for upload in free]

    async def keep(self, uploads: Sequence[Upload]) -> None:
        self._fault("keep")
        self.kept.put_nowait({upload.id for upload in uploads})

    async def encoders(self, upload: Upload) -> Sequence[str]:
        self._fault("encoders")
        return list(self.needed)

    async def index(
        self,
        upload: Upload,
        language: str,
        chunks: Sequence[IndexedChunk],
        vectors: Mapping[str, Sequence[Vector]],
    ) -> None:
        self._fault("index")
        if not vectors.keys() >= set(self.needed):
            raise EncodersChanged
        del self.waiting[upload.id]
        self.chunks[upload.document_id] = chunks
        self.vectors[upload.document_id] = vectors
        self._change(
            upload, status="indexed", error=None, text=upload.text, language=language,
            chunk_count=len(chunks),
        )  # fmt: skip

    async def fail(self, upload: Upload, error: str, *, final: bool) -> None:
        self._fault("fail")
        self.failures.append((upload.id, error, final))
        self.claimed.discard(upload.id)
        if final:
            del self.waiting[upload.id]
        self._change(upload, status="failed", error=error)

    async def give_back(self, upload: Upload, error: str, *, later: bool) -> None:
        self.waiting[upload.id] = replace(upload, attempts=upload.attempts - 1)
        await self.fail(upload, error, final=False)

    async def leave(self, upload: Upload, error: str) -> None:
        self._change(upload, status="pending", error=error)

    def _change(self, upload: Upload, **values: Any) -> None:
        self.records[upload.document_id] = replace(self.records[upload.document_id], **values)
        self.changed.put_nowait((values["status"], upload.document_id))

    async def list(
        self, scope: Scope, portfolio_id: int, limit: int, after: str | None
    ) -> Page[DocumentRecord]:
        found = [record for record in self.records.values() if record.portfolio_id == portfolio_id]
        return Page([replace(record, text="") for record in found[:limit]], None)

    async def get(self, scope: Scope, document_id: int) -> DocumentRecord:
        self.looks += 1
        if self._owners.get(document_id) != scope.tenant_id:
            raise NotFound
        return self.records[document_id]

    async def delete(self, scope: Scope, document_id: int) -> None:
        await self.get(scope, document_id)
        del self.records[document_id], self._owners[document_id]

    def finish_elsewhere(self, upload_id: int) -> None:
        """Another process has indexed what it held."""
        upload = self.waiting.pop(upload_id)
        self.elsewhere.discard(upload_id)
        self._change(upload, status="indexed", error=None, text=upload.text)
