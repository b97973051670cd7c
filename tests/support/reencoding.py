"""Two encoders without a model, portfolios on them in Postgres, and whose vectors a search saw."""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import uuid4

from app.chat.language import detect_language
from app.chat.model import Scope, Vector
from app.ingest.embedding import Embedder
from app.ingest.ingestor import Ingestor
from app.ingest.ports import NewDocument, PortfolioEncoders
from app.ingest.reencode import Reencoder
from app.retrieval.ports import Hit
from app.stores.portfolios import PgPortfolios
from app.stores.reencoding import PgReencoding
from app.stores.vectors import PgVectors
from tests.support.encoder import cosine
from tests.support.pg_stores import Stores

TOLERANCE = 2e-3  # of a cosine between vectors in float16


@dataclass
class DenseEncoder:
    """A random vector for each text, unlike any other encoder's. `texts` is all it was given.

    It waits at `gate` where one is set, having set `entered`; `faults` are raised first, one a
    call.
    """

    name: str
    dimension: int
    texts: list[str] = field(default_factory=list)
    faults: list[BaseException | None] = field(default_factory=list)
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def embed_query(self, text: str) -> Vector:
        return self.vector(text)

    async def embed_documents(self, texts: Sequence[str]) -> Sequence[Vector]:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        self.texts += texts
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> list[float]:
        return list(_vector(self.name, self.dimension, text))

    def saw(self, query: str, hits: Sequence[Hit]) -> bool:
        """Whether every hit's score is the cosine of this encoder's vectors."""
        asked = self.vector(query)
        return all(
            abs(hit.score - cosine(asked, self.vector(f"{hit.title}\n{hit.text}"))) < TOLERANCE
            for hit in hits
        )


@lru_cache(10_000)  # a search is compared with the same few texts again and again
def _vector(name: str, dimension: int, text: str) -> tuple[float, ...]:
    source = random.Random(f"{name}\0{text}")
    values = [source.gauss(0, 1) for _ in range(dimension)]
    length = math.hypot(*values)
    return tuple(value / length for value in values)


class Shelf:
    """Portfolios of one tenant that the first of two encoders serves."""

    def __init__(self, stores: Stores, scope: Scope, *encoders: DenseEncoder) -> None:
        self.stores = stores
        self.scope = scope
        self.encoders = {encoder.name: encoder for encoder in encoders}
        self.portfolios = PgPortfolios(stores.database, [encoders[0].name])
        self.reencoding = PgReencoding(stores.database)
        self.retired: list[set[str]] = []

    def ingestor(self, *names: str) -> Ingestor:
        """As in a process that is configured with these encoders, all of them by default."""
        chosen = {name: self.encoders[name] for name in names or self.encoders}
        return Ingestor(
            self.stores.documents,
            chosen,
            PgVectors(self.stores.database),
            detect=detect_language,
            chunk_chars=300,
            max_document_bytes=100_000,
            pauses_seconds=(),
        )

    def reencoder(self, encoder: str, **options: Any) -> Reencoder:
        async def retire(used: Any) -> None:
            self.retired.append(set(used))

        embedder = Embedder(self.encoders, PgVectors(self.stores.database))
        defaults: dict[str, Any] = {"batch": 8, "pauses_seconds": ()}
        return Reencoder(
            self.reencoding,
            embedder,
            encoder,
            scopes=[self.scope],
            retire=retire,
            **(defaults | options),
        )

    async def portfolio(self, *texts: str) -> int:
        portfolio_id = (await self.portfolios.create(self.scope, {"name": uuid4().hex})).id
        await self.add(portfolio_id, *texts)
        return portfolio_id

    async def add(self, portfolio_id: int, *texts: str, **titles: str) -> list[int]:
        """Index documents; by keyword, those that replace the ones of that name."""
        documents = [NewDocument(text.split()[0], text) for text in texts]
        documents += [NewDocument(name, text, name) for name, text in titles.items()]
        if not documents:
            return []
        ingestor = self.ingestor()
        accepted = await ingestor.accept(self.scope, portfolio_id, documents)
        await ingestor.index([each.upload_id for each in accepted if each.upload_id])
        return [each.document_id for each in accepted]

    async def state(self, portfolio_id: int) -> PortfolioEncoders:
        found = await self.reencoding.portfolios(self.scope)
        return next(each for each in found if each.id == portfolio_id)

    async def vectors(self, portfolio_id: int) -> dict[str, int]:
        """How many the portfolio has of each encoder, having checked that none is a stray."""
        rows = await self.stores.behind(
            "SELECT n.name, count(c.id), count(*) FROM rag_embedding e "
            "JOIN encoders n ON n.id = e.encoder_id "
            "LEFT JOIN rag_chunk c ON c.portfolio_id = e.portfolio_id AND c.id = e.chunk_id "
            "WHERE e.portfolio_id = $1 AND vector_dims(e.embedding) = n.dimension GROUP BY 1",
            portfolio_id,
        )
        assert all(row[1] == row[2] for row in rows)
        return {row["name"]: row[2] for row in rows}
