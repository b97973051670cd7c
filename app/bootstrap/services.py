"""Settings → Services: everything connected, wired together, and closed once, in reverse order."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from app.api.services import Services
from app.api.sse import decode, frame
from app.bootstrap.clients import (
    before,
    open_cache,
    open_database,
    open_leading,
    open_providers,
    open_reranker,
    open_streams,
)
from app.bootstrap.encoders import open_encoders
from app.bootstrap.performance import shared_performance
from app.bootstrap.pipeline import build_pipeline, build_retriever, build_semantic
from app.bootstrap.readiness import Readiness
from app.bootstrap.warming import can_warm, with_prefetch
from app.chat.cached import Cached
from app.chat.elsewhere import RunStreams
from app.chat.engine import Engine
from app.chat.flights import Flights, Leading
from app.chat.keeper import keep
from app.chat.language import detect_language
from app.chat.runs import Runs
from app.encoder.configured import ConfiguredEncoders
from app.ingest.ingestor import Ingestor
from app.performance import PerformanceMonitor
from app.performance.stages import QUEUE
from app.providers.registry import ConfiguredProviders
from app.retrieval.retriever import HybridRetriever
from app.settings import Settings
from app.stores.agents import PgAgents
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.history import PgHistory
from app.stores.local_cache import LocalCache
from app.stores.performance import SharedPerformance
from app.stores.portfolios import PgPortfolios
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.tenants import PgCredentials, PgInvalidation
from app.stores.vectors import PgVectors
from app.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Clients:
    """What the services are built on."""

    database: Database
    cache: RedisCache | NoCache
    local: LocalCache
    encoders: ConfiguredEncoders
    providers: ConfiguredProviders
    credentials: PgCredentials
    monitor: PerformanceMonitor


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
        leading = open_leading(settings, clients.cache, streams)
        stack.push_async_callback(leading.aclose)
        engine = await _engine(settings, clients, retriever, runs, streams, leading, tracing)
        stack.push_async_callback(engine.close)
        await stack.enter_async_context(_kept(clients.database, engine))
        if settings.features.prefetch and can_warm(settings):
            await stack.enter_async_context(with_prefetch(clients.database, engine))
        yield _services(settings, clients, retriever, engine, performance)


@asynccontextmanager
async def with_worker(services: Services) -> AsyncIterator[Services]:
    """The services with this process taking its part of the indexing."""
    worker = asyncio.create_task(services.ingestor.run(), name="ingest worker")
    try:
        yield services
    finally:
        await services.ingestor.close()
        await asyncio.wait({worker})


async def _open_clients(settings: Settings, stack: AsyncExitStack, tracing: Tracing) -> Clients:
    monitor = tracing.monitor(time.perf_counter, settings.prices)
    database = await open_database(settings, stack, tracing.waited(monitor.recorder(QUEUE)))
    cache = open_cache(settings, stack)
    return Clients(
        database=database,
        cache=cache,
        local=before(cache, settings),
        encoders=await open_encoders(settings, cache, stack, monitor),
        providers=open_providers(settings, stack, tracing),
        credentials=PgCredentials(database),
        monitor=monitor,
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
        clients.local,
        providers,
        semantic,
        flights,
        clients.monitor,
        tracing,
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
) -> Services:
    database, cache = clients.database, clients.cache
    return Services(
        engine=engine,
        agents=PgAgents(database),
        portfolios=PgPortfolios(database, clients.encoders),
        history=PgHistory(database),
        documents=PgDocuments(database),
        ingestor=_ingestor(settings, clients),
        retriever=retriever,
        invalidation=PgInvalidation(database),
        cache=clients.local,
        database=database,
        credentials=clients.credentials,
        providers=clients.providers,
        encoders=clients.encoders,
        monitor=clients.monitor,
        performance=performance,
        anonymous_owner=settings.loopback_only,
        streaming=settings.features.streaming,
        max_request_bytes=settings.ingest.max_request_bytes,
        max_top_k=settings.retrieval.max_top_k,
        readiness=Readiness(database, clients.encoders.awaited, cache),
    )


def _ingestor(settings: Settings, clients: Clients) -> Ingestor:
    return Ingestor(
        PgDocuments(clients.database),
        clients.encoders,
        PgVectors(clients.database),
        detect=detect_language,
        chunk_chars=settings.ingest.chunk_chars,
        max_document_bytes=settings.ingest.max_document_bytes,
    )
