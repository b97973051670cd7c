"""Settings and clients → the way of a question: sources, retriever, pipeline."""

import os
import secrets
import time

from app.api.sse import decode
from app.chat.encoders import EncodersByName
from app.chat.finding import Finder
from app.chat.flights import Alone, Flights
from app.chat.ids import uuid7
from app.chat.pipeline import Pipeline
from app.chat.policy import Policy
from app.chat.ports import Budget, Providers, QueryVectors, Retriever
from app.chat.prompt import CHARS_PER_TOKEN
from app.chat.runs import Runs
from app.chat.semantic import SemanticAnswers
from app.performance import PerformanceMonitor
from app.retrieval.ports import Reranker, Source
from app.retrieval.rerank import RERANKER
from app.retrieval.retriever import HybridRetriever
from app.retrieval.sources import DOMAIN, GRAPH, KNOWN_SOURCES, PERSONA
from app.retrieval.sources.domain import DomainSource
from app.retrieval.sources.graph import GraphSource
from app.retrieval.sources.keyword import KeywordSource
from app.retrieval.sources.persona import PersonaSource
from app.retrieval.sources.vector import VectorSource
from app.settings import Settings
from app.stores.conversations import PgConversations
from app.stores.database import Database
from app.stores.graph import PgGraph
from app.stores.keywords import PgKeywords
from app.stores.local_cache import LocalCache
from app.stores.pairs import PgPairs
from app.stores.passages import PgPassages
from app.stores.redis_cache import NoCache, RedisCache
from app.stores.run_streams import NoStreams
from app.telemetry.tracing import Tracing

# Of a passage's title and of the lines that it stands between.
WRAPPING_TOKENS = 25


def build_retriever(
    settings: Settings,
    database: Database,
    encoders: EncodersByName,
    reranker: Reranker | None = None,
    tracing: Tracing | None = None,
) -> HybridRetriever:
    """Every source that is switched on, side by side, and the reranker where there is one."""
    return HybridRetriever(
        _sources(settings, database, encoders, tracing or Tracing()),
        deadline_seconds=settings.retrieval.source_deadline_seconds,
        deadlines={
            GRAPH: settings.retrieval.graph_deadline_seconds,
            PERSONA: settings.retrieval.persona_deadline_seconds,
            DOMAIN: settings.retrieval.domain_deadline_seconds,
            RERANKER: settings.reranker.timeout_seconds,
        },
        encoders=encoders,
        reranker=reranker,
        rerank_top_n=settings.reranker.top_n,
        clock=time.perf_counter,
    )


def _sources(
    settings: Settings, database: Database, encoders: EncodersByName, tracing: Tracing
) -> list[Source]:
    """Those that are switched on."""
    passages = PgPassages(
        database,
        exact_below_chunks=settings.retrieval.exact_below_chunks,
        ef_search=settings.retrieval.hnsw_ef_search,
    )
    vector = VectorSource(passages, encoders)
    built: list[Source] = [
        vector,
        KeywordSource(PgKeywords(database)),
        GraphSource(PgGraph(database)),
        PersonaSource(vector),
        DomainSource(PgPairs(database), encoders),
    ]
    return [tracing.source(each) for each in built if getattr(settings.features, each.name)]


async def build_pipeline(
    settings: Settings,
    database: Database,
    retriever: Retriever,
    vectors: QueryVectors,
    cache: LocalCache,
    providers: Providers,
    semantic: SemanticAnswers | None,
    flights: Flights,
    monitor: PerformanceMonitor,
    tracing: Tracing,
    budget: Budget,
) -> Pipeline:
    """The pipeline with this machine's clock and randomness."""
    policy = _policy(settings, await database.installation())

    def finder(flights: Flights) -> Finder:
        return Finder(
            retriever=retriever,
            vectors=vectors,
            cache=cache,
            second_look=cache.found_by("answers"),
            semantic=semantic,
            flights=flights,
            policy=policy,
        )

    return Pipeline(
        conversations=PgConversations(database),
        finder=finder(flights),
        unshared=finder(Flights(Runs(), Alone(), NoStreams(), decode)),
        providers=providers,
        policy=policy,
        stopwatch=lambda: tracing.stopwatch(time.perf_counter),
        new_id=lambda: uuid7(time.time_ns() // 1_000_000, os.urandom(10)),
        nonce=lambda: secrets.token_hex(8),
        measuring=tracing.measuring(monitor, settings.slow_answer_seconds),
        budget=budget,
    )


def build_semantic(
    settings: Settings, cache: RedisCache | NoCache, local: LocalCache, encoders: EncodersByName
) -> SemanticAnswers | None:
    """Answers by meaning; None where they are switched off or there is no Redis to hold them."""
    if not settings.features.semantic_cache or isinstance(cache, NoCache):
        return None
    # Not above: numpy behind it is 10 MB and 65 ms, for those only who use it.
    from app.stores.semantic_cache import RedisSemanticCache

    similar, answers = RedisSemanticCache(cache), local.found_by("semantic")
    return SemanticAnswers(similar, answers, encoders, settings.cache.semantic_threshold)


def _policy(settings: Settings, installation: str) -> Policy:
    return Policy(
        answer_cache=settings.features.answer_cache,
        dynamic_context=settings.features.dynamic_context,
        rewrite=settings.features.rewrite,
        rewrite_seconds=settings.provider.rewrite_seconds,
        answer_ttl_seconds=settings.cache.answer_ttl_seconds,
        passages_ttl_seconds=settings.cache.passages_ttl_seconds,
        history_tokens=settings.history_tokens,
        passage_tokens=settings.ingest.chunk_chars // CHARS_PER_TOKEN + WRAPPING_TOKENS,
        sources=_switches(settings),
        addresses={"openai": settings.openai_base_url, "mistral": settings.mistral_server_url},
        installation=installation,
    )


def _switches(settings: Settings) -> list[str]:
    """What was asked for an answer: one of other sources, or in another order, is another."""
    names = [name for name in KNOWN_SOURCES if getattr(settings.features, name, False)]
    return [*names, RERANKER] if settings.reranker.url else names
