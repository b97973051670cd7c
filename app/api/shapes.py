"""The JSON objects that the API answers with, exactly as the HTTP contract names their fields.

TypedDicts: mypy checks every place that builds one, and OpenAPI describes them.
"""

from datetime import datetime
from typing import Any, Literal, NotRequired
from uuid import UUID

from typing_extensions import TypedDict


class UsageJson(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool


class CitationJson(TypedDict):
    number: int
    document_id: int
    chunk_id: int
    title: str
    uri: str | None
    quote: str
    start: int
    end: int
    score: float


class DoneJson(TypedDict):
    """Every field of the whole answer but the text."""

    citations: list[CitationJson]
    cached: bool
    run_id: UUID
    conversation_id: UUID
    message_id: UUID
    complexity: str
    top_k: int
    max_tokens: int
    language: str
    usage: UsageJson
    timings_ms: dict[str, float]
    degraded: list[str]
    finish_reason: str


class AnswerJson(DoneJson):
    answer: str


class SourceJson(TypedDict):
    number: int
    title: str
    uri: str | None
    chunk_id: int
    score: float


class PassageJson(TypedDict):
    number: int
    chunk_id: int
    document_id: int
    title: str
    uri: str | None
    text: str
    start: int
    end: int
    score: float
    sources: dict[str, int]


class RetrievalJson(TypedDict):
    passages: list[PassageJson]
    timings_ms: dict[str, float]
    degraded: list[str]


class AgentJson(TypedDict):
    id: int
    name: str
    description: str
    system_prompt: str
    provider: str
    model: str | None
    portfolio_id: int | None
    persona_portfolio_id: int | None
    fallback_provider: str | None
    fallback_model: str | None
    semantic_threshold: float | None
    base_url: str | None
    api_key_last4: str | None
    api_key_state: Literal["none", "ok", "undecryptable"]
    top_k: int
    max_tokens: int
    temperature: float
    version: int
    created_at: datetime
    updated_at: datetime


class PortfolioJson(TypedDict):
    id: int
    name: str
    description: str
    version: int
    document_count: int
    chunk_count: int
    readers: list[str] | None
    writers: list[str]
    created_at: datetime
    updated_at: datetime


class DocumentSummaryJson(TypedDict):
    id: int
    portfolio_id: int
    title: str
    uri: str | None
    language: str
    status: str
    error: str | None
    metadata: dict[str, Any]
    chunk_count: int
    created_at: datetime
    updated_at: datetime


class DocumentJson(DocumentSummaryJson):
    text: str


class AcceptedJson(TypedDict):
    id: int
    title: str
    uri: str | None
    status: str
    action: str
    error: str | None


class DocumentsAcceptedJson(TypedDict):
    items: list[AcceptedJson]
    ids: list[int]


class ConversationJson(TypedDict):
    id: UUID
    agent_id: int
    title: str
    created_at: datetime
    updated_at: datetime


class MessageJson(TypedDict):
    id: UUID
    run_id: UUID | None
    role: str
    content: str
    status: str
    citations: list[CitationJson]
    created_at: datetime


class ConversationMessagesJson(ConversationJson):
    messages: list[MessageJson]


class AgentsJson(TypedDict):
    items: list[AgentJson]
    next: str | None


class PortfoliosJson(TypedDict):
    items: list[PortfolioJson]
    next: str | None


class DocumentsJson(TypedDict):
    items: list[DocumentSummaryJson]
    next: str | None


class ConversationsJson(TypedDict):
    items: list[ConversationJson]
    next: str | None


class InvalidatedJson(TypedDict):
    invalidated: int


class LayerJson(TypedDict):
    lookups: int
    local_hits: int
    shared_hits: int
    misses: int
    hit_rate: float | None
    puts: int


class VectorsJson(TypedDict):
    local_hits: int
    shared_hits: int
    joined: int
    encoded: int
    hit_rate: float | None


class LocalCacheJson(TypedDict):
    entries: int
    bytes: int
    limit_bytes: int


class RedisJson(TypedDict):
    state: Literal["ok", "away", "none"]
    refused: int
    failed: int
    skipped: int


class CachesJson(TypedDict):
    answers: LayerJson
    passages: LayerJson
    semantic: LayerJson
    vectors: VectorsJson
    local: LocalCacheJson
    redis: RedisJson


class ActiveRunsJson(TypedDict):
    active: int


class QueueJson(TypedDict):
    documents: int | None


class PoolJson(TypedDict):
    size: int
    open: int
    in_use: int
    waiting: NotRequired[int]
    acquired: NotRequired[int]
    opened: NotRequired[int]


class MemoryJson(TypedDict):
    resident_bytes: int | None


class StageJson(TypedDict):
    count: int
    rate_per_second: float
    errors: int
    errors_by_code: dict[str, int]
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class MetricJson(TypedDict):
    unit: str
    count: int
    rate_per_second: float
    sum: float
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


class PeriodJson(TypedDict):
    seconds: float
    stages: dict[str, StageJson]
    metrics: dict[str, MetricJson]


class PerformanceJson(TypedDict):
    scope: Literal["all", "process"]
    processes: int
    unreadable: int
    since_start: PeriodJson
    last_5_minutes: PeriodJson


class StatsJson(TypedDict):
    caches: CachesJson
    runs: ActiveRunsJson
    queue: QueueJson
    pools: dict[str, PoolJson]
    encoders: dict[str, bool]
    memory: MemoryJson
    performance: PerformanceJson


class StatusJson(TypedDict):
    status: str


class ReadinessJson(TypedDict):
    status: str
    dependencies: dict[str, str]
