"""Settings → Services: everything connected, wired together, and closed once, in reverse order."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.api.revocation import Revocation
from app.api.services import Services
from app.api.sse import decode, frame
from app.bootstrap.clients import (
    before,
    open_cache,
    open_database,
    open_guard,
    open_leading,
    open_providers,
    open_reranker,
    open_streams,
    open_vault,
)
from app.bootstrap.encoders import open_encoders
from app.bootstrap.identity import open_tokens
from app.bootstrap.limits import open_spending
from app.bootstrap.performance import shared_performance
from app.bootstrap.pipeline import build_pipeline, build_retriever, build_semantic
from app.bootstrap.readiness import Readiness
from app.bootstrap.warming import can_warm, with_prefetch
from app.chat.cached import Cached
from app.chat.elsewhere import RunStreams
from app.chat.engine import Engine
from app.chat.flights import Flights, Leading
from app.chat.journal import Journal
from app.chat.keeper import keep
from app.chat.language import detect_language
from app.chat.runs import Runs
from app.encoder.configured import ConfiguredEncoders
from app.encoder.rerank_client import RerankerClient
from app.identity.tokens import Tokens
from app.ingest.ingestor import Ingestor
from app.ingest.workshop import Workshop
from app.limits.spending import Spending
from app.outgoing.fetch import Pages
from app.outgoing.guard import Guard
from app.performance import PerformanceMonitor
from app.performance.stages import QUEUE
from app.providers.registry import ConfiguredProviders
from app.retrieval.retriever import HybridRetriever
from app.settings import Settings
from app.stores.agents import PgAgents
from app.stores.audit import PgAudit
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.history import PgHistory
from app.stores.keys import PgKeys
from app.stores.local_cache import LocalCache
from app.stores.performance import SharedPerformance
from app.stores.portfolios import PgPortfolios
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.sessions import PgSessions
from app.stores.tenants import PgCredentials, PgInvalidation
from app.stores.users import PgUsers
from app.stores.vectors import PgVectors
from app.telemetry.tracing import Tracing
from app.vault.agent_keys import AgentKeys


@dataclass(frozen=True, slots=True)
class Clients:
    """What the services are built on."""

    database: Database
    cache: RedisCache | NoCache
    local: LocalCache
    encoders: ConfiguredEncoders
    providers: ConfiguredProviders
    credentials: PgCredentials
    tokens: Tokens
    guard: Guard
    keys: AgentKeys
    audit: PgAudit
    journal: Journal
    monitor: PerformanceMonitor
    workshop: Workshop
    spending: Spending


@asynccontextmanager
async def build_services(
    settings: Settings, tracing: Tracing | None = None
) -> AsyncIterator[Services]:
    """Connect to everything and wire it together; closes it all, once, in reverse order."""
    tracing = tracing or Tracing()
    async with AsyncExitStack() as stack:
        clients = await _open_clients(settings, stack, tracing)
        performance = await stack.enter_async_context(
            shared_performance(
                clients.monitor, clients.cache, await clients.database.installation(), settings
            )
        )
        reranker = open_reranker(settings, stack)
        retriever = build_retriever(settings, clients.database, clients.encoders, reranker, tracing)
        runs = Runs()
        streams = open_streams(settings, runs)
        stack.push_async_callback(streams.aclose)
        leading = open_leading(clients.cache, streams)
        stack.push_async_callback(leading.aclose)
        engine = await _engine(settings, clients, retriever, runs, streams, leading, tracing)
        stack.push_async_callback(engine.close)
        await stack.enter_async_context(_kept(clients.database, engine))
        if settings.features.prefetch and can_warm(settings):
            await stack.enter_async_context(with_prefetch(clients.database, engine))
        revocation = await stack.enter_async_context(
            Revocation(clients.credentials.resolve_all).running()
        )
        yield _services(settings, clients, retriever, engine, performance, revocation, reranker)


@asynccontextmanager
async def with_worker(settings: Settings, services: Services) -> AsyncIterator[Services]:
    """The services, with this process taking its part of the indexing unless others do it all."""
    if not settings.ingest.here:
        yield services
        return
    worker = asyncio.create_task(services.ingestor.run(), name="ingest worker")
    try:
        yield services
    finally:
        await services.ingestor.close()
        await asyncio.wait({worker})


async def _open_clients(settings: Settings, stack: AsyncExitStack, tracing: Tracing) -> Clients:
    monitor = tracing.monitor(time.perf_counter, settings.prices)
    # Before anything is connected: both may be wrong.
    keys, guard = AgentKeys(open_vault(settings)), open_guard(settings)
    database = await open_database(settings, stack, tracing.waited(monitor.recorder(QUEUE)))
    cache = open_cache(settings, stack)
    audit = PgAudit(database)
    workshop = Workshop()
    stack.push_async_callback(workshop.aclose)
    return Clients(
        database=database,
        cache=cache,
        local=before(cache, settings),
        encoders=await open_encoders(settings, cache, stack, monitor),
        providers=open_providers(settings, stack, tracing, keys, guard),
        keys=keys,
        credentials=PgCredentials(database),
        tokens=open_tokens(settings, stack),
        guard=guard,
        audit=audit,
        journal=await stack.enter_async_context(Journal(audit).running()),
        monitor=monitor,
        workshop=workshop,
        spending=await stack.enter_async_context(open_spending(settings, database, cache)),
    )


async def _engine(
    settings: Settings,
    clients: Clients,
    retriever: HybridRetriever,
    runs: Runs,
    streams: RunStreams,
    leading: Leading,
    tracing: Tracing,
) -> Engine:
    database, cache, providers = clients.database, clients.cache, clients.providers
    semantic = build_semantic(settings, cache, clients.local, clients.encoders)
    flights = Flights(runs, leading, streams, decode)
    pipeline = await build_pipeline(
        settings,
        database,
        retriever,
        clients.encoders,
        clients.local,
        providers,
        semantic,
        flights,
        clients.monitor,
        tracing,
        clients.spending,
    )
    default_scope = clients.credentials.default_scope
    cached = Cached(clients.local, default_scope, await database.installation())
    return Engine(pipeline, runs, default_scope, frame, streams, cached, clients.monitor)


@asynccontextmanager
async def _kept(database: Database, engine: Engine) -> AsyncIterator[None]:
    keeping = asyncio.create_task(
        keep(PgConversations(database), lambda: engine.runs.active), name="keeper of runs"
    )
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


def _services(
    settings: Settings,
    clients: Clients,
    retriever: HybridRetriever,
    engine: Engine,
    performance: SharedPerformance,
    revocation: Revocation,
    reranker: RerankerClient | None,
) -> Services:
    database, cache = clients.database, clients.cache
    return Services(
        engine=engine,
        agents=PgAgents(database, clients.keys),
        portfolios=PgPortfolios(database, clients.encoders),
        history=PgHistory(database),
        documents=PgDocuments(database),
        ingestor=_ingestor(settings, clients),
        reader=clients.workshop,
        retriever=retriever,
        invalidation=PgInvalidation(database),
        cache=clients.local,
        database=database,
        credentials=clients.credentials,
        pages=Pages(clients.guard, settings.ingest.max_document_bytes),
        tokens=clients.tokens,
        users=PgUsers(database),
        keys=PgKeys(database),
        sessions=PgSessions(database, settings.auth.session_hours),
        revocation=revocation,
        audit=clients.audit,
        journal=clients.journal,
        providers=clients.providers,
        encoders=clients.encoders,
        monitor=clients.monitor,
        performance=performance,
        anonymous_owner=settings.loopback_only and settings.environment == "development",
        secure_cookies=settings.environment == "production",
        streaming=settings.features.streaming,
        max_request_bytes=settings.ingest.max_request_bytes,
        max_top_k=settings.retrieval.max_top_k,
        readiness=Readiness(database, clients.encoders.awaited, cache, reranker),
        usage=clients.spending.ledger,
        limits=clients.spending if clients.spending.reserve else None,
    )


def _ingestor(settings: Settings, clients: Clients) -> Ingestor:
    return Ingestor(
        PgDocuments(clients.database),
        clients.encoders,
        PgVectors(clients.database),
        detect=detect_language,
        chunk_chars=settings.ingest.chunk_chars,
        max_document_bytes=settings.ingest.max_document_bytes,
        prepare=clients.workshop.prepare,
        here=settings.ingest.here,
    )
