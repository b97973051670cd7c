"""The composition root: Settings → clients → Services. The only module that knows every room."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import structlog
from pydantic import SecretStr

from app.api.services import Services
from app.chat.encoders import EncodersByName
from app.chat.engine import Engine
from app.chat.ids import uuid7
from app.chat.language import detect_language
from app.chat.model import Scope
from app.chat.pipeline import Pipeline, Policy
from app.chat.runs import Runs
from app.encoder.caching import CachingEncoder
from app.encoder.client import EncoderClient
from app.encoder.standby import StandbyEncoder
from app.errors import AppError
from app.ingest.embedding import Embedder
from app.ingest.ingestor import Ingestor
from app.ingest.parse import parse_file
from app.ingest.reencode import Reencoder
from app.local_encoder import local_encoder
from app.providers.mistral import MistralConfig
from app.providers.openai import OpenAIConfig
from app.providers.registry import ConfiguredProviders
from app.providers.relay import Deadlines
from app.retrieval.ports import Source
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources import KeywordSource, VectorSource
from app.settings import ConfigurationError, EncoderSettings, NextEncoderSettings, Settings
from app.stores.agents import PgAgents
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.documents import PgDocuments
from app.stores.encoder_indexes import drop_unused_indexes, register_encoder, tenant_ids
from app.stores.history import PgHistory
from app.stores.migrate import upgrade
from app.stores.passages import PgPassages
from app.stores.portfolios import PgPortfolios
from app.stores.prepare import prepare
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.reencoding import PgReencoding
from app.stores.tenants import PgCredentials, PgInvalidation
from app.stores.vectors import PgVectors
from app.zero_setup import servers

__all__ = ["ConfigurationError", "Settings", "build_services", "connected", "open_engine"]

log = structlog.get_logger(__name__)

SAMPLES = Path(__file__).resolve().parent.parent / "examples" / "portfolio"


@asynccontextmanager
async def open_engine(settings: Settings | None = None) -> AsyncIterator[Engine]:
    """The engine for a Python program.

    Without a DATABASE_URL it starts (or joins) the embedded servers of the data folder, and stops
    at the end what it started.
    """
    async with (
        connected(settings or Settings()) as live,
        build_services(live) as services,
    ):
        yield services.engine


@asynccontextmanager
async def connected(
    settings: Settings, on_progress: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Settings]:
    """Settings whose database, Redis and encoder are running, migrated and prepared."""
    async with servers(settings, on_progress) as live:
        if settings.database_url is None:
            await migrate(live)
        yield live


async def migrate(settings: Settings) -> None:
    """Bring the schema to this version's, as the owner; register the encoder and the defaults."""
    if settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_OWNER_URL to the role that owns the schema; "
            "DATABASE_URL is the role that the service runs as."
        )
    await upgrade(settings.database_owner_url)
    async with AsyncExitStack() as stack:
        encoder = await _connect_encoder("CITESTREAM_ENCODER", settings.encoder, stack)
        await prepare(settings.database_owner_url, encoder.name, encoder.dimension)


