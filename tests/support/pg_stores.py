"""Stores on the suite's Postgres, a tenant for each test, and documents to fill them with."""

import math
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from app.chat.administration import PortfolioRecord
from app.chat.ids import uuid7
from app.chat.model import Citation, QueryComplexity, Scope, Usage
from app.chat.names import name_key
from app.chat.ports import IdempotencyKey, Turn
from app.ingest.ports import IndexedChunk, NewDocument, Span, Upload
from app.limits.ports import Spent
from app.stores.agents import PgAgents
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.graph import PgGraph
from app.stores.history import PgHistory
from app.stores.keys import PgKeys
from app.stores.keywords import PgKeywords
from app.stores.passages import PgPassages
from app.stores.portfolios import PgPortfolios
from app.stores.sessions import PgSessions
from app.stores.tenants import PgCredentials, PgInvalidation
from app.stores.usage import PgUsage
from app.stores.users import PgUsers
from app.stores.vectors import PgVectors

ENCODER = "test-encoder@1"
DIMENSION = 32


class Stores:
    """Every Postgres store over one Database, and the owner's way in for looking behind them."""

    def __init__(self, database: Database, superuser_url: str) -> None:
        self.database = database
        self.superuser_url = superuser_url
        self.agents = PgAgents(database)
        self.portfolios = PgPortfolios(database, [ENCODER])
        self.documents = PgDocuments(database)
        self.history = PgHistory(database)
        self.conversations = PgConversations(database)
        self.vectors = PgVectors(database)
        self.keywords = PgKeywords(database)
        self.graph = PgGraph(database)
        self.passages = PgPassages(database, exact_below_chunks=1000, ef_search=100)
        self.credentials = PgCredentials(database)
        self.users = PgUsers(database)
        self.keys = PgKeys(database)
        self.sessions = PgSessions(database, hours=12)
        self.invalidation = PgInvalidation(database)
        self.usage = PgUsage(database)

    async def behind(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement past row level security."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *values)
            return rows
        finally:
            await connection.close()

    async def tenant(self) -> Scope:
        """A tenant of the test's own."""
        scope = await scope_of(self.credentials, await self.credentials.create(uuid4().hex, "test"))
        assert scope is not None
        return scope

    async def portfolio(self, scope: Scope) -> PortfolioRecord:
        return await self.portfolios.create(scope, {"name": uuid4().hex})

    async def add(
        self,
        scope: Scope,
        portfolio_id: int,
        document: NewDocument,
        vectors: Sequence[Sequence[float]] | None = None,
        language: str = "en",
    ) -> int:
        """Accept and index a document, one chunk a line; its id."""
        [accepted] = await self.documents.accept(scope, portfolio_id, [document])
        assert accepted.upload_id is not None
        await self.index(await self.claimed(accepted.upload_id), vectors, language)
        return accepted.document_id

    async def claimed(self, upload_id: int) -> Upload:
        [upload] = await self.documents.claim(1, [upload_id])
        return upload

    async def index(
        self,
        upload: Upload,
        vectors: Sequence[Sequence[float]] | None = None,
        language: str = "en",
    ) -> None:
        made = {ENCODER: vectors or vectors_of(upload.text)}
        await self.documents.index(upload, language, chunks_of(upload.text), made)


def chunks_of(text: str) -> list[IndexedChunk]:
    """One chunk for each line; its capitalised words are its names."""
    chunks, start = [], 0
    for line in text.split("\n"):
        names = sorted({name_key(word) for word in line.split() if word[0].isupper()} - {""})
        chunks.append(IndexedChunk(Span(start, start + len(line)), line, entities=names))
        start += len(line) + 1
    return chunks


def vectors_of(text: str) -> list[list[float]]:
    """A vector of length 1 for each line, the same for the same line."""
    return [unit(random.Random(line)) for line in text.split("\n")]


def unit(source: random.Random, around: Sequence[float] = (), spread: float = 1.0) -> list[float]:
    """A random vector of length 1, near `around` if given."""
    values = [source.gauss(0, spread) for _ in range(DIMENSION)]
    if around:
        values = [value + middle for value, middle in zip(values, around, strict=True)]
    length = math.sqrt(sum(value * value for value in values))
    return [value / length for value in values]


def new_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def turn(agent_id: int, conversation_id: UUID | None = None, **changes: Any) -> Turn:
    """A complete turn with one citation; of a new conversation unless one is given."""
    made = Turn(
        run_id=new_id(),
        conversation_id=conversation_id or new_id(),
        new_conversation=conversation_id is None,
        question_id=new_id(),
        message_id=new_id(),
        agent_id=agent_id,
        question="What React projects are there?",
        answer="Two: Atlas [1] and Borea.",
        citations=[Citation(1, 7, 9, "Atlas", "atlas.md", "Atlas is in React", 3, 20, 0.5)],
        status="complete",
        cached=False,
        language="en",
        complexity=QueryComplexity.MEDIUM,
        finish_reason="stop",
        error_code=None,
        usage=Usage(10, 20),
        timings_ms={"total": 12.5},
        degraded=["vector"],
        sources=[],
        top_k=8,
        max_tokens=3000,
    )
    return replace(made, **changes)


@dataclass(frozen=True)
class Filled:
    """Ids of one of everything that a tenant can have."""

    scope: Scope
    agent_id: int
    portfolio_id: int
    document_id: int
    upload_id: int
    conversation_id: UUID


async def fill(stores: Stores) -> Filled:
    """A tenant with one of everything: an agent, an indexed and a waiting document, a turn."""
    scope = await stores.tenant()
    portfolio = await stores.portfolio(scope)
    agent = await stores.agents.create(scope, {"name": "helper", "portfolio_id": portfolio.id})
    document_id = await stores.add(
        scope, portfolio.id, NewDocument("Atlas", "Atlas is in React.\nIt draws maps.", "atlas.md")
    )
    [waiting] = await stores.documents.accept(
        scope, portfolio.id, [NewDocument("Borea", "Borea waits.")]
    )
    assert waiting.upload_id is not None
    stored = turn(agent.id)
    key = IdempotencyKey("a request", bytes(32))
    begun = await stores.conversations.begin_turn(scope, stored, key)
    assert begun.fresh
    await stores.conversations.store_turn(scope, replace(stored, new_conversation=False))
    await stores.vectors.store(scope, ENCODER, {bytes(32): unit(random.Random(1))})
    await stores.behind("INSERT INTO users (tenant_id, email, role) VALUES ($1, 'a@b.c', 'owner')",
                        scope.tenant_id)  # fmt: skip
    await stores.behind(
        "INSERT INTO portfolio_access (portfolio_id, tenant_id, readers) VALUES ($1, $2, '{}')",
        portfolio.id,
        scope.tenant_id,
    )
    await stores.usage.settle(scope.tenant_id, [Spent(new_id(), "user:1", "model", 10, 20, 0.5)])
    await stores.behind(
        "INSERT INTO audit_log (tenant_id, at, subject, role, action, object_kind, result, status, "
        "request_id) VALUES ($1, now(), 'owner', 'owner', 'agent.create', 'agent', 'ok', 201, '')",
        scope.tenant_id,
    )
    return Filled(
        scope, agent.id, portfolio.id, document_id, waiting.upload_id, stored.conversation_id
    )


async def scope_of(credentials: PgCredentials, key: str) -> Scope | None:
    """Of an API key that is good, else None."""
    claim = credentials.claim(key)
    return None if claim is None else await credentials.resolve(claim)