@asynccontextmanager
async def build_services(settings: Settings) -> AsyncIterator[Services]:
    """Connect to everything and wire it together; closes it all, once, in reverse order."""
    if settings.database_url is None:
        raise ConfigurationError("Set DATABASE_URL, or use `citestream run` for embedded servers.")
    async with AsyncExitStack() as stack:
        database = await Database.open(
            settings.database_url,
            pool_size=settings.database.pool_size,
            timeout_seconds=settings.database.timeout_seconds,
        )
        stack.push_async_callback(database.close)
        await _check_role(database)
        cache = _cache(settings)
        stack.push_async_callback(cache.aclose)
        standbys = [
            await _standby(settings, *each, stack) for each in _configured_encoders(settings)
        ]
        encoders = {each.name: CachingEncoder(each, cache) for each in standbys}
        providers = _providers(settings)
        stack.push_async_callback(providers.aclose)
        documents = PgDocuments(database)
        ingestor = Ingestor(
            documents,
            encoders,
            PgVectors(database),
            detect=detect_language,
            chunk_chars=settings.ingest.chunk_chars,
            max_document_bytes=settings.ingest.max_document_bytes,
        )
        retriever = _retriever(settings, database, encoders)
        credentials = PgCredentials(database)
        conversations = PgConversations(database)
        pipeline = Pipeline(
            conversations=conversations,
            retriever=retriever,
            cache=cache,
            providers=providers,
            policy=_policy(settings, await database.installation()),
            clock=time.perf_counter,
            new_id=lambda: uuid7(time.time_ns() // 1_000_000, os.urandom(10)),
            nonce=lambda: secrets.token_hex(8),
        )
        engine = Engine(pipeline, Runs(), credentials.default_scope)
        stack.push_async_callback(engine.close)
        yield Services(
            engine=engine,
            agents=PgAgents(database),
            portfolios=PgPortfolios(database, list(encoders)),
            history=PgHistory(database),
            documents=documents,
            ingestor=ingestor,
            retriever=retriever,
            invalidation=PgInvalidation(database),
            cache=cache,
            credentials=credentials,
            providers=providers,
            anonymous_owner=settings.loopback_only,
            streaming=settings.features.streaming,
            max_request_bytes=settings.ingest.max_request_bytes,
            max_top_k=settings.retrieval.max_top_k,
            readiness=_readiness(database, standbys, cache),
        )


async def _check_role(database: Database) -> None:
    """Row level security holds only for a role that cannot step past it: say so, or refuse."""
    report = await database.check_role()
    log.info("database role", **asdict(report))
    if not report.safe:
        raise ConfigurationError(
            f"DATABASE_URL connects as {report.role}, which can read past row level security; "
            "use a role that is no superuser, has no BYPASSRLS and owns no tables (citestream_app)."
        )


@asynccontextmanager
async def open_reencoder(settings: Settings, batch: int) -> AsyncIterator[Reencoder]:
    """What brings portfolios to the next encoder, or with none configured to the main one."""
    if settings.database_url is None or settings.database_owner_url is None:
        raise ConfigurationError(
            "Set DATABASE_URL to the role that the service runs as, and DATABASE_OWNER_URL to the "
            "one that owns the schema and makes the indexes of a new encoder."
        )
    async with AsyncExitStack() as stack:
        database = await Database.open(
            settings.database_url, timeout_seconds=settings.database.timeout_seconds
        )
        stack.push_async_callback(database.close)
        await _check_role(database)
        encoder = await _connect_encoder(*_configured_encoders(settings)[0], stack)
        await register_encoder(settings.database_owner_url, encoder.name, encoder.dimension)
        yield Reencoder(
            PgReencoding(database),
            Embedder({encoder.name: encoder}, PgVectors(database)),
            encoder.name,
            scopes=[Scope(each) for each in await tenant_ids(settings.database_owner_url)],
            retire=partial(drop_unused_indexes, settings.database_owner_url),
            batch=batch,
        )


def _configured_encoders(
    settings: Settings,
) -> list[tuple[str, EncoderSettings | NextEncoderSettings]]:
    """With the variables that configure them. The next one first: it serves new portfolios as
    soon as the database is prepared for it, which is when the change to it begins."""
    upcoming = settings.next_encoder
    chosen = [] if upcoming is None else [("CITESTREAM_NEXT_ENCODER", upcoming)]
    return [*chosen, ("CITESTREAM_ENCODER", settings.encoder)]


async def _connect_encoder(
    variable: str, encoder: EncoderSettings | NextEncoderSettings, stack: AsyncExitStack
) -> EncoderClient:
    if encoder.url is None:
        raise ConfigurationError(
            f"Set {variable}__URL to the encoder's address; `citestream encoder` starts one."
        )
    client = await EncoderClient.connect(
        encoder.url,
        api_key=_secret(encoder.api_key) or None,
        model=encoder.model and _served_name(encoder.model),
        timeout_seconds=encoder.timeout_seconds,
    )
    stack.push_async_callback(client.aclose)
    return client


async def _standby(
    settings: Settings,
    variable: str,
    encoder: EncoderSettings | NextEncoderSettings,
    stack: AsyncExitStack,
) -> StandbyEncoder:
    """The encoder, with a local one for the time it is away where that is the same model."""
    client = await _connect_encoder(variable, encoder, stack)
    local = local_encoder(settings) if encoder is settings.encoder else None
    standby = StandbyEncoder(client, local)
    stack.push_async_callback(standby.aclose)
    return standby


def _served_name(model: str) -> str:
    """What an encoder calls a model: its name, or for a folder the last part of the path."""
    return Path(model).name if Path(model).is_dir() else model


def _cache(settings: Settings) -> RedisCache | NoCache:
    if settings.redis_url is None:
        return NoCache()
    return RedisCache(
        settings.redis_url,
        timeout_seconds=settings.cache.timeout_seconds,
        retry_after_seconds=settings.cache.retry_after_seconds,
    )


def _policy(settings: Settings, installation: str) -> Policy:
    return Policy(
        answer_cache=settings.features.answer_cache,
        dynamic_context=settings.features.dynamic_context,
        answer_ttl_seconds=settings.cache.answer_ttl_seconds,
        passages_ttl_seconds=settings.cache.passages_ttl_seconds,
        history_tokens=settings.history_tokens,
        sources=[name for name in ("vector", "keyword") if getattr(settings.features, name)],
        addresses={"openai": settings.openai_base_url, "mistral": settings.mistral_server_url},
        installation=installation,
    )


def _retriever(settings: Settings, database: Database, encoders: EncodersByName) -> HybridRetriever:
    passages = PgPassages(
        database,
        exact_below_chunks=settings.retrieval.exact_below_chunks,
        ef_search=settings.retrieval.hnsw_ef_search,
    )
    sources: list[Source] = []
    if settings.features.vector:
        sources.append(VectorSource(passages, encoders))
    if settings.features.keyword:
        sources.append(KeywordSource(passages))
    return HybridRetriever(
        sources,
        deadline_seconds=settings.retrieval.source_deadline_seconds,
        encoder_languages=frozenset({"en"}),
        clock=time.perf_counter,
    )


def _readiness(
    database: Database, encoders: Sequence[StandbyEncoder], cache: RedisCache | NoCache
) -> Callable[[], Awaitable[Mapping[str, str]]]:
    async def readiness() -> Mapping[str, str]:
        states = {"postgres": "ok", "redis": "ok", "encoder": "ok"}
        try:
            await database.ping()
        except AppError as error:
            states["postgres"] = f"down: {error.message}"
        try:
            for encoder in encoders:
                await encoder.ping()
        except AppError as error:
            states["encoder"] = f"degraded: {error.message}"
        if not await cache.ping():
            states["redis"] = "degraded: answers are given without the cache"
        return states

    return readiness


@asynccontextmanager
async def with_worker(services: Services) -> AsyncIterator[Services]:
    """The services with this process taking its part of the indexing."""
    worker = asyncio.create_task(services.ingestor.run(), name="ingest worker")
    try:
        yield services
    finally:
        await services.ingestor.close()
        await asyncio.wait({worker})


async def seed_sample(services: Services, on_progress: Callable[[str], None]) -> None:
    """Index the sample documents, once: never again after somebody changed the portfolio."""
    files = sorted(SAMPLES.glob("*.md"))
    scope = await services.credentials.default_scope()
    portfolios = await services.portfolios.list(scope, 1, None)
    sample = portfolios.items[0] if portfolios.items else None
    if not files or sample is None or (sample.name, sample.version) != ("sample", 1):
        return
    documents = [
        document for file in files for document in parse_file(file.name, file.read_bytes())
    ]
    on_progress(f"Indexing the sample portfolio of {len(documents)} documents …")
    accepted = await services.ingestor.accept(scope, sample.id, documents)
    await services.ingestor.index([each.upload_id for each in accepted if each.upload_id])


def _providers(settings: Settings) -> ConfiguredProviders:
    """A vendor is configured by its key, or by the address of a server that needs none."""
    openai = mistral = None
    if settings.openai_api_key or settings.openai_base_url:
        openai = OpenAIConfig(
            _secret(settings.openai_api_key), settings.openai_model, settings.openai_base_url
        )
    if settings.mistral_api_key or settings.mistral_server_url:
        mistral = MistralConfig(
            _secret(settings.mistral_api_key), settings.mistral_model, settings.mistral_server_url
        )
    return ConfiguredProviders(openai, mistral, Deadlines(**settings.provider.model_dump()))


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""
